"""What a Git ref declares, as the base of an offline plan, and what it warns about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path

from synapse_apply.files.checkout import read_command_line_file_checked_if_in_checkout
from synapse_apply.files.commit_memory import pin_refs
from synapse_apply.files.commits import OBJECT_MISSING, GitCommit, find_commit, is_unborn_branch
from synapse_apply.manifests.files.committed import CommittedFolder
from synapse_apply.manifests.project.command_line_variables import parse_command_line_variables
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Severity, warning_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.project import Project, Target
from synapse_apply.model.resource import Desired, Package
from synapse_apply.model.state import Record
from synapse_apply.views.paths import format_path_relative_to_cwd_if_inside
from synapse_apply.workspace import configuration
from synapse_apply.workspace.invocation import Invocation


@frozen
class ComparisonBase:
    """What was declared, the name that views call it, and warnings about it.

    `is_usable` is False where it has errors, so that nothing is known of it.
    """

    label: str
    declared_resources: Mapping[Address, Desired] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()
    is_usable: bool = True


def read_possibly_unusable_base_at_ref(
    invocation: Invocation, project: Project, target: Target, ref: str
) -> ComparisonBase:
    """Decode what a Git ref declares, by its own project file.

    InputError where the ref cannot be read. A ref whose manifests have errors is no error here.
    """
    with pin_refs():
        return _read_base_or_warn_that_all_is_new(invocation, project, target, ref)


def _read_base_or_warn_that_all_is_new(
    invocation: Invocation, project: Project, target: Target, ref: str
) -> ComparisonBase:
    if is_unborn_branch(project.root, ref):
        no_commit_warning = warning_finding("Everything counts as new", f"{ref} has no commit yet.")
        return ComparisonBase(f"git:{ref} (no commit yet)", {}, (no_commit_warning,))
    commit = find_commit(project.root, ref)
    try:
        declared_resources, warnings = _read_resources_and_warnings_or_raise_errors(
            invocation, project, target, commit
        )
    except InputError as problem:
        # A shallow clone: the ref may well be right, so this is no warning about its manifests.
        if any(finding.summary == OBJECT_MISSING for finding in problem.diagnostics):
            raise
        return ComparisonBase(
            f"git:{commit}", {}, _turn_base_errors_into_warnings(commit, problem), is_usable=False
        )
    return ComparisonBase(f"git:{commit}", declared_resources, warnings)


def _turn_base_errors_into_warnings(
    commit: GitCommit, problem: InputError
) -> tuple[Diagnostic, ...]:
    """The errors of the base as warnings: the checkout is not to blame and may fix them."""
    first_warning = warning_finding(
        "Nothing was compared",
        f"What is declared at {commit} cannot be used, so that everything counts as new.",
        "What is declared here is valid. If it fixes the findings below, plans compare again "
        "once it is committed; a commit that is valid can be named now: --against git:REF.",
    )
    return first_warning, *(
        finding.with_changes(severity=Severity.WARNING) for finding in problem.diagnostics
    )


def _read_resources_and_warnings_or_raise_errors(
    invocation: Invocation, project: Project, target: Target, commit: GitCommit
) -> tuple[Mapping[Address, Desired], tuple[Diagnostic, ...]]:
    """What a commit declares, with warnings about it; InputError with the errors in it."""
    base_project: Project | None = project
    if project.file is not None:
        base_project = configuration.read_valid_project_or_none_if_not_in_commit(
            commit, project.file
        )
    if base_project is None:
        name = format_path_relative_to_cwd_if_inside(project.file or project.root)
        return {}, (_build_all_new_warning(f"{name} is not in {commit.ref}."),)
    base_target = base_project.targets.get(target.name)
    if base_target is None:
        return {}, (_build_all_new_warning(f"{commit.ref} has no target `{target.name}`."),)
    base_invocation = replace(
        invocation,
        as_of=commit.ref,
        # --strict is about the checkout: warnings in the base are nobody's to fix now.
        strict=False,
        paths=_list_named_manifests_that_commit_has(invocation, project, commit),
    )
    if invocation.paths and not base_invocation.paths:
        return {}, ()
    variables, _ = parse_command_line_variables(
        base_project,
        [f"{name}={value}" for name, value in invocation.variables.items()],
        _read_variable_files_with_names(invocation),
    )
    declared_target = configuration.read_declared_target_with_findings(
        base_invocation, base_project, base_target, variables=variables
    )
    if declared_target.manifests.has_errors:
        raise InputError(
            *(finding for finding in declared_target.manifests.diagnostics if finding.is_error)
        )
    manifest_findings = set(declared_target.manifests.diagnostics)
    new_findings = [
        finding
        for finding in declared_target.diagnostics
        if finding not in manifest_findings and finding not in base_project.findings
    ]
    return declared_target.desired, tuple(
        finding.with_changes(severity=Severity.WARNING) for finding in new_findings
    )


def _build_all_new_warning(reason: str) -> Diagnostic:
    return warning_finding(
        "Everything counts as new", reason, "Compare with a Git ref that has it."
    )


def _list_named_manifests_that_commit_has(
    invocation: Invocation, project: Project, commit: GitCommit
) -> tuple[Path, ...]:
    """Of the manifests named with `-f`, those that the commit has: the others are new."""
    if not invocation.paths:
        return ()
    with CommittedFolder(commit) as folder:
        names = {
            path: configuration.format_path_in_resolved_root(path, project)
            for path in invocation.paths
        }
        return tuple(
            path for path, name in names.items() if folder.fault(name) or folder.entry(name)
        )


def _read_variable_files_with_names(invocation: Invocation) -> list[tuple[str, bytes]]:
    return [
        (str(path), read_command_line_file_checked_if_in_checkout(path))
        for path in invocation.variable_files
    ]


def with_package_files_as_checked_out_and_warnings(
    records: Mapping[Address, Record],
    base_resources: Mapping[Address, Desired],
    current_resources: Mapping[Address, Desired],
    root: Path,
) -> tuple[dict[Address, Record], tuple[Diagnostic, ...]]:
    """The records with package files as a checkout of their commit would have them; and warnings.

    Git may convert line ends at a checkout, and an upload sends the files of the checkout. So a
    file that Git considers unmodified counts with the bytes of the checkout.
    """
    new_records, findings = dict(records), []
    for address, record in records.items():
        old_package, new_package = (
            _get_package_or_none(base_resources.get(address)),
            _get_package_or_none(current_resources.get(address)),
        )
        if (
            old_package is not None
            and new_package is not None
            and old_package.digest != new_package.digest
        ):
            new_records[address], filtered_paths = _with_unmodified_files_and_filtered_paths(
                record, old_package, new_package, root
            )
            if filtered_paths:
                findings.append(
                    _build_uncompared_files_warning(address, filtered_paths, new_package)
                )
    return new_records, tuple(findings)


def _get_package_or_none(resource: Desired | None) -> Package | None:
    return None if resource is None else resource.package


def _with_unmodified_files_and_filtered_paths(
    record: Record, old_package: Package, new_package: Package, root: Path
) -> tuple[Record, frozenset[str]]:
    # Here, not above: few packages differ from what was committed.
    from synapse_apply.files.modified import find_unmodified
    from synapse_apply.model.resource import FOLDER, GIT
    from synapse_apply.packages.content import compute_package_digest

    differing_paths = [
        path
        for path in old_package.files.keys() & new_package.files.keys()
        if _differs_only_in_content(path, old_package, new_package)
    ]
    if not differing_paths or (old_package.source.kind, new_package.source.kind) != (GIT, FOLDER):
        return record, frozenset()
    old, new_folder = old_package.source, new_package.source.path
    comparison = find_unmodified(
        root, old.path or ".", old.ref, new_folder, sorted(differing_paths)
    )
    unchanged_paths = comparison.unchanged | comparison.filtered
    files = {**old_package.files, **{path: new_package.files[path] for path in unchanged_paths}}
    return replace(record, files=files, digest=compute_package_digest(files)), comparison.filtered


def _differs_only_in_content(path: str, old_package: Package, new_package: Package) -> bool:
    """Whether the bytes differ but the executable bit does not, which no Git filter changes."""
    old_entry, new_entry = old_package.files[path], new_package.files[path]
    return old_entry != new_entry and old_entry.endswith(" x") == new_entry.endswith(" x")


def _build_uncompared_files_warning(
    address: Address, filtered_paths: frozenset[str], package: Package
) -> Diagnostic:
    return warning_finding(
        "Files behind a Git filter were not compared",
        f"{', '.join(sorted(filtered_paths))}: the checkout has what the filter made of them, Git "
        "what it was made from.",
        "A plan that asks the backend compares what was published.",
        address=str(address),
        position=package.source.position,
    )
