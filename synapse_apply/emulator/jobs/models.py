"""How the state, logs and result of a job follow from the time since it was created.

There is no thread for a job: each answer computes its state at that moment. A reported status or
progress stops this clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from synapse_apply.emulator.core.clock import format_iso
from synapse_apply.emulator.core.fields import AnswerObject, Field, FieldValues
from synapse_apply.emulator.core.store import StoredObject
from synapse_apply.emulator.jobs.errors import build_bad_lines_error
from synapse_apply.emulator.jobs.words import Status

RUN_FIELDS = (
    Field("parameters", "object", default={}),
    Field("params", "object", default={}),
    Field("context", "object", default={}),
    Field("action", default=""),
    Field("agent", "integer", nullable=True, default=None),
    Field("storage_id", "integer", nullable=True, default=None),
    Field("job_id", "integer", nullable=True, default=None),
    Field("debug", "boolean", default=False),
    Field("version", default=""),
    Field("language", default="ko"),
)
REQUIRED_ACTION_FIELD = Field("action", required=True)
DEFAULT_METHOD = "task"  # of an action whose configuration names none
PAGE_ONLY_NAMES = ("parameters", "context")
UPDATE_FIELDS = (
    Field("progress", "percent"),
    Field("result", "any", nullable=True),
    Field("metadata", "object"),
    Field("progress_record", "object"),
    Field("metrics_record", "object"),
    Field("meta", "object"),
)
CONSOLE_LOGS_FIELDS = (Field("console_logs", "any"),)
QUEUED_SHARE = 0.1  # of a job's duration
MAX_LINES = 100_000
DEFAULT_LINES = 5
STEP_NAME = "process"  # the one step that a job has
LINES_BEFORE_KEY = (
    "before"  # of a stored reported line: how many lines of the clock stand before it
)


@dataclass(frozen=True, slots=True)
class JobScript:
    """The course of a job: ends `seconds` after its creation, `log_lines` are spread evenly."""

    seconds: float
    outcome: Status = "completed"
    log_lines: int = DEFAULT_LINES


@dataclass(frozen=True, slots=True)
class JobMoment:
    """The state of a job at one moment: `progress` in percent, `share` of its duration (0 to 1)."""

    status: Status
    progress: float
    share: float


def parse_job_script(
    parameters: dict[str, Any], context: dict[str, Any], seconds: float
) -> JobScript:
    """The course that a run asks for, by `emulator` in parameters or context, or `fail: true`.

    `seconds` is the default duration.
    """
    script_options: dict[str, Any] = {}
    for source in (context.get("emulator"), parameters.get("emulator")):
        # In this order, so that parameters override the context.
        script_options |= source if isinstance(source, dict) else {}
    fails = parameters.get("fail") is True or script_options.get("outcome") == "failed"
    return JobScript(
        seconds=_clamp_number_or_default(script_options.get("seconds"), seconds, 86_400.0),
        outcome="failed" if fails else "completed",
        log_lines=int(
            _clamp_number_or_default(script_options.get("log_lines"), DEFAULT_LINES, MAX_LINES)
        ),
    )


def _clamp_number_or_default(value: Any, default: float, maximum: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return default
    return min(max(float(value), 0.0), maximum)


def read_stored_script(row: StoredObject) -> JobScript:
    stored = row.body["script"]
    return JobScript(stored["seconds"], stored["outcome"], stored["log_lines"])


def script_to_json(script: JobScript) -> dict[str, object]:
    """A script as it is stored in a job's row."""
    return {"seconds": script.seconds, "outcome": script.outcome, "log_lines": script.log_lines}


def compute_job_moment(row: StoredObject, moment: float) -> JobMoment:
    """The state of a job at `moment` (seconds since the epoch): reported, else by its clock."""
    job_script = read_stored_script(row)
    share = 1.0 if job_script.seconds <= 0 else (moment - row.created) / job_script.seconds
    share = min(max(share, 0.0), 1.0)
    reported = row.body.get("reported")
    if reported is not None:
        return JobMoment(
            cast("Status", reported["status"]), reported["progress"], reported["share"]
        )
    if share >= 1.0:
        # A failed job stops at some progress below 100.
        return JobMoment(job_script.outcome, 100 if job_script.outcome == "completed" else 60, 1.0)
    if share < QUEUED_SHARE:
        return JobMoment("queued", 0, share)
    return JobMoment("running", int(share * 100), share)


def build_job_result_or_none(row: StoredObject, job_moment: JobMoment) -> Any:
    """The reported result, else one made up for a job that completed by its clock, else None."""
    if "result" in row.body:
        return row.body["result"]
    if job_moment.status == "completed" and row.body.get("reported") is None:
        return {
            "parameters": row.body["parameters"],
            "processed": read_stored_script(row).log_lines,
        }
    return None


