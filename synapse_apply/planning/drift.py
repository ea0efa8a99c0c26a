"""What a drift report lists of a plan; what caused a difference is told in diff.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text, join_texts
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, error_finding
from synapse_apply.model.frozen import replace
from synapse_apply.model.plan import Action, Cause, Change, FieldChange, Plan
from synapse_apply.model.report import Drift, ObjectDrift
from synapse_apply.model.resource import Lookup
from synapse_apply.model.state import Record
from synapse_apply.model.values import ABSENT, get_at_or_absent, holds_secret, unflatten
from synapse_apply.planning import package
from synapse_apply.planning.diff import diff_resource
from synapse_apply.planning.guards import RECREATE
from synapse_apply.planning.plan_input import CanWrite, ResourceState
from synapse_apply.planning.refusals import can_write_all

_UNPROVEN = (
    "this backend cannot show whether the object exists under another id, and "
    "--recreate was not given"
)
_ALWAYS_PENDING = frozenset({Action.CREATE, Action.ADOPT, Action.DELETE, Action.FORGET})


def build_drift_report(
    plan: Plan,
    resources: Mapping[Address, ResourceState],
    *,
    keeps_drift: bool = False,
    can_write: CanWrite = lambda *_: True,
) -> Drift:
    """The drift of the resources in a plan, without any call.

    Only a recorded resource that is declared can drift, since otherwise no field is ours.
    `keeps_drift` says that the target keeps drift; `can_write` whether a live value can be written
    into the files.
    """
    drifted_objects = tuple(_iter_drifted_objects(plan, resources, can_write))
    # Adopting a replacement is due to drift, not to a change in Git.
    replaced = {found.address for found in drifted_objects if found.replacement_id}
    pending = {
        change.address
        for change in plan.changes
        if _is_of_git(change, resources.get(change.address))
    }
    return Drift(
        created=plan.created,
        tool_version=plan.tool_version,
        base=plan.base,
        objects=drifted_objects,
        pending_addresses=tuple(sorted(pending - replaced)),
        is_drift_kept=keeps_drift,
        diagnostics=(*plan.diagnostics, *_iter_errors_of_untold(plan, resources)),
        changes_with_accepted=plan.changes_with_accepted,
        has_unrecorded_as_declared=any(change.rebase for change in plan.changes),
    )


def _iter_errors_of_untold(
    plan: Plan, resources: Mapping[Address, ResourceState]
) -> Iterator[Diagnostic]:
    """An error for each object of ours of which it cannot be told whether it has drifted."""
    for change in plan.changes:
        resource = resources.get(change.address)
        # It may be forgotten while a call of it is open, or be about to be.
        is_ours = resource and (resource.desired and resource.record)
        if resource is None or not (is_ours or change.action is Action.NO_OP):
            continue
        for refusal in change.refusals:
            if resource.is_unsearchable:
                summary = "An object could not be looked up"
            elif refusal.hides_drift:
                summary = "It is still unknown whether an object has drifted"
            else:
                continue
            hint, address = Text(Command("plan"), " lists the ways out."), str(change.address)
            if refusal.ends_by_itself:
                hint = Text("Ways out: ", join_texts(refusal.ways_out), ".")
            detail = f"{address}: {refusal.reason}."
            position = refusal.position or resource.position()
            yield error_finding(summary, detail, hint, position=position, address=address)


def _iter_drifted_objects(
    plan: Plan, resources: Mapping[Address, ResourceState], can_write: CanWrite
) -> Iterator[ObjectDrift]:
    is_guarded = any(guard.name == RECREATE for guard in plan.guards)
    for change in sorted(plan.changes, key=lambda change: change.address):
        resource = resources.get(change.address)
        if resource is None or resource.desired is None or resource.record is None:
            continue
        if (
            resource.is_unsearchable
            or resource.lookup_result.problem is not None
            # The pin is the error, and what was recorded was not read.
            or resource.pins_another
            # Any difference may be the effect of an open call.
            or any(refusal.hides_drift for refusal in change.refusals)
        ):
            continue
        if found := _object_drift(resource, resource.record):
            reasons = "; ".join(refusal.reason for refusal in change.refusals)
            if is_guarded and found.is_missing and not reasons:
                is_proven = resource.lookup_result.lookup is Lookup.COMPLETE
                reasons = "" if is_proven else _UNPROVEN
            writable = bool(found.fields) and can_write_all(resource, found.fields, can_write)
            yield replace(found, blocked_reason=reasons, is_writable=writable)


def _object_drift(resource: ResourceState, record: Record) -> ObjectDrift | None:
    address, position, observed = resource.address, resource.position(), resource.observed
    if observed is None:
        origin = resource.deleted_by
        return ObjectDrift(
            address, record.remote_id, is_missing=True, position=position, origin=origin
        )
    # Each API version numbers objects on its own, so another id there is no other object.
    is_other = observed.api == record.api and observed.remote_id != record.remote_id
    fields = tuple(diff_resource(resource, record).drifted)
    if (shown := package.find_foreign_digest(resource)) is not None:
        origin = package.describe_sender(record, shown)
        cause = Cause.DRIFT if package.is_kept_drift(resource, shown) else Cause.BOTH
        fields += (FieldChange(("digest",), record.digest, shown, cause, origin=origin),)
    if not fields and not is_other:
        return None
    managed_trees = [
        unflatten(side) for side in (resource.declared_fields, record.applied, record.seen)
    ]
    return ObjectDrift(
        address,
        record.remote_id,
        fields,
        replacement_id=observed.remote_id if is_other else "",
        position=position,
        replaced_maps=tuple(_replaced_maps(fields, unflatten(resource.live_fields), managed_trees)),
    )


def _replaced_maps(
    fields: Iterable[FieldChange],
    live: Mapping[str, Any],
    managed_trees: Sequence[Mapping[str, Any]],
) -> Iterator[FieldChange]:
    """Live values that replaced a whole map, so that the fields in it are gone.

    None of those fields shows such a value. If a map of `managed_trees` holds a secret, the text in
    its place may be one as well, so it is not shown.
    """
    reported: set[FieldPath] = set()
    for field in fields:
        for end in range(1, len(field.path) if field.after is ABSENT else 0):
            path = field.path[:end]
            value = get_at_or_absent(live, path)
            if path in reported or value is ABSENT or isinstance(value, Mapping):
                continue
            reported.add(path)
            # The value may be the secret itself, written in the place of its map.
            if any(holds_secret(get_at_or_absent(side, path)) for side in (live, *managed_trees)):
                yield FieldChange(path, ABSENT, ABSENT, field.cause, True, "changed")
            else:
                yield FieldChange(path, ABSENT, value, field.cause)


def _is_of_git(change: Change, resource: ResourceState | None) -> bool:
    """Whether a change from Git is still to be applied."""
    if change.superseded or (resource is None and change.is_refused):
        return False
    causes = {field.cause for field in change.fields if not field.origin} - {Cause.DRIFT}
    is_other_package = change.replaces_package and (resource is None or package.is_of_git(resource))
    is_update = change.action is Action.UPDATE and (bool(causes) or is_other_package)
    return change.action in _ALWAYS_PENDING or is_update
