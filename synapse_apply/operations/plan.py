"""How a plan of a live target is made: what is read, in which order, and when it is read again.

Writes nothing.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from synapse_apply.live.common_rules import find_addresses_named_by_rules_and_declared_elsewhere
from synapse_apply.live.comparable_values import build_known_resource_states
from synapse_apply.live.live_reader import LiveReader
from synapse_apply.live.named_secrets import wrap_values_recorded_as_secret_and_warn
from synapse_apply.live.open_intents import (
    build_live_reader_with_marks_of_state,
    build_secret_marks_of_declared_and_recorded,
    look_up_outcomes_of_open_intents,
)
from synapse_apply.live.other_runs import build_warning_if_other_run_is_writing
from synapse_apply.live.published_versions import read_versions_of_series_that_rules_compare
from synapse_apply.live.replaced_packages import (
    make_iterator_of_origin_sources,
    with_file_diffs_to_replaced_versions,
)
from synapse_apply.live.unfit_packages import PackageJudge
from synapse_apply.live.writable_fields import WrittenFieldPredicate
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.plan import Plan, PlanBase
from synapse_apply.model.ports import Progress
from synapse_apply.model.refactoring import orient_moves_to_declared
from synapse_apply.model.resource import Desired
from synapse_apply.model.state import CREATE_VERB, IntentState, Record, State
from synapse_apply.model.verification import RUN_VERB, OtherTargetRuns
from synapse_apply.planning.moving import (
    build_records_with_due_renames_made,
    select_undeclared_removed_addresses_with_members,
)
from synapse_apply.planning.open_call_refusals import WAIT_HINT
from synapse_apply.planning.plan_input import PlanInput, PlanOptions, ResourceState
from synapse_apply.planning.planner import build_plan as make_plan
from synapse_apply.workspace.other_targets import read_runs_or_problem_by_required_target
from synapse_apply.workspace.target_session import PlanResult, TargetSession

if TYPE_CHECKING:
    from synapse_apply.applying.settle import ResolvedIntent


def plan(
    session: TargetSession,
    options: PlanOptions,
    *,
    dry_run_progress: Progress | None = None,
    addresses_to_read: Collection[Address] = (),
) -> PlanResult:
    """A plan of the whole target in its current state, under the target's rules.

    With `dry_run_progress`, which receives each, every call that the backend can check without
    acting on it is sent so; what it refuses is refused in the plan. Recorded addresses that are not
    declared are read where a delete needs it, and where they are `addresses_to_read`. RemoteError
    never leaves here: a read that failed is a finding of its address. StateError and InputError as
    the stores and the manifests raise them, LockLost where a lock that is held was lost meanwhile.
    """
    observed_state = _read_state_and_live_objects(session, options, addresses_to_read)
    if concurrent_run := build_warning_if_other_run_is_writing(
        session.store, observed_state.serial
    ):
        # It may have ended by now; then this look tells of one moment.
        observed_state = _read_state_and_live_objects(session, options, addresses_to_read)
        concurrent_run = build_warning_if_other_run_is_writing(session.store, observed_state.serial)
    plan_input = replace(observed_state.plan_input, has_concurrent_run=bool(concurrent_run))
    open_calls = [resolved for resolved in observed_state.resolved_intents if resolved.is_open]
    settled = [
        _build_settled_warning(r)
        for r in observed_state.resolved_intents
        if not r.is_open and r.intent.verb not in {CREATE_VERB, RUN_VERB}
    ]
    # Whether an open call is sent again is decided by the planner, and told of here.
    changing: set[Address] = set()
    if open_calls:
        changing = {change.address for change in make_plan(plan_input).actionable_changes}
    plan_input = replace(
        plan_input,
        diagnostics=(
            *session.diagnostics,
            *(concurrent_run or (*settled, *_iter_open_call_warnings(open_calls, changing))),
            *plan_input.diagnostics,
        ),
    )
    plan = make_plan(plan_input)
    plan_result = PlanResult(
        plan, plan_input.resources, observed_state.resolved_intents, plan_input.capabilities
    )
    plan = (
        plan
        if dry_run_progress is None
        else _send_dry_runs_and_plan_again_with_refusals(
            session, plan_result, plan_input, dry_run_progress
        )
    )
    # Without the lock nothing more was sent: what could not be read then says nothing.
    session.store.require_lock_not_lost()
    return replace(
        plan_result, plan=_with_package_changes_and_target(session, plan, plan_input.resources)
    )


@frozen
class _PlanInputAtSerial:
    """The planner's input, read while the state had this `serial`."""

    serial: int
    plan_input: PlanInput
    resolved_intents: tuple[ResolvedIntent, ...]


