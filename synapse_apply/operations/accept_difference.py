"""What `state accept` records of differences between declared and live, and how to undo it."""

from __future__ import annotations

from uuid import uuid4

from synapse_apply.applying.records import accept_paths, record_of_both_sides, trace_origins
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, is_at_or_below
from synapse_apply.model.errors import InputError, StateError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.plan import Cause, FieldChange
from synapse_apply.model.resource import Observed
from synapse_apply.model.state import ACCEPTED, Acceptance, Record
from synapse_apply.model.values import ABSENT
from synapse_apply.operations.apply import step_of
from synapse_apply.operations.drift import require_no_open_call
from synapse_apply.operations.exceptions import records_on_day
from synapse_apply.planning.diff import diff_resource
from synapse_apply.planning.package import find_foreign_digest
from synapse_apply.planning.plan_input import ResourceState
from synapse_apply.workspace.target_session import PlanResult, TargetSession

OTHER_KEY_NOTE = "recorded under another state key"


@frozen
class AcceptableResource:
    """A resource that can be accepted as it is live, and the fields in which it differs.

    `differing_fields` lead from the live to the declared value; `accepted_fields` are those that
    were accepted before. `notes` say what cannot be compared; `findings` warn of what may undo it.
    """

    resource: ResourceState
    record: Record
    observed: Observed
    depends_on: tuple[Address, ...]
    differing_fields: tuple[FieldChange, ...]
    accepted_fields: tuple[FieldChange, ...]
    notes: tuple[str, ...]
    findings: tuple[Diagnostic, ...] = ()


def require_acceptable(plan_result: PlanResult, address: Address) -> AcceptableResource:
    """Return what accepting an address would record; reads the plan only, changes nothing.

    InputError when the address is not declared, StateError when it is not recorded or not live.
    """
    resource = plan_result.resources.get(address)
    if resource is None or resource.desired is None:
        raise InputError.from_summary(
            "The address is not declared",
            f"No manifest declares {address}.",
            "Declare its live values in a manifest, then accept it.",
        )
    change = next(change for change in plan_result.plan.changes if change.address == address)
    require_no_open_call(plan_result, address)
    if resource.record is None or resource.observed is None:
        raise StateError.from_summary(
            "There is nothing to accept",
            f"{address} is {'not live' if resource.record else 'not recorded'}.",
            Text(Command("import", address, "ID"), " records a live object."),
        )
    diff = diff_resource(resource, resource.record)
    # A secret under another key cannot be compared, so it is shown as differing.
    foreign_changes = (FieldChange(path, ABSENT, ABSENT, Cause.NONE, True, OTHER_KEY_NOTE)
               for path in diff.foreign_secrets)  # fmt: skip
    notes, is_other_package = tuple(diff.notes), find_foreign_digest(resource) is not None
    if is_other_package and not (diff.changes or diff.foreign_secrets):
        replaces = Command("apply --only", address, "--revert-drift", "--allow-replace")
        records = Command("import", address, resource.observed.remote_id)
        raise StateError.from_summary(
            "A difference of packages cannot be accepted",
            f"The live package of {address} is not the recorded one; its fields do not differ.",
            Text(replaces, " replaces it with yours; ", records, " records the live one."),
        )
    if is_other_package:
        notes += ("its live package is not the recorded one, and that difference stays",)
    return AcceptableResource(
        resource=resource,
        record=resource.record,
        observed=resource.observed,
        depends_on=change.depends_on,
        differing_fields=tuple(
            sorted((*diff.changes, *foreign_changes), key=lambda change: change.path)
        ),
        accepted_fields=tuple(diff.accepted),
        notes=notes,
        findings=tuple(d for d in plan_result.plan.diagnostics if d.address == str(address)),
    )


def record_acceptance(
    session: TargetSession,
    plan_result: PlanResult,
    acceptable: AcceptableResource,
    *,
    until: str = "",
    reason: str = "",
) -> Record:
    """Record that what is declared counts as applied and what is live as seen; nothing is sent.

    `until` is the last day on which that holds, for all accepted fields of the resource.
    For a change made in Synapse that this API cannot make. Takes the state's lock, and returns the
    record that was written. StateError when the record changed since `acceptable` was built.
    """
    resource, observed = acceptable.resource, acceptable.observed
    change = next(
        change for change in plan_result.plan.changes if change.address == resource.address
    )
    with session.lock_state_of_own_project("state accept"):
        # The user was asked without a lock, so the record may have changed since it was shown.
        stored = session.store.read_state().records.get(resource.address)
        known = records_on_day({stored.address: stored}, session.today) if stored else {}
        if known.get(resource.address) != acceptable.record:
            raise StateError.from_summary(
                "The state changed in the meantime",
                f"Another run changed the record of {resource.address} before you answered.",
                "Run the command again to see what differs now.",
            )
        record = record_of_both_sides(
            step_of(resource, change),
            acceptable.record,
            observed,
            session.secrets,
            session.clock.utc_now(),
        )
        if (accepted := _merge_acceptance(acceptable)) is not None:
            accepted = replace(accepted, until=until, reason=reason)
        plan_id = str(uuid4())
        # What a call of ours may have set, nobody changed outside.
        outside = [one.path for one in acceptable.differing_fields if not one.origin]
        set_by = {
            path: f"{ACCEPTED}{plan_id}"
            for path, value in record.seen.items()
            if is_at_or_below(path, outside) and acceptable.record.seen.get(path) != value
        }
        origins = trace_origins(acceptable.record, record.seen, record.applied, set_by)
        record = replace(record, accepted=accepted, doubted="", origins=origins)
        session.store.write_records(record)
        session.note_in_audit([(resource.address, "accept", record.remote_id)], plan_id)
    return record


# Remembered with what it took the place of, so that it can be told from what a server merely
# normalised, and be undone. It ends for a field when `applied` or `seen` of it changes.
def _merge_acceptance(acceptable: AcceptableResource) -> Acceptance | None:
    """The new acceptance, which keeps the undo values of earlier ones; None without any."""
    record, paths = acceptable.record, [change.path for change in acceptable.differing_fields]
    new_acceptance = accept_paths(paths, record.applied or record.seen, record.seen)
    if (old_acceptance := record.accepted) is None:
        return new_acceptance if paths else None
    differing = {c.path for c in (*acceptable.differing_fields, *acceptable.accepted_fields)}
    still_differing = tuple(path for path in old_acceptance.paths if path in differing)
    if not (still_differing or paths):
        return None
    earlier_acceptance = accept_paths(still_differing, old_acceptance.applied, old_acceptance.seen)
    added_acceptance = accept_paths(
        [path for path in paths if path not in still_differing],
        new_acceptance.applied,
        new_acceptance.seen,
    )
    return Acceptance(
        tuple(dict.fromkeys((*earlier_acceptance.paths, *added_acceptance.paths))),
        {**added_acceptance.applied, **earlier_acceptance.applied},
        {**added_acceptance.seen, **earlier_acceptance.seen},
    )
