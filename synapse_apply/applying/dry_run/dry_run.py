"""Which calls of a plan are sent as dry runs, in which order, and when trying stops.

A server that does not know dry runs acts on them. So the first one is a request that changes
nothing in any case, and whose answer must say that it was a dry run; without that none is tried.
A later answer that does not say so is a finding, and whether its call was carried out is looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field
from typing import Any

from synapse_apply.applying import messages
from synapse_apply.applying.dry_run.dry_run_calls import CREATE, DELETE, RUN, SEAL, UPDATE, DryRun
from synapse_apply.applying.step import (
    CREATES,
    ApplyTools,
    LiveObjects,
    Step,
    list_step_and_companion,
)
from synapse_apply.applying.steps.request_body import iter_secrets_that_calls_send
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text, lowercase_and_strip_full_stop
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.errors import (
    Effect,
    RemoteError,
    RemoteTimeout,
    SecretUnavailable,
    SynapseApplyError,
    Unconfirmed,
    advise_on_failure,
)
from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.model.plan import Action, Refusal
from synapse_apply.model.remote.dry_run_counts import DryRunCounts
from synapse_apply.model.values import collect_references_outside_lists

RULE = "server"
# The verb in reports of progress.
VERB = "try"
DRY_RUN_UNPROVEN = "the backend has not shown that it knows dry runs"
_NOT_TRIED_AFTER_DOUBT = "nothing was tried after an answer that did not say it was a dry run"
# Statuses that are about the moment or the connection, not about the call.
_TRANSIENT_STATUSES = frozenset({408, 429})


@frozen
class DryRunCall:
    """One call of a step that may be tried by a dry run."""

    step: Step
    dry_run: DryRun

    @property
    def displayed_verb(self) -> str:
        """The verb in messages; that of a final call has a name of its own."""
        seal = self.step.binding.final_call
        return seal.verb if seal is not None and self.dry_run is SEAL else self.dry_run.verb

    def __str__(self) -> str:
        return f"{self.displayed_verb} of {self.step.address}"


@frozen
class DryRunStepResult:
    """The result of one dry run: fine, unless refused, not tried (`reason`), or in doubt."""

    call: DryRunCall
    refusal: Refusal | None = None
    reason: str = ""
    doubt: Diagnostic | None = None

    @property
    def result_label(self) -> str:
        """The result in reports of progress."""
        if self.refusal is not None:
            return "refused"
        return "failed" if self.reason or self.doubt is not None else "done"


@mutable
class DryRunResult:
    """The results of all dry runs: refusals by address, calls not tried with reasons, findings."""

    tried_count: int = 0
    refusals: dict[Address, Refusal] = field(default_factory=dict)
    untried: list[tuple[DryRunCall, str]] = field(default_factory=list)
    findings: list[Diagnostic] = field(default_factory=list)

    @property
    def dry_run_counts(self) -> DryRunCounts:
        return DryRunCounts(self.tried_count, len(self.refusals), len(self.untried))

    def add_step_result(self, step_result: DryRunStepResult) -> None:
        """Add the result of one dry run."""
        if step_result.reason:
            self.untried.append((step_result.call, step_result.reason))
            return
        self.tried_count += 1
        if step_result.refusal is not None:
            self.refusals.setdefault(step_result.call.step.address, step_result.refusal)
        if step_result.doubt is not None:
            self.findings.append(step_result.doubt)

    def add_untried_with_reason(self, calls: Iterable[DryRunCall], reason: str) -> None:
        """Add calls that were not tried."""
        self.untried += [(call, reason) for call in calls]


RunEach = Callable[
    [Callable[[DryRunCall], DryRunStepResult], Sequence[DryRunCall]], Iterable[DryRunStepResult]
]


def dry_run_steps(
    steps: Iterable[Step],
    tools: ApplyTools,
    live: LiveObjects,
    run_each: RunEach,
) -> DryRunResult:
    """Try the calls of these steps as dry runs; nothing is sent but reads and dry runs.

    `run_each` runs a function for several calls, possibly in parallel. No call is tried on a server
    that has not shown that it makes dry runs.
    """
    result, waiting = DryRunResult(), list[DryRunCall]()
    for call in sorted(_iter_dry_run_calls(steps), key=_rank_by_harm_if_carried_out):
        reason = _explain_why_not_triable_or_empty(call, tools, live)
        result.add_untried_with_reason([call], reason) if reason else waiting.append(call)
    try:
        is_known = _probe_whether_dry_run_is_known_or_raise_unconfirmed(waiting, tools)
    except Unconfirmed as failure:
        result.findings.append(_build_no_dry_run_warning(failure))
        result.add_untried_with_reason(waiting, DRY_RUN_UNPROVEN)
        return result
    if is_known:
        _dry_run_irreversible_last_until_doubt(waiting, tools, live, run_each, result)
    else:
        result.add_untried_with_reason(waiting, DRY_RUN_UNPROVEN)
    return result


def _dry_run_irreversible_last_until_doubt(
    waiting: Sequence[DryRunCall],
    tools: ApplyTools,
    live: LiveObjects,
    run_each: RunEach,
    result: DryRunResult,
) -> None:
    """Try the waiting calls in parallel; irreversible ones last, one by one, until a doubt."""

    def dry_run_call(call: DryRunCall) -> DryRunStepResult:
        return _dry_run_and_report(call, tools, live)

    for step_result in run_each(
        dry_run_call, [call for call in waiting if not call.dry_run.is_irreversible]
    ):
        result.add_step_result(step_result)
    for call in waiting:
        if not call.dry_run.is_irreversible:
            continue
        # A doubt about a reversible call shows that this server may act on dry runs after all.
        if result.findings:
            result.add_untried_with_reason([call], _NOT_TRIED_AFTER_DOUBT)
        else:
            result.add_step_result(dry_run_call(call))


def _probe_whether_dry_run_is_known_or_raise_unconfirmed(
    waiting: Iterable[DryRunCall], tools: ApplyTools
) -> bool:
    """Whether a harmless request shows that the server knows dry runs.

    Raises Unconfirmed where its answer shows that the server does not.
    """
    for harmless_call in dict.fromkeys(call.step.binding.send_dry_run_probe for call in waiting):
        try:
            if harmless_call is not None and harmless_call(tools.api.dry_run):
                return True
        except Unconfirmed:
            raise
        except RemoteError:
            continue  # a failure shows nothing either way, and nothing was changed
    return False


def _iter_dry_run_calls(steps: Iterable[Step]) -> Iterator[DryRunCall]:
    steps = list(steps)
    companion_addresses = {step.companion.address for step in steps if step.companion is not None}
    for step in steps:
        action = step.change.action
        if action in CREATES:
            # A companion is created by its owner's call.
            if step.address not in companion_addresses:
                yield DryRunCall(step, CREATE)
        elif action is Action.DELETE:
            yield DryRunCall(step, DELETE)
        elif step.fields_without_final_call:
            yield DryRunCall(step, UPDATE)
        if step.has_final_call:
            yield DryRunCall(step, SEAL)
        due = step.change.verification
        if due is not None and not due.job:
            yield DryRunCall(step, RUN)


def _rank_by_harm_if_carried_out(call: DryRunCall) -> int:
    """Sorts calls by the harm that they do if the server carries them out."""
    return (UPDATE, CREATE, DELETE, SEAL, RUN).index(call.dry_run)


def _explain_why_not_triable_or_empty(
    call: DryRunCall, tools: ApplyTools, live: LiveObjects
) -> str:
    """Why a call cannot be tried; "" where it can."""
    step = call.step
    if call.dry_run.send_dry_run is None:
        return "a run cannot be tried"
    if step.binding.send_dry_run_probe is None:
        return f"API {step.binding.api} has no dry run"
    # A final call needs the id of an object, which a dry run of its create does not give.
    if call.dry_run is SEAL and step.change.action in CREATES:
        return "it is not there yet"
    if call.dry_run in {CREATE, UPDATE} and step.desired is not None:
        missing_addresses = sorted(
            {
                checked_step.address
                for checked_step in collect_references_outside_lists(step.desired.spec)
            }
            - live.keys()
        )
        if missing_addresses:
            return f"it needs {missing_addresses[0]}, which is not there yet"
    for checked_step in list_step_and_companion(step):
        for _path, ref in iter_secrets_that_calls_send(checked_step):
            try:
                tools.secrets.resolve_secret(ref)
            except SecretUnavailable as problem:
                return problem.diagnostics[0].detail.rstrip(".")
    return ""


def _dry_run_and_report(call: DryRunCall, tools: ApplyTools, live: LiveObjects) -> DryRunStepResult:
    """Try one call, and report progress."""
    address, started_at = call.step.address, tools.clock.monotonic_seconds()
    tools.progress.report_start(address, VERB)
    step_result = _send_dry_run_with_errors_as_result(call, tools, live)
    tools.progress.report_end(
        address, VERB, step_result.result_label, tools.clock.monotonic_seconds() - started_at
    )
    return step_result


def _send_dry_run_with_errors_as_result(
    call: DryRunCall, tools: ApplyTools, live: LiveObjects
) -> DryRunStepResult:
    step, send = call.step, call.dry_run.send_dry_run
    try:
        if send is not None:
            send(step, tools, live)
    except SynapseApplyError as failure:
        return DryRunStepResult(call, reason=failure.diagnostics[0].detail.rstrip("."))
    except RemoteError as failure:
        # A server that makes dry runs has changed nothing, even if its answer is lost.
        if isinstance(failure, Unconfirmed):
            return DryRunStepResult(
                call, doubt=_look_up_and_build_finding_whether_acted_on(call, failure, tools, live)
            )
        status = failure.status_code
        if 400 <= status < 500 and status not in _TRANSIENT_STATUSES:
            return DryRunStepResult(call, refusal=_build_dry_run_refusal(call, failure, tools))
        return DryRunStepResult(call, reason=_describe_failure(step, failure, tools))
    return DryRunStepResult(call)


def _describe_failure(step: Step, failure: RemoteError, tools: ApplyTools) -> str:
    if failure.status_code:
        return messages.format_answer_status_and_safe_words(
            step, failure, tools.marks.with_address(step.address)
        ).rstrip(".")
    if isinstance(failure, RemoteTimeout):
        return "no answer came in time"
    return "no answer came" if failure.effect is Effect.UNKNOWN else f"{failure}".rstrip(".")


def _build_dry_run_refusal(call: DryRunCall, failure: RemoteError, tools: ApplyTools) -> Refusal:
    step = call.step
    call_text = "" if call.dry_run in {CREATE, UPDATE, DELETE} else f" of its {call.displayed_verb}"
    message = messages.format_answer_status_and_safe_words(
        step, failure, tools.marks.with_address(step.address), f" to a dry run{call_text}"
    )
    if failure.request_id:
        message += f" (request id {failure.request_id})"
    if failure.status_code == messages.CONFLICT and call.dry_run is CREATE:
        new_identity = "a new version" if step.type.series_field else "another name or code"
        ways_out: tuple[str, ...] = (
            f"declare it under {new_identity}",
            Text("if it is there and you know its id: ", Command("import", step.address, "ID")),
        )
    else:
        hint = advise_on_failure(failure, "plan again", "Resolve what it says, then plan again.")
        ways_out = (lowercase_and_strip_full_stop(hint),)
    position = step.desired.position if step.desired else None
    return Refusal(RULE, message, ways_out, position)


def _build_no_dry_run_warning(failure: RemoteError) -> Diagnostic:
    return warning_finding(
        "The backend does not say that it makes dry runs",
        "Asked for a dry run of a change of nothing, it answered without saying that it was one. "
        "It may act on a dry run, so that no call was tried.",
        "Plan without --server-dry-run.",
        request_id=failure.request_id,
    )


def _look_up_and_build_finding_whether_acted_on(
    call: DryRunCall, failure: RemoteError, tools: ApplyTools, live: LiveObjects
) -> Diagnostic:
    """The finding on whether a call was carried out that should only have been checked."""
    reason = "the answer does not say that it was a dry run"
    common_fields: dict[str, Any] = {
        "address": f"{call.step.address}",
        "request_id": failure.request_id,
    }
    has_acted = call.dry_run.has_acted(call.step, tools, live)
    if has_acted:
        return error_finding(
            "The backend acted on a dry run",
            f"The {call} was to be checked only, and it was done: {reason}. Nothing more was "
            f"tried.",
            "Plan without --server-dry-run, which this backend does not know: the new plan shows "
            "what is there now.",
            **common_fields,
        )
    if has_acted is None:
        return error_finding(
            "A dry run may have been acted on",
            f"The {call} was to be checked only: {reason}, and it is not known whether "
            f"it was done. "
            "Nothing more was tried.",
            f"Look at {call.step.address} in Synapse, then plan without --server-dry-run.",
            **common_fields,
        )
    return warning_finding(
        "The backend does not say that it made a dry run",
        f"The {call} was to be checked only: {reason}. It was not done, and nothing more was "
        f"tried.",
        **common_fields,
    )
