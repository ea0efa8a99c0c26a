"""What requests about jobs are answered on API v1."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from synapse_apply.emulator.core.call import EmulatorAnswer, EmulatorRequest
from synapse_apply.emulator.core.clock import (
    format_iso,
    format_iso_in_seoul,
    parse_iso_time_or_none,
)
from synapse_apply.emulator.core.errors import (
    ApiError,
    build_error_of_field,
    build_not_found_error,
    method_not_allowed,
)
from synapse_apply.emulator.core.fields import (
    AnswerObject,
    FieldValues,
    collect_messages,
    convert_sent_fields,
    with_default_values,
)
from synapse_apply.emulator.core.paging import add_v1_filters, build_page_answer
from synapse_apply.emulator.core.store import ObjectQuery, StoredObject
from synapse_apply.emulator.jobs import errors, ids, models, tail, words
from synapse_apply.emulator.plugins import models as plugins
from synapse_apply.emulator.releases import models as releases

USER_ID = 1


def _require_job_in_path(request: EmulatorRequest) -> StoredObject:
    """The tenant's job with the id in the path. Raises ApiError (404)."""
    text, store = request.path["id"], request.backend.store
    number = int(text) if text.isdecimal() and len(text) < 20 else 0
    if request.has_server_switch_value("job_ids", "uuid"):
        number = ids.parse_job_uuid_or_none(store.data_set, text) or 0
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
    script = models.parse_job_script(parameters, values["context"], backend.settings.job_seconds)
    # Counted down only after the body was checked: a refused run starts no job that could fail.
    if backend.jobs_to_fail > 0:
        backend.jobs_to_fail -= 1
        script = dataclasses.replace(script, outcome="failed")
    if _is_answered_with_result(request, values["action"], release):
        if script.outcome == "failed":
            raise errors.action_failed()
        return EmulatorAnswer({"parameters": parameters, "processed": script.log_lines})
    body = {
        **values,
        "parameters": parameters,
        "release": release.id if release else None,
        "version": release.body["version"] if release else None,
        "user": USER_ID,
        "script": models.script_to_json(script),
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
    names = models.PAGE_ONLY_NAMES if is_platform else ()
    fields = tuple(field for field in models.RUN_FIELDS if field.name not in names)
    if is_platform:
        fields = tuple(
            models.REQUIRED_ACTION_FIELD if run_field.name == "action" else run_field
            for run_field in fields
        )
    values = with_default_values(models.RUN_FIELDS, convert_sent_fields(fields, request.body))
    release = _find_release(request, plugin, values.pop("version"))
    actions = releases.list_available_actions(release) if release else []
    if is_platform and actions and values["action"] not in actions:
        raise errors.unknown_action(values["action"], actions)
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
    return (method or models.DEFAULT_METHOD) != "job"


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
    parsed_status = words.parse_status_word(status) if status else None
    if status and parsed_status is None:
        raise build_error_of_field(
            "status", f"Select a valid choice. {status} is not one of the available choices."
        )
    moment = request.backend.clock.now()

    def is_included(row: StoredObject) -> bool:
        if agent and str(row.body["agent"]) != agent:
            return False
        return (
            parsed_status is None or models.compute_job_moment(row, moment).status == parsed_status
        )

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
    job_moment = models.compute_job_moment(row, moment)
    values = _parse_update_request(request, row, job_moment)
    body = dict(row.body)
    status, progress = values.pop("status", None), values.pop("progress", None)
    if status is not None or progress is not None:
        body["reported"] = models.build_status_report(job_moment, status, progress, moment)
    lines = values.pop("console_logs", None)
    # Appended, not replaced: each report brings only the lines written since the last one.
    if lines is not None:
        body["console_logs"] = [*body.get("console_logs", ()), *lines]
    row = backend.store.replace("job", row, {**body, **values}, key=row.key)
    return EmulatorAnswer(build_job_json(request, row))


def _parse_update_request(
    request: EmulatorRequest, row: StoredObject, job_moment: models.JobMoment
) -> FieldValues:
    """The cleaned values of a report. Raises ApiError (400) with all problems."""
    problems: dict[str, Any] = {}
    values: FieldValues = {}
    with collect_messages(problems):
        values |= convert_sent_fields(models.UPDATE_FIELDS, request.body)
    with collect_messages(problems):
        for name, lines in convert_sent_fields(models.CONSOLE_LOGS_FIELDS, request.body).items():
            moment, lines_before = (
                request.backend.clock.now(),
                models.count_written_lines(row, job_moment),
            )
            values[name] = models.parse_reported_lines(lines, moment, lines_before)
    with collect_messages(problems):
        if "status" in request.body.values:
            word = request.body.values["status"]
            status = words.parse_status_word(word)
            if status is None:
                raise errors.build_bad_status_error(word)
            if not words.may_become(job_moment.status, status):
                raise errors.bad_transition(job_moment.status, status)
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
    lines = models.list_log_lines(row, models.compute_job_moment(row, request.backend.clock.now()))
    if not lines and request.has_server_switch_value("no_logs", "missing"):
        raise build_not_found_error()
    return EmulatorAnswer(
        [models.format_log_line(line, request.backend.switches["console_logs"]) for line in lines]
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
        return EmulatorAnswer(None, stream=tail.stream_error("Job not found."))
    identity = _build_job_id(request, row)
    return EmulatorAnswer(
        None,
        stream=tail.stream_frames(
            request, row, identity, partial(tail.build_v1_line_data, request)
        ),
    )


def _build_job_id(request: EmulatorRequest, row: StoredObject) -> int | str:
    is_uuid = request.has_server_switch_value("job_ids", "uuid")
    return ids.build_job_uuid(request.backend.store.data_set, row) if is_uuid else row.id


def build_job_json(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    """A job as answers show it, by the switches and `?expand=`."""
    job_moment = models.compute_job_moment(row, request.backend.clock.now())
    result, expands = (
        models.build_job_result_or_none(row, job_moment),
        request.parse_expanded_fields(),
    )
    is_platform = request.has_server_switch_value("job_fields", "platform")
    document = {
        "id": _build_job_id(request, row),
        "status": words.format_status_word(
            job_moment.status, request.backend.switches["status_words"]
        ),
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
        document["logs"] = models.list_log_lines(row, job_moment)
    if "metrics" in expands:
        document["metrics"] = row.body.get("metrics_record", {})
    return document


def _build_fields_of_api_page(row: StoredObject, job_moment: models.JobMoment) -> AnswerObject:
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
        "error": models.build_job_error(row, job_moment),
        "created": format_iso(row.created),
        "completed": format_iso(models.compute_end_time(row))
        if job_moment.status in words.ENDED_STATUSES
        else None,
    }


def _build_platform_fields(
    request: EmulatorRequest, row: StoredObject, job_moment: models.JobMoment
) -> AnswerObject:
    body = row.body
    is_ended = job_moment.status in words.ENDED_STATUSES
    return {
        "plugin_release": _expand_release(request, row),
        "action": body["action"],
        "params": body["parameters"],
        "agent": body["agent"],
        "user": body["user"],
        "meta": {**body.get("metadata", {}), **models.queue_field(row, job_moment)},
        "progress_record": body.get("progress_record")
        or models.build_progress_record(row, job_moment),
        "metrics_record": body.get("metrics_record", {}),
        "error": models.build_job_error(row, job_moment),
        "created": format_iso_in_seoul(row.created),
        "completed": format_iso_in_seoul(models.compute_end_time(row)) if is_ended else None,
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