# A plan is of one moment: where the serial moved while the backend was read, or another run holds
# the lock, everything is read once more. If it still moves, what lacks a record is refused instead
# of imported: the other run may be between its call and its record.
def _read_state_and_live_objects(
    session: TargetSession, options: PlanOptions, addresses_to_read: Collection[Address]
) -> _PlanInputAtSerial:
    """Read the state, then every live object that it or the manifests name."""
    state = session.store.read_state()
    live_reader = build_live_reader_with_marks_of_state(session, state)
    resolved_intents = look_up_outcomes_of_open_intents(session, state, live_reader)
    open_intents = tuple(resolved.intent for resolved in resolved_intents if resolved.is_open)
    trusted_records, forged_addresses = session.signer.mark_forged_runs_unknown(state.records)
    moves = build_records_with_due_renames_made(
        _with_outcomes_of_open_calls(trusted_records, resolved_intents),
        # Manifests of a Git ref may still have the old address.
        orient_moves_to_declared(session.project.moved, session.desired)
        if session.declared_target.commit
        else session.project.moved,
        open_intents,
        session.target.policy.rules,
    )
    records = moves.records
    if resolved_intents or moves.renames:  # else the records are those of the state
        live_reader.marks = build_secret_marks_of_declared_and_recorded(
            session, records, state.open_intents
        )
    desired, unnamed = _wrap_recorded_secrets_and_warn(session, live_reader, records, state)
    live_reader.store_lookups_of_declared_parents_first(desired, records)
    _look_up_undeclared(session, live_reader, records, addresses_to_read, prune=options.prune)
    planned = desired.keys() if options.selected is None else desired.keys() & options.selected
    duplicate_warnings = tuple(
        live_reader.iter_duplicate_warnings_of_recorded(
            {address: desired[address] for address in desired if address in planned}, records
        )
    )
    live_versions, version_warnings = read_versions_of_series_that_rules_compare(
        session, live_reader, records, options.selected
    )
    resources = build_known_resource_states(session, live_reader, desired, records, state.lineage)
    plan_input = PlanInput(
        plan_id=str(uuid.uuid4()),
        created=session.clock.utc_now(),
        tool_version=session.version,
        base=PlanBase(
            target=session.target.name,
            binding=state.binding,
            lineage=state.lineage,
            serial=state.serial,
            manifests_digest=session.declared_target.manifests.manifests_digest,
            commit=session.actor.commit,
            dirty=session.actor.dirty,
            revision=str(session.declared_target.commit or ""),
        ),
        catalogue=session.catalogue,
        resources=resources,
        open_intents=open_intents,
        seconds_until_resolvable=_map_seconds_until_resolvable_by_address(resolved_intents),
        recovery_hints=_map_hints_to_record_journaled_calls_by_address(session, state),
        open_call_by_new_address=moves.open_call_by_new_address,
        options=replace(options.with_target_rules(session.target), partial=session.partial),
        capabilities=live_reader.capabilities_known_so_far,
        diagnostics=(
            *moves.diagnostics,
            *unnamed,
            *version_warnings,
            *map(_build_forged_run_warning, forged_addresses),
            *duplicate_warnings,
        ),
        other_targets=_read_other_target_runs_if_release_is_new(session, resources),
        moved=moves.renames,
        move_refusals=moves.refusals,
        removed_addresses=select_undeclared_removed_addresses_with_members(
            session.project.removed, records, session.desired
        ),
        published_versions=live_versions,
        can_write=WrittenFieldPredicate(session),
        judge_package=PackageJudge(session),
        declared_in_other_targets=find_addresses_named_by_rules_and_declared_elsewhere(
            session, resources
        ),
    )
    return _PlanInputAtSerial(state.serial, plan_input, tuple(resolved_intents))


