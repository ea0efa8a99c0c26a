"""Releases of v2: what differs from those of v1, in fields, answers and paths."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from synapse_apply.emulator import plugins as of_v1
from synapse_apply.emulator import plugins_v2 as plugins
from synapse_apply.emulator import releases as v1
from synapse_apply.emulator.core.backend import DataSetBackend, format_iso
from synapse_apply.emulator.core.call import (
    EmulatorAnswer,
    EmulatorRequest,
    Endpoint,
    Upload,
    hide_existing_object,
)
from synapse_apply.emulator.core.cursors import build_cursor_page, convert_filters
from synapse_apply.emulator.core.fields import (
    REQUIRED_MESSAGE,
    AnswerObject,
    ApiError,
    Fact,
    FactSource,
    Field,
    FieldValues,
    build_conflict_error,
    build_error_of_field,
    build_not_found_error,
    collect_messages,
    convert_sent_fields,
    unsupported_media,
    with_default_values,
)
from synapse_apply.emulator.core.store import DuplicateKeyError, ObjectQuery, StoredObject
from synapse_apply.emulator.releases import (
    build_empty_file_error,
    build_not_a_file_error,
    read_package_config,
    unknown_plugin,
    version_exists,
    version_locked,
)

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


_FILTERS = (Field("plugin", "integer"), Field("debug", "boolean"))


class _ReleaseOfPlugin(NamedTuple):
    release: StoredObject
    plugin: StoredObject


def _require_release_in_path(request: EmulatorRequest) -> _ReleaseOfPlugin:
    """Raises ApiError (404) where v2 shows no such release."""
    text = request.path["id"]
    if text.isdecimal() and len(text) < 20:
        row = request.backend.store.find_by_id(
            "release", request.backend.from_v2_id_or_zero(int(text)), request.tenant
        )
        plugin = (
            plugins.find_by_row_id(request.backend, request.tenant, row.parent or 0)
            if row
            else None
        )
        if row is not None and plugin is not None:
            return _ReleaseOfPlugin(row, plugin)
    raise build_not_found_error()


def read_release(request: EmulatorRequest) -> EmulatorAnswer:
    return EmulatorAnswer(build_release_json(request.backend, *_require_release_in_path(request)))


def list_visible_releases(request: EmulatorRequest) -> EmulatorAnswer:
    """One page of the tenant's releases, filtered; an empty one for an unknown plugin."""
    filter_values = convert_filters(request, _FILTERS)
    store, parent = request.backend.store, None
    if "plugin" in filter_values:
        plugin = plugins.find_by_v2_id(
            request.backend, request.tenant, str(filter_values["plugin"])
        )
        # No object has the id 0, so that an unknown plugin gives an empty list.
        parent = plugin.id if plugin else 0

    def is_included(row: StoredObject) -> bool:
        if filter_values.get("debug") not in (None, row.body.get("debug", False)):
            return False
        # The release of a hidden plugin would name a plugin that is 404.
        return plugins.is_visible_on_v2(store.find_by_id("plugin", row.parent or 0))

    newest_first = request.backend.switches.has_value("list_order", "newest")
    query = ObjectQuery(request.tenant, parent, newest_first=newest_first)
    return build_cursor_page(
        request, "release", query, partial(build_release_item, request.backend), is_included
    )


def create_release(request: EmulatorRequest) -> EmulatorAnswer:
    plugin, version, contents = _parse_release_create(request)
    of_v1.require_own_plugin(request.backend, request.tenant, plugin)
    release = store_release(request, plugin, version, contents)
    return EmulatorAnswer(build_release_json(request.backend, release, plugin), 201)


class _ReleaseCreateV2(NamedTuple):
    plugin: StoredObject
    version: str
    contents: FieldValues


