"""How a worker applies a target: what it judges under the lock, and what is told of the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from threading import Lock

from synapse_apply import ApplyObserver
from synapse_apply.controller.planned_rows import ApplyTerms, Binding, Judgement, RowAction
from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.rows import CallCounts, CallProgress, RunOutcome
from synapse_apply.controller.rules.judging import MOVED_SUMMARY, judge_rows
from synapse_apply.controller.worker.exchange import Order
from synapse_apply.controller.worker.look import (
    MAX_HOLDER_CHARACTERS,
    build_result_of_failure,
    build_result_of_plan,
    exception_finding,
    mark_changes,
    mark_restored_rows,
    open_ordered_target,
    refuse_owned,
)
from synapse_apply.library.plan_rows import PermittedApply, PermittedRows
from synapse_apply.model.address import Address
from synapse_apply.model.command import name_target_in_commands
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import InputError, LockHeld, Refused, SynapseApplyError
from synapse_apply.model.frozen import replace
from synapse_apply.model.job import RunStatus
from synapse_apply.model.plan import Plan
from synapse_apply.model.ports import CallPermit
from synapse_apply.model.report import Report, Result
from synapse_apply.views.json.documents import format_redacted_json_line, report_document
from synapse_apply.views.text.outcomes import outcome_findings

_MAX_STOP_REASON = 1000
# Nothing failed on which the rest depends, and nothing stopped it.
_LEFT_OUT = "the other rows depend on rows that were not permitted"
# Of the parts of one row, a change and the run after it, the first of these is told.
_WORST_FIRST = (Result.UNKNOWN, Result.FAILED, Result.SKIPPED, Result.DONE)
_RESULT_OF_RUN = {
    RunStatus.UNKNOWN: Result.UNKNOWN,
    # It goes on, and the next apply follows it.
    RunStatus.RUNNING: Result.SKIPPED,
    RunStatus.SKIPPED: Result.SKIPPED,
}


class RowsUnderLock:
    """What of the plan that is made under the lock may be done, and that plan."""

    def __init__(self, terms: ApplyTerms, binding: Binding | None, name: str = "") -> None:
        """InputError for a plan that is not bound to `binding`, where that is known.

        `name` is the target's, as refusals have it.
        """
        self._terms, self._binding, self._name = terms, binding, name
        self.result: RunResult | None = None
        self.judgement = Judgement()

    def choose_permitted_rows(
        self, plan: Plan, mark: Callable[[RunResult], RunResult]
    ) -> PermittedRows:
        """What the terms permit of a plan; InputError for too many rows, or another binding.

        `mark` adds what only the target knows of them.
        """
        plan = refuse_owned(plan, self._terms.owners, self._name)
        self.result = mark(build_result_of_plan(plan))
        if self._binding not in {None, self.result.binding}:
            # Not even the state is written: the look before was at something else.
            detail = (
                f"The target points to {self.result.binding}; at the check it pointed to "
                f"{self._binding}."
            )
            raise InputError.from_summary(MOVED_SUMMARY, detail)
        judgement = self.judgement = judge_rows(self.result.rows, self._terms)
        used = judgement.used_approvals
        guards = [row.digest for row in self.result.rows if row.action is RowAction.GUARD]
        return PermittedRows(
            frozenset(Address.parse(row.address) for row in judgement.permitted_rows),
            frozenset(judgement.overridden_guards),
            {
                Address.parse(row.address): tuple(used[row.digest])
                for row in judgement.permitted_rows
                if row.digest in used
            },
            tuple(dict.fromkeys(name for digest in guards for name in used.get(digest, ()))),
        )


class ToldRows(ApplyObserver):
    """Tells of each row as its calls begin and end."""

    def __init__(self, rows: RowsUnderLock, tell: Callable[[CallProgress], None]) -> None:
        self._rows, self._tell, self._lock = rows, tell, Lock()
        self._numbers: dict[Address, int] = {}
        self._begun: dict[tuple[Address, str], CallProgress] = {}

    def report_start(self, address: Address, verb: str) -> None:
        total = len(self._rows.judgement.permitted_rows)
        with self._lock:
            number = self._numbers.setdefault(address, len(self._numbers) + 1)
            call = CallProgress(number, max(total, number), str(address), verb, time.time())
            self._begun[address, verb] = call
        self._tell(call)

    def report_end(
        self, address: Address, verb: str, result: str, seconds: float, remote_id: str = ""
    ) -> None:
        del remote_id
        if call := self._begun.get((address, verb)):
            self._tell(replace(call, result=result, seconds=max(seconds, 0.0)))


def apply_permitted_rows(
    order: Order,
    terms: ApplyTerms,
    environ: Mapping[str, str],
    permit: CallPermit,
    tell: Callable[[CallProgress], None] = lambda _progress: None,
) -> RunResult:
    """Do what the order permits of a target's plan, under its lock; raises nothing.

    `environ` are all variables that the target can name. Where another run has the lock, nothing
    is done (`held_up_by_run`). `tell` hears of each row as it begins and ends.
    """
    rows = RowsUnderLock(terms, order.binding, str(order.target))
    try:
        with open_ordered_target(order, environ) as target:
            apply = partial(
                target.apply_permitted,
                lambda plan: rows.choose_permitted_rows(
                    mark_changes(target, plan, order),
                    lambda result: mark_restored_rows(result, target, plan, order),
                ),
                run_id=order.run_id,
                who=order.who,
                operation=order.operation,
                permit=permit,
                prune=order.prune,
                observer=ToldRows(rows, tell),
            )
            try:
                applied = apply()
            except LockHeld:
                if not target.wait_out_lock_owner():
                    raise
                applied = apply()
            return ended_apply(rows, applied)
    except LockHeld as held:
        holder = " ".join(f"{finding.summary}: {finding.detail}" for finding in held.diagnostics)
        return RunResult(RunOutcome.APPLY_STOPPED, held_up_by_run=holder[:MAX_HOLDER_CHARACTERS])
    except Refused as stop:
        # What is told where a guard stopped the apply before its first call.
        if rows.result is None:
            return build_result_of_failure(stop.diagnostics)
        permitted_count = len(rows.judgement.permitted_rows)
        if not permitted_count:
            return rows.result
        return replace(
            rows.result,
            outcome=RunOutcome.APPLY_STOPPED,
            calls=CallCounts(skipped=permitted_count),
            stop_reason=str(stop)[:_MAX_STOP_REASON],
        )
    except SynapseApplyError as failure:
        # Before the first call: one that fails is in the report.
        if failure.plan is not None and failure.plan.has_errors:
            with suppress(InputError):  # of too many rows
                return build_result_of_plan(failure.plan)
        return build_result_of_failure(name_target_in_commands(failure.diagnostics, order.name))
    except Exception:  # noqa: BLE001 - one broken target must not end the worker
        failed = build_result_of_failure((exception_finding("An apply"),))
        unknown_count = len(rows.judgement.permitted_rows)
        if not unknown_count:
            return failed
        # What was sent by then is looked up by the next run.
        calls = CallCounts(unknown=unknown_count)
        return replace(failed, outcome=RunOutcome.APPLY_FAILED, calls=calls)


def ended_apply(rows: RowsUnderLock, applied: PermittedApply) -> RunResult:
    """What is told of an apply that came to its end.

    `stop_reason` stands only where something was left undone for it.
    """
    report, planned = applied.report, rows.result
    if planned is None:
        planned = build_result_of_plan(report.plan)
    calls = count_results(report, rows.judgement)
    outcome, stop_reason = RunOutcome.APPLIED, ""
    if not rows.judgement.permitted_rows:
        outcome = planned.outcome
    elif calls.failed or calls.unknown:
        outcome, stop_reason = RunOutcome.APPLY_FAILED, applied.stop_reason
    elif calls.skipped:
        outcome = RunOutcome.APPLY_STOPPED
        stop_reason = applied.stop_reason or _LEFT_OUT
    return replace(
        planned,
        outcome=outcome,
        findings=(*planned.findings, *_findings_of(report)),
        calls=calls,
        used_approvals=applied.used_approvals,
        returned_approvals=applied.returned_approvals,
        stop_reason=stop_reason[:_MAX_STOP_REASON],
        report_json=format_redacted_json_line(report_document(report)),
    )


def count_results(report: Report, judgement: Judgement) -> CallCounts:
    """What became of the rows that were to be done; one that was left out counts as skipped."""
    results: dict[Address, list[Result]] = {}
    for outcome in report.outcomes:
        results.setdefault(outcome.address, []).append(outcome.result)
    for run in report.verification_results:
        failed = _RESULT_OF_RUN.get(run.status, Result.FAILED)
        result = Result.DONE if run.is_acceptable else failed
        results.setdefault(run.address, []).append(result)
    counts = Counter(
        min(results.get(Address.parse(row.address), [Result.SKIPPED]), key=_WORST_FIRST.index)
        for row in judgement.permitted_rows
    )
    return CallCounts(
        counts[Result.DONE], counts[Result.FAILED], counts[Result.UNKNOWN], counts[Result.SKIPPED]
    )


def _findings_of(report: Report) -> tuple[Diagnostic, ...]:
    """What is said of rows that were tried: why the rest was not is the report's to tell."""
    tried = [outcome for outcome in report.outcomes if outcome.result is not Result.SKIPPED]
    runs = (
        finding
        for run in report.verification_results
        if run.status is not RunStatus.SKIPPED
        for finding in run.diagnostics
    )
    return (*outcome_findings(tried), *runs)