def _with_package_changes_and_target(
    session: TargetSession, plan: Plan, resources: Mapping[Address, ResourceState]
) -> Plan:
    """The plan with the files that new packages replace, and with commands that name the target."""
    root, allow_files = session.project.root, session.target.allow_files
    detailed_plan = with_file_diffs_to_replaced_versions(
        plan, resources, make_iterator_of_origin_sources(session), root, allow_files
    )
    return detailed_plan.with_target(session.typed_target)


def _wrap_recorded_secrets_and_warn(
    session: TargetSession, live_reader: LiveReader, records: Mapping[Address, Record], state: State
) -> tuple[Mapping[Address, Desired], tuple[Diagnostic, ...]]:
    """What is declared, with plain values hidden where a single object has a secret."""
    if live_reader.marks.named is None:
        return session.desired, ()
    marks = session.declared_target.manifests.marks
    return wrap_values_recorded_as_secret_and_warn(
        session.desired, records, marks, state.open_intents
    )


def _with_outcomes_of_open_calls(
    records: Mapping[Address, Record], resolved_intents: list[ResolvedIntent]
) -> Mapping[Address, Record]:
    """The records as they are once the outcomes of open calls are applied to them."""
    if not resolved_intents:
        return records
    # Here, not above: most runs meet no open call.
    from synapse_apply.applying.settle import records_after

    return records_after(records, resolved_intents)


def _send_dry_runs_and_plan_again_with_refusals(
    session: TargetSession, plan_result: PlanResult, plan_input: PlanInput, progress: Progress
) -> Plan:
    """Send the calls as dry runs, and plan again with what the backend refused."""
    # Here, not above: a plan that tries nothing needs no more than it reads.
    from synapse_apply.operations.dry_run import (
        build_dry_run_findings,
        send_dry_runs_of_checkable_calls,
    )

    dry_run_result = send_dry_runs_of_checkable_calls(session, plan_result, progress)
    diagnostics = (*plan_input.diagnostics, *build_dry_run_findings(dry_run_result))
    return make_plan(
        replace(
            plan_input,
            dry_run_refusals=dry_run_result.refusals,
            trial=dry_run_result.dry_run_counts,
            diagnostics=diagnostics,
        )
    )


def _map_seconds_until_resolvable_by_address(
    resolved_intents: Iterable[ResolvedIntent],
) -> dict[Address, float]:
    """Seconds until an open call can be known to be lost, by address, where it ever can."""
    return {
        resolved.intent.address: resolved.seconds_until_resolvable
        for resolved in resolved_intents
        if resolved.is_open and resolved.seconds_until_resolvable is not None
    }


def _map_hints_to_record_journaled_calls_by_address(
    session: TargetSession, state: State
) -> dict[Address, str]:
    """How to record an open call that a recovery journal says was done, by address."""
    if not state.open_intents:
        return {}
    journal_files = session.journals(state).done_calls(state)
    open_intents = (intent for intent in state.open_intents if intent.id in journal_files)
    return {intent.address: journal_files[intent.id].recovery_hint for intent in open_intents}


def _build_settled_warning(resolved: ResolvedIntent) -> Diagnostic:
    """What became of an earlier call that nobody saw end."""
    intent = resolved.intent
    outcome = {
        IntentState.DONE: "was done" + (resolved.reason and f"; {resolved.reason}"),
        IntentState.ABSENT: "was not done",
    }.get(intent.state, "was or was not done: that cannot be told")
    return warning_finding(
        "An earlier call was looked up",
        f"{intent.verb} of {intent.address}, sent at {intent.sent_at} by apply {intent.plan_id}, "
        f"{outcome}.",
        address=str(intent.address),
    )


