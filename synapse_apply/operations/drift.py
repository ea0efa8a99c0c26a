"""What counts as drift: what differs live from what was recorded. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from synapse_apply.kinds.wire import list_raw_objects, require_remote_id_of_answer
from synapse_apply.live.project_files import WrittenFieldPredicate
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text, join_texts, name_target_in_commands
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import RemoteError, StateError, advise_on_failure
from synapse_apply.model.frozen import replace
from synapse_apply.model.plan import CONCURRENT_RUN_SUMMARY
from synapse_apply.model.report import Drift, Unmanaged
from synapse_apply.model.resource import ObjectKey
from synapse_apply.planning.drift import build_drift_report
from synapse_apply.planning.open_call_refusals import concurrent_call
from synapse_apply.planning.plan_input import PlanOptions
from synapse_apply.workspace.target_session import PlanResult, TargetSession


def build_options_that_revert_drift(
    selected: frozenset[Address] | None, typed: tuple[str, ...] = ()
) -> PlanOptions:
    """Options for the plan that drift is computed from: it reverts drift and runs nothing.

    `revert_drift` also where the target keeps drift, because only then does the plan say which
    drift apply could not undo.
    """
    return PlanOptions(
        selected=selected, verify=False, revert_drift=True, allow_replace=True, typed=typed
    )


def require_no_open_call(plan_result: PlanResult, address: Address) -> None:
    """StateError where a call of an address is not settled: what is live may still change."""
    other_run = [d for d in plan_result.plan.diagnostics if d.summary == CONCURRENT_RUN_SUMMARY]
    for call in (r.intent for r in plan_result.resolved_intents if r.intent.address == address):
        error = StateError.from_summary(
            "A call of this object is open",
            f"Apply {call.plan_id} sent {call.verb} of {address} at {call.sent_at}. The outcome of "
            "the call is not recorded yet, and the call may still change the live object.",
            "Try again when the other run has ended."
            if other_run
            else Text("First ", Command("state settle", address, "--wait"), "."),
        )
        raise StateError(*error.diagnostics, *other_run)


# Looking never records: live is compared with what was seen, and a refresh that recorded live as
# seen would end drift without anybody being told.
def compute_drift(
    session: TargetSession, plan_result: PlanResult, *, unmanaged: bool = False
) -> Drift:
    """Compute the drift from a plan that was made with `build_options_that_revert_drift`.

    `unmanaged` also lists the live objects that no manifest declares and no record has. A read
    that failed is an error among the diagnostics, never absence.
    """
    report = build_drift_report(
        plan_result.plan,
        plan_result.resources,
        keeps_drift=session.target.on_drift == "hold",
        can_write=WrittenFieldPredicate(session, plan_result.resolved_intents),
    )
    errors = tuple(_errors_of_calls_under_way(plan_result))
    judged = {finding.address for finding in errors}
    report = replace(
        report,
        objects=tuple(one for one in report.objects if str(one.address) not in judged),
        diagnostics=(*report.diagnostics, *errors),
        typed_target=session.typed_target,
    )
    return _with_unmanaged(session, plan_result, report) if unmanaged else report


def _errors_of_calls_under_way(plan_result: PlanResult) -> Iterator[Diagnostic]:
    """An error for each object whose call another run has not recorded, though it shows as ended.

    One that does not show so is refused in the plan, which tells of it.
    """
    if not any(one.summary == CONCURRENT_RUN_SUMMARY for one in plan_result.plan.diagnostics):
        return
    for call in (one.intent for one in plan_result.resolved_intents if not one.is_open):
        resource = plan_result.resources.get(call.address)
        if resource is not None and resource.desired and resource.record:
            refusal = concurrent_call(call, "")
            yield error_finding(
                "It is still unknown whether an object has drifted",
                f"{call.address}: {refusal.reason}.",
                Text("Ways out: ", join_texts(refusal.ways_out), "."),
                position=resource.position(),
                address=str(call.address),
            )


def _with_unmanaged(session: TargetSession, plan_result: PlanResult, report: Drift) -> Drift:
    """The report with live objects that are neither recorded nor declared."""
    # Every object that is recorded or matches a declared resource.
    known_objects = {
        ObjectKey(address.kind, record.api, record.remote_id)
        for address, record in session.store.read_state().records.items()
    }
    for address, resource in plan_result.resources.items():
        if (observed := resource.observed) is not None:
            known_objects.add(ObjectKey(address.kind, observed.api, observed.remote_id))
    unmanaged_objects: list[Unmanaged] = []
    unlistable_kinds: list[str] = []
    unread_kinds: list[str] = []
    problems: list[Diagnostic] = []
    for prefix in session.catalogue:
        binding = session.select_binding(prefix)
        try:
            raw_objects = list_raw_objects(session.api, binding)
        except RemoteError as failure:
            unread_kinds.append(prefix)
            problems.append(
                error_finding(
                    "Listing live objects failed",
                    f"{prefix}: {str(failure).removesuffix('.')}.",
                    advise_on_failure(failure, "run again", "Run again; nothing was changed."),
                    request_id=failure.request_id,
                )
            )
            continue
        if raw_objects is None:
            unlistable_kinds.append(prefix)
        unmanaged_objects += [
            Unmanaged(prefix, require_remote_id_of_answer(raw), binding.list_natural_keys(raw))
            for raw in raw_objects or ()
            if ObjectKey(prefix, binding.api, require_remote_id_of_answer(raw)) not in known_objects
        ]
    return replace(
        report,
        unmanaged=tuple(
            sorted(unmanaged_objects, key=lambda one: (one.kind, one.keys, one.remote_id))
        ),
        unlistable_kinds=tuple(unlistable_kinds),
        unread_kinds=tuple(unread_kinds),
        diagnostics=(*report.diagnostics, *name_target_in_commands(problems, session.typed_target)),
    )
