"""Which project file, target, manifests and packages a command works with.

A package source is read once per command. For the embedded backend some findings in packages are
warnings that are errors elsewhere: it accepts what the platform's own tools refuse.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from synapse_apply.files.checkout import iter_folders_above, read_typed_file
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.wire import declared_natural_key, list_key_conflicts
from synapse_apply.manifests.decode.draft import ConfigWithPositions, ReadPackageConfig
from synapse_apply.manifests.decode.loading import FileCache, LoadedManifests, load_manifests
from synapse_apply.manifests.decode.package_config import unmet_needs
from synapse_apply.manifests.decode.variables import parse_given_variables
from synapse_apply.manifests.files import explain_file_of_others, pin_settings
from synapse_apply.manifests.project.project import (
    FILE_NAME,
    build_default_project,
    find_project_file,
    read_project_or_findings,
)
from synapse_apply.manifests.project.target_lists import MAX_LIST_BYTES
from synapse_apply.manifests.yaml.reader import read_single_mapping
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import (
    Diagnostic,
    Position,
    Severity,
    error_finding,
    warning_finding,
)
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.lazy_patterns import lazy_pattern
from synapse_apply.model.packages import PackageFlaw, build_flaw_finding
from synapse_apply.model.phrases import shown_path
from synapse_apply.model.project import Project, Target
from synapse_apply.model.resource import PUBLISHED, Desired, Package, PackageSource
from synapse_apply.model.secrets.credentials import format_unless_secret
from synapse_apply.model.secrets.secret_rules import ClosedFiles, build_reserved_by_names
from synapse_apply.packages.zip_stamps import ZipStamps
from synapse_apply.planning.order import sort_by_dependencies_and_find_cycles
from synapse_apply.workspace.invocation import Invocation, LoadedProjects, ProjectMemory
from synapse_apply.workspace.state_project import iter_sharing_findings

if TYPE_CHECKING:
    from synapse_apply.files.commits import GitCommit
    from synapse_apply.manifests.committed import CommittedFolder
    from synapse_apply.packages.lint import PackageLint
    from synapse_apply.packages.sources import SourceFiles


# A package that was read and hashed; None where its findings say why it cannot be used.
InspectedPackage = tuple[Package | None, list[Diagnostic]]


class PackageSources:
    """Reads and caches the package sources of a project.

    With `ref`, folders and zips are read from that Git ref. With `should_lint`, packages are
    checked while they are read, else when their flaws are asked for; `known_flaws` has those of
    packages that were. `zip_stamps` are the zips that were read.
    """

    def __init__(
        self,
        project: Project,
        environ: Mapping[str, str],
        ref: str = "",
        *,
        should_lint: bool = False,
        known_flaws: dict[Hashable, list[PackageFlaw]] | None = None,
    ) -> None:
        self._project = project
        self._environ = environ
        self._should_lint = should_lint
        self._flaws: dict[SourceFiles, list[PackageFlaw]] = {}
        self._known_flaws = {} if known_flaws is None else known_flaws
        self._ref = ref
        self.zip_stamps = ZipStamps()
        # The text of config.yaml, and the name of the file in messages.
        self._configs: dict[SourceFiles, tuple[str, str] | None] = {}
        self._packages: dict[SourceFiles, InspectedPackage] = {}

    @cached_property
    def _closed(self) -> ClosedFiles:
        return ClosedFiles(self._project.reserved, self._project.root, self._environ)

    def build_config_reader(
        self, target: Target
    ) -> Callable[[PackageSource], ConfigWithPositions | None]:
        """A function that reads a source's config.yaml for this target; it raises InputError."""

        def read_config(source: PackageSource) -> ConfigWithPositions | None:
            files = self._files(source, target)
            if files not in self._configs:
                self._configs[files] = None if files.is_absent_zip() else files.config_text()
            config = self._configs[files]
            return None if config is None else read_single_mapping(*config)

        return read_config

    def inspect_package_once(self, source: PackageSource, target: Target) -> InspectedPackage:
        """Read and hash a source, once; never raises for what is wrong with it."""
        files = self._files(source, target)
        if files not in self._packages:
            self._packages[files] = self._inspect(files)
        return self._packages[files]

    def list_flaws(self, source: PackageSource, target: Target) -> list[PackageFlaw]:
        """The flaws of a source, each package looked into once; with `should_lint` not all alike.

        InputError where it is no longer what was hashed.
        """
        package, _ = self.inspect_package_once(source, target)
        files = self._files(source, target)
        if files in self._flaws or package is None:
            return self._flaws.get(files, [])
        # The digest does not tell what is left out of the package, but its folder does.
        flaws_key = (files, package.digest)
        if flaws_key not in self._known_flaws:
            from synapse_apply.packages.sources import lint_hashed_package

            lint = build_package_linter(files.source)
            lint_hashed_package(package, files.root, files.allow_files, lint)
            self._known_flaws[flaws_key] = lint.all_flaws()
        return self._known_flaws[flaws_key]

    def _files(self, source: PackageSource, target: Target) -> SourceFiles:
        # Here, not above: a project of storages alone needs no package reader.
        from synapse_apply.packages.sources import SourceFiles, at_ref

        # The place in a manifest does not change what is read.
        plain_source = replace(source, position=None)
        if self._ref:
            plain_source = at_ref(plain_source, self._ref)
        return SourceFiles(plain_source, self._project.root, target.allow_files)

    def _inspect(self, files: SourceFiles) -> InspectedPackage:
        from synapse_apply.packages.sources import read_source_as_package

        source = files.source
        if files.is_absent_zip():
            uncommitted_warning = warning_finding(
                "Package file not in that Git ref",
                f"{source.path} is not in {source.short_ref}, so its content is unknown.",
                "Published releases are compared only by their fields, and nothing can be "
                "published.",
            )
            return None, [uncommitted_warning]
        findings: list[Diagnostic] = []
        lint = build_package_linter(source) if self._should_lint else None
        try:
            package = read_source_as_package(
                source,
                files.root,
                self._project.max_package_size,
                allow_files=files.allow_files,
                warn=findings.append,
                zip_stamps=self.zip_stamps,
                lint=lint,
                closed=self._closed,
            )
        except InputError as problem:
            return None, [*findings, *problem.diagnostics]
        finally:
            if lint is not None:
                self._flaws[files] = lint.limited_flaws()
        return package, findings

    def list_findings(self, target_manifests: Sequence[LoadedManifests]) -> tuple[Diagnostic, ...]:
        """The findings about the packages of these targets; one that several share comes once.

        Only with `should_lint`.
        """
        findings_by_key: dict[Diagnostic, list[Diagnostic]] = {}
        for manifests in target_manifests:
            for finding in self._iter_findings(manifests):
                finding_key = finding.with_changes(severity=Severity.NOTE, target=None)
                findings_by_key.setdefault(finding_key, []).append(finding)
        findings = []
        for alike in findings_by_key.values():
            # Of those that differ only in target and severity, the most severe.
            severest = next((finding for finding in alike if finding.is_error), alike[0])
            is_of_one = len({finding.target for finding in alike}) == 1
            findings.append(severest if is_of_one else severest.with_changes(target=None))
        return tuple(findings)

    def _iter_findings(self, manifests: LoadedManifests) -> Iterator[Diagnostic]:
        target, desired = manifests.target, manifests.desired
        # Also those of documents that have errors of their own, and of plugins without a release.
        for files in [*self._configs]:
            if files.allow_files != target.allow_files:
                continue
            for flaw in self.list_flaws(files.source, target):
                if (
                    replace(files.source, position=None),
                    flaw.rule,
                ) not in manifests.reported_flaws:
                    yield self._shown(flaw, target)
        config_reader = self.build_config_reader(target)

        def read_config_or_empty(source: PackageSource) -> ConfigWithPositions:
            try:
                config = None if source.kind == PUBLISHED else config_reader(source)
            except InputError:  # told already
                config = None
            return config or ({}, {})

        for resource, flaw in unmet_needs(desired, read_config_or_empty):
            # The lint reads packages; most projects have no such flaw, and some no package.
            from synapse_apply.packages.lint import withhold_secret

            finding = self._shown(withhold_secret(flaw), target)
            yield finding.with_changes(address=str(resource.address), target=target.name)
        yield from iter_cycle_findings(desired)
        for finding, _ in list_key_conflicts(
            (declared_natural_key(CATALOGUE[each.address.kind], each, desired), each)
            for each in desired.values()
        ):
            yield finding.with_changes(target=target.name)
        if not target.is_embedded:
            yield from _iter_limit_findings(target, desired.values())

    def _shown(self, flaw: PackageFlaw, target: Target) -> Diagnostic:
        finding = build_flaw_finding(flaw, is_only_for_embedded_backend=target.is_embedded)
        return with_shown_path(finding, self._project.root)


