"""Which answers of a worker are believed: all others are no answer, and end that worker."""

from __future__ import annotations

import math
import re
from collections.abc import Collection

from synapse_apply.controller.planned_rows import PlannedRow, RowAction
from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.rows import CallCounts, RunningJobsSeen, RunOutcome
from synapse_apply.controller.worker.jobs import MAX_JOB_TEXT_CHARACTERS, MAX_JOBS
from synapse_apply.controller.worker.planned import (
    MAX_NAME_CHARACTERS,
    MAX_REASON_CHARACTERS,
    MAX_SUMMARY_CHARACTERS,
)
from synapse_apply.model.coding.json_values import WrongShapeError
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import InputError

MAX_PLAN_CHARACTERS = 32 * 1024 * 1024
MAX_REPORT_CHARACTERS = 8 * 1024 * 1024
MAX_FINDINGS = 1000
MAX_ROWS = 20_000
# All in all: a guard names the rows that it counts, a row what it depends on.
MAX_NEEDS = 200_000
_MAX_SHORT_TEXT = 4000
_WHOLE_PERCENT = 100
_DIGEST = re.compile(r"[0-9a-f]{64}|")
_ROW_DIGEST = re.compile(r"row1:[0-9a-f]{64}")
_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]{0,255}")
_TARGET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_LOOK_OUTCOMES = {RunOutcome.IN_SYNC, RunOutcome.CHANGES, RunOutcome.PLAN_ERROR}
_APPLY_OUTCOMES = {
    *_LOOK_OUTCOMES,
    *(RunOutcome.APPLIED, RunOutcome.APPLY_FAILED, RunOutcome.APPLY_STOPPED),
}


def require_plausible_look(result: RunResult) -> None:
    """WrongShapeError for a result that no look of ours has."""
    is_plausible = (
        result.outcome in _LOOK_OUTCOMES
        and result.calls == CallCounts()
        and not (result.used_approvals or result.stop_reason or result.report_json)
        and (result.running_jobs is None or _are_jobs_plausible(result.running_jobs))
        and _has_plausible_fields(result)
    )
    if not is_plausible:
        raise WrongShapeError("a value is not one that a look has")


def require_plausible_apply(result: RunResult, approval_ids: Collection[str]) -> None:
    """WrongShapeError for a result that no apply of ours has; `approval_ids` are those it got."""
    calls = result.calls
    is_plausible = (
        result.outcome in _APPLY_OUTCOMES
        and not (result.outcome is RunOutcome.APPLIED and calls.failed + calls.unknown)
        and all(getattr(calls, name) >= 0 for name in ("done", "failed", "unknown", "skipped"))
        and calls.done + calls.failed + calls.unknown + calls.skipped <= MAX_ROWS
        and set(result.used_approvals) <= set(approval_ids)
        and len(set(result.used_approvals)) == len(result.used_approvals)
        and len(result.stop_reason) <= _MAX_SHORT_TEXT
        and len(result.report_json) <= MAX_REPORT_CHARACTERS
        and result.running_jobs is None
        and _has_plausible_fields(result)
    )
    if not is_plausible:
        raise WrongShapeError("a value is not one that an apply has")


def require_limited_rows(rows: Collection[PlannedRow]) -> None:
    """InputError for a plan of more rows than an answer may have."""
    needs_count = sum(len(row.needs) for row in rows)
    if len(rows) > MAX_ROWS or needs_count > MAX_NEEDS:
        raise InputError(
            error_finding(
                "The plan is too large for the controller",
                f"{len(rows):,} rows ask for something, with {needs_count:,} dependencies; at most "
                f"{MAX_ROWS:,} and {MAX_NEEDS:,} are decided about at once.",
                "Apply it on the command line, or split the target.",
            )
        )


def _has_plausible_fields(result: RunResult) -> bool:
    counts = result.counts
    return bool(
        all(getattr(counts, name) >= 0 for name in counts.__slots__)  # type: ignore[attr-defined]
        and len(result.findings) <= MAX_FINDINGS
        and all(_TARGET_NAME.fullmatch(target.name) for target in result.targets)
        and len(result.plan_json) <= MAX_PLAN_CHARACTERS
        and len(result.held_up_by_run) <= _MAX_SHORT_TEXT
        and _DIGEST.fullmatch(result.result_digest)
        and _HOST.fullmatch(result.backend_host)
        and len(repr(result.binding)) <= _MAX_SHORT_TEXT
        and len(result.rows) <= MAX_ROWS
        and sum(len(row.needs) for row in result.rows) <= MAX_NEEDS
        and all(map(_is_plausible_row, result.rows))
        and len({row.digest for row in result.rows}) == len(result.rows)
        and _has_unique_addresses(result.rows)
    )


def _are_jobs_plausible(running: RunningJobsSeen) -> bool:
    texts = [
        running.unread_reason,
        *(text for job in running.jobs for text in (job.owner, job.version)),
    ]
    return bool(
        len(running.jobs) <= MAX_JOBS
        and not running.seen_at
        and max(map(len, texts)) <= MAX_JOB_TEXT_CHARACTERS
        and all(
            0 < len(job.id) <= MAX_JOB_TEXT_CHARACTERS
            and (job.progress is None or 0 <= job.progress <= _WHOLE_PERCENT)
            and math.isfinite(job.since)
            for job in running.jobs
        )
    )


def _has_unique_addresses(rows: Collection[PlannedRow]) -> bool:
    """Names of guards may have been cut."""
    addresses = [row.address for row in rows if row.action is not RowAction.GUARD]
    return len(set(addresses)) == len(addresses)


def _is_plausible_row(row: PlannedRow) -> bool:
    return bool(
        _ROW_DIGEST.fullmatch(row.digest)
        and 0 < len(row.address) <= MAX_NAME_CHARACTERS
        and len(set(row.causes)) == len(row.causes)
        and len(set(row.actions)) == len(row.actions)
        and all(len(need) <= MAX_NAME_CHARACTERS for need in row.needs)
        and row.limit >= 0
        and len(row.refusal) <= MAX_NAME_CHARACTERS
        and len(row.refusal_reason) <= MAX_REASON_CHARACTERS
        and len(row.summary) <= MAX_SUMMARY_CHARACTERS
        and (row.refusal or not (row.is_outcome_unknown or row.refusal_reason))
    )