def _iter_open_call_warnings(
    open_calls: Iterable[ResolvedIntent], sent_again: Collection[Address]
) -> Iterator[Diagnostic]:
    """One warning for all calls of a verb that are open for the same cause.

    The refusals of their resources do not know the cause.
    """
    groups: dict[tuple[str, str], list[ResolvedIntent]] = defaultdict(list)
    for resolved in open_calls:
        intent = resolved.intent
        if intent.address in sent_again:
            yield warning_finding(
                "An earlier call is sent again",
                f"How {intent.verb} of {intent.address} ended, which was sent at {intent.sent_at}, "
                "cannot be told yet. An apply sends the same declared fields again. The earlier "
                "call may still set back what somebody changed beside them since.",
                address=str(intent.address),
            )
            continue
        cause = resolved.reason if resolved.seconds_until_resolvable is None else ""
        groups[intent.verb, cause].append(resolved)
    yield from map(_build_open_intent_warning, groups.values())


def _build_open_intent_warning(resolved_intents: Sequence[ResolvedIntent]) -> Diagnostic:
    """The warning for calls with one cause."""
    first_resolved = resolved_intents[0]
    hint = "" if first_resolved.seconds_until_resolvable is None else WAIT_HINT + "."
    first_intent = first_resolved.intent
    if len(resolved_intents) == 1:
        return warning_finding(
            "The outcome of an earlier call is still unknown",
            f"{first_intent.verb} of {first_intent.address} was sent at {first_intent.sent_at}: "
            f"{first_resolved.reason}.",
            hint,
            address=str(first_intent.address),
        )
    first_sent_at = min(resolved.intent.sent_at for resolved in resolved_intents)
    addresses_text = format_short_list(resolved.intent.address for resolved in resolved_intents)
    return warning_finding(
        f"The outcome of {len(resolved_intents)} earlier calls is still unknown",
        f"{first_intent.verb} of {addresses_text} (the first was sent at {first_sent_at}): "
        f"{first_resolved.reason}.",
        hint,
    )


def _build_forged_run_warning(address: Address) -> Diagnostic:
    """The warning for a recorded run whose signature is not of this state's key."""
    return warning_finding(
        "The record of a run was changed outside of this tool",
        f"What the state says of the last run of {address} is not what was signed with the state "
        "key. It counts as not known.",
        "Find out who can write to the state.",
        address=str(address),
    )


def _read_other_target_runs_if_release_is_new(
    session: TargetSession, resources: Mapping[Address, ResourceState]
) -> Mapping[str, OtherTargetRuns]:
    """The runs of each required target by its name; {} unless a release to be made may need them.

    What could not be read is a problem in the result.
    """
    if not any(
        one.desired and one.lookup_result.observed is None and one.type.verification_spec
        for one in resources.values()
    ):
        return {}
    return read_runs_or_problem_by_required_target(session)


def _look_up_undeclared(
    session: TargetSession,
    live_reader: LiveReader,
    records: Mapping[Address, Record],
    addresses_to_read: Collection[Address],
    *,
    prune: bool,
) -> None:
    """Read recorded, undeclared objects: those that `prune` may delete, and `addresses_to_read`."""
    deletable = (
        _list_undeclared_deletable_addresses(session, session.desired, records) if prune else []
    )
    undeclared = records.keys() & {*addresses_to_read} - session.desired.keys()
    known = {address for address in undeclared if address.kind in session.catalogue}
    live_reader.store_lookups_of_undeclared_in_recorded_api({*deletable, *known}, records)


def _list_undeclared_deletable_addresses(
    session: TargetSession, desired: Mapping[Address, object], records: Mapping[Address, Record]
) -> list[Address]:
    """Recorded, undeclared addresses whose API version can delete the object."""
    addresses = []
    for address, record in sorted(records.items()):
        kind = session.catalogue.get(address.kind)
        binding = kind.bindings.get(record.api) if kind else None
        if address not in desired and binding is not None and binding.delete_object is not None:
            addresses.append(address)
    return addresses