def build_package_linter(source: PackageSource) -> PackageLint:
    """A linter that checks a package while it is read."""
    from synapse_apply.manifests.decode.package_config import parse_and_check_config
    from synapse_apply.packages.lint import PackageLint

    return PackageLint(source, parse_and_check_config)


def with_shown_path(finding: Diagnostic, root: Path) -> Diagnostic:
    """The finding with its file relative to the working folder instead of to the project's."""
    return finding.with_changes(position=relate_to_working_folder(finding.position, root))


def relate_to_working_folder(position: Position | None, root: Path) -> Position | None:
    """The position with its file relative to the working folder instead of to the project's."""
    if position is None:
        return None
    return replace(position, file=shown_path(root / position.file))


def iter_cycle_findings(resources: Mapping[Address, Desired]) -> Iterator[Diagnostic]:
    """A finding for each cycle of resources that depend on each other."""
    graph = {address: resource.depends_on for address, resource in resources.items()}
    _, dependency_cycles = sort_by_dependencies_and_find_cycles(graph, lambda _address: 0)
    for cycle in dependency_cycles:
        first_resource = resources[cycle[0]]
        detail = " needs ".join(str(address) for address in reversed(cycle))
        flaw = PackageFlaw("package:dependency-cycle", detail, "take one of these dependencies out")
        yield build_flaw_finding(flaw).with_changes(
            position=first_resource.position, address=str(first_resource.address)
        )


