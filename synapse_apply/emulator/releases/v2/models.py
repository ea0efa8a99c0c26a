"""What a release is to API v2. The store holds the same row that v1 shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.emulator.core.backend import Backend
from synapse_apply.emulator.core.call import Call, Upload
from synapse_apply.emulator.core.clock import iso
from synapse_apply.emulator.core.errors import ApiError, conflict, field_error
from synapse_apply.emulator.core.fields import Field, with_resets
from synapse_apply.emulator.core.rehearsal import look_away
from synapse_apply.emulator.core.store import DuplicateKeyError, Row
from synapse_apply.emulator.plugins.v2 import models as plugins
from synapse_apply.emulator.releases import models as v1
from synapse_apply.emulator.releases.errors import empty_file, is_locked, version_exists
from synapse_apply.emulator.releases.package import config_in

FIELDS = (
    Field("plugin", "integer", required=True),
    Field("version", required=True),
    Field("sha256", required=True, pattern="[0-9a-fA-F]{64}"),
)
AUTHOR = {"id": 1, "email": "someone@example.com", "name": "Someone"}
IN_USE = "in_use"  # put on a release from outside, where a serve application would
LOCKED = "locked_versions"  # of a plugin: they stay locked when their release is deleted


def other_sha256() -> ApiError:
    return field_error("sha256", "The file has another SHA-256.")


def contents_of(upload: Upload) -> dict[str, Any]:
    """What a release keeps of its file. Raises ApiError (400)."""
    if upload.size == 0:
        raise empty_file()
    package = {"name": upload.name, "size": upload.size, "sha256": upload.sha256}
    return {"config": config_in(upload.path), "package": package}


def make(call: Call, plugin: Row, version: str, contents: Mapping[str, Any]) -> Row:
    """Store a release and its package. Raises ApiError (409)."""
    if version in plugin.body.get(LOCKED, ()):
        raise is_locked(version)
    backend, key = call.backend, v1.key(plugin.id, version)
    look_away(call, "release", key)
    values = {**with_resets(v1.OWN_FIELDS, {}), **contents, "version": version}
    try:
        row = backend.store.insert(
            "release",
            call.tenant,
            values,
            created=backend.clock.now(),
            key=key,
            parent=plugin.id,
        )
    except DuplicateKeyError:
        raise version_exists(plugin.body["code"], version) from None
    if "package" in contents and not call.is_rehearsal:
        v1.keep_package(backend, call.uploads["file"])
    return row


def lock(backend: Backend, row: Row, plugin: Row) -> Row:
    """Lock a version for good; a second time changes nothing."""
    version = row.body["version"]
    locked = plugin.body.get(LOCKED, [])
    if version not in locked:
        body = {**plugin.body, LOCKED: [*locked, version]}
        backend.store.replace("plugin", plugin, body, key=plugin.key)
    return backend.store.replace("release", row, {**row.body, "is_released": True}, key=row.key)


def is_in_use() -> ApiError:
    return conflict("The release is used by an active serve application.")


def reference(backend: Backend, row: Row) -> dict[str, Any]:
    return {
        "id": backend.id_on_v2(row.id),
        "version": row.body["version"],
        "is_released": row.body.get("is_released", False),
    }


def item(backend: Backend, row: Row) -> dict[str, Any]:
    return {
        **reference(backend, row),
        "plugin_id": backend.id_on_v2(row.parent or 0),
        "created": iso(row.created),
        "debug": row.body.get("debug", False),
    }


def whole(backend: Backend, row: Row, plugin: Row) -> dict[str, Any]:
    config = row.body.get("config") or {}
    return {
        **item(backend, row),
        "plugin": plugins.embedded(backend, plugin),
        "readme": row.body.get("readme", ""),
        "config": config,
        "run_schema": {},
        "installation_schema": {},
        "available_actions": v1.available_actions(row),
        "author_id": AUTHOR["id"],
        "author": AUTHOR,
        "meta": row.body.get("meta"),
    }
