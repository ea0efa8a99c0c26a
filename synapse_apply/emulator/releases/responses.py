"""Answers to requests about plugin releases."""

from __future__ import annotations

from typing import Any

from synapse_apply.emulator.core.call import Answer, Call
from synapse_apply.emulator.core.errors import ApiError, not_found
from synapse_apply.emulator.core.fields import check, with_resets
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
    problems: dict[str, Any] = {}
    values: dict[str, Any] = {}
    plugin: Row | None = None
    for find_problem in (_check_file, _check_plugin):
        try:
            plugin = find_problem(call)
        except ApiError as error:
            problems |= error.body
    try:
        values = with_resets(models.FIELDS, check(models.FIELDS, call.body))
    except ApiError as error:
        problems |= error.body
    if problems:
        raise ApiError(400, problems)
    assert plugin is not None
    version = values["version"]
    key = models.key(plugin.id, version)
    if store.find("release", key):
        raise errors.version_exists(plugin.key or str(plugin.id), version)
    del values["plugin"]
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


def _check_file(call: Call) -> None:
    upload = call.uploads.get("file")
    if upload is not None and upload.size == 0:
        raise errors.empty_file()
    if call.body.values.get("file") is not None:
        raise errors.not_a_file()


def _check_plugin(call: Call) -> Row | None:
    value = call.body.values.get("plugin")
    if value is None:
        return None  # the required field is told with the others
    if isinstance(value, list):
        value = value[-1] if value else None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise errors.no_such_plugin(value)
    row = plugins.find(call.backend, call.tenant, str(value).strip())
    if row is None:
        raise errors.no_such_plugin(value)
    return row


def _shown(call: Call, row: Row) -> dict[str, Any]:
    wants_plugin = "plugin" in call.expands()
    plugin = call.backend.store.get("plugin", row.parent or 0) if wants_plugin else None
    return models.shown(row, call.root, plugin)
