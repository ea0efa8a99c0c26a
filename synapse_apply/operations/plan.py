"""How a plan of a live target is made: what is read, in which order, and when it is read again.

Writes nothing. The verified releases of another target count where its state is trusted: it must
have the url, tenant and data set of that target, and the lineage that the project file pins, and a
run must be signed with its current key. Anyone who can write to the checkout can write a state
file, but not a signature.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import UpdateMode
from synapse_apply.live import project_files
from synapse_apply.live.comparable_values import known_resource_states
from synapse_apply.live.named_secrets import wrap_recorded_secrets
from synapse_apply.live.open_intents import (
    build_known_marks,
    list_acting_calls,
    list_call_ends,
    live_reader_of_state,
    look_up_outcomes,
    other_run_warnings,
)
from synapse_apply.live.packages import origin_sources_of, read_compared_versions, with_file_diffs
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.dated_exception import warnings_of
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import StateError, SynapseApplyError
from synapse_apply.model.frozen import replace
from synapse_apply.model.job import RUN_VERB, LastRun, OtherTargetRuns, RunDoubt, RunStatus
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.plan import Action, PlanBase
from synapse_apply.model.ports import Progress
from synapse_apply.model.project import orient_moves_to_declared
from synapse_apply.model.state import CREATE_VERB, BackendIdentity, IntentState, Record
from synapse_apply.operations.exceptions import accepted_exceptions, records_on_day
from synapse_apply.planning.identity import make_due_renames, select_removed
from synapse_apply.planning.open_call_refusals import WAIT_HINT, with_wait_options
from synapse_apply.planning.plan_input import PlanInput, PlanOptions
from synapse_apply.planning.planner import build_plan as make_plan
from synapse_apply.secrets.keys import key_variable_of
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
    declared are read where a delete needs it, where a lost call may still change them, and where
    they are `addresses_to_read`. RemoteError never leaves here: a read that failed is a finding of
    its address. StateError and InputError as the stores and the manifests raise them, LockLost
    where a lock that is held was lost meanwhile.
    """
    plan_input, resolved_intents = _read_input(session, options, addresses_to_read)
    if concurrent_run := other_run_warnings(session.store, plan_input.base.serial):
        # It may have ended by now; then this look tells of one moment.
        plan_input, resolved_intents = _read_input(session, options, addresses_to_read)
        concurrent_run = other_run_warnings(session.store, plan_input.base.serial)
    plan_input = replace(plan_input, has_concurrent_run=bool(concurrent_run))
    open_calls = [resolved for resolved in resolved_intents if resolved.is_open]
    # What is sent again, and what is adopted, is decided by the planner, and told of here.
    actions: dict[Address, Action] = {}
    if resolved_intents:
        rows = make_plan(plan_input).actionable_changes
        actions = {change.address: change.action for change in rows}
    settled = _iter_settled_warnings(
        resolved_intents,
        {address for address in actions if options.adopt and actions[address] is Action.ADOPT},
    )
    plan_input = replace(
        plan_input,
        diagnostics=(
            *session.diagnostics,
            *(
                concurrent_run
                or (*settled, *_iter_open_call_warnings(open_calls, actions, options))
            ),
            *plan_input.diagnostics,
        ),
    )
    plan, resources = make_plan(plan_input), plan_input.resources
    plan_result = PlanResult(plan, resources, tuple(resolved_intents), plan_input.capabilities)
    if dry_run_progress is not None:
        # Here, not above: a plan that tries nothing needs no more than it reads.
        from synapse_apply.operations.apply import send_dry_runs

        tried = send_dry_runs(session, plan_result, dry_run_progress)
        plan = make_plan(
            replace(
                plan_input,
                dry_run_refusals=tried.refusals,
                trial=tried.counts,
                diagnostics=(*plan_input.diagnostics, *tried.findings),
            )
        )
    # Without the lock nothing more was sent: what could not be read then says nothing.
    session.store.require_lock_not_lost()
    plan = with_file_diffs(plan, resources, origin_sources_of(session), session)
    # Commands that are told do no more than this one: they have its options.
    where = session.invocation
    ref = [] if where.without_checkout else [where.as_of]
    named = {"--ref": ref, "-f": where.paths, "--var @FILE": where.variable_files}
    words = [
        str(word) for option in named for one in named[option] if one for word in (option, one)
    ]
    plan = with_wait_options(plan, (*options.typed, *words))
    return replace(plan_result, plan=plan.with_target(session.typed_target))


