"""Use case: what a change of manifests means, without a backend, a state or any secret.

What was declared before (at a Git ref, or what an inventory lists) stands in for what is recorded
and live. Secrets are compared as references; nothing is resolved and nothing is asked.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path

from synapse_apply import __version__
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import Catalogue
from synapse_apply.live.comparable_values import build_declared_fields
from synapse_apply.live.named_secrets import wrap_recorded_secrets
from synapse_apply.live.replaced_packages import with_replacements
from synapse_apply.live.supposed_state import (
    UnresolvedSecrets,
    build_lookup_results,
    build_supposed_record,
    build_supposed_records,
    build_undeclared_record,
    compute_natural_key,
)
from synapse_apply.manifests.decode.loading import LoadedManifests
from synapse_apply.manifests.project.targets import choose_and_fill_target
from synapse_apply.model.address import Address
from synapse_apply.model.command import add_target_to_plan
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import InputError, ManifestError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import FoundBy, Lookup, LookupResult, Observed
from synapse_apply.model.plan import Action, Change, FieldChange, Plan, PlanBase
from synapse_apply.model.project import Project, Target
from synapse_apply.model.refactoring import MovedAddress
from synapse_apply.model.resource import Desired, PackageSource
from synapse_apply.model.state import Record, StateIdentity
from synapse_apply.model.values import (
    DesiredSecret,
    Fields,
)
from synapse_apply.planning import refusals as refused
from synapse_apply.planning.moving import build_moved_records, find_removed_addresses
from synapse_apply.planning.plan_input import PlanInput, PlanOptions, ResourceState
from synapse_apply.planning.planner import build_plan as make_plan
from synapse_apply.workspace import configuration
from synapse_apply.workspace.comparison_base import read_base_at_ref, with_checkout_files
from synapse_apply.workspace.environment import CheckoutState, SystemClock, read_checkout
from synapse_apply.workspace.invocation import Invocation

_OTHER_REFERENCE_NOTE = "reference changed"
# What pre-commit gives a hook is all that stands in `args`.
_HOOK_HINT = (
    "name it in .pre-commit-config.yaml, `args: [--against, git:HEAD, -t, NAME]`, "
    "or set default_target in synapse-apply.yaml"
)
_NO_IDENTITY = StateIdentity(url="")


@frozen
class InventoryEntry:
    """A row of an inventory: the server's id, and the digest of what was published, if known."""

    id: str
    digest: str | None = None


@frozen
class OfflineTarget:
    """A target's manifests, and what they are compared with: `label` is how views call it.

    `base_resources` is what was declared before, where that is known; `made_up_ids` are the ids in
    `base_records` that stand in for those nobody knows. `has_usable_base` is False where what was
    declared cannot be used.
    """

    label: str
    target: Target
    manifests: LoadedManifests
    desired: Mapping[Address, Desired]
    diagnostics: tuple[Diagnostic, ...]
    base_records: Mapping[Address, Record]
    secrets: UnresolvedSecrets
    root: Path
    base_resources: Mapping[Address, Desired] = field(default_factory=dict)
    made_up_ids: frozenset[str] = frozenset()
    checkout: CheckoutState = CheckoutState()
    has_usable_base: bool = True
    partial: bool = False
    typed_target: str = ""
    moved: tuple[MovedAddress, ...] = ()
    removed: frozenset[Address] = frozenset()
    catalogue: Catalogue = field(default_factory=lambda: CATALOGUE)

    def list_recorded_addresses(self) -> Iterable[Address]:
        """The addresses that count as recorded."""
        return self.base_records


def load_offline_against_git(invocation: Invocation, ref: str) -> OfflineTarget:
    """The checkout beside the manifests of a Git ref; InputError with every finding."""
    project, target, declared_target = _load_checkout(invocation)
    base, secrets = read_base_at_ref(invocation, project, target, ref), UnresolvedSecrets()
    pinned_ids = {
        address: entry.remote_id
        for address, entry in declared_target.desired.items()
        if entry.remote_id
    }
    base_records = build_supposed_records(base.declared_resources, target, pinned_ids, secrets)
    offline = _build_offline_target(
        invocation,
        project,
        target,
        declared_target,
        base.label,
        base_records,
        base.diagnostics,
        secrets,
    )
    made_up_ids = frozenset(
        str(address) for address, entry in base_records.items() if entry.remote_id == str(address)
    )
    new_addresses = {move.old: move.new for move in offline.moved}
    base_resources = {
        new_addresses.get(address, address): entry
        for address, entry in base.declared_resources.items()
    }
    base_records, warnings = with_checkout_files(
        offline.base_records, base_resources, offline.desired, project.root
    )
    findings = (*offline.diagnostics, *warnings)
    offline = replace(
        offline,
        base_resources=base_resources,
        made_up_ids=made_up_ids,
        base_records=base_records,
        diagnostics=findings,
    )
    return replace(offline, has_usable_base=base.is_usable)


