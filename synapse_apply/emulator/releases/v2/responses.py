"""What requests about plugin releases are answered on API v2."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from synapse_apply.emulator.core.call import EmulatorAnswer, EmulatorRequest
from synapse_apply.emulator.core.cursors import build_cursor_page, convert_filters
from synapse_apply.emulator.core.errors import (
    ApiError,
    build_error_of_field,
    build_not_found_error,
    unsupported_media,
)
from synapse_apply.emulator.core.fields import (
    REQUIRED_MESSAGE,
    Field,
    FieldValues,
    collect_messages,
    convert_sent_fields,
)
from synapse_apply.emulator.core.store import ObjectQuery, StoredObject
from synapse_apply.emulator.plugins import models as v1
from synapse_apply.emulator.plugins.v2 import models as plugins
from synapse_apply.emulator.releases.errors import build_not_a_file_error, unknown_plugin
from synapse_apply.emulator.releases.v2 import models

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
    return EmulatorAnswer(
        models.build_release_json(request.backend, *_require_release_in_path(request))
    )


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
        request, "release", query, partial(models.build_release_item, request.backend), is_included
    )


def create_release(request: EmulatorRequest) -> EmulatorAnswer:
    plugin, version, contents = _parse_release_create(request)
    v1.require_own_plugin(request.backend, request.tenant, plugin)
    release = models.store_release(request, plugin, version, contents)
    return EmulatorAnswer(models.build_release_json(request.backend, release, plugin), 201)


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
        values = convert_sent_fields(models.FIELDS, request.body)
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
            raise models.sha256_mismatch()
        contents = models.read_package_facts(upload)
    # Both blocks ran first, so that every wrong field is named at once.
    if problems or plugin is None:
        raise ApiError(400, problems)
    return _ReleaseCreateV2(plugin, values["version"], contents)


def lock_release(request: EmulatorRequest) -> EmulatorAnswer:
    row, plugin = _require_release_in_path(request)
    return EmulatorAnswer(
        models.build_release_json(
            request.backend, models.lock_version(request.backend, row, plugin), plugin
        )
    )


def delete_release(request: EmulatorRequest) -> EmulatorAnswer:
    row, _plugin = _require_release_in_path(request)
    if row.body.get(models.IN_USE_KEY):
        raise models.release_in_use()
    request.backend.store.delete("release", row.id)
    return EmulatorAnswer(None, 204)
