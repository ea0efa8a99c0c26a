"""Answers to requests about jobs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

from synapse_apply.emulator.core.call import Answer, Call
from synapse_apply.emulator.core.clock import iso, iso_in_seoul, parse_iso
from synapse_apply.emulator.core.errors import (
    ApiError,
    field_error,
    method_not_allowed,
    not_found,
)
from synapse_apply.emulator.core.fields import check, noting, with_resets
from synapse_apply.emulator.core.paging import answer_page, narrow
from synapse_apply.emulator.core.store import Row, Wanted
from synapse_apply.emulator.jobs import errors, ids, models, tail, words
from synapse_apply.emulator.plugins import models as plugins
from synapse_apply.emulator.releases import models as releases

USER = 1


def _by_id(call: Call) -> Row:
    text, store = call.path["id"], call.backend.store
    number = int(text) if text.isdecimal() and len(text) < 20 else 0
    if call.has("job_ids", "uuid"):
        number = ids.number(store.data_set, text) or 0
    row = store.get("job", number, call.tenant)
    if row is None:
        raise not_found()
    return row


def run(call: Call) -> Answer:
    """Start a job of a plugin, found by id or code."""
    backend = call.backend
    plugin = plugins.find(backend, call.tenant, call.path["lookup"])
    if plugin is None:
        raise not_found()
    values, release = _checked_run(call, plugin)
    parameters = values.pop("parameters") or values.pop("params")
    values.pop("params", None)
    script = models.script_of(parameters, values["context"], backend.settings.job_seconds)
    if backend.jobs_to_fail > 0:
        backend.jobs_to_fail -= 1
        script = dataclasses.replace(script, outcome="failed")
    if _answers_at_once(call, values["action"], release):
        return _result_of_action(script, parameters)
    body = {
        **values,
        "parameters": parameters,
        "release": release.id if release else None,
        "version": release.body["version"] if release else None,
        "user": USER,
        "script": models.script_to_json(script),
    }
    row = backend.store.insert(
        "job", call.tenant, body, created=backend.clock.now(), parent=plugin.id
    )
    job = show(call, row)
    named = {"job_id": job["id"]} if not call.has("run_job", "id") else {}
    if call.has("run_job", "job_id"):
        job.pop("id")
    return Answer({**named, **job})


def _checked_run(call: Call, plugin: Row) -> tuple[dict[str, Any], Row | None]:
    """What a run asks for, and the release that it uses. Raises ApiError (400)."""
    is_platform = call.has("run_form", "platform")
    names = models.PAGE_ONLY if is_platform else ()
    fields = tuple(field for field in models.RUN_FIELDS if field.name not in names)
    if is_platform:
        fields = tuple(models.NEEDED_ACTION if one.name == "action" else one for one in fields)
    values = with_resets(models.RUN_FIELDS, check(fields, call.body))
    release = _release(call, plugin, values.pop("version"))
    actions = releases.available_actions(release) if release else []
    if is_platform and actions and values["action"] not in actions:
        raise errors.no_such_action(values["action"], actions)
    return values, release


def _answers_at_once(call: Call, action: str, release: Row | None) -> bool:
    """Whether a run is answered with the action's own result, so that there is no job."""
    if not call.has("run_answer", "method"):
        return call.has("run_answer", "result")
    config = release.body.get("config") if release else None
    actions = config.get("actions") if isinstance(config, dict) else None
    one = actions.get(action) if isinstance(actions, dict) else None
    method = one.get("method") if isinstance(one, dict) else None
    return (method or models.DEFAULT_METHOD) != "job"


def _result_of_action(script: models.Script, parameters: dict[str, Any]) -> Answer:
    if script.outcome == "failed":
        raise errors.action_failed()
    return Answer({"parameters": parameters, "processed": script.log_lines})


def _release(call: Call, plugin: Row, version: str) -> Row | None:
    """The release of that version, else the newest one, else none."""
    store = call.backend.store
    if version:
        row = store.find("release", releases.key(plugin.id, version))
        if row is None:
            raise field_error("version", f'Version "{version}" of this plugin does not exist.')
        return row
    newest = store.select("release", Wanted(call.tenant, plugin.id, newest_first=True), limit=1)
    return newest[0] if newest else None


def read(call: Call) -> Answer:
    return Answer(show(call, _by_id(call)))


def list_all(call: Call) -> Answer:
    """The tenant's jobs, the newest first; filters status, plugin, created_after, user."""
    wanted = _wanted(call)
    store = call.backend.store
    status = call.query.get("status")
    is_page = call.has("filters", "page")
    if is_page and call.query.get("user") not in (None, "", str(USER)):
        return answer_page(call, 0, lambda _limit, _offset: [])
    agent = None if is_page else call.query.get("agent")
    if not status and not agent:
        return answer_page(
            call,
            store.count("job", wanted),
            lambda limit, offset: [
                show(call, row) for row in store.select("job", wanted, limit=limit, offset=offset)
            ],
        )
    keep = _chosen(call, status, agent)
    rows = [row for row in store.select("job", wanted) if keep(row)]
    return answer_page(
        call,
        len(rows),
        lambda limit, offset: [show(call, row) for row in rows[offset : offset + limit]],
    )


def _chosen(call: Call, status: str | None, agent: str | None) -> Callable[[Row], bool]:
    """Whether a job has the status and the agent asked for. Raises ApiError (400)."""
    meant = words.understood(status) if status else None
    if status and meant is None:
        raise field_error(
            "status", f"Select a valid choice. {status} is not one of the available choices."
        )
    moment = call.backend.clock.now()

    def keep(row: Row) -> bool:
        if agent and str(row.body["agent"]) != agent:
            return False
        return meant is None or models.at(row, moment).status == meant

    return keep


