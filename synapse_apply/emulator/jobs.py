"""Jobs: how they pass, and how both API versions answer."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any, Literal

from synapse_apply.emulator import plugins, releases
from synapse_apply.emulator.core.backend import (
    format_iso,
    format_iso_in_seoul,
    parse_iso_time_or_none,
)
from synapse_apply.emulator.core.call import (
    EmulatorAnswer,
    EmulatorRequest,
    parse_id,
    require_found,
)
from synapse_apply.emulator.core.fields import (
    REQUIRED_MESSAGE,
    AnswerObject,
    ApiError,
    Body,
    Field,
    FieldValues,
    collect_messages,
    convert_all_fields,
    convert_sent_fields,
    is_number,
    method_not_allowed,
    no_choice,
    not_found,
    refusal,
    with_default_values,
    wrong_field,
)
from synapse_apply.emulator.core.lists import (
    build_cursor_page,
    build_page,
    convert_filters,
    parse_time_filter,
)
from synapse_apply.emulator.core.store import ObjectQuery, StoredObject

Status = Literal["queued", "running", "completed", "failed", "stopped"]

PLATFORM: dict[Status, str] = {
    "queued": "PENDING",
    "running": "RUNNING",
    "completed": "SUCCEEDED",
    "failed": "FAILED",
    "stopped": "STOPPED",
}
# The API page has no word for a stopped job; here it is "stopped".
_STATUS_BY_WORD: dict[str, Status] = {
    **{status: status for status in PLATFORM},
    **{word.lower(): status for status, word in PLATFORM.items()},
}
ENDED_STATUSES: frozenset[Status] = frozenset({"completed", "failed", "stopped"})
_ORDER: dict[Status, int] = {"queued": 0, "running": 1, "completed": 2, "failed": 2, "stopped": 2}

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
# The platform knows neither `parameters` nor `context`.
PLATFORM_RUN_FIELDS = (RUN_FIELDS[1], Field("action", required=True), *RUN_FIELDS[4:])
UPDATE_FIELDS = (
    Field("progress", "percent"),
    Field("result", "any", nullable=True),
    Field("metadata", "object"),
    Field("progress_record", "object"),
    Field("metrics_record", "object"),
    Field("meta", "object"),
)
CONSOLE_LOGS_FIELDS = (Field("console_logs", "any"),)
V2_STATUSES = tuple(PLATFORM.values())
V2_FILTERS = (Field("status", "choice", choices=V2_STATUSES), Field("action"))
V2_UPDATE_FIELDS = (
    V2_FILTERS[0],
    *(
        Field(name, "any", nullable=True)
        for name in ("progress_record", "metrics_record", "meta", "result")
    ),
)
V2_LEVELS = ("debug", "info", "success", "warning", "danger", "error", "critical")
V2_LOG_FIELDS = (
    Field("event", required=True),
    Field("data", "any", required=True, nullable=True),
    Field("datetime", required=True),
    Field("step", default=""),
    Field("level", "choice", choices=V2_LEVELS, default="info"),
)

QUEUED_SHARE = 0.1  # of a job's duration
MAX_LINES = 100_000
DEFAULT_LINES = 5
STEP_NAME = "process"  # the one step that a job has
LINES_BEFORE_KEY = "before"  # of a stored reported line: how many lines of the clock come first
USER_ID = 1
LOGS_KEY = "logs"  # in a job's body
MAX_LOGS = 1000
_MAX_STEP_LENGTH = 255
_IDS_PER_JOB = 1_000_000  # of logs
_HALF = 2**64
_VARIANT = 2**63  # the variant bit of a UUID (RFC 9562, 4.1), in its lower half


def parse_status_word(word: object) -> Status | None:
    """The status that a word of either vocabulary means, in any case; None for another word."""
    return _STATUS_BY_WORD.get(word.lower()) if isinstance(word, str) else None


def build_uuid(request: EmulatorRequest, row: StoredObject) -> str:
    """The UUID of a job: the upper half is the data set's, the lower has the job's number."""
    upper = uuid.UUID(request.store.data_set).int // _HALF
    return str(uuid.UUID(int=upper * _HALF + _VARIANT + row.id))


def parse_uuid(data_set: str, text: str) -> int | None:
    """The number of the job with this UUID; 0 for one that no job of this data set can have.

    None for what is no UUID.
    """
    try:
        # The upper half identifies the data set: ids of another one are unknown here.
        upper, lower = divmod(uuid.UUID(text).int, _HALF)
    except ValueError:
        return None
    is_same_data_set = upper == uuid.UUID(data_set).int // _HALF
    return max(lower - _VARIANT, 0) if is_same_data_set else 0


# How the state, logs and result of a job follow from the time since it was created.
#
# There is no thread for a job: each answer computes its state at that moment. A reported status or
# progress stops this clock.


@dataclass(frozen=True, slots=True)
class JobScript:
    """The course of a job: ends `seconds` after its creation, `log_lines` are spread evenly."""

    seconds: float
    outcome: Status = "completed"
    log_lines: int = DEFAULT_LINES


def parse_job_script(
    parameters: dict[str, Any], context: dict[str, Any], seconds: float
) -> JobScript:
    """The course that a run asks for, by `emulator` in parameters or context, or `fail: true`.

    `seconds` is the default duration.
    """
    options: dict[str, Any] = {}
    for source in (context.get("emulator"), parameters.get("emulator")):
        # In this order, so that parameters override the context.
        options |= source if isinstance(source, dict) else {}

    def read_number(name: str, default: float, maximum: float) -> float:
        value = options.get(name)
        return min(max(float(value), 0.0), maximum) if is_number(value) else default

    fails = parameters.get("fail") is True or options.get("outcome") == "failed"
    return JobScript(
        seconds=read_number("seconds", seconds, 86_400.0),
        outcome="failed" if fails else "completed",
        log_lines=int(read_number("log_lines", DEFAULT_LINES, MAX_LINES)),
    )


class Job:
    """A stored job at a moment: its status, its progress in percent, its share of its duration.

    `share` is 0 to 1. `moment` is in seconds since the epoch.
    """

    def __init__(self, row: StoredObject, moment: float) -> None:
        self.row, self.body = row, row.body
        self.script = script = JobScript(**row.body["script"])
        self.reported = row.body.get("reported")
        self.status: Status
        if self.reported is not None:
            self.status, self.progress = self.reported["status"], self.reported["progress"]
            self.share = self.reported["share"]
            return
        share = 1.0 if script.seconds <= 0 else (moment - row.created) / script.seconds
        self.share = min(max(share, 0.0), 1.0)
        if self.share >= 1.0:
            # A failed job stops at some progress below 100.
            self.status = script.outcome
            self.progress = 100 if script.outcome == "completed" else 60
        elif self.share < QUEUED_SHARE:
            self.status, self.progress = "queued", 0
        else:
            self.status, self.progress = "running", int(self.share * 100)

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED_STATUSES

    def may_become(self, new: Status) -> bool:
        """Whether its status may change: it keeps one that ends it, others only go forward."""
        is_later = not self.is_ended and _ORDER[new] > _ORDER[self.status]
        return self.status == new or is_later

    def result(self) -> Any:
        """The reported result, else one made up for a job that completed by its clock, or None."""
        if "result" in self.body or self.status != "completed" or self.reported is not None:
            return self.body.get("result")
        return {"parameters": self.body["parameters"], "processed": self.script.log_lines}

    def lines(self, first: int = 0, max_lines: int = MAX_LINES * 2) -> list[dict[str, str]]:
        """Its log lines until this moment, from index `first` on, at most `max_lines`.

        A line keeps its index: later lines, by the clock or reported, come after it.
        """
        reported, end = self.body.get("console_logs", ()), self.count_written()
        if not reported:
            return self._scripted_lines(first, min(end, first + max_lines))
        lines: list[dict[str, str]] = []
        position = 0
        for entry in reported:
            line = dict(entry)
            next_position = min(int(line.pop(LINES_BEFORE_KEY, end)), end)
            lines += [*self._scripted_lines(position, next_position), line]
            position = max(position, next_position)
        lines += self._scripted_lines(position, end)
        return lines[first : first + max_lines]

    def count_written(self) -> int:
        """How many lines it has written by its clock; one more if it failed."""
        failed = self.share >= 1.0 and self.script.outcome == "failed"
        return int(self.share * self.script.log_lines) + failed

    def _scripted_lines(self, first: int, end: int) -> list[dict[str, str]]:
        begun, seconds, count = self.row.created, self.script.seconds, self.script.log_lines
        lines = [
            _build_line(begun + seconds * number / count, "info", f"step {number} of {count}")
            for number in range(first + 1, min(end, count) + 1)
        ]
        if first <= count < end:
            lines.append(_build_line(begun + seconds, "error", "failed on request"))
        return lines

    def progress_record(self) -> AnswerObject:
        """Its progress by its clock, in the form in which agents report it."""
        seconds_left = round(max(self.script.seconds * (1 - self.share), 0.0), 3)
        step = {"percent": self.progress, "time_remaining": seconds_left}
        return {
            "record": {"steps": {STEP_NAME: {"proportion": 100, **step}}},
            "current_progress": {"overall": self.progress, "step": STEP_NAME, **step},
        }

    def queue(self) -> AnswerObject | None:
        """The place of a queued job; None for another one."""
        if self.status != "queued":
            return None
        updated_at = format_iso(self.row.created)
        return {"position": 1, "reason": None, "blockers": [], "updated_at": updated_at}

    def end(self, show: Callable[[float], str] = format_iso) -> str | None:
        """When it ended; None before."""
        moment = (self.reported or {}).get("at", self.row.created + self.script.seconds)
        return show(float(moment)) if self.is_ended else None

    def error(self) -> dict[str, str] | None:
        """The error of a failed job; None for another one."""
        if self.status != "failed":
            return None
        message = "failed on request" if self.reported is None else "reported as failed"
        return {"error_type": "execution_error", "message": message}

    def report(self, status: Status | None, progress: float | None, now: float) -> AnswerObject:
        """What is stored for a reported status or progress; None keeps the present value."""
        new_status = status or self.status
        if progress is None:
            progress = 100 if new_status == "completed" else self.progress
        return {"status": new_status, "progress": progress, "share": self.share, "at": now}


def _build_line(moment: float, level: str, message: str) -> dict[str, str]:
    return {"timestamp": format_iso(moment), "level": level, "message": message}


def _format_line(line: Mapping[str, str], form: str) -> Any:
    """A log line in the form of the switch `console_logs`: entries, lines or timed."""
    if form == "entries":
        return line
    return line["message"] if form == "lines" else f"{line['timestamp']} {line['message']}"


def _parse_reported_lines(value: Any, now: float, lines_before: int) -> list[FieldValues]:
    """The reported lines in an update: texts or objects, one or a list. Raises ApiError (400).

    `lines_before`: how many lines the job had written by its clock, after which these come.
    """
    lines: list[dict[str, Any]] = []
    for entry in value if isinstance(value, list) else [value]:
        line = _build_line(now, "info", "")
        if isinstance(entry, str):
            line["message"] = entry
        elif isinstance(entry, dict):
            line |= {key: str(text) for key, text in entry.items() if key in line}
        else:
            raise wrong_field("console_logs", "Expected an object or a list of objects.")
        lines.append({**line, LINES_BEFORE_KEY: lines_before})
    return lines


TICK_SECONDS = 0.05  # between two checks of the job
HEARTBEAT_TICKS = 20  # of silence
_MAX_LINES_PER_PIECE = 500  # so that the event loop gets to other requests in between


async def _stream_frames(
    request: EmulatorRequest,
    row: StoredObject,
    public_id: Any,
    build_line_data: Callable[[Mapping[str, str]], Any],
) -> AsyncIterator[bytes]:
    """The frames `connected`, `log` for each line, and `complete` once the job has ended.

    `build_line_data` gives the `data` of a line's frame.
    """
    # Counted before `connected` is sent: lines written after that frame must be in the tail.
    sent_count = 0
    if request.has("tail", "now"):
        sent_count = len(Job(row, request.now()).lines())
    yield _encode_frame(type="connected", job_id=public_id)
    silent_ticks = 0
    while True:
        stored = request.store.find_by_id("job", row.id, request.tenant)
        if stored is None:
            yield _encode_frame(type="error", message="The job is gone.")
            return
        job = Job(stored, request.now())
        lines = job.lines(sent_count, _MAX_LINES_PER_PIECE)
        sent_count += len(lines)
        if lines:
            frames = (_encode_frame(type="log", data=build_line_data(line)) for line in lines)
            yield b"".join(frames)
        elif job.is_ended:
            yield _encode_frame(type="complete", message=f"The job is {job.status}.")
            return
        silent_ticks = 0 if lines else silent_ticks + 1
        if silent_ticks >= HEARTBEAT_TICKS:
            silent_ticks = 0
            yield b": heartbeat\n\n"
        # After a piece of lines more of them may be waiting.
        await asyncio.sleep(0 if lines else TICK_SECONDS)


async def _stream_error(message: str) -> AsyncIterator[bytes]:
    """A stream of a single `error` frame."""
    yield _encode_frame(type="error", message=message)


def _encode_frame(**value: Any) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def _build_line_data(request: EmulatorRequest, line: Mapping[str, str]) -> Any:
    """The `data` of a line's frame on API v1, by the switches `tail_data` and `console_logs`."""
    if request.has("tail_data", "nested"):
        return f"data: {json.dumps({'type': 'log', 'message': line['message']})}"
    return _format_line(line, request.backend.switches["console_logs"])