def list_log_lines(
    row: StoredObject, job_moment: JobMoment, first: int = 0, max_lines: int = MAX_LINES * 2
) -> list[dict[str, str]]:
    """The log lines until this moment, from index `first` on, at most `max_lines`.

    A line keeps its index: later lines, by the clock or reported, come after it.
    """
    reported = row.body.get("console_logs", ())
    if not reported:
        return _list_scripted_log_lines(
            row, first, min(count_written_lines(row, job_moment), first + max_lines)
        )
    lines: list[dict[str, str]] = []
    position, end = 0, count_written_lines(row, job_moment)
    for entry in reported:
        line = dict(entry)
        next_position = min(int(line.pop(LINES_BEFORE_KEY, end)), end)
        lines += [*_list_scripted_log_lines(row, position, next_position), line]
        position = max(position, next_position)
    lines += _list_scripted_log_lines(row, position, end)
    return lines[first : first + max_lines]


def format_log_line(line: Mapping[str, str], form: str) -> Any:
    """A log line in the form of the switch `console_logs`: entries, lines or timed."""
    if form == "entries":
        return line
    return line["message"] if form == "lines" else f"{line['timestamp']} {line['message']}"


def build_progress_record(row: StoredObject, job_moment: JobMoment) -> AnswerObject:
    """The progress of a job by its clock, in the form in which agents report it."""
    seconds_left = round(max(read_stored_script(row).seconds * (1 - job_moment.share), 0.0), 3)
    step = {"percent": job_moment.progress, "time_remaining": seconds_left}
    return {
        "record": {"steps": {STEP_NAME: {"proportion": 100, **step}}},
        "current_progress": {"overall": job_moment.progress, "step": STEP_NAME, **step},
    }


def queue_field(row: StoredObject, job_moment: JobMoment) -> AnswerObject:
    """The `queue` in `meta` of a queued job; {} for another one."""
    if job_moment.status != "queued":
        return {}
    queue_position: dict[str, Any]
    queue_position = {
        "position": 1,
        "reason": None,
        "blockers": [],
        "updated_at": format_iso(row.created),
    }
    return {"queue": queue_position}


def count_written_lines(row: StoredObject, job_moment: JobMoment) -> int:
    """How many lines a job has written by its clock; one more for a job that failed."""
    job_script = read_stored_script(row)
    failed = job_moment.share >= 1.0 and job_script.outcome == "failed"
    return int(job_moment.share * job_script.log_lines) + failed


def _list_scripted_log_lines(row: StoredObject, first: int, end: int) -> list[dict[str, str]]:
    job_script = read_stored_script(row)
    lines = [
        _build_log_line(
            row.created + job_script.seconds * number / job_script.log_lines,
            "info",
            f"step {number} of {job_script.log_lines}",
        )
        for number in range(first + 1, min(end, job_script.log_lines) + 1)
    ]
    if first <= job_script.log_lines < end:
        lines.append(
            _build_log_line(row.created + job_script.seconds, "error", "failed on request")
        )
    return lines


def compute_end_time(row: StoredObject) -> float:
    """When an ended job ended, in seconds since the epoch."""
    reported = row.body.get("reported") or {}
    moment: float = reported.get("at", row.created + read_stored_script(row).seconds)
    return moment


def build_job_error(row: StoredObject, job_moment: JobMoment) -> dict[str, str] | None:
    """The error of a failed job; None for another one."""
    if job_moment.status != "failed":
        return None
    by_clock = row.body.get("reported") is None
    message = "failed on request" if by_clock else "reported as failed"
    return {"error_type": "execution_error", "message": message}


def build_status_report(
    job_moment: JobMoment, status: Status | None, progress: float | None, moment: float
) -> AnswerObject:
    """What is stored for a reported status or progress; None keeps the present value."""
    new_status = status or job_moment.status
    ended_well = new_status == "completed" and progress is None
    return {
        "status": new_status,
        "progress": 100 if ended_well else job_moment.progress if progress is None else progress,
        "share": job_moment.share,
        "at": moment,
    }


def _build_log_line(moment: float, level: str, message: str) -> dict[str, str]:
    return {"timestamp": format_iso(moment), "level": level, "message": message}


def parse_reported_lines(value: Any, moment: float, lines_before: int) -> list[FieldValues]:
    """The reported lines in an update: texts or objects, one or a list. Raises ApiError (400).

    `lines_before`: how many lines the job had written by its clock, after which these come.
    """
    entries = value if isinstance(value, list) else [value]
    lines: list[dict[str, Any]] = []
    for entry in entries:
        line = _build_log_line(moment, "info", "")
        if isinstance(entry, str):
            line["message"] = entry
        elif isinstance(entry, dict):
            line |= {key: str(text) for key, text in entry.items() if key in line}
        else:
            raise build_bad_lines_error()
        lines.append({**line, LINES_BEFORE_KEY: lines_before})
    return lines
