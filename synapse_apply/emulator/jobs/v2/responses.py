"""What requests about jobs are answered on API v2."""

from __future__ import annotations

from operator import itemgetter

from synapse_apply.emulator.core.call import EmulatorAnswer, EmulatorRequest
from synapse_apply.emulator.core.cursors import build_cursor_page, convert_filters
from synapse_apply.emulator.core.errors import ApiError, build_not_found_error
from synapse_apply.emulator.core.fields import AnswerObject, Field, FieldValues, convert_sent_fields
from synapse_apply.emulator.core.store import ObjectQuery, StoredObject
from synapse_apply.emulator.jobs import ids, tail, words
from synapse_apply.emulator.jobs import models as v1
from synapse_apply.emulator.jobs.v2 import logs, models

_FILTERS = (Field("status", "choice", choices=models.STATUSES), Field("action"))


def _require_job_in_path(request: EmulatorRequest) -> StoredObject:
    store = request.backend.store
    number = ids.parse_job_uuid_or_none(store.data_set, request.path["id"])
    row = store.find_by_id("job", number, request.tenant) if number else None
    if row is None or not models.is_visible_on_v2(row):
        raise build_not_found_error()
    return row


def _build_job_json(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    return models.build_job_json(request.backend, row)


def read_job(request: EmulatorRequest) -> EmulatorAnswer:
    return EmulatorAnswer(_build_job_json(request, _require_job_in_path(request)))


def list_jobs(request: EmulatorRequest) -> EmulatorAnswer:
    """One page of the tenant's jobs, newest first, filtered by status and action."""
    filter_values = convert_filters(request, _FILTERS)

    def build_item(row: StoredObject) -> AnswerObject:
        return models.build_job_item(request.backend, row)

    def is_included(row: StoredObject) -> bool:
        if not models.is_visible_on_v2(row):
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
    values = convert_sent_fields(models.UPDATE_FIELDS, request.body)
    word = values.pop("status", None)
    body = {models.STORED_NAMES.get(name, name): value for name, value in values.items()}
    status = words.parse_status_word(word) if word is not None else None
    if status is not None:
        if not words.may_become(job_moment.status, status):
            raise models.bad_transition(job_moment.status, status)
        body["reported"] = v1.build_status_report(job_moment, status, None, moment)
    return EmulatorAnswer(_build_job_json(request, _store_job_changes(request, row, body)))


def stop_job(request: EmulatorRequest) -> EmulatorAnswer:
    """Stop a job; a dry run answers without it. Raises ApiError (404, 409)."""
    row, moment = _require_job_in_path(request), request.backend.clock.now()
    job_moment = v1.compute_job_moment(row, moment)
    if job_moment.status in words.ENDED_STATUSES:
        raise models.build_job_ended_error(job_moment.status)
    if request.is_dry_run:
        target = ids.build_job_uuid(request.backend.store.data_set, row)
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
    row, log = _require_job_in_path(request), logs.validate_log_in_body(request.body)
    if upload := request.uploads.get("file"):
        log["file"] = f"{request.root_url}/media/{upload.sha256}/{upload.name}"
    (new_log,) = logs.store_logs(request.backend, row, [log])
    return EmulatorAnswer(logs.build_log_json(new_log, request.path["id"]), 201)


def create_logs(request: EmulatorRequest) -> EmulatorAnswer:
    row = _require_job_in_path(request)
    new_logs = logs.store_logs(request.backend, row, logs.validate_logs_in_body(request.body))
    return EmulatorAnswer([logs.build_log_json(log, request.path["id"]) for log in new_logs], 201)


def tail_console_logs(request: EmulatorRequest) -> EmulatorAnswer:
    """The log lines as server-sent events; one `error` event for an unknown UUID."""
    store = request.backend.store
    try:
        row = _require_job_in_path(request)
    except ApiError:
        # The platform answers an unknown job with a stream, and what is no UUID with 404.
        if not ids.is_uuid(request.path["id"]):
            raise
        return EmulatorAnswer(None, stream=tail.stream_error("Job not found."))
    public_id = ids.build_job_uuid(store.data_set, row)
    return EmulatorAnswer(
        None, stream=tail.stream_frames(request, row, public_id, itemgetter("message"))
    )


def list_console_logs(request: EmulatorRequest) -> EmulatorAnswer:
    row = _require_job_in_path(request)
    lines = v1.list_log_lines(row, v1.compute_job_moment(row, request.backend.clock.now()))
    return EmulatorAnswer({"logs": [line["message"] for line in lines]})