# API v1 starts jobs, under ids that may be numbers or UUIDs.


def require_in_path(request: EmulatorRequest) -> StoredObject:
    """The tenant's job with the id in the path. Raises ApiError (404)."""
    text, store = request.path["id"], request.store
    has_uuid = request.has("job_ids", "uuid")
    number = parse_uuid(store.data_set, text) if has_uuid else parse_id(text)
    return require_found(store.find_by_id("job", number or 0, request.tenant))


def _show_id(request: EmulatorRequest, row: StoredObject) -> int | str:
    return build_uuid(request, row) if request.has("job_ids", "uuid") else row.id


def run_plugin(request: EmulatorRequest) -> AnswerObject:
    """Start a job of the plugin with this id or code; answers the job, or the action's result."""
    backend = request.backend
    plugin = require_found(plugins.find_visible(request, request.path["lookup"]))
    values, release = _parse_run(request, plugin)
    # `parameters` on the API page, `params` on the platform.
    parameters = values.pop("parameters") or values["params"]
    del values["params"]
    script = parse_job_script(parameters, values["context"], backend.settings.job_seconds)
    # Counted down only after the body was checked: a refused run starts no job that could fail.
    if backend.jobs_to_fail > 0:
        backend.jobs_to_fail -= 1
        script = dataclasses.replace(script, outcome="failed")
    if _is_answered_with_result(request, values["action"], release):
        if script.outcome == "failed":
            raise refusal(400, "The action failed on request.")
        return {"parameters": parameters, "processed": script.log_lines}
    body = {
        **values,
        "parameters": parameters,
        "release": release.id if release else None,
        "version": release.body["version"] if release else None,
        "user": USER_ID,
        "script": dataclasses.asdict(script),
    }
    row = request.store.insert("job", request.tenant, body, created=request.now(), parent=plugin.id)
    job = show(request, row)
    if request.has("run_job", "id"):
        return job
    job_id = job.pop("id") if request.has("run_job", "job_id") else job["id"]
    return {"job_id": job_id, **job}


