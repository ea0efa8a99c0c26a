"""How a release is stored, locked and shown on API v2; the stored row is the same as on v1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.emulator.core.backend import DataSetBackend
from synapse_apply.emulator.core.call import EmulatorRequest, Upload
from synapse_apply.emulator.core.clock import format_iso
from synapse_apply.emulator.core.dry_run import hide_existing_object
from synapse_apply.emulator.core.errors import ApiError, build_conflict_error, build_error_of_field
from synapse_apply.emulator.core.fields import AnswerObject, Field, FieldValues, with_default_values
from synapse_apply.emulator.core.store import DuplicateKeyError, StoredObject
from synapse_apply.emulator.plugins.v2 import models as plugins
from synapse_apply.emulator.releases import models as v1
from synapse_apply.emulator.releases.errors import (
    build_empty_file_error,
    version_exists,
    version_locked,
)
from synapse_apply.emulator.releases.package import read_package_config

FIELDS = (
    Field("plugin", "integer", required=True),
    Field("version", required=True),
    Field("sha256", required=True, pattern="[0-9a-fA-F]{64}"),
)
AUTHOR = {"id": 1, "email": "someone@example.com", "name": "Someone"}
IN_USE_KEY = "in_use"  # set by an outside edit, in place of a serve application that uses it
LOCKED_VERSIONS_KEY = (
    "locked_versions"  # of a plugin: they stay locked when their release is deleted
)


def sha256_mismatch() -> ApiError:
    return build_error_of_field("sha256", "The file has another SHA-256.")


def read_package_facts(upload: Upload) -> FieldValues:
    """The config and package facts that a release keeps of an upload. Raises ApiError (400)."""
    if upload.size == 0:
        raise build_empty_file_error()
    package = {"name": upload.name, "size": upload.size, "sha256": upload.sha256}
    return {"config": read_package_config(upload.path), "package": package}


def store_release(
    request: EmulatorRequest, plugin: StoredObject, version: str, contents: Mapping[str, Any]
) -> StoredObject:
    """Store a release and its package (in a dry run only the release). Raises ApiError (409)."""
    if version in plugin.body.get(LOCKED_VERSIONS_KEY, ()):
        raise version_locked(version)
    backend, key = request.backend, v1.build_release_key(plugin.id, version)
    hide_existing_object(request, "release", key)
    values = {**with_default_values(v1.OWN_FIELDS, {}), **contents, "version": version}
    try:
        row = backend.store.insert(
            "release",
            request.tenant,
            values,
            created=backend.clock.now(),
            key=key,
            parent=plugin.id,
        )
    except DuplicateKeyError:
        raise version_exists(plugin.body["code"], version) from None
    # A file is not rolled back with the database.
    if "package" in contents and not request.is_dry_run:
        v1.move_package(backend, request.uploads["file"])
    return row


def lock_version(backend: DataSetBackend, row: StoredObject, plugin: StoredObject) -> StoredObject:
    """Lock a release for ever and return it.

    The plugin also remembers the version, which stays taken if the release is deleted.
    """
    version = row.body["version"]
    locked_versions = plugin.body.get(LOCKED_VERSIONS_KEY, [])
    if version not in locked_versions:
        body = {**plugin.body, LOCKED_VERSIONS_KEY: [*locked_versions, version]}
        backend.store.replace("plugin", plugin, body, key=plugin.key)
    return backend.store.replace("release", row, {**row.body, "is_released": True}, key=row.key)


def release_in_use() -> ApiError:
    return build_conflict_error("The release is used by an active serve application.")


def build_release_reference(backend: DataSetBackend, row: StoredObject) -> AnswerObject:
    return {
        "id": backend.to_v2_id(row.id),
        "version": row.body["version"],
        "is_released": row.body.get("is_released", False),
    }


def build_release_item(backend: DataSetBackend, row: StoredObject) -> AnswerObject:
    return {
        **build_release_reference(backend, row),
        "plugin_id": backend.to_v2_id(row.parent or 0),
        "created": format_iso(row.created),
        "debug": row.body.get("debug", False),
    }


def build_release_json(
    backend: DataSetBackend, row: StoredObject, plugin: StoredObject
) -> AnswerObject:
    config = row.body.get("config") or {}
    return {
        **build_release_item(backend, row),
        "plugin": plugins.plugin_reference(backend, plugin),
        "readme": row.body.get("readme", ""),
        "config": config,
        "run_schema": {},
        "installation_schema": {},
        "available_actions": v1.list_available_actions(row),
        "author_id": AUTHOR["id"],
        "author": AUTHOR,
        "meta": row.body.get("meta"),
    }
