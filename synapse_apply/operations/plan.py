"""How a plan of a live target is made: what is read, in which order, and when it is read again.

Writes nothing. The verified releases of another target count where its state is trusted: it must
have the url, tenant and data set of that target, and the lineage that the project file pins, and a
run must be signed with its current key. Anyone who can write to the checkout can write a state
file, but not a signature.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import UpdateMode
from synapse_apply.live.comparable_values import known_resource_states
from synapse_apply.live.live_reader import LiveReader
from synapse_apply.live.named_secrets import wrap_recorded_secrets
from synapse_apply.live.open_intents import (
    build_known_marks,
    list_call_ends,
    live_reader_of_state,
    look_up_outcomes,
    other_run_warnings,
)
from synapse_apply.live.packages import origin_sources_of, read_compared_versions, with_file_diffs
from synapse_apply.live.project_files import (
    PackageJudge,
    WrittenFieldPredicate,
    find_declared_elsewhere,
)
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import StateError, SynapseApplyError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import RUN_VERB, LastRun, OtherTargetRuns, RunDoubt, RunStatus
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.plan import Action, Plan, PlanBase
from synapse_apply.model.ports import Progress
from synapse_apply.model.project import Project, Target, orient_moves_to_declared
from synapse_apply.model.resource import Desired
from synapse_apply.model.state import CREATE_VERB, BackendIdentity, IntentState, Record, State
from synapse_apply.planning.identity import make_due_renames, select_removed
from synapse_apply.planning.open_call_refusals import WAIT_HINT, with_wait_options
from synapse_apply.planning.plan_input import PlanInput, PlanOptions, ResourceState
from synapse_apply.planning.planner import build_plan as make_plan
from synapse_apply.secrets.keys import StateKeys, key_variable_of
from synapse_apply.secrets.signatures import RunSigner, SignatureStatus, parse_key_id
from synapse_apply.workspace import state_access
from synapse_apply.workspace.embedded import find_data_set_id
from synapse_apply.workspace.environment import normalize_base_url
from synapse_apply.workspace.state_project import project_findings
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
    observed_state = _read_input(session, options, addresses_to_read)
    if concurrent_run := other_run_warnings(session.store, observed_state.serial):
        # It may have ended by now; then this look tells of one moment.
        observed_state = _read_input(session, options, addresses_to_read)
        concurrent_run = other_run_warnings(session.store, observed_state.serial)
    plan_input = replace(observed_state.plan_input, has_concurrent_run=bool(concurrent_run))
    open_calls = [resolved for resolved in observed_state.resolved_intents if resolved.is_open]
    # What is sent again, and what is adopted, is decided by the planner, and told of here.
    actions: dict[Address, Action] = {}
    if observed_state.resolved_intents:
        rows = make_plan(plan_input).actionable_changes
        actions = {change.address: change.action for change in rows}
    settled = _iter_settled_warnings(
        observed_state.resolved_intents,
        {address for address in actions if options.adopt and actions[address] is Action.ADOPT},
    )
    plan_input = replace(
        plan_input,
        diagnostics=(
            *session.diagnostics,
            *(concurrent_run or (*settled, *_iter_open_call_warnings(open_calls, actions))),
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
        else _plan_after_dry_runs(session, plan_result, plan_input, dry_run_progress)
    )
    # Without the lock nothing more was sent: what could not be read then says nothing.
    session.store.require_lock_not_lost()
    return replace(plan_result, plan=_finish(session, options, plan, plan_input.resources))


@frozen
class _PlanInputAtSerial:
    """The planner's input, read while the state had this `serial`."""

    serial: int
    plan_input: PlanInput
    resolved_intents: tuple[ResolvedIntent, ...]