def _wanted(call: Call) -> Wanted:
    parent = created_after = None
    if call.has("filters", "platform"):
        return narrow(call, Wanted(call.tenant, newest_first=True))
    if call.query.get("plugin"):
        plugin = plugins.find(call.backend, call.tenant, call.query["plugin"])
        parent = plugin.id if plugin else 0
    if call.query.get("created_after"):
        created_after = parse_iso(call.query["created_after"])
        if created_after is None:
            raise field_error("created_after", "Enter a valid date/time.")
    return Wanted(call.tenant, parent, created_after, newest_first=True)


def update(call: Call) -> Answer:
    """Report what a job does, in either vocabulary; from then on its clock stands still."""
    backend, row = call.backend, _by_id(call)
    moment = backend.clock.now()
    now = models.at(row, moment)
    values = _checked_update(call, row, now)
    body = dict(row.body)
    status, progress = values.pop("status", None), values.pop("progress", None)
    if status is not None or progress is not None:
        body["reported"] = models.report(now, status, progress, moment)
    lines = values.pop("console_logs", None)
    if lines is not None:
        body["console_logs"] = [*body.get("console_logs", ()), *lines]
    row = backend.store.replace("job", row, {**body, **values}, key=row.key)
    return Answer(show(call, row))


def _checked_update(call: Call, row: Row, now: models.Now) -> dict[str, Any]:
    """The cleaned values. Raises ApiError (400) with every problem."""
    problems: dict[str, Any] = {}
    values: dict[str, Any] = {}
    with noting(problems):
        values |= check(models.UPDATE_FIELDS, call.body)
    with noting(problems):
        for name, sent in check(models.CONSOLE_LOGS, call.body).items():
            moment, before = call.backend.clock.now(), models.written(row, now)
            values[name] = models.reported_lines(sent, moment, before)
    with noting(problems):
        if "status" in call.body.values:
            values["status"] = _new_status(call.body.values["status"], now.status)
    if problems:
        raise ApiError(400, problems)
    if "meta" in values:
        meta = values.pop("meta")
        values.setdefault("metadata", meta)
    return values


def _new_status(word: object, old: words.Status) -> words.Status:
    status = words.understood(word)
    if status is None:
        raise errors.bad_status(word)
    if not words.may_become(old, status):
        raise errors.bad_transition(old, status)
    return status


def console_logs(call: Call) -> Answer:
    row = _by_id(call)
    lines = models.logs(row, models.at(row, call.backend.clock.now()))
    if not lines and call.has("no_logs", "missing"):
        raise not_found()
    return Answer(
        [models.written_line(line, call.backend.switches["console_logs"]) for line in lines]
    )


def tail_console_logs(call: Call) -> Answer:
    """The lines as server-sent events, until the job has ended."""
    if call.backend.switches.is_on("tail", "none"):
        raise method_not_allowed("GET", ())
    try:
        row = _by_id(call)
    except ApiError:
        if call.has("tail_of_none", "missing"):
            raise
        return Answer(None, stream=tail.only_error("Job not found."))
    identity = _identity(call, row)
    return Answer(None, stream=tail.frames(call, row, identity, partial(tail.data_on_v1, call)))


def _identity(call: Call, row: Row) -> int | str:
    is_uuid = call.has("job_ids", "uuid")
    return ids.public_id(call.backend.store.data_set, row) if is_uuid else row.id


def show(call: Call, row: Row) -> dict[str, Any]:
    """A job as answers have it, by the switches."""
    now = models.at(row, call.backend.clock.now())
    result, expands = models.result(row, now), call.expands()
    is_platform = call.has("job_fields", "platform")
    shown = {
        "id": _identity(call, row),
        "status": words.written(now.status, call.backend.switches["status_words"]),
        **(_platform_fields(call, row, now) if is_platform else _page_fields(row, now)),
    }
    if call.has("job_context", "returned"):
        shown["context"] = row.body["context"]
    if result is not None or "result" in expands:
        shown["result"] = result
    if "logs" in expands:
        shown["logs"] = models.logs(row, now)
    if "metrics" in expands:
        shown["metrics"] = row.body.get("metrics_record", {})
    return shown


def _page_fields(row: Row, now: models.Now) -> dict[str, Any]:
    body = row.body
    return {
        "progress": now.progress,
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
        "error": models.error(row, now),
        "created": iso(row.created),
        "completed": iso(models.ended_at(row)) if now.status in words.ENDED else None,
    }


def _platform_fields(call: Call, row: Row, now: models.Now) -> dict[str, Any]:
    body = row.body
    is_ended = now.status in words.ENDED
    return {
        "plugin_release": _show_release(call, row),
        "action": body["action"],
        "params": body["parameters"],
        "agent": body["agent"],
        "user": body["user"],
        "meta": {**body.get("metadata", {}), **models.queue(row, now)},
        "progress_record": body.get("progress_record") or models.progress_record(row, now),
        "metrics_record": body.get("metrics_record", {}),
        "error": models.error(row, now),
        "created": iso_in_seoul(row.created),
        "completed": iso_in_seoul(models.ended_at(row)) if is_ended else None,
    }


def _show_release(call: Call, row: Row) -> Any:
    """The number of a job's release, or with `?expand=plugin_release` what it is."""
    if "plugin_release" not in call.expands() or row.body["release"] is None:
        return row.body["release"]
    plugin = call.backend.store.get("plugin", row.parent or 0)
    named = {
        "id": row.parent,
        **({"code": plugin.key, "name": plugin.body["name"]} if plugin else {}),
    }
    return {"id": row.body["release"], "plugin": named, "version": row.body["version"]}