def load_offline_against_inventory(
    invocation: Invocation, rows: Mapping[Address, InventoryEntry], label: str
) -> OfflineTarget:
    """The checkout beside what an inventory lists; of its fields an inventory knows none."""
    project, target, declared_target = _load_checkout(invocation)
    secrets = UnresolvedSecrets()
    lookup_results = build_lookup_results({address: row.id for address, row in rows.items()})
    base_records: dict[Address, Record] = {}
    for address, row in rows.items():
        kind = CATALOGUE.get(address.kind)
        if kind is None:
            raise InputError.from_summary(
                "There is no such kind", f"{address} in {label}.", f"Kinds: {', '.join(CATALOGUE)}."
            )
        record = build_undeclared_record(address, kind, target)
        if address in declared_target.desired:
            record = build_supposed_record(
                declared_target.desired[address],
                target,
                declared_target.desired,
                lookup_results,
                secrets,
            )
        base_records[address] = replace(record, remote_id=row.id, digest=row.digest, files={})
    note = warning_finding(
        "Fields were not compared",
        "An inventory has no fields: only ids, versions and the digests of packages are known.",
        "Compare with a Git ref to see them: --against git:REF.",
    )
    return _build_offline_target(
        invocation, project, target, declared_target, label, base_records, (note,), secrets
    )


# By the same planner: what was declared becomes records and live fields, secrets become digests of
# their references under a key of one run. What only a backend could tell is a note, not a refusal.
def plan_offline(offline: OfflineTarget, options: PlanOptions) -> Plan:
    """What the manifests would change, were all that they are compared with live as declared."""
    resources = _build_resources(offline)
    plan_input = PlanInput(
        plan_id=str(uuid.uuid4()),
        created=SystemClock().utc_now(),
        tool_version=__version__,
        base=PlanBase(
            target=offline.target.name,
            binding=_NO_IDENTITY,
            lineage="",
            serial=0,
            manifests_digest=offline.manifests.manifests_digest,
            commit=offline.checkout.commit_label,
            dirty=offline.checkout.dirty,
            against=offline.label,
            compared=offline.has_usable_base,
        ),
        catalogue=offline.catalogue,
        resources=resources,
        options=replace(
            options.with_target_rules(offline.target), partial=offline.partial, resend_secrets=False
        ),
        diagnostics=offline.diagnostics,
        moved=offline.moved,
        removed_addresses=offline.removed,
    )
    draft_plan = make_plan(plan_input)
    changes = tuple(
        _adapt_change_for_offline(change, resources.get(change.address), offline)
        for change in draft_plan.changes
    )

    def iter_base_sources(record: Record, _: PackageSource) -> Iterator[PackageSource]:
        base_resource = offline.base_resources.get(record.address)
        if base_resource is not None and base_resource.package is not None:
            yield base_resource.package.source

    final_plan = with_replacements(
        replace(draft_plan, changes=changes),
        resources,
        iter_base_sources,
        offline.root,
        offline.target.allow_files,
    )
    return add_target_to_plan(final_plan, offline.typed_target)


def _load_checkout(invocation: Invocation) -> tuple[Project, Target, configuration.DeclaredTarget]:
    """What is declared here, for a target whose holes nothing fills: no environment is looked at.

    ManifestError with every finding.
    """
    project = configuration.load_project(invocation)
    target = _choose_offline_target(project, invocation)
    declared_target = configuration.read_declared_target(invocation, project, target)
    if any(finding.is_error for finding in declared_target.diagnostics):
        raise ManifestError(*declared_target.diagnostics)
    return project, target, declared_target


def _choose_offline_target(project: Project, invocation: Invocation) -> Target:
    try:
        return choose_and_fill_target(project, invocation.target, {}, is_interactive=True)
    except InputError as problem:
        if invocation.target or not invocation.environ.get("PRE_COMMIT"):
            raise
        raise InputError(
            *(finding.with_changes(hint=_HOOK_HINT) for finding in problem.diagnostics)
        ) from None


def _build_offline_target(
    invocation: Invocation,
    project: Project,
    target: Target,
    declared_target: configuration.DeclaredTarget,
    label: str,
    base_records: Mapping[Address, Record],
    findings: Iterable[Diagnostic],
    secrets: UnresolvedSecrets,
) -> OfflineTarget:
    moves = build_moved_records(base_records, project.moved, ())
    return OfflineTarget(
        label=label,
        target=target,
        manifests=declared_target.manifests,
        desired=declared_target.desired,
        diagnostics=(*declared_target.diagnostics, *findings, *moves.diagnostics),
        base_records=moves.records,
        secrets=secrets,
        checkout=read_checkout(
            project.root, configuration.iter_read_files(project, declared_target)
        ),
        root=project.root,
        partial=bool(invocation.paths),
        typed_target=invocation.target or "",
        moved=moves.renames,
        removed=find_removed_addresses(project.removed, moves.records, declared_target.desired),
    )


