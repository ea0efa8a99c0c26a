"""What an offline plan compares the manifests with, and what it can say without a backend.

The base is what a Git ref declares, or an inventory.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from synapse_apply import __version__
from synapse_apply.files.checkout import read_typed_file
from synapse_apply.files.commit_memory import pin_refs
from synapse_apply.files.commits import OBJECT_MISSING, GitCommit, find_commit, is_unborn_branch
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.wire import declared_natural_key
from synapse_apply.live import comparable_values
from synapse_apply.live.named_secrets import wrap_recorded_secrets
from synapse_apply.live.packages import with_file_diffs
from synapse_apply.live.project_files import PackageJudge
from synapse_apply.manifests.committed import CommittedFolder
from synapse_apply.manifests.decode.variables import parse_given_variables
from synapse_apply.model.address import Address
from synapse_apply.model.dated_exception import warnings_of
from synapse_apply.model.diagnostic import Diagnostic, Severity, warning_finding
from synapse_apply.model.errors import InputError, OptionConflict
from synapse_apply.model.frozen import replace
from synapse_apply.model.phrases import shown_path
from synapse_apply.model.plan import Action, Change, Plan, PlanBase
from synapse_apply.model.project import Project
from synapse_apply.model.resource import (
    FOLDER,
    GIT,
    Desired,
    FoundBy,
    Lookup,
    LookupResult,
    Observed,
    PackageSource,
)
from synapse_apply.model.state import BackendIdentity, Record
from synapse_apply.model.values import DesiredSecret, Fields
from synapse_apply.planning import refusals as refusal_rules
from synapse_apply.planning.identity import make_due_renames, select_removed
from synapse_apply.planning.plan_input import PlanInput, PlanOptions, ResourceState
from synapse_apply.planning.planner import build_plan as make_plan
from synapse_apply.workspace import configuration
from synapse_apply.workspace.inventory_rows import InventoryRowsByAddress, read_inventory
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.offline_target import OfflineTarget

_OTHER_REFERENCE_NOTE = "reference changed"
_NO_IDENTITY = BackendIdentity(url="")


class OfflineComparison(OfflineTarget):
    """One target's manifests and the base they are compared with; views call the base `label`.

    `base_resources` is what was declared before, where that is known; `made_up_ids` are ids in
    `base_records` that stand in for unknown ones. `has_usable_base` is False where the old
    manifests have errors.
    """

    base_resources: Mapping[Address, Desired] = MappingProxyType({})
    made_up_ids: frozenset[str] = frozenset()
    has_usable_base = True

    label: str

    def set_base(
        self, base_records: Mapping[Address, Record], findings: Iterable[Diagnostic]
    ) -> None:
        """Set the records to compare with, under the addresses that `moved:` gives them."""
        moves = make_due_renames(base_records, self.project.moved, (), self.target.policy.rules)
        self.base_records: Mapping[Address, Record] = moves.records
        self.moved, self.move_refusals = moves.renames, moves.refusals
        self.removed = select_removed(self.project.removed, moves.records, self.desired)
        self.diagnostics = (*self.declared_target.diagnostics, *findings, *moves.diagnostics)

    @cached_property
    def secrets(self) -> comparable_values.UnresolvedSecrets:
        """Stands in for the values of secrets, which an offline plan never reads."""
        return comparable_values.UnresolvedSecrets()

    def known_addresses_of_state(self) -> Iterable[Address]:
        """The addresses of the base, which count as recorded in selections."""
        return self.base_records


def load_offline_comparison(invocation: Invocation, against: str) -> OfflineComparison:
    """Load the checkout and the base that `against` names: git:REF, or state:FILE of an inventory.

    OptionConflict where it is neither, InputError with every finding.
    """
    if invocation.as_of:
        raise OptionConflict.from_summary(
            "--offline cannot be combined with --ref: it compares the checkout."
        )
    kind, colon, name = against.partition(":")
    if kind not in {"git", "state"} or not name:
        ref, file = ("REF", "FILE") if colon or not against else (against, against)
        raise OptionConflict.from_summary(
            f"--offline needs --against git:{ref}, or --against state:{file} with an inventory: "
            "this is what the plan compares with."
        )
    if kind == "git":
        return load_offline_against_git(invocation, name)
    rows = read_inventory(invocation.directory / name)
    return load_offline_against_inventory(invocation, rows, against)


def load_offline_against_git(invocation: Invocation, ref: str) -> OfflineComparison:
    """Load the checkout, and as base the manifests of a Git ref; InputError with every finding."""
    comparison = OfflineComparison(invocation)
    desired, target = comparison.desired, comparison.target
    base_resources, base_findings = _read_base(comparison, ref)
    pinned_ids = {address: entry.remote_id for address, entry in desired.items() if entry.remote_id}
    supposed_records = comparable_values.suppose_records(
        base_resources, target, pinned_ids, comparison.secrets
    )
    comparison.set_base(supposed_records, base_findings)
    comparison.made_up_ids = frozenset(
        str(address)
        for address, entry in supposed_records.items()
        if entry.remote_id == str(address)
    )
    new_addresses = {move.old: move.new for move in comparison.moved}
    comparison.base_resources = {
        new_addresses.get(address, address): entry for address, entry in base_resources.items()
    }
    comparison.base_records, warnings = with_checked_out_files(
        comparison.base_records, comparison.base_resources, desired, comparison.project.root
    )
    comparison.diagnostics += warnings
    return comparison


def load_offline_against_inventory(
    invocation: Invocation, rows: InventoryRowsByAddress, label: str
) -> OfflineComparison:
    """Load the checkout, and as base the rows of an inventory, which has no fields to compare."""
    comparison = OfflineComparison(invocation)
    desired, target = comparison.desired, comparison.target
    lookup_results = comparable_values.suppose_lookups(
        {address: row.remote_id for address, row in rows.items()}
    )
    base_records: dict[Address, Record] = {}
    for address, row in rows.items():
        if (kind := CATALOGUE.get(address.kind)) is None:
            raise InputError.from_summary(
                "There is no such kind", f"{address} in {label}.", f"Kinds: {', '.join(CATALOGUE)}."
            )
        record = comparable_values.minimal_record(address, kind, target)
        if address in desired:
            record = comparable_values.suppose_record(
                desired[address], target, desired, lookup_results, comparison.secrets
            )
        base_records[address] = replace(
            record, remote_id=row.remote_id, digest=row.digest or None, files={}
        )
    note = warning_finding(
        "Fields were not compared",
        "An inventory has only ids, versions and digests of packages, but no fields.",
        "To compare fields, use a Git ref: --against git:REF.",
    )
    comparison.label = label
    comparison.set_base(base_records, (note,))
    return comparison


# By the same planner: what was declared becomes records and live fields, secrets become digests of
# their references under a key of one run. What only a backend could tell is a note, not a refusal.
def plan_offline(comparison: OfflineComparison, options: PlanOptions) -> Plan:
    """The plan for the checkout, supposing that the base is what is live now."""
    resources, checkout = (_offline_resources(comparison), comparison.read_checkout())
    plan_input = PlanInput(
        plan_id=str(uuid.uuid4()),
        created=comparison.clock.utc_now(),
        tool_version=__version__,
        base=PlanBase(
            target=comparison.target.name,
            binding=_NO_IDENTITY,
            lineage="",
            serial=0,
            manifests_digest=comparison.declared_target.manifests.manifests_digest,
            commit=checkout.commit_label,
            dirty=checkout.dirty,
            against=comparison.label,
            compared=comparison.has_usable_base,
        ),
        catalogue=comparison.catalogue,
        resources=resources,
        options=replace(
            options.with_target_rules(comparison.target),
            partial=comparison.partial,
            resend_secrets=False,
        ),
        diagnostics=(
            *comparison.diagnostics,
            *warnings_of(comparison.exceptions, comparison.today),
        ),
        moved=comparison.moved,
        move_refusals=comparison.move_refusals,
        removed_addresses=comparison.removed,
        judge_package=PackageJudge(comparison),
    )
    draft_plan = make_plan(plan_input)
    changes = tuple(
        _with_offline_notes(change, resources.get(change.address), comparison)
        for change in draft_plan.changes
    )

    def iter_base_source(record: Record, _: PackageSource) -> Iterator[PackageSource]:
        base_resource = comparison.base_resources.get(record.address)
        if base_resource is not None and base_resource.package is not None:
            yield base_resource.package.source

    draft_plan = replace(draft_plan, changes=changes)
    final_plan = with_file_diffs(draft_plan, resources, iter_base_source, comparison)
    return final_plan.with_target(comparison.typed_target)


def _offline_resources(comparison: OfflineComparison) -> dict[Address, ResourceState]:
    base_records, marks = comparison.base_records, comparison.declared_target.manifests.marks
    desired, _ = wrap_recorded_secrets(comparison.desired, base_records, marks)
    keys = {
        address: declared_natural_key(
            comparison.catalogue[address.kind], declared_resource, desired
        )
        for address, declared_resource in desired.items()
    }
    lookup_results = comparable_values.suppose_lookups(
        {base_address: record.remote_id for base_address, record in base_records.items()}
    )
    live_fields: dict[Address, Fields] = {
        base_address: record.applied for base_address, record in base_records.items()
    }
    # What is declared anew and has the natural key of what is gone is found by it.
    undeclared_records = {
        (old_address.kind, record.natural_key): record
        for old_address, record in base_records.items()
        if old_address not in comparison.desired
    }
    for address, key in keys.items():
        record = undeclared_records.get((address.kind, key)) if key else None
        if record is not None and address not in base_records:
            observed = Observed(record.remote_id, record.api, {})
            lookup_results[address] = LookupResult(address, observed, FoundBy.KEY, Lookup.COMPLETE)
            live_fields[address] = record.applied
    resources: dict[Address, ResourceState] = {}
    for address in sorted({*desired, *base_records}):
        kind = comparison.catalogue[address.kind]
        base_record, declared_resource = base_records.get(address), desired.get(address)
        binding = kind.select_newest_binding(comparison.target.api)
        if declared_resource is None and base_record is not None:
            binding = kind.bindings.get(base_record.api, binding)
        resources[address] = ResourceState(
            address=address,
            type=kind,
            binding=binding,
            lookup_result=lookup_results.get(address, LookupResult(address)),
            desired=declared_resource,
            declared_fields=comparable_values.build_declared_fields(
                declared_resource, lookup_results, "", comparison.secrets
            )
            if declared_resource
            else {},
            live_fields=live_fields.get(address, {}),
            record=base_record,
            natural_key=keys.get(address, ""),
        )
    return resources


def _with_offline_notes(
    change: Change, resource: ResourceState | None, comparison: OfflineComparison
) -> Change:
    """A change without made-up ids, and with notes on references, digests and metadata."""
    notes, old = [*change.notes], comparison.base_resources.get(change.address)
    new = resource.desired if resource is not None else None
    if old is not None and new is not None:
        pairs = {
            "labels": (old.labels, new.labels),
            "lifecycle": (old.lifecycle, new.lifecycle),
            "depends_on": (old.depends_on, new.depends_on),
            "metadata.id": (old.remote_id, new.remote_id),
            "source": (str(old.source), str(new.source)),
            "verify": (old.verify, new.verify),
        }
        if names := [name for name, (before, after) in pairs.items() if before != after]:
            notes.append(f"{', '.join(names)} changed: not a field of the object")
    if digest := change.extras.get("package", {}).get("digest"):
        notes.append(f"content {digest}")
    fields, refusals = change.fields, change.refusals
    if change.action is not Action.CREATE and resource is not None:
        references = {
            path
            for path, value in resource.declared_fields.items()
            if isinstance(value, DesiredSecret) and value.ref.literal is None
        }
        is_reference = [entry.sensitive and entry.path in references for entry in fields]
        fields = tuple(
            replace(entry, note=_OTHER_REFERENCE_NOTE) if is_other else entry
            for entry, is_other in zip(fields, is_reference, strict=True)
        )
        is_fixed = {entry.rule for entry in refusals} == {refusal_rules.FIXED}
        if fields and all(is_reference) and is_fixed:
            # Another reference may well give the same value.
            notes += [f"refused if its value differs: {entry.reason}" for entry in refusals]
            refusals = ()
    return replace(
        change,
        notes=tuple(notes),
        fields=fields,
        refusals=refusals,
        remote_id="" if change.remote_id in comparison.made_up_ids else change.remote_id,
    )


def _read_base(
    comparison: OfflineComparison, ref: str
) -> tuple[Mapping[Address, Desired], tuple[Diagnostic, ...]]:
    """What a Git ref declares, by its own project file, and warnings about it.

    InputError where the ref cannot be read. A ref whose manifests have errors is no error here.
    """
    root = comparison.project.root
    with pin_refs():
        if is_unborn_branch(root, ref):
            no_commit_warning = warning_finding(
                "Everything is treated as new", f"{ref} has no commit yet."
            )
            comparison.label = f"git:{ref} (no commit yet)"
            return {}, (no_commit_warning,)
        commit = find_commit(root, ref)
        commit.require_chosen_repository()
        comparison.label = f"git:{commit}"
        try:
            return _read_declared(comparison, commit)
        except InputError as problem:
            # A shallow clone: the ref may well be right, so this is no warning about its manifests.
            if any(finding.summary == OBJECT_MISSING for finding in problem.diagnostics):
                raise
            # The errors of the base are warnings: the checkout is not to blame and may fix them.
            nothing_compared = warning_finding(
                "Nothing was compared",
                f"The manifests at {commit} cannot be used, so everything is treated as new.",
                "The manifests here are valid. If they fix the findings below, plans "
                "compare again after you commit them. To compare now, specify a valid commit: "
                "--against git:REF.",
            )
            findings = (
                finding.with_changes(severity=Severity.WARNING) for finding in problem.diagnostics
            )
            comparison.has_usable_base = False
            return {}, (nothing_compared, *findings)


def _read_declared(
    comparison: OfflineComparison, commit: GitCommit
) -> tuple[Mapping[Address, Desired], tuple[Diagnostic, ...]]:
    """What a commit declares, with warnings about it; InputError with the errors in it."""
    invocation, project, target = comparison.invocation, comparison.project, comparison.target
    base_project: Project | None = project
    if project.file is not None:
        base_project = configuration.read_valid_project_or_none_if_not_in_commit(
            commit, project.file
        )
    if base_project is None:
        name = shown_path(project.file or project.root)
        return {}, (_build_all_new_warning(f"{name} is not in {commit.ref}."),)
    if (base_target := base_project.targets.get(target.name)) is None:
        return {}, (_build_all_new_warning(f"{commit.ref} has no target `{target.name}`."),)
    # Of the manifests named with `-f`, those that the commit has: the others are new.
    paths: tuple[Path, ...] = ()
    if invocation.paths:
        with CommittedFolder(commit) as folder:
            names = {path: configuration.path_in_root(path, project) for path in invocation.paths}
            paths = tuple(
                path for path, name in names.items() if folder.fault(name) or folder.entry(name)
            )
    base_invocation = replace(
        invocation,
        as_of=commit.ref,
        # --strict is about the checkout: warnings in the base are nobody's to fix now.
        strict=False,
        paths=paths,
    )
    if invocation.paths and not base_invocation.paths:
        return {}, ()
    variables, _ = parse_given_variables(
        base_project,
        invocation.variables,
        [(str(path), read_typed_file(path)) for path in invocation.variable_files],
    )
    declared_target = configuration.read_declared_target(
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
        "Everything is treated as new", reason, "Compare with a Git ref that contains the project."
    )


def with_checked_out_files(
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
        both = base_resources.get(address), current_resources.get(address)
        old, new = (one.package if one is not None else None for one in both)
        if old is None or new is None or old.digest == new.digest:
            continue
        # No Git filter changes an executable bit.
        differing_paths = [
            path
            for path in old.files.keys() & new.files.keys()
            if old.files[path] != new.files[path]
            and old.files[path].endswith(" x") == new.files[path].endswith(" x")
        ]
        if not differing_paths or (old.source.kind, new.source.kind) != (GIT, FOLDER):
            continue
        # Here, not above: few packages differ from what was committed.
        from synapse_apply.files.commits import find_unmodified
        from synapse_apply.packages.content import compute_package_digest

        comparison = find_unmodified(
            root, old.source.path or ".", old.source.ref, new.source.path, sorted(differing_paths)
        )
        unchanged_paths = comparison.unchanged | comparison.filtered
        files = {**old.files, **{path: new.files[path] for path in unchanged_paths}}
        new_records[address] = replace(record, files=files, digest=compute_package_digest(files))
        if comparison.filtered:
            finding = warning_finding(
                "Files behind a Git filter were not compared",
                f"{', '.join(sorted(comparison.filtered))}: the checkout has the filter's "
                "output, Git its input.",
                "Without --offline, a plan compares the published packages.",
                address=str(address),
                position=new.source.position,
            )
            findings.append(finding)
    return new_records, tuple(findings)
