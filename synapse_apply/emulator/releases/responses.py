"""Answers to requests about plugin releases."""

from __future__ import annotations

from typing import Any

from synapse_apply.emulator.core.call import Answer, Call
from synapse_apply.emulator.core.errors import ApiError, not_found
from synapse_apply.emulator.core.fields import check, noting, with_resets
from synapse_apply.emulator.core.paging import answer_page
from synapse_apply.emulator.core.store import Row, Wanted
from synapse_apply.emulator.plugins import models as plugins
from synapse_apply.emulator.releases import errors, models


def read(call: Call) -> Answer:
    row = models.find(call.backend, call.tenant, call.path["lookup"])
    if row is None:
        raise not_found()
    return Answer(_shown(call, row))


def list_all(call: Call) -> Answer:
    """All releases of the tenant, or of `?plugin=` (an id or a code; unknown: none)."""
    parent = None
    if call.query.get("plugin"):
        plugin = plugins.find(call.backend, call.tenant, call.query["plugin"])
        parent = plugin.id if plugin else 0
    store, wanted = call.backend.store, Wanted(call.tenant, parent)
    return answer_page(
        call,
        store.count("release", wanted),
        lambda limit, offset: [
            _shown(call, row) for row in store.select("release", wanted, limit=limit, offset=offset)
        ],
    )


def create(call: Call) -> Answer:
    store = call.backend.store
    plugin, values = _checked(call)
    version = values["version"]
    key = models.key(plugin.id, version)
    if store.find("release", key):
        raise errors.version_exists(plugin.key or str(plugin.id), version)
    upload = call.uploads.get("file")
    if upload is not None:
        sha256 = models.keep_package(call.backend, upload)
        values["package"] = {"name": upload.name, "size": upload.size, "sha256": sha256}
    row = store.insert(
        "release",
        call.tenant,
        values,
        created=call.backend.clock.now(),
        key=key,
        parent=plugin.id,
    )
    return Answer(_shown(call, row), 201)


def _checked(call: Call) -> tuple[Row, dict[str, Any]]:
    """The plugin and the values to store. Raises ApiError (400) with every problem."""
    problems: dict[str, Any] = {}
    plugin: Row | None = None
    values: dict[str, Any] = {}
    with noting(problems):
        _check_file(call)
    with noting(problems):
        values = with_resets(models.OWN_FIELDS, check(models.OWN_FIELDS, call.body))
    with noting(problems):
        plugin = _plugin(call)
    if problems or plugin is None:
        raise ApiError(400, problems)
    return plugin, values


def _check_file(call: Call) -> None:
    upload = call.uploads.get("file")
    if upload is not None and upload.size == 0:
        raise errors.empty_file()
    if call.body.values.get("file") is not None:
        raise errors.not_a_file()


def _plugin(call: Call) -> Row:
    value = check((models.PLUGIN,), call.body)["plugin"]
    if isinstance(value, list):  # a form part that was sent twice
        value = value[-1] if value else None
    row = None
    if isinstance(value, int | str) and not isinstance(value, bool):
        row = plugins.find(call.backend, call.tenant, str(value).strip())
    if row is None:
        raise errors.no_such_plugin(value)
    return row


def _shown(call: Call, row: Row) -> dict[str, Any]:
    wants_plugin = "plugin" in call.expands()
    plugin = call.backend.store.get("plugin", row.parent or 0) if wants_plugin else None
    return models.shown(row, call.root, plugin)
