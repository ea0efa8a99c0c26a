"""Jobs: how they pass, how the server answers, and from which source each behaviour is known."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, cast

from synapse_apply.emulator import plugins, releases
from synapse_apply.emulator.core.backend import (
    format_iso,
    format_iso_in_seoul,
    parse_iso_time_or_none,
)
from synapse_apply.emulator.core.call import EmulatorAnswer, EmulatorRequest, Endpoint
from synapse_apply.emulator.core.fields import (
    AnswerObject,
    ApiError,
    Fact,
    FactSource,
    Field,
    FieldValues,
    build_bad_request_error,
    build_error_of_field,
    build_not_found_error,
    collect_messages,
    convert_sent_fields,
    method_not_allowed,
    with_default_values,
)
from synapse_apply.emulator.core.paging import add_v1_filters, build_page_answer
from synapse_apply.emulator.core.store import ObjectQuery, StoredObject


def bad_transition(old: str, new: str) -> ApiError:
    return build_error_of_field("status", f'A job that is "{old}" cannot become "{new}".')


def build_bad_status_error(word: object) -> ApiError:
    return build_error_of_field("status", f'"{word}" is not a valid choice.')


def build_bad_lines_error() -> ApiError:
    return build_error_of_field("console_logs", "Expected an object or a list of objects.")


def unknown_action(action: str, actions: Sequence[str]) -> ApiError:
    return build_error_of_field("action", f'"{action}" is not one of: {", ".join(actions)}.')


def action_failed() -> ApiError:
    return build_bad_request_error("The action failed on request.")


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


def parse_status_word(word: object) -> Status | None:
    """The status that a word of either vocabulary means, in any case; None for another word."""
    return _STATUS_BY_WORD.get(word.lower()) if isinstance(word, str) else None


def format_status_word(status: Status, vocabulary: str) -> str:
    return PLATFORM[status] if vocabulary == "platform" else status


def may_become(old: Status, new: Status) -> bool:
    """Whether a status may change: an ended job keeps its status, others only go forward."""
    return old == new or (old not in ENDED_STATUSES and _ORDER[new] > _ORDER[old])


_HALF = 2**64
_VARIANT = 2**63  # the variant bit of a UUID (RFC 9562, 4.1), in its lower half


def build_job_uuid(data_set: str, row: StoredObject) -> str:
    """The UUID of a job: the upper half is the data set's, the lower has the job's number."""
    upper = uuid.UUID(data_set).int // _HALF
    return str(uuid.UUID(int=upper * _HALF + _VARIANT + row.id))


def parse_job_uuid_or_none(data_set: str, text: str) -> int | None:
    """The number of the job with this UUID; None for one that no job of this data set can have."""
    try:
        # The upper half identifies the data set: ids of another one are unknown here.
        upper, lower = divmod(uuid.UUID(text).int, _HALF)
    except ValueError:
        return None
    is_same_data_set = upper == uuid.UUID(data_set).int // _HALF
    return lower - _VARIANT if is_same_data_set and lower > _VARIANT else None


def is_uuid(text: str) -> bool:
    try:
        return bool(uuid.UUID(text))
    except ValueError:
        return False


# How the state, logs and result of a job follow from the time since it was created.
#
# There is no thread for a job: each answer computes its state at that moment. A reported status or
# progress stops this clock.

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


TICK_SECONDS = 0.05  # between two checks of the job
HEARTBEAT_TICKS = 20  # of silence
_MAX_LINES_PER_PIECE = 500  # so that the event loop gets to other requests in between


async def stream_frames(
    request: EmulatorRequest,
    row: StoredObject,
    public_id: Any,
    build_line_data: Callable[[Mapping[str, str]], Any],
) -> AsyncIterator[bytes]:
    """The frames `connected`, `log` for each line, and `complete` once the job has ended.

    `build_line_data` gives the `data` of a line's frame.
    """
    backend, identity = request.backend, row.id
    starts_at_end = backend.switches.has_value("tail", "now")
    # Counted before `connected` is sent: lines written after that frame must be in the tail.
    sent_count = (
        len(list_log_lines(row, compute_job_moment(row, backend.clock.now())))
        if starts_at_end
        else 0
    )
    yield _encode_frame({"type": "connected", "job_id": public_id})
    silent_ticks = 0
    while True:
        job_row = backend.store.find_by_id("job", identity, request.tenant)
        if job_row is None:
            yield build_error_frame("The job is gone.")
            return
        job_moment = compute_job_moment(job_row, backend.clock.now())
        lines = list_log_lines(job_row, job_moment, sent_count, _MAX_LINES_PER_PIECE)
        sent_count += len(lines)
        if lines:
            yield b"".join(
                _encode_frame({"type": "log", "data": build_line_data(line)}) for line in lines
            )
        elif job_moment.status in ENDED_STATUSES:
            yield _encode_frame({"type": "complete", "message": f"The job is {job_moment.status}."})
            return
        silent_ticks = 0 if lines else silent_ticks + 1
        if silent_ticks >= HEARTBEAT_TICKS:
            silent_ticks = 0
            yield b": heartbeat\n\n"
        # After a piece of lines more of them may be waiting.
        await asyncio.sleep(0 if lines else TICK_SECONDS)


async def stream_error(message: str) -> AsyncIterator[bytes]:
    """A stream of a single `error` frame."""
    yield build_error_frame(message)


def build_error_frame(message: str) -> bytes:
    return _encode_frame({"type": "error", "message": message})


def build_v1_line_data(request: EmulatorRequest, line: Mapping[str, str]) -> Any:
    """The `data` of a line's frame on API v1, by the switches `tail_data` and `console_logs`."""
    if request.has_server_switch_value("tail_data", "nested"):
        return f"data: {json.dumps({'type': 'log', 'message': line['message']})}"
    return format_log_line(line, request.backend.switches["console_logs"])