def _parse_run(
    request: EmulatorRequest, plugin: StoredObject
) -> tuple[FieldValues, StoredObject | None]:
    """The values of a run; the release that it names, else the newest, if there is any.

    Raises ApiError (400).
    """
    is_platform = request.has("run_form", "platform")
    fields = PLATFORM_RUN_FIELDS if is_platform else RUN_FIELDS
    values = with_default_values(RUN_FIELDS, convert_sent_fields(fields, request.body))
    if version := values.pop("version"):
        release = releases.find_of_plugin(request, plugin, version)
        if release is None:
            raise wrong_field("version", f'Version "{version}" of this plugin does not exist.')
    else:
        query = ObjectQuery(request.tenant, plugin.id, newest_first=True)
        release = next(iter(request.store.select("release", query, limit=1)), None)
    actions = releases.list_available_actions(release) if release else []
    action = values["action"]
    if is_platform and actions and action not in actions:
        raise wrong_field("action", f'"{action}" is not one of: {", ".join(actions)}.')
    return values, release


def _is_answered_with_result(
    request: EmulatorRequest, action: str, release: StoredObject | None
) -> bool:
    """Whether a run is answered with the action's result, without a job."""
    if not request.has("run_answer", "method"):
        return request.has("run_answer", "result")
    config = releases.read_actions(release).get(action) if release else None
    method = config.get("method") if isinstance(config, dict) else None
    # An action whose configuration names none is a task.
    return (method or "task") != "job"


