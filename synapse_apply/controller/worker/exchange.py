"""What a worker is asked, permitted and answers, a line of JSON each, and what is believed.

A worker reads what a hostile commit and a hostile server say. Its answers are values of our own
only after they were checked, and their texts are never more than texts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import field
from typing import Any

from synapse_apply.controller.planned_rows import ApplyTerms, Binding, PlannedRow, RowAction
from synapse_apply.controller.ports import Permit, RunResult
from synapse_apply.controller.rows import (
    CallCounts,
    CallProgress,
    RunningJobsSeen,
    RunOutcome,
    TargetName,
)
from synapse_apply.model.codec import build_coder
from synapse_apply.model.diagnostic import error_finding, warning_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.json_values import WrongShapeError

# All of a line is decoded at once, while nothing else is done: within a second by its values.
MAX_LINE_BYTES, MAX_LINE_VALUES = 96 * 1024 * 1024, 4_000_000
_ORDER, _PERMIT, _PROGRESS = "order", "permit", "progress"
PROGRESS_START = f'{{"{_PROGRESS}": '.encode()
_DOCUMENTS = {"plan_json": "plan", "report_json": "report"}

_MAX_PROGRESS_BYTES = 16 * 1024

# So that a permit is always written at once, whatever letters its reason has.
_MAX_REASON = 500


@frozen
class Order:
    """One look, apply or reading of a project file that a worker is asked for.

    `timeout` is in seconds; `prune` deletes what is no longer declared. `closed` are the
    credentials of earlier commits, which manifests may not read, with the hosts that each may go to
    as a token, () for no limit; `live_commit` is `applied_commit` of a TargetRow, `is_live` as in
    ApplyTerms. `own_name` is what the audit of the state calls this controller.

    An apply has `terms`: it plans under the lock, and does what they permit of that. `run_id` is
    the plan id of state and audit. `who` stands in the audit of the state: `controller:NAME`, and
    who approved. `operation` is what others see who wait for the lock. Nothing is done to what is
    not bound to `binding`, where that is known. `project_from` is the commit of the source's pin.

    The pool writes the rest: `folder` is the project's folder of the source's place. `variables`
    are those of the worker's environment that the target can name. `readable` and `unreadable` are
    the real paths of a ReadableFiles, `opened` are those of ReservedVariables, `hosts` narrow
    SYNAPSE_APPLY_HOSTS. To read a project file, `read` has path and project_from of its source, the
    controller's folder, and the pin's commit. A look with `create_state` makes a missing state.
    """

    source: str
    name: str
    commit: str
    timeout: float
    terms: ApplyTerms | None = None
    run_id: str = ""
    who: str = ""
    operation: str = "apply"
    prune: bool = False
    binding: Binding | None = None
    closed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    live_commit: str = ""
    is_live: bool = False
    own_name: str = ""
    folder: str = ""
    project_from: str = ""
    variables: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    create_state: bool = False

    @property
    def target(self) -> TargetName:
        return TargetName(self.source, self.name)


def encode_order(order: Order) -> bytes:
    """The line of an order."""
    return _encode_line({_ORDER: build_coder(Order).encode(order)})


def encode_permit(permit: Permit) -> bytes:
    """The line of a permit for the apply that is under way."""
    return _encode_line({_PERMIT: [permit.until, permit.reason[:_MAX_REASON]]})


def decode_order_or_permit(line: bytes) -> Order | Permit:
    """What a line for a worker says; WrongShapeError."""
    match _decode_json(line):
        case {"order": order}:
            decoded: Order = build_coder(Order).decode(order)
            return decoded
        case {"permit": [int() | float() as until, str() as reason]} if math.isfinite(until):
            return Permit(float(until), reason)
    raise WrongShapeError("this is neither an order nor a permit")


def encode_progress(progress: CallProgress) -> bytes:
    """The line of what an apply does now, before that of its result."""
    return _encode_line({_PROGRESS: build_coder(CallProgress).encode(progress)})


def decode_progress(line: bytes) -> CallProgress:
    """What an apply does now; WrongShapeError for what is not ours."""
    if len(line) > _MAX_PROGRESS_BYTES:
        raise WrongShapeError("it is too long")
    progress: CallProgress = build_coder(CallProgress).decode(_decode_json(line)[_PROGRESS])
    if not (
        0 < progress.number <= progress.total <= MAX_ROWS
        and 0 < len(progress.address) <= MAX_NAME_CHARACTERS
        and max(len(progress.action), len(progress.result)) <= MAX_JOB_TEXT_CHARACTERS
        and math.isfinite(progress.began_at)
        and 0 <= progress.seconds < math.inf
    ):
        raise WrongShapeError("a value is not one that a running apply has")
    return progress


def encode_result(result: RunResult) -> bytes:
    """The line of a result; documents that are too large are left out, with a warning."""
    result = replace(result, findings=result.findings[:MAX_FINDINGS])
    if len(result.plan_json) > MAX_PLAN_CHARACTERS:
        result = _drop_documents(result, "plan_json")
    if len(result.report_json) > MAX_REPORT_CHARACTERS:
        result = _drop_documents(result, "report_json")
    line = _encode_line(build_coder(RunResult).encode(result))
    if not _is_limited(line):
        line = _encode_line(build_coder(RunResult).encode(_drop_documents(result, *_DOCUMENTS)))
    return line


def _drop_documents(result: RunResult, *names: str) -> RunResult:
    nouns = " and ".join(_DOCUMENTS[name] for name in names if getattr(result, name))
    warning = warning_finding(
        f"The {nouns} is too large to keep",
        f"It has {max(len(getattr(result, name)) for name in names):,} characters; its counts "
        "are correct.",
        "Split the target, or plan it on the command line.",
    )
    without: dict[str, Any] = dict.fromkeys(names, "")
    findings = (*result.findings[: MAX_FINDINGS - 1], warning)
    return replace(result, findings=findings, **without)


def decode_result(line: bytes, terms: ApplyTerms | None = None) -> RunResult:
    """The result of a look, or of an apply by `terms`; WrongShapeError for one that is not ours."""
    result: RunResult = build_coder(RunResult).decode(_decode_json(line))
    calls, jobs = result.calls, result.running_jobs
    if terms is None:
        is_plausible = (
            result.outcome in _LOOK_OUTCOMES
            and calls == CallCounts()
            and not (result.used_approvals or result.returned_approvals)
            and not (result.stop_reason or result.report_json)
            and (jobs is None or _are_jobs_plausible(jobs))
        )
    else:
        counts = (calls.done, calls.failed, calls.unknown, calls.skipped)
        approval_ids = {name for names in terms.approvals.values() for name in names}
        is_plausible = (
            result.outcome in _APPLY_OUTCOMES
            and not (result.outcome is RunOutcome.APPLIED and calls.failed + calls.unknown)
            and min(counts) >= 0
            and sum(counts) <= MAX_ROWS
            and set(result.used_approvals) <= approval_ids
            and len(set(result.used_approvals)) == len(result.used_approvals)
            and len(result.stop_reason) <= _MAX_SHORT_TEXT
            and len(result.report_json) <= MAX_REPORT_CHARACTERS
            and jobs is None
        )
    if not (is_plausible and _has_plausible_fields(result)):
        noun = "a check" if terms is None else "an apply"
        raise WrongShapeError(f"a value is not one that {noun} has")
    return result


def _is_limited(line: bytes) -> bool:
    """Whether a line is not too long; what looks like a value within a text counts as one."""
    return len(line) <= MAX_LINE_BYTES and sum(map(line.count, b",[{")) <= MAX_LINE_VALUES


def _encode_line(document: Any) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _decode_json(line: bytes) -> Any:
    if not _is_limited(line):
        raise WrongShapeError("it has too many values")
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise WrongShapeError("this is no JSON") from None


MAX_NAME_CHARACTERS, MAX_SUMMARY_CHARACTERS, MAX_REASON_CHARACTERS = 500, 300, 1000
MAX_JOBS, MAX_JOB_TEXT_CHARACTERS = 20, 130
MAX_PLAN_CHARACTERS = 32 * 1024 * 1024
MAX_REPORT_CHARACTERS = 8 * 1024 * 1024
MAX_FINDINGS = 1000
# Of a row: those that are restored are counted each.
MAX_FIELDS = 50
MAX_LABELS = 50
MAX_ROWS = 20_000
MAX_CLAIMS = 200_000
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


def require_limited_rows(rows: Collection[PlannedRow]) -> None:
    """InputError for a plan of more rows than an answer may have."""
    needs_count = sum(len(row.needs) for row in rows)
    if len(rows) > MAX_ROWS or needs_count > MAX_NEEDS:
        raise InputError(
            error_finding(
                "The plan is too large for the controller",
                f"{len(rows):,} rows need a decision, with {needs_count:,} dependencies; the "
                f"controller takes at most {MAX_ROWS:,} and {MAX_NEEDS:,} at once.",
                "Apply it on the command line, or split the target.",
            )
        )


def _has_plausible_fields(result: RunResult) -> bool:
    counts = result.counts
    addresses = [row.address for row in result.rows if row.action is not RowAction.GUARD]
    return bool(
        all(getattr(counts, name) >= 0 for name in counts.__slots__)  # type: ignore[attr-defined]
        and len(result.findings) <= MAX_FINDINGS
        and all(_TARGET_NAME.fullmatch(target.name) for target in result.targets)
        and len(result.plan_json) <= MAX_PLAN_CHARACTERS
        and len(result.held_up_by_run) <= _MAX_SHORT_TEXT
        and _DIGEST.fullmatch(result.result_digest)
        and _HOST.fullmatch(result.backend_host)
        and len(repr(result.binding)) + len(result.created_lineage) <= _MAX_SHORT_TEXT
        and len(result.rows) <= MAX_ROWS
        and sum(len(row.needs) for row in result.rows) <= MAX_NEEDS
        and all(map(_is_plausible_row, result.rows))
        and len({row.digest for row in result.rows}) == len(result.rows)
        and len(result.claims) <= MAX_CLAIMS
        and all(
            max(map(len, (one.address, one.thing, one.remote_id))) <= 2 * MAX_NAME_CHARACTERS
            for one in result.claims
        )
        # Names of guards may have been cut.
        and len(set(addresses)) == len(addresses)
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
        and len(set(row.fields)) == len(row.fields) <= MAX_FIELDS
        and len(row.labels) <= MAX_LABELS
        and all(
            len(text) <= MAX_NAME_CHARACTERS for text in (*row.fields, *row.labels, row.changed_by)
        )
    )