def _iter_limit_findings(target: Target, resources: Iterable[Desired]) -> Iterator[Diagnostic]:
    """Values that the API page allows and the platform's own service refuses."""
    for resource in resources:
        kind = CATALOGUE[resource.address.kind]
        for name, constraint in kind.select_newest_binding(target.api).platform_constraints.items():
            value = resource.spec.get(name)
            if value is not None and constraint.accepts_value_in_create(value):
                continue
            description = (
                f"has no `{name}`" if value is None else f"has {name} {format_unless_secret(value)}"
            )
            flaw = PackageFlaw(
                f"package:{kind.prefix}-{name}",
                f"{resource.address} {description}, which the platform's own service does not "
                "accept",
                f"write {constraint.description}",
                resource.find_position((name,)),
                ("spec", name),
            )
            yield build_flaw_finding(flaw).with_changes(
                address=str(resource.address), target=target.name
            )


@frozen
class DeclaredTarget:
    """What one target declares; with an error among the diagnostics it must not be used.

    `sources` are its package sources; `commit` is the commit that the manifests were read from,
    None for the checkout.
    """

    manifests: LoadedManifests
    desired: Mapping[Address, Desired]
    packages: Mapping[Address, Package]
    diagnostics: tuple[Diagnostic, ...]
    commit: GitCommit | None = None
    sources: PackageSources | None = None


# Of a mirror, whose other refs are tags.
_MOVING_REF = lazy_pattern(r"(refs/)?(remotes|synapse-apply|heads)/|origin\b|@|HEAD\b|[A-Z_]+_HEAD")


