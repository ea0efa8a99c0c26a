"""What a job is. It has no thread: what it is now follows from when it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from synapse_apply.emulator.core.clock import iso
from synapse_apply.emulator.core.fields import Field
from synapse_apply.emulator.core.store import Row
from synapse_apply.emulator.jobs.errors import bad_lines
from synapse_apply.emulator.jobs.words import Status

RUN_FIELDS = (
    Field("parameters", "object", reset={}),
    Field("params", "object", reset={}),
    Field("context", "object", reset={}),
    Field("action", reset=""),
    Field("agent", "integer", nullable=True, reset=None),
    Field("storage_id", "integer", nullable=True, reset=None),
    Field("job_id", "integer", nullable=True, reset=None),
    Field("debug", "boolean", reset=False),
    Field("version", reset=""),
    Field("language", reset="ko"),
)
NEEDED_ACTION = Field("action", required=True)
DEFAULT_METHOD = "task"  # of an action whose configuration names none
PAGE_ONLY = ("parameters", "context")
UPDATE_FIELDS = (
    Field("progress", "percent"),
    Field("result", "any", nullable=True),
    Field("metadata", "object"),
    Field("progress_record", "object"),
    Field("metrics_record", "object"),
    Field("meta", "object"),
)
CONSOLE_LOGS = (Field("console_logs", "any"),)
QUEUED_SHARE = 0.1  # of a job's time
MOST_LINES = 100_000
DEFAULT_LINES = 5
STEP = "process"  # the one step that a job has
BEFORE = "before"  # of a stored reported line: how many lines of the clock stand before it


@dataclass(frozen=True, slots=True)
class Script:
    """What a job will do: `seconds` from its creation to its end, `log_lines` written evenly."""

    seconds: float
    outcome: Status = "completed"
    log_lines: int = DEFAULT_LINES


@dataclass(frozen=True, slots=True)
class Now:
    """What a job is at one moment; `progress` in percent, `share` of its time gone (0 to 1)."""

    status: Status
    progress: float
    share: float


def script_of(parameters: dict[str, Any], context: dict[str, Any], seconds: float) -> Script:
    """What the run asks for, under `emulator` in parameters or context, or `fail: true`."""
    asked: dict[str, Any] = {}
    for source in (context.get("emulator"), parameters.get("emulator")):
        asked |= source if isinstance(source, dict) else {}
    fails = parameters.get("fail") is True or asked.get("outcome") == "failed"
    return Script(
        seconds=_number(asked.get("seconds"), seconds, 86_400.0),
        outcome="failed" if fails else "completed",
        log_lines=int(_number(asked.get("log_lines"), DEFAULT_LINES, MOST_LINES)),
    )


def _number(value: Any, default: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return default
    return min(max(float(value), 0.0), most)


def script(row: Row) -> Script:
    stored = row.body["script"]
    return Script(stored["seconds"], stored["outcome"], stored["log_lines"])


def script_to_json(script: Script) -> dict[str, object]:
    """As a job's row keeps it."""
    return {
        "seconds": script.seconds,
        "outcome": script.outcome,
        "log_lines": script.log_lines,
    }


def at(row: Row, moment: float) -> Now:
    """A job at a moment: by its clock, unless somebody reported its status."""
    plan = script(row)
    share = 1.0 if plan.seconds <= 0 else (moment - row.created) / plan.seconds
    share = min(max(share, 0.0), 1.0)
    reported = row.body.get("reported")
    if reported is not None:
        return Now(cast("Status", reported["status"]), reported["progress"], reported["share"])
    if share >= 1.0:
        return Now(plan.outcome, 100 if plan.outcome == "completed" else 60, 1.0)
    if share < QUEUED_SHARE:
        return Now("queued", 0, share)
    return Now("running", int(share * 100), share)


def result(row: Row, now: Now) -> Any:
    """What was reported; else, of a job that completed by its clock, a result of its own."""
    if "result" in row.body:
        return row.body["result"]
    if now.status == "completed" and row.body.get("reported") is None:
        return {"parameters": row.body["parameters"], "processed": script(row).log_lines}
    return None