# A plan is of one moment: where the serial moved while the backend was read, or another run holds
# the lock, everything is read once more. If it still moves, what lacks a record is refused instead
# of imported: the other run may be between its call and its record.
def _read_input(
    session: TargetSession, options: PlanOptions, addresses_to_read: Collection[Address]
) -> tuple[PlanInput, list[ResolvedIntent]]:
    """Read the state, then every live object that it or the manifests name."""
    state = session.store.read_state()
    exceptions = (*session.exceptions, *accepted_exceptions(state.records))
    state = replace(state, records=records_on_day(state.records, session.today))
    live_reader = live_reader_of_state(session, state)
    resolved_intents = look_up_outcomes(session, state, live_reader)
    open_intents = tuple(resolved.intent for resolved in resolved_intents if resolved.is_open)
    trusted_records, forged_addresses = session.signer.mark_forged_runs_unknown(state.records)
    if resolved_intents:
        # Here, not above: most runs meet no open call.
        from synapse_apply.applying.settle import records_after

        trusted_records = records_after(trusted_records, resolved_intents)
    moves = make_due_renames(
        trusted_records,
        # Manifests of a Git ref may still have the old address.
        orient_moves_to_declared(session.project.moved, session.desired)
        if session.declared_target.commit
        else session.project.moved,
        open_intents,
        session.target.policy.rules,
    )
    records = moves.records
    if resolved_intents or moves.renames:  # else the records are those of the state
        live_reader.lists.marks = build_known_marks(session, records, state.calls)
    marks, desired = live_reader.lists.marks, session.desired
    unnamed: tuple[Diagnostic, ...] = ()
    # Plain values are hidden where a single object has a secret.
    if marks.named is not None:
        desired, unnamed = wrap_recorded_secrets(desired, records, marks, state.calls)
    live_reader.store_declared_lookups(desired, records)
    undeclared, left = set(), records.keys() - session.desired.keys()
    # What a lost call may still do is told of an object as it is.
    kept = replace(state, records={one: records[one] for one in left}, open_intents=())
    acting = {call.address for _, call in list_acting_calls(session, kept)}
    for address in left:
        if kind := session.catalogue.get(address.kind):
            binding = kind.bindings.get(records[address].api)
            may_go = options.prune and binding is not None and binding.delete_object is not None
            if may_go or address in addresses_to_read or address in acting:
                undeclared.add(address)
    live_reader.store_undeclared_lookups(undeclared, records)
    planned = desired.keys() if options.selected is None else desired.keys() & options.selected
    duplicate_warnings = tuple(
        live_reader.iter_duplicate_warnings(
            {address: desired[address] for address in desired if address in planned}, records
        )
    )
    live_versions, version_warnings = read_compared_versions(
        session, live_reader, records, options.selected
    )
    forged_warnings = [
        warning_finding(
            "The record of a run was changed outside of this tool",
            f"The record of the last run of {address} does not match its signature. The "
            "tool treats that run as unknown.",
            "Find out who can write to the state.",
            address=str(address),
        )
        for address in forged_addresses
    ]
    resources = known_resource_states(session, live_reader, desired, records, state.lineage)
    # Only a release that is to be made may need the runs of other targets.
    needs_runs = any(
        one.desired and one.observed is None and one.type.verification_spec
        for one in resources.values()
    )
    journaled = session.journals(state.lineage).done_calls(state) if state.open_intents else {}
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
        forgotten={
            resolved.intent.address: resolved.intent.remote_id
            for resolved in resolved_intents
            if resolved.import_hint
        },
        seconds_until_resolvable={
            resolved.intent.id: resolved.seconds_until_resolvable
            for resolved in resolved_intents
            if resolved.is_open and resolved.seconds_until_resolvable is not None
        },
        call_ends=list_call_ends(session, state) if open_intents else {},
        recovery_hints={call_id: call.recovery_hint for call_id, call in journaled.items()},
        open_call_by_new_address=moves.open_call_by_new_address,
        options=replace(options.with_target_rules(session.target), partial=session.partial),
        capabilities=live_reader.lists.capabilities(),
        diagnostics=(
            *moves.diagnostics,
            *unnamed,
            *version_warnings,
            *forged_warnings,
            *duplicate_warnings,
            *warnings_of(exceptions, session.today),
        ),
        other_targets={
            name: _read_runs(session.session_of(session.project.targets[name]))
            for name in (session.target.require_verified if needs_runs else ())
        },
        moved=moves.renames,
        move_refusals=moves.refusals,
        unmoved=moves.unmoved,
        removed_addresses=select_removed(session.project.removed, records, session.desired),
        published_versions=live_versions,
        can_write=project_files.WrittenFieldPredicate(session, resolved_intents),
        judge_package=project_files.PackageJudge(session),
        declared_in_other_targets=project_files.find_declared_elsewhere(session, resources),
    )
    return plan_input, resolved_intents


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
            IntentState.ABSENT: f"was not done{reason}",
        }.get(intent.state, f"may or may not have been done{reason}")
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
    open_calls: Iterable[ResolvedIntent],
    sent_again: Collection[Address],
    options: PlanOptions,
) -> Iterator[Diagnostic]:
    """One warning for all calls of a verb that are open for the same cause.

    The refusals of their resources do not know the cause. `apply --wait` waits for selected ones.
    """
    groups: dict[tuple[str, str, bool], list[ResolvedIntent]] = defaultdict(list)
    for resolved in open_calls:
        intent = resolved.intent
        if intent.address in sent_again:
            kind = CATALOGUE.get(intent.address.kind)
            again = "revert other fields that somebody changed since"
            if kind and kind.bindings[intent.api].update_mode is UpdateMode.PATCH:
                names = {str(path[0]) for path in (*intent.fields, *intent.before)}
                again = f"set {format_short_list(sorted(names))} again"
            yield warning_finding(
                "Apply repeats an earlier call",
                (
                    f"The outcome of {intent.verb} of {intent.address}, sent at "
                    f"{intent.sent_at}, is still unknown. An apply sends "
                )
                + (
                    f"the same declared fields again. The earlier call may still {again}."
                    if intent.verb == "update"
                    else "it again."
                ),
                address=str(intent.address),
            )
            continue
        cause = resolved.reason if resolved.seconds_until_resolvable is None else ""
        groups[intent.verb, cause, options.selects(intent.address)].append(resolved)
    for (_, _, is_selected), group in groups.items():
        first, count = group[0], len(group)
        addresses = format_short_list(resolved.intent.address for resolved in group)
        sent_at = min(resolved.intent.sent_at for resolved in group)
        sent = f"was sent at {sent_at}" if count == 1 else f"(the first was sent at {sent_at})"
        # Once it is known, a row of a forgotten object waits for the import.
        is_forgotten = first.intent.verb == "update" and not any(one.record for one in group)
        waits = first.seconds_until_resolvable is not None and not is_forgotten
        settle = Command("state settle", *[first.intent.address] * (count == 1), "--wait")
        hint = WAIT_HINT + "." if is_selected else Text(settle, " waits for the call.")
        yield warning_finding(
            f"The outcome of {'an' if count == 1 else count} earlier call{'s' * (count > 1)} is "
            "still unknown",
            f"{first.intent.verb} of {addresses} {sent}: {first.reason}.",
            hint if waits else "",
            address=addresses if count == 1 else "",
        )


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
            recorded, project = state.binding, other_session.project
            if target.is_embedded:
                data_set = find_data_set_id(project.root)
                expected = BackendIdentity(state_access.EMBEDDED_URL, "", data_set)
            else:
                url = normalize_base_url(target.url) if target.url else recorded.url
                expected = BackendIdentity(url, target.tenant or recorded.tenant)
            if recorded != expected:
                raise StateError.from_summary(
                    "This state belongs to another backend",
                    f"it was made for {state_access.describe_identity(recorded)}, and target "
                    f"{target.name} is {state_access.describe_identity(expected)}",
                )
            if (shared_ids := other_session.read_shared_ids()) is not None:
                state_access.require_no_error(project_findings(shared_ids, project, target))
            signer, doubts = RunSigner(other_session.state_keys, state.lineage), {}
            digests, runs = dict[Address, str](), dict[Address, LastRun]()
            for address, record in state.records.items():
                kind = CATALOGUE.get(address.kind)
                if kind is None or kind.verification_spec is None:
                    continue
                digests[address] = (not record.is_package_untold and record.digest) or ""
                if run := LastRun.from_json_or_none(record.verification):
                    runs[address] = run
                    if run.result is RunStatus.PASSED:
                        doubts[address] = _find_doubt(signer, record, run, target.name)
                if record.replaced_at:
                    replaced = "its package was replaced there, so no run of it proves anything"
                    doubts[address] = RunDoubt(replaced)
            known_doubts = {address: doubt for address, doubt in doubts.items() if doubt}
            return OtherTargetRuns(digests=digests, runs=runs, doubts=known_doubts)
    # One target that cannot be read must not stop a plan that may not need it.
    except SynapseApplyError as failure:
        return OtherTargetRuns(
            problem="; ".join(
                (diagnostic.detail or diagnostic.summary).rstrip(".")
                for diagnostic in failure.diagnostics
            )
            or str(failure)
        )


def _find_doubt(
    signer: RunSigner, record: Record, run: LastRun, target_name: str
) -> RunDoubt | None:
    """Why a recorded, passed run of a target is not trusted; None where it is."""
    status = signer.verify_last_run(record)
    if status is SignatureStatus.GENUINE:
        return None
    if status is SignatureStatus.UNSIGNED:
        return RunDoubt(
            "the record of its run there is not signed: an earlier version wrote it, or "
            f"the state key of target {target_name} was not available"
        )
    if status is SignatureStatus.FORGED:
        return RunDoubt(
            "the signature of its run there does not match: the record was changed, or "
            "copied from another record"
        )
    key = signer.keys.current_key
    current = f"the key here is {key.key_id} from {key.origin}" if key else "none is here"
    variable = key_variable_of(target_name)
    return RunDoubt(
        f"its run there is signed with state key {parse_key_id(run.signature)}, and {current}",
        (f"give the state key of target {target_name}, as {variable} for example",),
    )