def load_valid_project_or_defaults(invocation: Invocation) -> Project:
    """Read the project file, or defaults without one; InputError with every finding."""
    if invocation.without_checkout:
        from synapse_apply.files.commits import find_commit

        file = invocation.directory / FILE_NAME
        commit = find_commit(file.parent, invocation.as_of)
        ref = invocation.project_from
        pin = find_commit(file.parent, ref) if ref else None
        source = _CommittedProjectFile(
            file, commit, pin, Path.cwd(), invocation.environ, tuple(invocation.closed)
        )
        committed = _load_committed_projects(source)
        _require_pinned_target(committed.own, committed.pinned, file, invocation)
        return committed.project
    memory = invocation.project_memory or ProjectMemory()
    memory_key = (invocation.directory, invocation.project, invocation.project_from)
    loaded = memory.get_or_load(memory_key, partial(_load_projects, invocation))
    if invocation.project_from and loaded.own.file is not None:
        _require_pinned_target(loaded.own, loaded.pinned, loaded.own.file, invocation)
    return loaded.project


def _load_projects(invocation: Invocation) -> LoadedProjects:
    file = invocation.project or find_project_file(invocation.directory)
    if file is None and invocation.project_from:
        raise InputError.from_summary(
            "No project file",
            f"--project-from reads settings from synapse-apply.yaml at {invocation.project_from}"
            ", but there is no such file here or in a folder above.",
            "Run the command in the project's folder, or pass --project FILE.",
        )
    if file is None:
        default_project = build_default_project(invocation.directory)
        return LoadedProjects(default_project, default_project, default_project)
    try:
        own, findings = read_project_or_findings(file, shown_path(file))
    except OSError as problem:
        raise InputError.from_summary(
            "The project file cannot be read",
            f"{shown_path(file)}: {problem.strerror}.",
            "Check the path given with --project.",
        ) from None
    if own is None:
        raise InputError(*findings)
    project = pinned = own
    if invocation.project_from:
        # Here, not above: who names no Git ref needs no reader of one.
        from synapse_apply.files.commits import find_commit

        ref = invocation.project_from
        pin = find_commit(file.parent, ref)
        pin.require_chosen_repository()
        pin.require_same_way()
        # The commit may have a project file in a folder below the one that was found.
        nearest = iter_folders_above(invocation.directory.resolve() / FILE_NAME)
        for folder in nearest if invocation.project is None else ():
            path = os.path.relpath(Path(folder, FILE_NAME), pin.root)
            if path == FILE_NAME:
                break
            if pin.read(path) is not None:
                raise InputError.from_summary(
                    "No project file here",
                    f"{path} is in {ref} but not here, and the {FILE_NAME} in the folder above "
                    "belongs to another project.",
                    "Specify the right project file: --project FILE.",
                )
        pinned = _require_pinned_project(pin, file)
        # Before what differs is told: a target that is new here has no settings yet.
        _require_pinned_target(own, pinned, file, invocation)
        project = pin_settings(own, pinned, ref)
    if sharing_findings := tuple(iter_sharing_findings(project, invocation.environ)):
        raise InputError(*sharing_findings)
    return LoadedProjects(own, pinned, project)


class _CommittedProjectFile(NamedTuple):
    """A project file in a commit, and all that its project depends on: equal ones give one project.

    Names of files in findings are relative to `working_folder`.
    """

    file: Path
    commit: GitCommit
    pin: GitCommit | None
    working_folder: Path
    environ: Mapping[str, str]
    closed: tuple[str, ...]

    def __hash__(self) -> int:
        return hash((self.file, self.commit, self.pin))


# A worker of a controller looks at each of a thousand targets of one project file.
@lru_cache(maxsize=2)
def _load_committed_projects(source: _CommittedProjectFile) -> LoadedProjects:
    own = read_valid_project_or_none_if_not_in_commit(source.commit, source.file)
    if own is None:
        raise InputError.from_summary(
            "No project file in that commit",
            f"{source.commit.label} has no {shown_path(source.file)}.",
            "The project may be in another folder of the repository.",
        )
    project = pinned = own
    if source.pin is not None:
        pinned = _require_pinned_project(source.pin, source.file)
        project = pin_settings(own, pinned, source.pin.ref)
    if findings := tuple(iter_sharing_findings(project, source.environ)):
        raise InputError(*findings)
    earlier = build_reserved_by_names(source.closed)
    reserved = project.reserved.merge_preferring_own(earlier)
    return LoadedProjects(own, pinned, replace(project, reserved=reserved))