def list_jobs(request: EmulatorRequest) -> EmulatorAnswer:
    """One page of the tenant's jobs, newest first, by the filters of the switch `filters`."""
    asked, query = request.query, ObjectQuery(request.tenant, newest_first=True)
    status, agent = asked.get("status"), asked.get("agent")
    if request.has("filters", "page"):
        agent = None
        if asked.get("plugin"):
            plugin = plugins.find_visible(request, asked["plugin"])
            # No object has the id 0, so that an unknown plugin gives an empty list.
            query = dataclasses.replace(query, parent=plugin.id if plugin else 0)
        created_after = parse_time_filter(request, "created_after")
        query = dataclasses.replace(query, created_after=created_after)
        # There is one user; any other one has no jobs.
        if asked.get("user") not in (None, "", str(USER_ID)):
            return build_page(request, "job", query, partial(show, request), lambda _row: False)
    wanted_status = parse_status_word(status) if status else None
    if status and wanted_status is None:
        raise wrong_field("status", no_choice(status))
    now = request.now()

    # In Python: both are no columns.
    def is_included(row: StoredObject) -> bool:
        if agent and str(row.body["agent"]) != agent:
            return False
        return wanted_status is None or Job(row, now).status == wanted_status

    keep = is_included if status or agent else None
    return build_page(request, "job", query, partial(show, request), keep)


