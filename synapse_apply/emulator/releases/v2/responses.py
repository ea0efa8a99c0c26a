"""Answers to requests about plugin releases, API v2."""

from __future__ import annotations

from functools import partial
from typing import Any

from synapse_apply.emulator.core.call import Answer, Call
from synapse_apply.emulator.core.cursors import answer_cursors, filters
from synapse_apply.emulator.core.errors import ApiError, field_error, not_found, unsupported_media
from synapse_apply.emulator.core.fields import REQUIRED, Field, check, noting
from synapse_apply.emulator.core.store import Row, Wanted
from synapse_apply.emulator.plugins import models as v1
from synapse_apply.emulator.plugins.v2 import models as plugins
from synapse_apply.emulator.releases.errors import no_such_plugin, not_a_file
from synapse_apply.emulator.releases.v2 import models

_FILTERS = (Field("plugin", "integer"), Field("debug", "boolean"))


def _by_id(call: Call) -> tuple[Row, Row]:
    """The release whose id stands in the path, and its plugin. Raises ApiError (404)."""
    text = call.path["id"]
    if text.isdecimal() and len(text) < 20:
        row = call.backend.store.get("release", call.backend.id_from_v2(int(text)), call.tenant)
        plugin = plugins.of(call.backend, call.tenant, row.parent or 0) if row else None
        if row is not None and plugin is not None:
            return row, plugin
    raise not_found()


def read(call: Call) -> Answer:
    return Answer(models.whole(call.backend, *_by_id(call)))


def list_all(call: Call) -> Answer:
    asked = filters(call, _FILTERS)
    store, parent = call.backend.store, None
    if "plugin" in asked:
        plugin = plugins.find(call.backend, call.tenant, str(asked["plugin"]))
        parent = plugin.id if plugin else 0

    def keep(row: Row) -> bool:
        if asked.get("debug") not in (None, row.body.get("debug", False)):
            return False
        return plugins.is_shown(store.get("plugin", row.parent or 0))

    newest = call.backend.switches.is_on("list_order", "newest")
    wanted = Wanted(call.tenant, parent, newest_first=newest)
    return answer_cursors(call, "release", wanted, partial(models.item, call.backend), keep)


def create(call: Call) -> Answer:
    plugin, version, contents = _checked(call)
    v1.check_owner(call.backend, call.tenant, plugin)
    made = models.make(call, plugin, version, contents)
    return Answer(models.whole(call.backend, made, plugin), 201)


def _checked(call: Call) -> tuple[Row, str, dict[str, Any]]:
    """Plugin, version and contents. Raises ApiError (400, 415) with every problem."""
    if not call.body.is_form:
        raise unsupported_media("application/json")
    problems: dict[str, Any] = {}
    values: dict[str, Any] = {}
    contents: dict[str, Any] = {}
    plugin: Row | None = None
    with noting(problems):
        values = check(models.FIELDS, call.body)
        plugin = plugins.find(call.backend, call.tenant, str(values["plugin"]))
        if plugin is None:
            raise no_such_plugin(values["plugin"])
    with noting(problems):
        contents = _contents(call, values.get("sha256"))
    if problems or plugin is None:
        raise ApiError(400, problems)
    return plugin, values["version"], contents


def _contents(call: Call, sha256: str | None) -> dict[str, Any]:
    upload = call.uploads.get("file")
    if upload is None:
        raise not_a_file() if "file" in call.body.values else field_error("file", REQUIRED)
    is_compared = call.backend.switches.is_on("v2_sha256", "compared")
    if sha256 and is_compared and sha256.lower() != upload.sha256:
        raise models.other_sha256()
    return models.contents_of(upload)


def lock(call: Call) -> Answer:
    row, plugin = _by_id(call)
    return Answer(models.whole(call.backend, models.lock(call.backend, row, plugin), plugin))


def delete(call: Call) -> Answer:
    row, _plugin = _by_id(call)
    if row.body.get(models.IN_USE):
        raise models.is_in_use()
    call.backend.store.delete("release", row.id)
    return Answer(None, 204)
