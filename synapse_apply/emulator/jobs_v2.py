"""Jobs of v2: what differs from those of v1, in fields, logs, answers and paths."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from synapse_apply.emulator import jobs
from synapse_apply.emulator import jobs as v1
from synapse_apply.emulator.core.backend import DataSetBackend, format_iso, parse_iso_time_or_none
from synapse_apply.emulator.core.call import EmulatorAnswer, EmulatorRequest, Endpoint
from synapse_apply.emulator.core.cursors import build_cursor_page, convert_filters
from synapse_apply.emulator.core.fields import (
    REQUIRED_MESSAGE,
    AnswerObject,
    ApiError,
    Body,
    Fact,
    FactSource,
    Field,
    FieldValues,
    build_error_of_field,
    build_not_found_error,
    convert_sent_fields,
    with_default_values,
)
from synapse_apply.emulator.core.store import ObjectQuery, StoredObject
from synapse_apply.emulator.jobs import build_job_uuid

STATUSES = tuple(jobs.PLATFORM.values())
UPDATE_FIELDS = (
    Field("status", "choice", choices=STATUSES),
    *(
        Field(name, "any", nullable=True)
        for name in ("progress_record", "metrics_record", "meta", "result")
    ),
)
# The names in the store of fields that v2 calls otherwise.
STORED_NAMES = {"meta": "metadata"}


def is_visible_on_v2(row: StoredObject) -> bool:
    """Whether API v2 shows a job: only one with a release."""
    return row.body.get("release") is not None


def bad_transition(old: jobs.Status, new: jobs.Status) -> ApiError:
    before, after = jobs.PLATFORM[old], jobs.PLATFORM[new]
    return ApiError(
        400,
        {"status": [f"A job that is {before} cannot become {after}."]},
        code="INVALID_TRANSITION",
        details={"current_status": before, "requested_status": after},
    )


def build_job_ended_error(status: jobs.Status) -> ApiError:
    word = jobs.PLATFORM[status]
    return ApiError(
        409,
        {"detail": f"The job has ended ({word}) and cannot be stopped."},
        code="INVALID_STATE",
        details={"current_status": word},
    )


def build_job_item(backend: DataSetBackend, row: StoredObject) -> AnswerObject:
    job_moment = v1.compute_job_moment(row, backend.clock.now())
    is_ended = job_moment.status in jobs.ENDED_STATUSES
    return {
        "id": build_job_uuid(backend.store.data_set, row),
        "status": jobs.PLATFORM[job_moment.status],
        "action": row.body["action"],
        "is_active": not is_ended,
        "queue": v1.queue_field(row, job_moment).get("queue"),
        "error": v1.build_job_error(row, job_moment),
        "created": format_iso(row.created),
        "completed": format_iso(v1.compute_end_time(row)) if is_ended else None,
    }


def build_job_json(backend: DataSetBackend, row: StoredObject) -> AnswerObject:
    body = row.body
    release = backend.to_v2_id(body["release"])
    return {
        **build_job_item(backend, row),
        "params": body["parameters"],
        "progress_record": body.get("progress_record"),
        "metrics_record": body.get("metrics_record"),
        "result": v1.build_job_result_or_none(row, v1.compute_job_moment(row, backend.clock.now())),
        "meta": body.get("metadata"),
        "plugin_release_id": release,
        "plugin_release": {
            "id": release,
            "plugin_id": backend.to_v2_id(row.parent or 0),
            "version": body["version"],
        },
        "modified": format_iso(body.get("modified", row.created)),
    }


LEVELS = ("debug", "info", "success", "warning", "danger", "error", "critical")
FIELDS = (
    Field("event", required=True),
    Field("data", "any", required=True, nullable=True),
    Field("datetime", required=True),
    Field("step", default=""),
    Field("level", "choice", choices=LEVELS, default="info"),
)
LOGS_KEY = "logs"  # in a job's body
MAX_LOGS = 1000
_MAX_STEP_LENGTH = 255
_IDS_PER_JOB = 1_000_000  # of each job


def validate_log_in_body(body: Body) -> FieldValues:
    """The cleaned log in a body, as it is stored. Raises ApiError (400)."""
    values = with_default_values(FIELDS, convert_sent_fields(FIELDS, body.parse_json_texts(FIELDS)))
    moment = parse_iso_time_or_none(values["datetime"])
    if moment is None:
        raise build_error_of_field("datetime", "Datetime has wrong format.")
    if len(values["step"]) > _MAX_STEP_LENGTH:
        raise build_error_of_field(
            "step", f"Ensure this field has no more than {_MAX_STEP_LENGTH} characters."
        )
    return {**values, "datetime": moment}


def validate_logs_in_body(body: Body) -> list[FieldValues]:
    """The cleaned logs in a body `{"logs": [...]}`. Raises ApiError (400) if one is wrong."""
    entries = body.values.get("logs")
    if entries is None:
        raise build_error_of_field("logs", REQUIRED_MESSAGE)
    if not isinstance(entries, list) or not entries:
        raise build_error_of_field("logs", "Expected a list of at least one log.")
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
            raise build_error_of_field("logs", f"Log {number} is no object.")
        try:
            logs.append(validate_log_in_body(Body(dict(entry))))
        except ApiError as error:
            message = "; ".join(f"{name}: {texts[0]}" for name, texts in error.body.items())
            raise build_error_of_field("logs", f"Log {number}: {message}") from None
    return logs


def store_logs(
    backend: DataSetBackend, row: StoredObject, logs: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Store logs in a job; returns them with their ids and times of arrival."""
    stored_logs = row.body.get(LOGS_KEY, [])
    new_logs = [
        {**log, "id": row.id * _IDS_PER_JOB + number, "created": backend.clock.now()}
        for number, log in enumerate(logs, start=len(stored_logs) + 1)
    ]
    backend.store.replace(
        "job", row, {**row.body, LOGS_KEY: [*stored_logs, *new_logs]}, key=row.key
    )
    return new_logs