def _require_pinned_project(commit: GitCommit, file: Path) -> Project:
    pinned_project = read_valid_project_or_none_if_not_in_commit(commit, file)
    if pinned_project is None:
        raise InputError.from_summary(
            "No project file at that Git ref",
            f"{shown_path(file)} is not in {commit.ref}.",
            "The file may have been added or renamed later. Merge it first, then read settings "
            "from there.",
        )
    return pinned_project


def _require_pinned_target(
    project: Project, pinned_project: Project, file: Path, invocation: Invocation
) -> None:
    own_target = project.targets.get(invocation.target or "")
    if own_target is not None and own_target.name not in pinned_project.targets:
        raise InputError.from_summary(
            "Target not declared at that Git ref",
            f"{shown_path(file)} at {invocation.project_from} has no target `{own_target.name}`.",
            "A target takes effect after it is merged. Name another target.",
            position=own_target.position,
        )


def open_committed_folder(project: Project, ref: str) -> CommittedFolder:
    """The project's folder as a Git ref has it, a context manager; InputError."""
    # Here, not above: few commands read a commit.
    from synapse_apply.files.commits import find_commit
    from synapse_apply.manifests.committed import CommittedFolder

    commit = find_commit(project.root, ref)
    commit.require_chosen_repository()
    return CommittedFolder(commit)


def read_valid_project_or_none_if_not_in_commit(commit: GitCommit, file: Path) -> Project | None:
    """The project file in a commit, None where it has none; InputError for one with errors."""
    if (data := commit.read(file.name)) is None:
        return None
    # A list is of the same commit, whatever stands in the checkout.
    project, findings = read_project_or_findings(
        file,
        f"{commit.label}:{shown_path(file)}",
        data,
        lambda name: commit.read(name, MAX_LIST_BYTES),
    )
    if project is None:
        raise InputError(*findings)
    return project


def read_typed_variables(invocation: Invocation, project: Project) -> dict[str, Any]:
    """The variables of the command line; InputError with every finding."""
    files = []
    for path in invocation.variable_files:
        try:
            files.append((shown_path(path), read_typed_file(path, project.root)))
        except OSError as problem:
            raise InputError.from_summary(
                "A variable file cannot be read",
                f"{shown_path(path)}: {problem.strerror}.",
                "Check the path given with --var @FILE.",
            ) from None
    variables, findings = parse_given_variables(project, invocation.variables, files)
    if findings:
        raise InputError(*findings)
    return variables


def read_declared_target(
    invocation: Invocation,
    project: Project,
    target: Target,
    *,
    variables: Mapping[str, Any] | None = None,
) -> DeclaredTarget:
    """Manifests and packages of one target, with every finding.

    With `invocation.as_of` everything is read from that Git ref. `variables` replace those of the
    command line.
    """
    memory = invocation.project_memory or ProjectMemory()
    ref = invocation.as_of
    with open_committed_folder(project, ref) if ref else nullcontext() as committed_folder:
        commit = committed_folder.commit if committed_folder else None
        sources = PackageSources(
            project,
            invocation.environ,
            commit.id if commit else "",
            known_flaws=memory.package_flaws,
        )
        manifests = load_target_manifests(
            invocation,
            project,
            target,
            package_config=sources.build_config_reader(target),
            committed_folder=committed_folder,
            variables=variables,
        )
    declared_target = with_packages(target, manifests, sources)
    findings = (*project.findings, *declared_target.diagnostics)
    if invocation.without_checkout:
        findings += tuple(_iter_unwatched_packages(project, declared_target))
    return replace(declared_target, diagnostics=findings, commit=commit, sources=sources)