def _parse_release_create(request: EmulatorRequest) -> _ReleaseCreateV2:
    """What a create asks for. Raises ApiError (400, 415) with all problems."""
    if not request.body.is_form:
        raise unsupported_media("application/json")
    problems: dict[str, Any] = {}
    values: FieldValues = {}
    contents: FieldValues = {}
    plugin: StoredObject | None = None
    with collect_messages(problems):
        values = convert_sent_fields(FIELDS, request.body)
        plugin = plugins.find_by_v2_id(request.backend, request.tenant, str(values["plugin"]))
        if plugin is None:
            raise unknown_plugin(values["plugin"])
    with collect_messages(problems):
        # The contents and facts of an uploaded zip; a wrong digest counts only with `v2_sha256`.
        sha256 = values.get("sha256")
        upload = request.uploads.get("file")
        if upload is None:
            raise (
                build_not_a_file_error()
                if "file" in request.body.values
                else build_error_of_field("file", REQUIRED_MESSAGE)
            )
        is_compared = request.backend.switches.has_value("v2_sha256", "compared")
        if sha256 and is_compared and sha256.lower() != upload.sha256:
            raise sha256_mismatch()
        contents = read_package_facts(upload)
    # Both blocks ran first, so that every wrong field is named at once.
    if problems or plugin is None:
        raise ApiError(400, problems)
    return _ReleaseCreateV2(plugin, values["version"], contents)


def lock_release(request: EmulatorRequest) -> EmulatorAnswer:
    row, plugin = _require_release_in_path(request)
    return EmulatorAnswer(
        build_release_json(request.backend, lock_version(request.backend, row, plugin), plugin)
    )


def delete_release(request: EmulatorRequest) -> EmulatorAnswer:
    row, _plugin = _require_release_in_path(request)
    if row.body.get(IN_USE_KEY):
        raise release_in_use()
    request.backend.store.delete("release", row.id)
    return EmulatorAnswer(None, 204)


_D = FactSource.DOCUMENTED

_WRITES = ("v2_writes", "all")

ENDPOINTS = (
    Endpoint(
        "GET",
        "plugin-releases/",
        list_visible_releases,
        _D,
        "List releases; `?plugin=` takes an id, `?debug=`.",
    ),
    Endpoint(
        "POST",
        "plugin-releases/",
        create_release,
        _D,
        "Create a release: 201. Multipart with `plugin`, `version`, `sha256`, `file`.",
        switch=_WRITES,
    ),
    Endpoint("GET", "plugin-releases/{id}/", read_release, _D, "Read a release by id."),
    Endpoint(
        "DELETE",
        "plugin-releases/{id}/",
        delete_release,
        _D,
        "Delete a release: 204.",
        switch=_WRITES,
    ),
    Endpoint(
        "POST",
        "plugin-releases/{id}/release/",
        lock_release,
        _D,
        "Lock a version for good.",
        switch=_WRITES,
        dry_run_action="release",
    ),
)

FACTS = (
    Fact("All four fields are required; another content type is 415.", _D),
    Fact("A second release of one plugin and version is 409.", _D),
    Fact("`config` comes from `config.yaml` inside the zip.", _D),
    Fact(
        "A file that is no zip, or whose `config.yaml` cannot be read, is 400.", FactSource.GUESSED
    ),
    Fact("`sha256` is not compared with the file, not kept and never shown.", _D),
    Fact("`sha256` is 64 hexadecimal digits, else 400.", FactSource.GUESSED),
    Fact("A release never changes, but for the lock; the lock is never taken back.", _D),
    Fact("To lock what is locked is 200.", _D),
    Fact("The version of a locked release that was deleted stays taken: 409.", FactSource.GUESSED),
    Fact("A release in use is not deleted: 409.", _D),
    Fact(
        "A release is in use while it has `in_use: true`, which "
        "`PATCH /_emulator/objects/release/{id}/` gives it.",
        FactSource.GUESSED,
    ),
    Fact(
        "A job keeps the number and the version of a release that was deleted.", FactSource.GUESSED
    ),
    Fact("An unknown plugin is 400 on create, an empty list in `?plugin=`.", FactSource.GUESSED),
    Fact(
        "`run_schema` and `installation_schema` are empty; there is one author.", FactSource.GUESSED
    ),
)