def logs(row: Row, now: Now, first: int = 0, most: int = MOST_LINES * 2) -> list[dict[str, str]]:
    """The lines written so far, from number `first` (0 is the first of all), at most so many.

    A line keeps its number: what is written later stands behind it, by the clock or reported.
    """
    reported = row.body.get("console_logs", ())
    if not reported:
        return _by_clock(row, first, min(written(row, now), first + most))
    lines: list[dict[str, str]] = []
    place, end = 0, written(row, now)
    for entry in reported:
        line = dict(entry)
        upto = min(int(line.pop(BEFORE, end)), end)
        lines += [*_by_clock(row, place, upto), line]
        place = max(place, upto)
    lines += _by_clock(row, place, end)
    return lines[first : first + most]


def written_line(line: Mapping[str, str], form: str) -> Any:
    """A line as the switch `console_logs` has it."""
    if form == "entries":
        return line
    return line["message"] if form == "lines" else f"{line['timestamp']} {line['message']}"


def progress_record(row: Row, now: Now) -> dict[str, Any]:
    """How far a job is by its clock, in the form in which its agent reports it."""
    left = round(max(script(row).seconds * (1 - now.share), 0.0), 3)
    step = {"percent": now.progress, "time_remaining": left}
    return {
        "record": {"steps": {STEP: {"proportion": 100, **step}}},
        "current_progress": {"overall": now.progress, "step": STEP, **step},
    }


def queue(row: Row, now: Now) -> dict[str, Any]:
    """What `meta` says of a job that waits; nothing of one that began."""
    if now.status != "queued":
        return {}
    place: dict[str, Any]
    place = {"position": 1, "reason": None, "blockers": [], "updated_at": iso(row.created)}
    return {"queue": place}


def written(row: Row, now: Now) -> int:
    """How many lines a job wrote by its clock: a failed one tells it last."""
    plan = script(row)
    failed = now.share >= 1.0 and plan.outcome == "failed"
    return int(now.share * plan.log_lines) + failed


def _by_clock(row: Row, first: int, end: int) -> list[dict[str, str]]:
    plan = script(row)
    lines = [
        _line(
            row.created + plan.seconds * number / plan.log_lines,
            "info",
            f"step {number} of {plan.log_lines}",
        )
        for number in range(first + 1, min(end, plan.log_lines) + 1)
    ]
    if first <= plan.log_lines < end:
        lines.append(_line(row.created + plan.seconds, "error", "failed on request"))
    return lines


def ended_at(row: Row) -> float:
    """When a job that has ended did so."""
    reported = row.body.get("reported") or {}
    moment: float = reported.get("at", row.created + script(row).seconds)
    return moment


def error(row: Row, now: Now) -> dict[str, str] | None:
    """Why a job failed; None of one that did not."""
    if now.status != "failed":
        return None
    by_clock = row.body.get("reported") is None
    message = "failed on request" if by_clock else "reported as failed"
    return {"error_type": "execution_error", "message": message}


def report(
    now: Now, status: Status | None, progress: float | None, moment: float
) -> dict[str, Any]:
    """What is stored of a reported status or progress; what was not said stays as it is."""
    new = status or now.status
    ended_well = new == "completed" and progress is None
    return {
        "status": new,
        "progress": 100 if ended_well else now.progress if progress is None else progress,
        "share": now.share,
        "at": moment,
    }


def _line(moment: float, level: str, message: str) -> dict[str, str]:
    return {"timestamp": iso(moment), "level": level, "message": message}


def reported_lines(value: Any, moment: float, before: int) -> list[dict[str, Any]]:
    """Lines as an update gives them: texts or objects, one or a list. Raises ApiError (400).

    `before` is how many lines the job had written by its clock.
    """
    entries = value if isinstance(value, list) else [value]
    lines: list[dict[str, Any]] = []
    for entry in entries:
        line = _line(moment, "info", "")
        if isinstance(entry, str):
            line["message"] = entry
        elif isinstance(entry, dict):
            line |= {key: str(text) for key, text in entry.items() if key in line}
        else:
            raise bad_lines()
        lines.append({**line, BEFORE: before})
    return lines
