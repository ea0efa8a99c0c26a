"""Answers to requests about plugins."""

from __future__ import annotations

from synapse_apply.emulator.core.call import Answer, Call
from synapse_apply.emulator.core.errors import not_found
from synapse_apply.emulator.core.fields import check, with_resets
from synapse_apply.emulator.core.paging import answer_page
from synapse_apply.emulator.core.store import DuplicateKeyError, Row, Wanted
from synapse_apply.emulator.plugins import models
from synapse_apply.emulator.plugins.errors import code_is_final, code_taken


def by_id(call: Call) -> Row:
    """The plugin whose integer id stands in the path. Raises ApiError (404)."""
    text = call.path["lookup"]
    if text.isdecimal() and len(text) < 20:
        row = call.backend.store.get("plugin", int(text), call.tenant)
        if row is not None:
            return row
    raise not_found()


def read(call: Call) -> Answer:
    return Answer(models.shown(by_id(call)))


def list_all(call: Call) -> Answer:
    store = call.backend.store
    wanted = Wanted(call.tenant, newest_first=call.backend.switches.is_on("list_order", "newest"))
    return answer_page(
        call,
        store.count("plugin", wanted),
        lambda limit, offset: [
            models.shown(row) for row in store.select("plugin", wanted, limit=limit, offset=offset)
        ],
    )


def create(call: Call) -> Answer:
    backend = call.backend
    values = with_resets(models.FIELDS, check(models.FIELDS, call.body))
    code = models.check_code(values["code"])
    if code is None and backend.switches.is_on("code", "slug"):
        code = models.free_slug(backend, values["name"])
    now = backend.clock.now()
    body = {**values, "code": code, "is_active": True, "modified": now}
    try:
        row = backend.store.insert("plugin", call.tenant, body, created=now, key=code)
    except DuplicateKeyError:
        raise code_taken(str(code)) from None
    return Answer(models.shown(row), 201)


def update(call: Call) -> Answer:
    backend, row = call.backend, by_id(call)
    is_full = backend.switches.is_on("put", "full")
    values = check(models.FIELDS, call.body, partial=not is_full)
    old_code = row.body.get("code")
    code = models.check_code(values.pop("code", None)) or old_code
    if old_code is not None and code != old_code:
        raise code_is_final()
    if is_full:
        values = with_resets(models.WRITABLE, values)
    body = {**row.body, **values, "code": code, "modified": backend.clock.now()}
    try:
        return Answer(models.shown(backend.store.replace("plugin", row, body, key=code)))
    except DuplicateKeyError:
        raise code_taken(str(code)) from None