def _encode_frame(value: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


USER_ID = 1


def _require_job_in_path(request: EmulatorRequest) -> StoredObject:
    """The tenant's job with the id in the path. Raises ApiError (404)."""
    text, store = request.path["id"], request.backend.store
    number = int(text) if text.isdecimal() and len(text) < 20 else 0
    if request.has_server_switch_value("job_ids", "uuid"):
        number = parse_job_uuid_or_none(store.data_set, text) or 0
    row = store.find_by_id("job", number, request.tenant)
    if row is None:
        raise build_not_found_error()
    return row


def run_plugin(request: EmulatorRequest) -> EmulatorAnswer:
    """Start a job of the plugin with this id or code; answers the job, or the action's result."""
    backend = request.backend
    plugin = plugins.find_visible_plugin(backend, request.tenant, request.path["lookup"])
    if plugin is None:
        raise build_not_found_error()
    values, release = _parse_run(request, plugin)
    # `parameters` on the API page, `params` on the platform.
    parameters = values.pop("parameters") or values.pop("params")
    values.pop("params", None)
    script = parse_job_script(parameters, values["context"], backend.settings.job_seconds)
    # Counted down only after the body was checked: a refused run starts no job that could fail.
    if backend.jobs_to_fail > 0:
        backend.jobs_to_fail -= 1
        script = dataclasses.replace(script, outcome="failed")
    if _is_answered_with_result(request, values["action"], release):
        if script.outcome == "failed":
            raise action_failed()
        return EmulatorAnswer({"parameters": parameters, "processed": script.log_lines})
    body = {
        **values,
        "parameters": parameters,
        "release": release.id if release else None,
        "version": release.body["version"] if release else None,
        "user": USER_ID,
        "script": script_to_json(script),
    }
    row = backend.store.insert(
        "job", request.tenant, body, created=backend.clock.now(), parent=plugin.id
    )
    job = build_job_json(request, row)
    job_id_field = (
        {"job_id": job["id"]} if not request.has_server_switch_value("run_job", "id") else {}
    )
    if request.has_server_switch_value("run_job", "job_id"):
        job.pop("id")
    return EmulatorAnswer({**job_id_field, **job})


class _RunRequest(NamedTuple):
    """The checked values of a run; the release that it names, else the newest, if there is any."""

    values: FieldValues
    release: StoredObject | None


def _parse_run(request: EmulatorRequest, plugin: StoredObject) -> _RunRequest:
    """What a run asks for. Raises ApiError (400)."""
    is_platform = request.has_server_switch_value("run_form", "platform")
    names = PAGE_ONLY_NAMES if is_platform else ()
    fields = tuple(field for field in RUN_FIELDS if field.name not in names)
    if is_platform:
        fields = tuple(
            REQUIRED_ACTION_FIELD if run_field.name == "action" else run_field
            for run_field in fields
        )
    values = with_default_values(RUN_FIELDS, convert_sent_fields(fields, request.body))
    release = _find_release(request, plugin, values.pop("version"))
    actions = releases.list_available_actions(release) if release else []
    if is_platform and actions and values["action"] not in actions:
        raise unknown_action(values["action"], actions)
    return _RunRequest(values, release)


def _is_answered_with_result(
    request: EmulatorRequest, action: str, release: StoredObject | None
) -> bool:
    """Whether a run is answered with the action's result, without a job."""
    if not request.has_server_switch_value("run_answer", "method"):
        return request.has_server_switch_value("run_answer", "result")
    config = release.body.get("config") if release else None
    actions = config.get("actions") if isinstance(config, dict) else None
    action_config = actions.get(action) if isinstance(actions, dict) else None
    method = action_config.get("method") if isinstance(action_config, dict) else None
    return (method or DEFAULT_METHOD) != "job"


def _find_release(
    request: EmulatorRequest, plugin: StoredObject, version: str
) -> StoredObject | None:
    """The release of this version, or for "" the newest one, if any. Raises ApiError (400)."""
    store = request.backend.store
    if version:
        row = store.find_by_key_of_any_tenant(
            "release", releases.build_release_key(plugin.id, version)
        )
        if row is None:
            raise build_error_of_field(
                "version", f'Version "{version}" of this plugin does not exist.'
            )
        return row
    newest = store.select(
        "release", ObjectQuery(request.tenant, plugin.id, newest_first=True), limit=1
    )
    return newest[0] if newest else None


def read_job(request: EmulatorRequest) -> EmulatorAnswer:
    return EmulatorAnswer(build_job_json(request, _require_job_in_path(request)))


def list_jobs(request: EmulatorRequest) -> EmulatorAnswer:
    """One page of the tenant's jobs, newest first, by the filters of the switch `filters`."""
    query = _build_job_query(request)
    store = request.backend.store
    status = request.query.get("status")
    is_page = request.has_server_switch_value("filters", "page")
    # There is one user; any other one has no jobs.
    if is_page and request.query.get("user") not in (None, "", str(USER_ID)):
        return build_page_answer(request, 0, lambda _limit, _offset: [])
    agent = None if is_page else request.query.get("agent")
    if not status and not agent:
        return build_page_answer(
            request,
            store.count("job", query),
            lambda limit, offset: [
                build_job_json(request, row)
                for row in store.select("job", query, limit=limit, offset=offset)
            ],
        )
    is_included = _build_job_filter(request, status, agent)
    rows = [row for row in store.select("job", query) if is_included(row)]
    return build_page_answer(
        request,
        len(rows),
        lambda limit, offset: [
            build_job_json(request, row) for row in rows[offset : offset + limit]
        ],
    )


def _build_job_filter(
    request: EmulatorRequest, status: str | None, agent: str | None
) -> Callable[[StoredObject], bool]:
    """A test for jobs with this status and agent, in Python: both are not columns.

    Raises ApiError (400) for an unknown status.
    """
    parsed_status = parse_status_word(status) if status else None
    if status and parsed_status is None:
        raise build_error_of_field(
            "status", f"Select a valid choice. {status} is not one of the available choices."
        )
    moment = request.backend.clock.now()

    def is_included(row: StoredObject) -> bool:
        if agent and str(row.body["agent"]) != agent:
            return False
        return parsed_status is None or compute_job_moment(row, moment).status == parsed_status

    return is_included


def _build_job_query(request: EmulatorRequest) -> ObjectQuery:
    parent = created_after = None
    if request.has_server_switch_value("filters", "platform"):
        return add_v1_filters(request, ObjectQuery(request.tenant, newest_first=True))
    if request.query.get("plugin"):
        plugin = plugins.find_visible_plugin(
            request.backend, request.tenant, request.query["plugin"]
        )
        # No object has the id 0, so that an unknown plugin gives an empty list.
        parent = plugin.id if plugin else 0
    if request.query.get("created_after"):
        created_after = parse_iso_time_or_none(request.query["created_after"])
        if created_after is None:
            raise build_error_of_field("created_after", "Enter a valid date/time.")
    return ObjectQuery(request.tenant, parent, created_after, newest_first=True)


def report_on_job(request: EmulatorRequest) -> EmulatorAnswer:
    """Store a report of status, progress, result or logs; a status or progress stops the clock."""
    backend, row = request.backend, _require_job_in_path(request)
    moment = backend.clock.now()
    job_moment = compute_job_moment(row, moment)
    values = _parse_update_request(request, row, job_moment)
    body = dict(row.body)
    status, progress = values.pop("status", None), values.pop("progress", None)
    if status is not None or progress is not None:
        body["reported"] = build_status_report(job_moment, status, progress, moment)
    lines = values.pop("console_logs", None)
    # Appended, not replaced: each report brings only the lines written since the last one.
    if lines is not None:
        body["console_logs"] = [*body.get("console_logs", ()), *lines]
    row = backend.store.replace("job", row, {**body, **values}, key=row.key)
    return EmulatorAnswer(build_job_json(request, row))


def _parse_update_request(
    request: EmulatorRequest, row: StoredObject, job_moment: JobMoment
) -> FieldValues:
    """The cleaned values of a report. Raises ApiError (400) with all problems."""
    problems: dict[str, Any] = {}
    values: FieldValues = {}
    with collect_messages(problems):
        values |= convert_sent_fields(UPDATE_FIELDS, request.body)
    with collect_messages(problems):
        for name, lines in convert_sent_fields(CONSOLE_LOGS_FIELDS, request.body).items():
            moment, lines_before = (
                request.backend.clock.now(),
                count_written_lines(row, job_moment),
            )
            values[name] = parse_reported_lines(lines, moment, lines_before)
    with collect_messages(problems):
        if "status" in request.body.values:
            word = request.body.values["status"]
            status = parse_status_word(word)
            if status is None:
                raise build_bad_status_error(word)
            if not may_become(job_moment.status, status):
                raise bad_transition(job_moment.status, status)
            values["status"] = status
    if problems:
        raise ApiError(400, problems)
    if "meta" in values:
        # The vendor's clients send `meta`, the API page has `metadata`; of both, `metadata` counts.
        meta = values.pop("meta")
        values.setdefault("metadata", meta)
    return values


def list_console_logs(request: EmulatorRequest) -> EmulatorAnswer:
    row = _require_job_in_path(request)
    lines = list_log_lines(row, compute_job_moment(row, request.backend.clock.now()))
    if not lines and request.has_server_switch_value("no_logs", "missing"):
        raise build_not_found_error()
    return EmulatorAnswer(
        [format_log_line(line, request.backend.switches["console_logs"]) for line in lines]
    )


def tail_console_logs(request: EmulatorRequest) -> EmulatorAnswer:
    """The log lines as server-sent events until the job has ended. Raises ApiError (404, 405)."""
    if request.backend.switches.has_value("tail", "none"):
        raise method_not_allowed("GET", ())
    try:
        row = _require_job_in_path(request)
    except ApiError:
        if request.has_server_switch_value("tail_of_none", "missing"):
            raise
        return EmulatorAnswer(None, stream=stream_error("Job not found."))
    identity = _build_job_id(request, row)
    return EmulatorAnswer(
        None,
        stream=stream_frames(request, row, identity, partial(build_v1_line_data, request)),
    )


def _build_job_id(request: EmulatorRequest, row: StoredObject) -> int | str:
    is_uuid = request.has_server_switch_value("job_ids", "uuid")
    return build_job_uuid(request.backend.store.data_set, row) if is_uuid else row.id


def build_job_json(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    """A job as answers show it, by the switches and `?expand=`."""
    job_moment = compute_job_moment(row, request.backend.clock.now())
    result, expands = (
        build_job_result_or_none(row, job_moment),
        request.parse_expanded_fields(),
    )
    is_platform = request.has_server_switch_value("job_fields", "platform")
    document = {
        "id": _build_job_id(request, row),
        "status": format_status_word(job_moment.status, request.backend.switches["status_words"]),
        **(
            _build_platform_fields(request, row, job_moment)
            if is_platform
            else _build_fields_of_api_page(row, job_moment)
        ),
    }
    if request.has_server_switch_value("job_context", "returned"):
        document["context"] = row.body["context"]
    if result is not None or "result" in expands:
        document["result"] = result
    if "logs" in expands:
        document["logs"] = list_log_lines(row, job_moment)
    if "metrics" in expands:
        document["metrics"] = row.body.get("metrics_record", {})
    return document


def _build_fields_of_api_page(row: StoredObject, job_moment: JobMoment) -> AnswerObject:
    body = row.body
    return {
        "progress": job_moment.progress,
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
        "error": build_job_error(row, job_moment),
        "created": format_iso(row.created),
        "completed": format_iso(compute_end_time(row))
        if job_moment.status in ENDED_STATUSES
        else None,
    }


def _build_platform_fields(
    request: EmulatorRequest, row: StoredObject, job_moment: JobMoment
) -> AnswerObject:
    body = row.body
    is_ended = job_moment.status in ENDED_STATUSES
    return {
        "plugin_release": _expand_release(request, row),
        "action": body["action"],
        "params": body["parameters"],
        "agent": body["agent"],
        "user": body["user"],
        "meta": {**body.get("metadata", {}), **queue_field(row, job_moment)},
        "progress_record": body.get("progress_record") or build_progress_record(row, job_moment),
        "metrics_record": body.get("metrics_record", {}),
        "error": build_job_error(row, job_moment),
        "created": format_iso_in_seoul(row.created),
        "completed": format_iso_in_seoul(compute_end_time(row)) if is_ended else None,
    }


def _expand_release(request: EmulatorRequest, row: StoredObject) -> Any:
    """The id of a job's release, or an object of it with `?expand=plugin_release`."""
    if "plugin_release" not in request.parse_expanded_fields() or row.body["release"] is None:
        return row.body["release"]
    plugin = request.backend.store.find_by_id("plugin", row.parent or 0)
    plugin_fields = {
        "id": row.parent,
        **({"code": plugin.key, "name": plugin.body["name"]} if plugin else {}),
    }
    return {"id": row.body["release"], "plugin": plugin_fields, "version": row.body["version"]}


ENDPOINTS = (
    Endpoint(
        "POST",
        "plugins/{lookup}/run/",
        run_plugin,
        FactSource.DOCUMENTED,
        "Run a plugin by id or code: 200 with `job_id` and the job.",
    ),
    Endpoint(
        "GET",
        "jobs/",
        list_jobs,
        FactSource.DOCUMENTED,
        "List jobs, the newest first; `?status=` in any case; others as the switch `filters` says.",
    ),
    Endpoint(
        "GET",
        "jobs/{id}/",
        read_job,
        FactSource.DOCUMENTED,
        "Read a job; `?expand=logs,metrics,result`.",
    ),
    Endpoint("PATCH", "jobs/{id}/", report_on_job, FactSource.DOCUMENTED, "Report on a job."),
    Endpoint(
        "GET",
        "jobs/{id}/console_logs/",
        list_console_logs,
        FactSource.DOCUMENTED,
        "The lines a job wrote.",
    ),
    Endpoint(
        "GET",
        "jobs/{id}/tail_console_logs/",
        tail_console_logs,
        FactSource.OBSERVED,
        "The lines a job writes, as server-sent events until it has ended.",
    ),
)

FACTS = (
    Fact("A run takes `parameters` and `context`.", FactSource.DOCUMENTED),
    Fact(
        "A run takes `action`, `agent`, `params`, `storage_id`, `job_id`, `debug`, `version`, "
        "`language`; a plugin's code instead of its id.",
        FactSource.OBSERVED,
    ),
    Fact(
        "A run uses the release of `version` (unknown: 400), else the newest, else none.",
        FactSource.GUESSED,
    ),
    Fact("Job ids are integers.", FactSource.DOCUMENTED),
    Fact(
        "With `run_form=platform`, an `action` that the release's config.yaml does not list is "
        "400; where it lists none, any action is taken.",
        FactSource.GUESSED,
    ),
    Fact("The result that answers a run of an action that fails is a 400.", FactSource.GUESSED),
    Fact("An action whose config names no `method` is a `task`.", FactSource.OBSERVED),
    Fact("queued, then running with progress, then completed or failed.", FactSource.DOCUMENTED),
    Fact(
        "`parameters: {fail: true}`, or `emulator: {outcome, seconds, log_lines}` in parameters or "
        "context, decides how a job goes.",
        FactSource.GUESSED,
    ),
    Fact("An update takes `status`, `progress`, `result`, `metadata`.", FactSource.DOCUMENTED),
    Fact(
        "An update takes `progress_record`, `metrics_record`, `console_logs`, `meta`; status words "
        "of both vocabularies in any case.",
        FactSource.OBSERVED,
    ),
    Fact("A reported status or progress stops the job's own clock.", FactSource.GUESSED),
    Fact("An ended job stays ended (400), saying the same again is fine.", FactSource.OBSERVED),
    Fact("A job does not go back from running to queued: 400.", FactSource.GUESSED),
    Fact(
        "The tail's frames are `data: {...}` of type `connected` (with `job_id`), `log` (with "
        "`data`), `complete` or `error` (with `message`); comments are `: heartbeat`.",
        FactSource.OBSERVED,
    ),
    Fact(
        "The tail ends with `complete` once the job has ended. A heartbeat comes after each second "
        "of silence. An unknown job is 404 before any frame.",
        FactSource.GUESSED,
    ),
    Fact(
        "`result` is shown once there is one; logs and metrics only when expanded.",
        FactSource.GUESSED,
    ),
)