# A plan is of one moment: where the serial moved while the backend was read, or another run holds
# the lock, everything is read once more. If it still moves, what lacks a record is refused instead
# of imported: the other run may be between its call and its record.
def _read_input(
    session: TargetSession, options: PlanOptions, addresses_to_read: Collection[Address]
) -> _PlanInputAtSerial:
    """Read the state, then every live object that it or the manifests name."""
    state = session.store.read_state()
    live_reader = live_reader_of_state(session, state)
    resolved_intents = look_up_outcomes(session, state, live_reader)
    open_intents = tuple(resolved.intent for resolved in resolved_intents if resolved.is_open)
    trusted_records, forged_addresses = session.signer.mark_forged_runs_unknown(state.records)
    moves = make_due_renames(
        _with_outcomes(trusted_records, resolved_intents),
        # Manifests of a Git ref may still have the old address.
        orient_moves_to_declared(session.project.moved, session.desired)
        if session.declared_target.commit
        else session.project.moved,
        open_intents,
        session.target.policy.rules,
    )
    records = moves.records
    if resolved_intents or moves.renames:  # else the records are those of the state
        live_reader.lists.marks = build_known_marks(session, records, state.open_intents)
    desired, unnamed = _wrap_recorded_secrets(session, live_reader, records, state)
    live_reader.store_declared_lookups(desired, records)
    _look_up_undeclared(session, live_reader, records, addresses_to_read, prune=options.prune)
    planned = desired.keys() if options.selected is None else desired.keys() & options.selected
    duplicate_warnings = tuple(
        live_reader.iter_duplicate_warnings(
            {address: desired[address] for address in desired if address in planned}, records
        )
    )
    live_versions, version_warnings = read_compared_versions(
        session, live_reader, records, options.selected
    )
    resources = known_resource_states(session, live_reader, desired, records, state.lineage)
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
        looked_up=tuple(resolved.intent for resolved in resolved_intents if not resolved.is_open),
        seconds_until_resolvable={
            resolved.intent.id: resolved.seconds_until_resolvable
            for resolved in resolved_intents
            if resolved.is_open and resolved.seconds_until_resolvable is not None
        },
        call_ends=list_call_ends(session, state) if open_intents else {},
        recovery_hints=_recovery_hints(session, state),
        open_call_by_new_address=moves.open_call_by_new_address,
        options=replace(options.with_target_rules(session.target), partial=session.partial),
        capabilities=live_reader.lists.capabilities(),
        diagnostics=(
            *moves.diagnostics,
            *unnamed,
            *version_warnings,
            *map(_forged_run_warning, forged_addresses),
            *duplicate_warnings,
        ),
        other_targets=_read_other_runs(session, resources),
        moved=moves.renames,
        move_refusals=moves.refusals,
        unmoved=moves.unmoved,
        removed_addresses=select_removed(session.project.removed, records, session.desired),
        published_versions=live_versions,
        can_write=WrittenFieldPredicate(session, resolved_intents),
        judge_package=PackageJudge(session),
        declared_in_other_targets=find_declared_elsewhere(session, resources),
    )
    return _PlanInputAtSerial(state.serial, plan_input, tuple(resolved_intents))


def _finish(
    session: TargetSession,
    options: PlanOptions,
    plan: Plan,
    resources: Mapping[Address, ResourceState],
) -> Plan:
    """The plan with the files that new packages replace, and with commands that do no more."""
    root, allow_files = session.project.root, session.target.allow_files
    detailed_plan = with_file_diffs(plan, resources, origin_sources_of(session), root, allow_files)
    where = session.invocation
    ref = [] if where.without_checkout else [where.as_of]
    named = {"--ref": ref, "-f": where.paths, "--var-file": where.variable_files}
    words = [
        str(word) for option in named for one in named[option] if one for word in (option, one)
    ]
    waiting_plan = with_wait_options(detailed_plan, (*options.typed, *words))
    return waiting_plan.with_target(session.typed_target)


def _wrap_recorded_secrets(
    session: TargetSession, live_reader: LiveReader, records: Mapping[Address, Record], state: State
) -> tuple[Mapping[Address, Desired], tuple[Diagnostic, ...]]:
    """What is declared, with plain values hidden where a single object has a secret."""
    if live_reader.lists.marks.named is None:
        return session.desired, ()
    marks = session.declared_target.manifests.marks
    return wrap_recorded_secrets(session.desired, records, marks, state.open_intents)


def _with_outcomes(
    records: Mapping[Address, Record], resolved_intents: list[ResolvedIntent]
) -> Mapping[Address, Record]:
    """The records as they are once the outcomes of open calls are applied to them."""
    if not resolved_intents:
        return records
    # Here, not above: most runs meet no open call.
    from synapse_apply.applying.settle import records_after

    return records_after(records, resolved_intents)


def _plan_after_dry_runs(
    session: TargetSession, plan_result: PlanResult, plan_input: PlanInput, progress: Progress
) -> Plan:
    """Send the calls as dry runs, and plan again with what the backend refused."""
    # Here, not above: a plan that tries nothing needs no more than it reads.
    from synapse_apply.operations.steps import dry_run_findings, send_dry_runs

    dry_run_result = send_dry_runs(session, plan_result, progress)
    diagnostics = (*plan_input.diagnostics, *dry_run_findings(dry_run_result))
    return make_plan(
        replace(
            plan_input,
            dry_run_refusals=dry_run_result.refusals,
            trial=dry_run_result.dry_run_counts,
            diagnostics=diagnostics,
        )
    )