def _build_resources(offline: OfflineTarget) -> dict[Address, ResourceState]:
    base_records = offline.base_records
    desired, _ = wrap_recorded_secrets(offline.desired, base_records, offline.manifests.marks)
    keys = {
        address: compute_natural_key(offline.catalogue[address.kind], declared_resource, desired)
        for address, declared_resource in desired.items()
    }
    lookup_results = build_lookup_results(
        {base_address: record.remote_id for base_address, record in base_records.items()}
    )
    live_fields: dict[Address, Fields] = {
        base_address: record.applied for base_address, record in base_records.items()
    }
    for address, record in _find_renamed_records(offline, keys):
        observed = Observed(record.remote_id, record.api, {})
        lookup_results[address] = LookupResult(address, observed, FoundBy.KEY, Lookup.COMPLETE)
        live_fields[address] = record.applied
    resources: dict[Address, ResourceState] = {}
    for address in sorted({*desired, *base_records}):
        kind = offline.catalogue[address.kind]
        base_record, declared_resource = base_records.get(address), desired.get(address)
        binding = kind.select_binding(offline.target.api)
        if declared_resource is None and base_record is not None:
            binding = kind.bindings.get(base_record.api, binding)
        resources[address] = ResourceState(
            address=address,
            type=kind,
            binding=binding,
            lookup_result=lookup_results.get(address, LookupResult(address)),
            desired=declared_resource,
            declared_fields=build_declared_fields(
                declared_resource, lookup_results, "", offline.secrets
            )
            if declared_resource
            else {},
            live_fields=live_fields.get(address, {}),
            record=base_record,
            natural_key=keys.get(address, ""),
        )
    return resources


def _find_renamed_records(
    offline: OfflineTarget, keys: Mapping[Address, str]
) -> Iterator[tuple[Address, Record]]:
    """New addresses with the natural key of an object that is no longer declared: it is found."""
    undeclared_records = {
        (old_address.kind, record.natural_key): record
        for old_address, record in offline.base_records.items()
        if old_address not in offline.desired
    }
    for address, key in keys.items():
        record = undeclared_records.get((address.kind, key)) if key else None
        if record is not None and address not in offline.base_records:
            yield address, record


def _adapt_change_for_offline(
    change: Change, resource: ResourceState | None, offline: OfflineTarget
) -> Change:
    """A change as a reader offline must take it: no made-up id, secrets as references, digests."""
    notes = [
        *change.notes,
        *_describe_metadata_changes(offline.base_resources.get(change.address), resource),
    ]
    if digest := change.extras.get("package", {}).get("digest"):
        notes.append(f"content {digest}")
    fields, refusals = change.fields, change.refusals
    if change.action is not Action.CREATE and resource is not None:
        fields = tuple(_with_reference_note(entry, resource.declared_fields) for entry in fields)
        only_references_differ = bool(fields) and all(
            entry.note == _OTHER_REFERENCE_NOTE for entry in fields
        )
        if only_references_differ and {entry.rule for entry in refusals} == {refused.FIXED}:
            # Another reference may well give the same value.
            notes += [f"refused if its value differs: {entry.reason}" for entry in refusals]
            refusals = ()
    return replace(
        change,
        notes=tuple(notes),
        fields=fields,
        refusals=refusals,
        remote_id="" if change.remote_id in offline.made_up_ids else change.remote_id,
    )


def _with_reference_note(field_change: FieldChange, declared_fields: Fields) -> FieldChange:
    declared_value = declared_fields.get(field_change.path)
    is_reference = isinstance(declared_value, DesiredSecret) and declared_value.ref.literal is None
    return (
        replace(field_change, note=_OTHER_REFERENCE_NOTE)
        if field_change.sensitive and is_reference
        else field_change
    )


def _describe_metadata_changes(
    base_resource: Desired | None, resource: ResourceState | None
) -> Iterator[str]:
    """What a manifest says otherwise that is no field of the object."""
    declared_resource = resource.desired if resource is not None else None
    if base_resource is None or declared_resource is None:
        return
    pairs = {
        "labels": (base_resource.labels, declared_resource.labels),
        "lifecycle": (base_resource.lifecycle, declared_resource.lifecycle),
        "depends_on": (base_resource.depends_on, declared_resource.depends_on),
        "metadata.id": (base_resource.remote_id, declared_resource.remote_id),
        "source": (str(base_resource.source), str(declared_resource.source)),
        "verify": (base_resource.verify, declared_resource.verify),
    }
    changed_names = [name for name, (old, new) in pairs.items() if old != new]
    if changed_names:
        yield f"{', '.join(changed_names)} changed: no field of the object"