def report_on_job(request: EmulatorRequest) -> AnswerObject:
    """Store a report of status, progress, result or logs; a status or progress stops the clock."""
    row, now = require_in_path(request), request.now()
    job, body = Job(row, now), dict(row.body)
    values = _parse_report(request, job)
    status, progress = values.pop("status", None), values.pop("progress", None)
    if status is not None or progress is not None:
        body["reported"] = job.report(status, progress, now)
    lines = values.pop("console_logs", None)
    # Appended, not replaced: each report brings only the lines written since the last one.
    if lines is not None:
        body["console_logs"] = [*body.get("console_logs", ()), *lines]
    return show(request, request.store.replace("job", row, {**body, **values}, key=row.key))


def _parse_report(request: EmulatorRequest, job: Job) -> FieldValues:
    """The cleaned values of a report on v1. Raises ApiError (400) with all problems."""
    problems: dict[str, Any] = {}
    values: FieldValues = {}
    with collect_messages(problems):
        values |= convert_sent_fields(UPDATE_FIELDS, request.body)
    with collect_messages(problems):
        for name, lines in convert_sent_fields(CONSOLE_LOGS_FIELDS, request.body).items():
            values[name] = _parse_reported_lines(lines, request.now(), job.count_written())
    with collect_messages(problems):
        if "status" in request.body.values:
            word = request.body.values["status"]
            status = parse_status_word(word)
            if status is None:
                raise wrong_field("status", f'"{word}" is not a valid choice.')
            if not job.may_become(status):
                text = f'A job that is "{job.status}" cannot become "{status}".'
                raise wrong_field("status", text)
            values["status"] = status
    if problems:
        raise ApiError(400, problems)
    if "meta" in values:
        # The vendor's clients send `meta`, the API page has `metadata`; of both, `metadata` counts.
        meta = values.pop("meta")
        values.setdefault("metadata", meta)
    return values