def _iter_unwatched_packages(
    project: Project, declared_target: DeclaredTarget
) -> Iterator[Diagnostic]:
    """An error for each package that may change without a controller's notice.

    It is of a branch, or has a file whose change is told to other targets alone.
    """
    for address, package in declared_target.packages.items():
        source = package.source
        declared = declared_target.manifests.desired[address].source
        if declared is not None and _MOVING_REF.match(declared.ref):
            yield error_finding(
                "A controller does not read packages from a branch",
                f"{declared.ref} can change without a commit that this target reads, and so "
                "without a check, a wave or an approval.",
                "Use a tag or a commit id. Without `ref`, the commit of the manifest applies.",
                position=source.position,
                address=str(address),
            )
            continue
        paths = (source.path,) if source.kind == "file" else package.files
        folder = "" if source.kind == "file" else source.path
        for path in (posixpath.join(folder, name) for name in paths):
            if reason := explain_file_of_others(path, project, declared_target.manifests.target):
                yield error_finding(
                    "A package has a file of other targets",
                    f"{path} {reason}: the controller would not notice its changes for this "
                    "target.",
                    "Exclude the file with a line in .synapseignore, or move it to another folder.",
                    position=source.position,
                    address=str(address),
                )
                break


def load_target_manifests(
    invocation: Invocation,
    project: Project,
    target: Target,
    *,
    file_cache: FileCache | None = None,
    package_config: ReadPackageConfig | None = None,
    committed_folder: CommittedFolder | None = None,
    variables: Mapping[str, Any] | None = None,
) -> LoadedManifests:
    """Decode the manifests of one target, with every finding; does not read packages.

    `file_cache` has files that were read already, `package_config` is another reader of
    config.yaml, `committed_folder` is the project's folder in a commit, `variables` replace those
    of the command line.
    """
    paths = [str(path) for path in invocation.paths]
    if committed_folder is not None:
        paths = [path_in_root(path, project) for path in invocation.paths]
    return load_manifests(
        project,
        target,
        variables=read_typed_variables(invocation, project) if variables is None else variables,
        strict=invocation.strict,
        read_package_config=package_config
        or PackageSources(project, invocation.environ).build_config_reader(target),
        paths=paths,
        file_cache=file_cache,
        commit_folder=committed_folder,
    )


def path_in_root(path: Path, project: Project) -> str:
    """A path that was typed, relative to the project's folder with its links resolved.

    So paths are in a commit. The last part of the path is not resolved: it may be a link there.
    """
    root = project.root.resolve()
    real_path = path.parent.resolve() / path.name
    # The project's folder itself may have been typed through a link.
    return os.path.relpath(real_path if real_path.is_relative_to(root) else path.resolve(), root)


def with_packages(
    target: Target, manifests: LoadedManifests, sources: PackageSources
) -> DeclaredTarget:
    """Read and hash the package of every resource, and add it to the resource."""
    # What is merely noted is told by `validate`, which reads the manifests alone.
    findings = [finding for finding in manifests.diagnostics if not finding.is_note]
    packages: dict[Address, Package] = {}
    desired = dict(manifests.desired)
    for address, resource in manifests.desired.items():
        if resource.source is None or resource.source.kind == "published":
            continue
        package, package_findings = sources.inspect_package_once(resource.source, target)
        findings += [
            finding.with_changes(address=str(address), position=resource.source.position)
            for finding in package_findings
        ]
        if package is not None:
            # Read as of a Git ref, a source is another one than the manifest names.
            source = replace(package.source, position=resource.source.position)
            packages[address] = replace(package, source=source)
            desired[address] = replace(resource, package=packages[address])
    return DeclaredTarget(manifests, desired, packages, tuple(dict.fromkeys(findings)))


def iter_read_paths(project: Project, declared_target: DeclaredTarget) -> Iterator[str]:
    """The files that the declared resources were read from, relative to the project's folder."""
    if project.file is not None:
        yield project.file.name
    yield from project.list_files
    for desired in declared_target.desired.values():
        if desired.position is not None:
            yield os.path.relpath(project.root / desired.position.file, project.root)
        source, package = desired.source, desired.package
        if source is not None and source.kind == "file":
            yield source.path
        elif source is not None and source.kind == "folder" and package is not None:
            yield from (f"{source.path}/{name}" for name in package.files)