def build_log_json(log: Mapping[str, Any], job: str) -> AnswerObject:
    return {
        "job_id": job,
        "file": "",
        **log,
        "datetime": format_iso(log["datetime"]),
        "created": format_iso(log["created"]),
    }


_FILTERS = (Field("status", "choice", choices=STATUSES), Field("action"))


def _require_job_in_path(request: EmulatorRequest) -> StoredObject:
    store = request.backend.store
    number = jobs.parse_job_uuid_or_none(store.data_set, request.path["id"])
    row = store.find_by_id("job", number, request.tenant) if number else None
    if row is None or not is_visible_on_v2(row):
        raise build_not_found_error()
    return row


def _build_job_json(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    return build_job_json(request.backend, row)


def read_job(request: EmulatorRequest) -> EmulatorAnswer:
    return EmulatorAnswer(_build_job_json(request, _require_job_in_path(request)))


def list_jobs(request: EmulatorRequest) -> EmulatorAnswer:
    """One page of the tenant's jobs, newest first, filtered by status and action."""
    filter_values = convert_filters(request, _FILTERS)

    def build_item(row: StoredObject) -> AnswerObject:
        return build_job_item(request.backend, row)

    def is_included(row: StoredObject) -> bool:
        if not is_visible_on_v2(row):
            return False
        job_json = build_item(row)
        return all(job_json[name] == filter_values[name] for name in filter_values)

    return build_cursor_page(
        request, "job", ObjectQuery(request.tenant, newest_first=True), build_item, is_included
    )


def report_on_job(request: EmulatorRequest) -> EmulatorAnswer:
    """Store a report on a job; a reported status stops its clock. Raises ApiError (400, 404)."""
    row, moment = _require_job_in_path(request), request.backend.clock.now()
    job_moment = v1.compute_job_moment(row, moment)
    values = convert_sent_fields(UPDATE_FIELDS, request.body)
    word = values.pop("status", None)
    body = {STORED_NAMES.get(name, name): value for name, value in values.items()}
    status = jobs.parse_status_word(word) if word is not None else None
    if status is not None:
        if not jobs.may_become(job_moment.status, status):
            raise bad_transition(job_moment.status, status)
        body["reported"] = v1.build_status_report(job_moment, status, None, moment)
    return EmulatorAnswer(_build_job_json(request, _store_job_changes(request, row, body)))


def stop_job(request: EmulatorRequest) -> EmulatorAnswer:
    """Stop a job; a dry run answers without it. Raises ApiError (404, 409)."""
    row, moment = _require_job_in_path(request), request.backend.clock.now()
    job_moment = v1.compute_job_moment(row, moment)
    if job_moment.status in jobs.ENDED_STATUSES:
        raise build_job_ended_error(job_moment.status)
    if request.is_dry_run:
        target = jobs.build_job_uuid(request.backend.store.data_set, row)
        return EmulatorAnswer({"dry_run": True, "action": "stop", "target": target})
    report = v1.build_status_report(job_moment, "stopped", None, moment)
    return EmulatorAnswer(
        _build_job_json(request, _store_job_changes(request, row, {"reported": report}))
    )


def _store_job_changes(
    request: EmulatorRequest, row: StoredObject, changes: FieldValues
) -> StoredObject:
    body = {**row.body, **changes, "modified": request.backend.clock.now()}
    return request.backend.store.replace("job", row, body, key=row.key)


def create_log(request: EmulatorRequest) -> EmulatorAnswer:
    row, log = _require_job_in_path(request), validate_log_in_body(request.body)
    if upload := request.uploads.get("file"):
        log["file"] = f"{request.root_url}/media/{upload.sha256}/{upload.name}"
    (new_log,) = store_logs(request.backend, row, [log])
    return EmulatorAnswer(build_log_json(new_log, request.path["id"]), 201)


def create_logs(request: EmulatorRequest) -> EmulatorAnswer:
    row = _require_job_in_path(request)
    new_logs = store_logs(request.backend, row, validate_logs_in_body(request.body))
    return EmulatorAnswer([build_log_json(log, request.path["id"]) for log in new_logs], 201)


def tail_console_logs(request: EmulatorRequest) -> EmulatorAnswer:
    """The log lines as server-sent events; one `error` event for an unknown UUID."""
    store = request.backend.store
    try:
        row = _require_job_in_path(request)
    except ApiError:
        # The platform answers an unknown job with a stream, and what is no UUID with 404.
        if not jobs.is_uuid(request.path["id"]):
            raise
        return EmulatorAnswer(None, stream=jobs.stream_error("Job not found."))
    public_id = jobs.build_job_uuid(store.data_set, row)
    return EmulatorAnswer(
        None, stream=jobs.stream_frames(request, row, public_id, itemgetter("message"))
    )


def list_console_logs(request: EmulatorRequest) -> EmulatorAnswer:
    row = _require_job_in_path(request)
    lines = v1.list_log_lines(row, v1.compute_job_moment(row, request.backend.clock.now()))
    return EmulatorAnswer({"logs": [line["message"] for line in lines]})


_D = FactSource.DOCUMENTED

_WRITES = ("v2_writes", "all")

ENDPOINTS = (
    Endpoint(
        "GET",
        "jobs/",
        list_jobs,
        _D,
        "List jobs, the newest first; `?status=`, `?action=`.",
    ),
    Endpoint("GET", "jobs/{id}/", read_job, _D, "Read a job by its UUID."),
    Endpoint("PATCH", "jobs/{id}/", report_on_job, _D, "Report on a job.", switch=_WRITES),
    Endpoint(
        "POST",
        "jobs/{id}/logs/",
        create_log,
        _D,
        "Log an event of a job: 201.",
        switch=_WRITES,
    ),
    Endpoint(
        "POST",
        "jobs/{id}/logs/bulk/",
        create_logs,
        _D,
        "Log up to 1000 events: `{logs: [...]}`, all or none.",
        switch=_WRITES,
    ),
    Endpoint("POST", "jobs/{id}/stop/", stop_job, _D, "Stop a job.", switch=_WRITES),
    Endpoint(
        "GET",
        "jobs/{id}/console_logs/",
        list_console_logs,
        _D,
        "The lines: `{logs: [...]}`.",
    ),
    Endpoint(
        "GET",
        "jobs/{id}/tail_console_logs/",
        tail_console_logs,
        _D,
        "The lines a job writes, as server-sent events until it has ended.",
    ),
)

FACTS = (
    Fact("Jobs are known by a UUID, and started on v1 alone.", _D),
    Fact("A job of v1 that has no release is not there on v2.", FactSource.GUESSED),
    Fact(
        "An update takes `status`, `progress_record`, `metrics_record`, `meta`, `result`, each "
        "replaced as a whole; other fields are dropped.",
        _D,
    ),
    Fact("Status words are upper-case; another word is 400.", _D),
    Fact("A change that is not allowed is 400 with INVALID_TRANSITION.", _D),
    Fact("An ended job stays ended; saying the same again is fine.", _D),
    Fact("A job that has ended is not stopped: 409 with INVALID_STATE.", _D),
    Fact("The dry run of a stop is answered `{dry_run: true, action: stop, target: ID}`.", _D),
    Fact(
        "The tail has the frames of v1, without an envelope; a line is a text. Of a job that is "
        "not there the tail is 200 and one `error` frame.",
        FactSource.OBSERVED,
    ),
    Fact("More than 1000 logs at once are 400 with BULK_SIZE_EXCEEDED.", _D),
    Fact(
        "The file of a log is not kept, and its URL leads nowhere; without one it is empty.",
        FactSource.GUESSED,
    ),
    Fact("Logs are taken of ended jobs too, and are no lines of the console.", FactSource.GUESSED),
    Fact("Every queued job is the first of the queue.", FactSource.GUESSED),
)
