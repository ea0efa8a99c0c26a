"""Answers to requests about jobs, API v2."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from synapse_apply.emulator.core.call import Answer, Call
from synapse_apply.emulator.core.cursors import answer_cursors, filters
from synapse_apply.emulator.core.errors import ApiError, not_found
from synapse_apply.emulator.core.fields import Field, check
from synapse_apply.emulator.core.store import Row, Wanted
from synapse_apply.emulator.jobs import ids, tail, words
from synapse_apply.emulator.jobs import models as v1
from synapse_apply.emulator.jobs.v2 import logs, models

_FILTERS = (Field("status", "choice", choices=models.STATUSES), Field("action"))


def _by_id(call: Call) -> Row:
    store = call.backend.store
    number = ids.number(store.data_set, call.path["id"])
    row = store.get("job", number, call.tenant) if number else None
    if row is None or not models.is_shown(row):
        raise not_found()
    return row


def _whole(call: Call, row: Row) -> dict[str, Any]:
    return models.whole(call.backend, row)


def read(call: Call) -> Answer:
    return Answer(_whole(call, _by_id(call)))


def list_all(call: Call) -> Answer:
    """The tenant's jobs, the newest first."""
    asked = filters(call, _FILTERS)

    def show(row: Row) -> dict[str, Any]:
        return models.item(call.backend, row)

    def keep(row: Row) -> bool:
        if not models.is_shown(row):
            return False
        shown = show(row)
        return all(shown[name] == asked[name] for name in asked)

    return answer_cursors(call, "job", Wanted(call.tenant, newest_first=True), show, keep)


def update(call: Call) -> Answer:
    """Report what a job does; from a reported status on its clock stands still."""
    row, moment = _by_id(call), call.backend.clock.now()
    now = v1.at(row, moment)
    values = check(models.UPDATE_FIELDS, call.body)
    word = values.pop("status", None)
    body = {models.STORED.get(name, name): value for name, value in values.items()}
    status = words.understood(word) if word is not None else None
    if status is not None:
        if not words.may_become(now.status, status):
            raise models.bad_transition(now.status, status)
        body["reported"] = v1.report(now, status, None, moment)
    return Answer(_whole(call, _kept(call, row, body)))


def stop(call: Call) -> Answer:
    row, moment = _by_id(call), call.backend.clock.now()
    now = v1.at(row, moment)
    if now.status in words.ENDED:
        raise models.has_ended(now.status)
    if call.is_rehearsal:
        target = ids.public_id(call.backend.store.data_set, row)
        return Answer({"dry_run": True, "action": "stop", "target": target})
    report = v1.report(now, "stopped", None, moment)
    return Answer(_whole(call, _kept(call, row, {"reported": report})))


def _kept(call: Call, row: Row, changes: dict[str, Any]) -> Row:
    body = {**row.body, **changes, "modified": call.backend.clock.now()}
    return call.backend.store.replace("job", row, body, key=row.key)


def create_log(call: Call) -> Answer:
    row, log = _by_id(call), logs.checked(call.body)
    if upload := call.uploads.get("file"):
        log["file"] = f"{call.root}/media/{upload.sha256}/{upload.name}"
    (made,) = logs.kept(call.backend, row, [log])
    return Answer(logs.shown(made, call.path["id"]), 201)


def create_logs(call: Call) -> Answer:
    row = _by_id(call)
    made = logs.kept(call.backend, row, logs.checked_many(call.body))
    return Answer([logs.shown(one, call.path["id"]) for one in made], 201)


def tail_console_logs(call: Call) -> Answer:
    """The lines as server-sent events; of a job that is not there, one event that says so."""
    store = call.backend.store
    try:
        row = _by_id(call)
    except ApiError:
        if not ids.is_uuid(call.path["id"]):
            raise
        return Answer(None, stream=tail.only_error("Job not found."))
    public_id = ids.public_id(store.data_set, row)
    return Answer(None, stream=tail.frames(call, row, public_id, itemgetter("message")))


def console_logs(call: Call) -> Answer:
    row = _by_id(call)
    lines = v1.logs(row, v1.at(row, call.backend.clock.now()))
    return Answer({"logs": [line["message"] for line in lines]})
