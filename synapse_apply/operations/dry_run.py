"""How a plan's calls are sent as dry runs, and how calls that were not tried are reported."""

from __future__ import annotations

from collections.abc import Iterator

from synapse_apply.applying.dry_run import DryRunResult, dry_run_steps
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.phrases import format_count_and_noun, format_short_list
from synapse_apply.model.ports import Progress
from synapse_apply.model.runtime.parallel_reads import open_interruptible_thread_pool
from synapse_apply.operations.steps import (
    build_run,
    list_steps,
)
from synapse_apply.workspace.target_session import PlanResult, TargetSession


def send_dry_runs_of_checkable_calls(
    session: TargetSession, plan_result: PlanResult, progress: Progress
) -> DryRunResult:
    """Send, as a dry run, each call of a plan that the backend can check; it changes nothing."""
    with open_interruptible_thread_pool(session.parallelism) as pool:
        return dry_run_steps(
            list_steps(plan_result),
            build_run(session, plan_result, progress),
            pool.map,
        )


def build_dry_run_findings(dry_run_result: DryRunResult) -> tuple[Diagnostic, ...]:
    """The findings of the dry runs, and one warning that lists the calls that were not tried."""
    return (*dry_run_result.findings, *_iter_warning_if_calls_untried(dry_run_result))


def _iter_warning_if_calls_untried(dry_run_result: DryRunResult) -> Iterator[Diagnostic]:
    reasons: dict[str, list[str]] = {}
    for dry_run_call, reason in dry_run_result.untried:
        reasons.setdefault(reason, []).append(f"{dry_run_call.step.address}")
    if not reasons:
        return
    counts = dry_run_result.dry_run_counts
    calls_text = f"{counts.untried} of {format_count_and_noun(counts.total_calls, 'call')}"
    reasons_text = "; ".join(
        f"{reason} ({format_short_list(addresses)})" for reason, addresses in reasons.items()
    )
    yield warning_finding(
        "Not every call was tried on the backend",
        f"{calls_text} not tried: {reasons_text}.",
        "What the backend says to these shows when they are applied.",
    )
