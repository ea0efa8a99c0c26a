"""Answers to requests about plugins."""

from __future__ import annotations

from typing import Any

from synapse_apply.emulator.core.call import Answer, Call
from synapse_apply.emulator.core.errors import not_found
from synapse_apply.emulator.core.fields import check, with_resets
from synapse_apply.emulator.core.paging import answer_page, narrow
from synapse_apply.emulator.core.store import DuplicateKeyError, Row, Wanted
from synapse_apply.emulator.plugins import errors, models
from synapse_apply.emulator.releases import models as releases


def by_id(call: Call) -> Row:
    """The plugin whose integer id stands in the path. Raises ApiError (404)."""
    text = call.path["lookup"]
    if text.isdecimal() and len(text) < 20:
        row = call.backend.store.get("plugin", int(text))
        row = models.visible(call.backend, call.tenant, row)
        if row is not None:
            return row
    raise not_found()


def read(call: Call) -> Answer:
    return Answer(models.shown(call.backend, by_id(call)))


def list_all(call: Call) -> Answer:
    store = call.backend.store
    wanted = Wanted(
        call.tenant,
        newest_first=call.has("list_order", "newest"),
        with_public=models.are_others_shown(call.backend),
    )
    wanted = narrow(call, wanted)
    return answer_page(
        call,
        store.count("plugin", wanted),
        lambda limit, offset: [
            models.shown(call.backend, row)
            for row in store.select("plugin", wanted, limit=limit, offset=offset)
        ],
    )


def create(call: Call) -> Answer:
    backend = call.backend
    fields = models.fields(backend)
    values = with_resets(fields, check(fields, call.body))
    _check_system_only(values)
    code = models.check_code(values["code"])
    if code is None and backend.switches.is_on("code", "slug"):
        code = models.free_slug(backend, values["name"])
    now = backend.clock.now()
    body = {"is_active": True, **values, "code": code, "modified": now}
    more: dict[str, Any] = {}
    try:
        with backend.store.transaction():
            row = backend.store.insert("plugin", call.tenant, body, created=now, key=code)
            if call.has("first_release", "made"):
                more["release"] = releases.make_first(backend, row)
    except DuplicateKeyError:
        raise errors.code_taken(str(code), is_field=call.has("code_taken", "field")) from None
    return Answer({**models.shown(backend, row), **more}, 201)


def _check_system_only(values: dict[str, Any]) -> None:
    if values.get("system_only"):
        raise errors.not_for_a_tenant()


def update(call: Call) -> Answer:
    backend, row = call.backend, by_id(call)
    models.check_owner(backend, call.tenant, row)
    fields = models.fields(backend)
    is_full = backend.switches.is_on("put", "full")
    values = check(fields, call.body, partial=not is_full)
    _check_system_only(values)
    old_code = row.body.get("code")
    code = models.check_code(values.pop("code", None)) or old_code
    if old_code is not None and code != old_code:
        if call.has("code_change", "refused"):
            raise errors.code_is_final()
        code = old_code
    if is_full:
        values = with_resets((field for field in fields if field.name != "code"), values)
    body = {**row.body, **values, "code": code, "modified": backend.clock.now()}
    try:
        return Answer(models.shown(backend, backend.store.replace("plugin", row, body, key=code)))
    except DuplicateKeyError:
        raise errors.code_taken(str(code), is_field=call.has("code_taken", "field")) from None