def _recovery_hints(session: TargetSession, state: State) -> dict[str, str]:
    """How to record an open call that a recovery journal says was done, by its id."""
    if not state.open_intents:
        return {}
    journal_files = session.journals(state).done_calls(state)
    open_ids = {intent.id for intent in state.open_intents} & journal_files.keys()
    return {call_id: journal_files[call_id].recovery_hint for call_id in open_ids}


def _iter_settled_warnings(
    resolved_intents: Iterable[ResolvedIntent], adopted: Collection[Address]
) -> Iterator[Diagnostic]:
    """What became of earlier calls that nobody saw end; one for all creates of an apply."""
    groups: dict[tuple[object, ...], list[ResolvedIntent]] = defaultdict(list)
    for resolved in resolved_intents:
        intent = resolved.intent
        if not resolved.is_open and intent.verb != RUN_VERB:
            one_id = intent.id if intent.verb != CREATE_VERB else ""
            groups[intent.plan_id, intent.state, resolved.reason, one_id].append(resolved)
    for group in groups.values():
        intent, reason = group[0].intent, group[0].reason and f"; {group[0].reason}"
        outcome = {
            IntentState.DONE: f"was done{reason}",
            IntentState.ABSENT: "was not done",
        }.get(intent.state, f"was or was not done: that cannot be told{reason}")
        addresses = sorted({str(resolved.intent.address) for resolved in group})
        first = min(resolved.intent.sent_at for resolved in group)
        sent = f"{'the first ' * (len(group) > 1)}sent at {first}"
        yield warning_finding(
            "An earlier call was looked up",
            f"{intent.verb} of {format_short_list(addresses)}, {sent} by apply {intent.plan_id}, "
            f"{outcome}.",
            "" if intent.address in adopted else group[0].import_hint,
            address=addresses[0] if len(addresses) == 1 else "",
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
            kind = CATALOGUE.get(intent.address.kind)
            again = "set back what somebody changed beside them since"
            if kind and kind.bindings[intent.api].update_mode is UpdateMode.PATCH:
                names = {str(path[0]) for path in (*intent.fields, *intent.before)}
                again = f"set {format_short_list(sorted(names))} once more"
            yield warning_finding(
                "An earlier call is sent again",
                f"How {intent.verb} of {intent.address} ended, which was sent at {intent.sent_at}, "
                "cannot be told yet. An apply sends "
                + (
                    f"the same declared fields again. The earlier call may still {again}."
                    if intent.verb == "update"
                    else "it again."
                ),
                address=str(intent.address),
            )
            continue
        cause = resolved.reason if resolved.seconds_until_resolvable is None else ""
        groups[intent.verb, cause].append(resolved)
    yield from map(_open_intent_warning, groups.values())


def _open_intent_warning(resolved_intents: Sequence[ResolvedIntent]) -> Diagnostic:
    """The warning for calls with one cause."""
    first, count = resolved_intents[0], len(resolved_intents)
    addresses = format_short_list(resolved.intent.address for resolved in resolved_intents)
    sent_at = min(resolved.intent.sent_at for resolved in resolved_intents)
    sent = f"was sent at {sent_at}" if count == 1 else f"(the first was sent at {sent_at})"
    return warning_finding(
        f"The outcome of {'an' if count == 1 else count} earlier call{'s' * (count > 1)} is still "
        "unknown",
        f"{first.intent.verb} of {addresses} {sent}: {first.reason}.",
        "" if first.seconds_until_resolvable is None else WAIT_HINT + ".",
        address=addresses if count == 1 else "",
    )


def _forged_run_warning(address: Address) -> Diagnostic:
    """The warning for a recorded run whose signature is not of this state's key."""
    return warning_finding(
        "The record of a run was changed outside of this tool",
        f"What the state says of the last run of {address} is not what was signed with the state "
        "key. It counts as not known.",
        "Find out who can write to the state.",
        address=str(address),
    )


def _read_other_runs(
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
    return {
        name: _read_runs(session.session_of(session.project.targets[name]))
        for name in session.target.require_verified
    }


def _look_up_undeclared(
    session: TargetSession,
    live_reader: LiveReader,
    records: Mapping[Address, Record],
    addresses_to_read: Collection[Address],
    *,
    prune: bool,
) -> None:
    """Read recorded, undeclared objects: those that `prune` may delete, and `addresses_to_read`."""
    deletable = _list_deletable(session, session.desired, records) if prune else []
    undeclared = records.keys() & {*addresses_to_read} - session.desired.keys()
    known = {address for address in undeclared if address.kind in session.catalogue}
    live_reader.store_undeclared_lookups({*deletable, *known}, records)


def _list_deletable(
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


def _read_runs(other_session: TargetSession) -> OtherTargetRuns:
    try:
        with other_session:
            target, store = other_session.target, other_session.store
            if not store.exists():
                return OtherTargetRuns(missing=True)
            # Before the state is read: what seems older may be a copy that was replaced since.
            if other_session.last_seen_files.build_findings_if_state_is_older(store, target):
                raise StateError.from_summary(
                    "This state is older than the last one seen here",
                    "it is older than the last one seen here",
                )
            state = store.read_state()
            pinned_lineage = target.state.lineage
            if pinned_lineage and state.lineage != pinned_lineage:
                raise StateError.from_summary(
                    "This state is not the one that the project file pins",
                    f"the project file pins lineage {pinned_lineage}, and it has {state.lineage}",
                )
            recorded_identity, expected_identity = (
                state.binding,
                _expected_identity(other_session.project, target, state.binding),
            )
            if recorded_identity != expected_identity:
                raise StateError.from_summary(
                    "This state belongs to another backend",
                    f"it was made for {state_access.describe_identity(recorded_identity)}, and "
                    f"target {target.name} is {state_access.describe_identity(expected_identity)}",
                )
            shared_ids = other_session.read_shared_ids()
            if shared_ids is not None:
                state_access.require_no_error(
                    project_findings(shared_ids, other_session.project, other_session.target)
                )
            return _collect_runs(state, target, other_session.state_keys)
    # One target that cannot be read must not stop a plan that may not need it.
    except SynapseApplyError as failure:
        return OtherTargetRuns(
            problem="; ".join(
                [
                    (diagnostic.detail or diagnostic.summary).rstrip(".")
                    for diagnostic in failure.diagnostics
                ]
            )
            or str(failure)
        )


def _expected_identity(
    project: Project, target: Target, recorded_identity: BackendIdentity
) -> BackendIdentity:
    if target.is_embedded:
        return BackendIdentity(state_access.EMBEDDED_URL, "", find_data_set_id(project.root))
    url = normalize_base_url(target.url) if target.url else recorded_identity.url
    return BackendIdentity(url, target.tenant or recorded_identity.tenant)


def _collect_runs(state: State, target: Target, keys: StateKeys) -> OtherTargetRuns:
    records = {
        address: record
        for address, record in state.records.items()
        if (kind := CATALOGUE.get(address.kind)) is not None and kind.verification_spec is not None
    }
    runs = {
        address: LastRun.from_json_or_none(record.verification)
        for address, record in records.items()
    }
    passed_addresses = [
        passed_address
        for passed_address, run in runs.items()
        if run and run.result is RunStatus.PASSED
    ]
    signer = RunSigner(keys, state.lineage)
    doubts = {
        address: _find_doubt(signer, records[address], target) for address in passed_addresses
    }
    doubts |= {
        address: RunDoubt("its package was replaced there, so that no run of it proves anything")
        for address, record in records.items()
        if record.replaced_at
    }
    return OtherTargetRuns(
        digests={
            address: (not record.is_package_untold and record.digest) or ""
            for address, record in records.items()
        },
        runs={address: run for address, run in runs.items() if run is not None},
        doubts={address: doubt for address, doubt in doubts.items() if doubt is not None},
    )


def _find_doubt(signer: RunSigner, record: Record, target: Target) -> RunDoubt | None:
    """Why a recorded, passed run is not trusted; None where it is."""
    status, target_name = signer.verify_last_run(record), target.name
    if status is SignatureStatus.GENUINE:
        return None
    if status is SignatureStatus.UNSIGNED:
        return RunDoubt(
            "the record of its run there is not signed: an earlier version made it, or the state "
            f"key of target {target_name} was not at hand"
        )
    if status is SignatureStatus.FORGED:
        return RunDoubt(
            "the signature of its run there is of something else: the record was changed, or "
            "copied from another one"
        )
    last_run = LastRun.from_json_or_none(record.verification)
    key_id = parse_key_id(last_run.signature) if last_run else ""
    current_key = signer.keys.current_key
    current_text = (
        f"the key here is {current_key.key_id} from {current_key.origin}"
        if current_key
        else "none is here"
    )
    return RunDoubt(
        f"its run there is signed with state key {key_id}, and {current_text}",
        (
            (
                f"give the state key of target {target_name}, "
                f"as {key_variable_of(target_name)} for example"
            ),
        ),
    )