def list_console_logs(request: EmulatorRequest) -> list[Any]:
    lines = Job(require_in_path(request), request.now()).lines()
    if not lines and request.has("no_logs", "missing"):
        raise not_found()
    form = request.backend.switches["console_logs"]
    return [_format_line(line, form) for line in lines]


def tail_console_logs(request: EmulatorRequest) -> EmulatorAnswer:
    """The log lines as server-sent events until the job has ended. Raises ApiError (404, 405)."""
    if request.has("tail", "none"):
        raise method_not_allowed("GET", ())
    try:
        row = require_in_path(request)
    except ApiError:
        if request.has("tail_of_none", "missing"):
            raise
        return EmulatorAnswer(None, stream=_stream_error("Job not found."))
    build_line_data = partial(_build_line_data, request)
    stream = _stream_frames(request, row, _show_id(request, row), build_line_data)
    return EmulatorAnswer(None, stream=stream)


def show(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    """A job as answers of v1 show it, by the switches and `?expand=`."""
    job, body = Job(row, request.now()), row.body
    result, expands = job.result(), request.parse_expanded_fields()
    has_platform_words = request.has("status_words", "platform")
    document: AnswerObject = {
        "id": _show_id(request, row),
        "status": PLATFORM[job.status] if has_platform_words else job.status,
    }
    if request.has("job_fields", "platform"):
        queue = job.queue()
        document |= {
            "plugin_release": _expand_release(request, row),
            "action": body["action"],
            "params": body["parameters"],
            "agent": body["agent"],
            "user": body["user"],
            "meta": {**body.get("metadata", {}), **({"queue": queue} if queue else {})},
            "progress_record": body.get("progress_record") or job.progress_record(),
            "metrics_record": body.get("metrics_record", {}),
            "error": job.error(),
            "created": format_iso_in_seoul(row.created),
            "completed": job.end(format_iso_in_seoul),
        }
    else:  # the fields that the API page names
        document |= {
            "progress": job.progress,
            "plugin": row.parent,
            "plugin_release": body["release"],
            "version": body["version"],
            "action": body["action"],
            "parameters": body["parameters"],
            "params": body["parameters"],
            "agent": body["agent"],
            "storage": body["storage_id"],
            "debug": body["debug"],
            "language": body["language"],
            "user": body["user"],
            "metadata": body.get("metadata", {}),
            "meta": body.get("metadata", {}),
            "progress_record": body.get("progress_record", {}),
            "metrics_record": body.get("metrics_record", {}),
            "error": job.error(),
            "created": format_iso(row.created),
            "completed": job.end(),
        }
    if request.has("job_context", "returned"):
        document["context"] = body["context"]
    if result is not None or "result" in expands:
        document["result"] = result
    if "logs" in expands:
        document["logs"] = job.lines()
    if "metrics" in expands:
        document["metrics"] = body.get("metrics_record", {})
    return document


def _expand_release(request: EmulatorRequest, row: StoredObject) -> Any:
    """The id of a job's release, or an object of it with `?expand=plugin_release`."""
    if "plugin_release" not in request.parse_expanded_fields() or row.body["release"] is None:
        return row.body["release"]
    plugin = request.store.find_by_id("plugin", row.parent or 0)
    plugin_fields = {"code": plugin.key, "name": plugin.body["name"]} if plugin else {}
    return {
        "id": row.body["release"],
        "plugin": {"id": row.parent, **plugin_fields},
        "version": row.body["version"],
    }


# API v2 shows the jobs that have a release, under their UUIDs, and takes logs of events.


def is_visible_on_v2(row: StoredObject) -> bool:
    """Whether API v2 shows a job: only one with a release."""
    return row.body.get("release") is not None


def show_item_v2(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    """A job as lists of v2 show it."""
    job = Job(row, request.now())
    return {
        "id": build_uuid(request, row),
        "status": PLATFORM[job.status],
        "action": row.body["action"],
        "is_active": not job.is_ended,
        "queue": job.queue(),
        "error": job.error(),
        "created": format_iso(row.created),
        "completed": job.end(),
    }


def show_v2(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    body = row.body
    release = request.backend.to_v2_id(body["release"])
    return {
        **show_item_v2(request, row),
        "params": body["parameters"],
        "progress_record": body.get("progress_record"),
        "metrics_record": body.get("metrics_record"),
        "result": Job(row, request.now()).result(),
        "meta": body.get("metadata"),
        "plugin_release_id": release,
        "plugin_release": {
            "id": release,
            "plugin_id": request.backend.to_v2_id(row.parent or 0),
            "version": body["version"],
        },
        "modified": format_iso(body.get("modified", row.created)),
    }


def require_in_path_v2(request: EmulatorRequest) -> StoredObject:
    number = parse_uuid(request.store.data_set, request.path["id"])
    row = request.store.find_by_id("job", number or 0, request.tenant)
    return require_found(row if row and is_visible_on_v2(row) else None)


def list_jobs_v2(request: EmulatorRequest) -> EmulatorAnswer:
    """One page of the tenant's jobs, newest first, filtered by status and action."""
    filters, show_item = convert_filters(request, V2_FILTERS), partial(show_item_v2, request)

    def is_included(row: StoredObject) -> bool:
        return is_visible_on_v2(row) and filters.items() <= show_item(row).items()

    query = ObjectQuery(request.tenant, newest_first=True)
    return build_cursor_page(request, "job", query, show_item, is_included)


def report_on_job_v2(request: EmulatorRequest) -> AnswerObject:
    """Store a report on a job; a reported status stops its clock. Raises ApiError (400, 404)."""
    row, now = require_in_path_v2(request), request.now()
    job = Job(row, now)
    values = convert_sent_fields(V2_UPDATE_FIELDS, request.body)
    status = parse_status_word(values.pop("status", None))
    # The name in the store is that of v1.
    changes = {"metadata" if name == "meta" else name: value for name, value in values.items()}
    if status is not None:
        if not job.may_become(status):
            before, after = PLATFORM[job.status], PLATFORM[status]
            raise ApiError(
                400,
                {"status": [f"A job that is {before} cannot become {after}."]},
                code="INVALID_TRANSITION",
                details={"current_status": before, "requested_status": after},
            )
        changes["reported"] = job.report(status, None, now)
    return show_v2(request, _store_changes(request, row, changes))


def stop_job(request: EmulatorRequest) -> AnswerObject:
    """Stop a job; a dry run answers without it. Raises ApiError (404, 409)."""
    row, now = require_in_path_v2(request), request.now()
    job = Job(row, now)
    if job.is_ended:
        word = PLATFORM[job.status]
        raise ApiError(
            409,
            {"detail": f"The job has ended ({word}) and cannot be stopped."},
            code="INVALID_STATE",
            details={"current_status": word},
        )
    if request.is_dry_run:
        return {"dry_run": True, "action": "stop", "target": build_uuid(request, row)}
    changes = {"reported": job.report("stopped", None, now)}
    return show_v2(request, _store_changes(request, row, changes))


def _store_changes(
    request: EmulatorRequest, row: StoredObject, changes: FieldValues
) -> StoredObject:
    body = {**row.body, **changes, "modified": request.now()}
    return request.store.replace("job", row, body, key=row.key)


def _parse_log(body: Body) -> FieldValues:
    """The cleaned log in a body, as it is stored. Raises ApiError (400)."""
    values = convert_all_fields(V2_LOG_FIELDS, body.parse_json_texts(V2_LOG_FIELDS))
    moment = parse_iso_time_or_none(values["datetime"])
    if moment is None:
        raise wrong_field("datetime", "Datetime has wrong format.")
    if len(values["step"]) > _MAX_STEP_LENGTH:
        text = f"Ensure this field has no more than {_MAX_STEP_LENGTH} characters."
        raise wrong_field("step", text)
    return {**values, "datetime": moment}


def _parse_logs(body: Body) -> list[FieldValues]:
    """The cleaned logs in a body `{"logs": [...]}`. Raises ApiError (400) if one is wrong."""
    entries = body.values.get("logs")
    if entries is None:
        raise wrong_field("logs", REQUIRED_MESSAGE)
    if not isinstance(entries, list) or not entries:
        raise wrong_field("logs", "Expected a list of at least one log.")
    if len(entries) > MAX_LOGS:
        raise ApiError(
            400,
            {"detail": f"At most {MAX_LOGS} logs at once."},
            code="BULK_SIZE_EXCEEDED",
            details={"received": len(entries), "limit": MAX_LOGS},
        )
    logs = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise wrong_field("logs", f"Log {number} is not an object.")
        try:
            logs.append(_parse_log(Body(dict(entry))))
        except ApiError as error:
            message = "; ".join(f"{name}: {texts[0]}" for name, texts in error.body.items())
            raise wrong_field("logs", f"Log {number}: {message}") from None
    return logs


def _store_logs(
    request: EmulatorRequest, row: StoredObject, logs: list[FieldValues]
) -> list[AnswerObject]:
    """Store logs in a job, with ids and times of arrival; returns them as answers show them."""
    stored_logs, now = row.body.get(LOGS_KEY, []), request.now()
    new_logs = [
        {**log, "id": row.id * _IDS_PER_JOB + number, "created": now}
        for number, log in enumerate(logs, start=len(stored_logs) + 1)
    ]
    body = {**row.body, LOGS_KEY: [*stored_logs, *new_logs]}
    request.store.replace("job", row, body, key=row.key)
    common, created = {"job_id": request.path["id"], "file": ""}, format_iso(now)
    return [
        {**common, **log, "datetime": format_iso(log["datetime"]), "created": created}
        for log in new_logs
    ]


def create_log(request: EmulatorRequest) -> AnswerObject:
    row, log = require_in_path_v2(request), _parse_log(request.body)
    if upload := request.uploads.get("file"):
        log["file"] = f"{request.root_url}/media/{upload.sha256}/{upload.name}"
    return _store_logs(request, row, [log])[0]


def create_logs(request: EmulatorRequest) -> list[AnswerObject]:
    row = require_in_path_v2(request)
    return _store_logs(request, row, _parse_logs(request.body))


def tail_console_logs_v2(request: EmulatorRequest) -> EmulatorAnswer:
    """The log lines as server-sent events; one `error` event for an unknown UUID."""
    try:
        row = require_in_path_v2(request)
    except ApiError:
        # The platform answers an unknown job with a stream, and what is no UUID with 404.
        if parse_uuid(request.store.data_set, request.path["id"]) is None:
            raise
        return EmulatorAnswer(None, stream=_stream_error("Job not found."))
    stream = _stream_frames(request, row, build_uuid(request, row), itemgetter("message"))
    return EmulatorAnswer(None, stream=stream)


def list_console_logs_v2(request: EmulatorRequest) -> AnswerObject:
    job = Job(require_in_path_v2(request), request.now())
    return {"logs": [line["message"] for line in job.lines()]}
