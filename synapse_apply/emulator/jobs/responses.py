"""Answers to requests about jobs."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

from synapse_apply.emulator.core.call import Answer, Call
from synapse_apply.emulator.core.clock import iso, parse_iso
from synapse_apply.emulator.core.errors import (
    ApiError,
    field_error,
    method_not_allowed,
    not_found,
)
from synapse_apply.emulator.core.fields import check, noting, with_resets
from synapse_apply.emulator.core.paging import answer_page
from synapse_apply.emulator.core.store import Row, Wanted
from synapse_apply.emulator.jobs import errors, models, tail, words
from synapse_apply.emulator.plugins import models as plugins
from synapse_apply.emulator.releases import models as releases

USER = 1


def _by_id(call: Call) -> Row:
    text = call.path["id"]
    row = None
    if text.isdecimal() and len(text) < 20:
        row = call.backend.store.get("job", int(text), call.tenant)
    if row is None:
        raise not_found()
    return row


def run(call: Call) -> Answer:
    """Start a job of a plugin, found by id or code."""
    backend = call.backend
    plugin = plugins.find(backend, call.tenant, call.path["lookup"])
    if plugin is None:
        raise not_found()
    values = with_resets(models.RUN_FIELDS, check(models.RUN_FIELDS, call.body))
    parameters = values.pop("parameters") or values.pop("params")
    values.pop("params", None)
    script = models.script_of(parameters, values["context"], backend.settings.job_seconds)
    release = _release(call, plugin, values.pop("version"))
    if backend.jobs_to_fail > 0:
        backend.jobs_to_fail -= 1
        script = dataclasses.replace(script, outcome="failed")
    body = {
        **values,
        "parameters": parameters,
        "release": release.id if release else None,
        "version": release.body["version"] if release else None,
        "user": USER,
        "script": dataclasses.asdict(script),
    }
    row = backend.store.insert(
        "job", call.tenant, body, created=backend.clock.now(), parent=plugin.id
    )
    return Answer({"job_id": row.id, **_shown(call, row)})


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
    return Answer(_shown(call, _by_id(call)))


def list_all(call: Call) -> Answer:
    """The tenant's jobs, the newest first; filters status, plugin, created_after, user."""
    wanted = _wanted(call)
    store = call.backend.store
    status = call.query.get("status")
    if call.query.get("user") not in (None, "", str(USER)):
        return answer_page(call, 0, lambda _limit, _offset: [])
    if not status:
        return answer_page(
            call,
            store.count("job", wanted),
            lambda limit, offset: [
                _shown(call, row) for row in store.select("job", wanted, limit=limit, offset=offset)
            ],
        )
    meant = words.understood(status)
    if meant is None:
        raise field_error(
            "status", f"Select a valid choice. {status} is not one of the available choices."
        )
    moment = call.backend.clock.now()
    rows = [row for row in store.select("job", wanted) if models.at(row, moment).status == meant]
    return answer_page(
        call,
        len(rows),
        lambda limit, offset: [_shown(call, row) for row in rows[offset : offset + limit]],
    )


def _wanted(call: Call) -> Wanted:
    parent = created_after = None
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
    return Answer(_shown(call, row))


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
    if call.backend.switches.is_on("console_logs", "lines"):
        return Answer([line["message"] for line in lines])
    return Answer(lines)


def tail_console_logs(call: Call) -> Answer:
    """The lines as server-sent events, until the job has ended."""
    if call.backend.switches.is_on("tail", "none"):
        raise method_not_allowed("GET", ())
    row = _by_id(call)
    return Answer(None, stream=tail.frames(call, row, row.id, partial(tail.data_on_v1, call)))


def _shown(call: Call, row: Row) -> dict[str, Any]:
    switches = call.backend.switches
    now = models.at(row, call.backend.clock.now())
    body, result = row.body, models.result(row, now)
    is_ended = now.status in words.ENDED
    shown: dict[str, Any] = {
        "id": row.id,
        "status": words.written(now.status, switches["status_words"]),
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
        "completed": iso(models.ended_at(row)) if is_ended else None,
    }
    if switches.is_on("job_context", "returned"):
        shown["context"] = body["context"]
    expands = call.expands()
    if result is not None or "result" in expands:
        shown["result"] = result
    if "logs" in expands:
        shown["logs"] = models.logs(row, now)
    if "metrics" in expands:
        shown["metrics"] = body.get("metrics_record", {})
    return shown
