"""What requests about plugins are answered on API v2."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from synapse_apply.emulator.core.call import EmulatorAnswer, EmulatorRequest
from synapse_apply.emulator.core.cursors import build_cursor_page, convert_filters
from synapse_apply.emulator.core.dry_run import hide_existing_object
from synapse_apply.emulator.core.errors import ApiError, build_error_of_field, build_not_found_error
from synapse_apply.emulator.core.fields import (
    AnswerObject,
    Field,
    FieldValues,
    collect_messages,
    convert_sent_fields,
    with_default_values,
)
from synapse_apply.emulator.core.store import ObjectQuery, StoredObject
from synapse_apply.emulator.plugins import models as v1
from synapse_apply.emulator.plugins.errors import build_code_taken_error
from synapse_apply.emulator.plugins.v2 import models
from synapse_apply.emulator.releases.v2 import models as releases

_FILTERS = (Field("category", "choice", choices=v1.CATEGORIES), Field("is_active", "boolean"))


def _require_plugin_in_path(request: EmulatorRequest) -> StoredObject:
    row = models.find_by_v2_id(request.backend, request.tenant, request.path["id"])
    if row is None:
        raise build_not_found_error()
    return row


def _build_plugin_json(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    return models.build_plugin_json(request.backend, row)


def read_plugin(request: EmulatorRequest) -> EmulatorAnswer:
    return EmulatorAnswer(_build_plugin_json(request, _require_plugin_in_path(request)))


def list_plugins(request: EmulatorRequest) -> EmulatorAnswer:
    filter_values = convert_filters(request, _FILTERS)

    def is_included(row: StoredObject) -> bool:
        body = {"is_active": True, **row.body}
        return models.is_visible_on_v2(row) and all(
            body.get(name) == filter_values[name] for name in filter_values
        )

    newest_first = request.backend.switches.has_value("list_order", "newest")
    query = ObjectQuery(request.tenant, newest_first=newest_first)
    return build_cursor_page(
        request, "plugin", query, partial(models.build_plugin_item, request.backend), is_included
    )


def create_with_release(request: EmulatorRequest) -> EmulatorAnswer:
    """Create a plugin and its first release, or neither. Raises ApiError (400, 409)."""
    backend = request.backend
    values, contents = _parse_plugin_create(request)
    now = backend.clock.now()
    plugin_values = {field.name: values[field.name] for field in models.OWN_FIELDS}
    body = {
        **with_default_values(v1.list_plugin_fields(backend), plugin_values),
        "is_active": True,
        "modified": now,
    }
    with backend.store.transaction():
        row = backend.store.insert(
            "plugin", request.tenant, body, created=now, key=plugin_values["code"]
        )
        release = releases.store_release(request, row, values["version"], contents)
    return EmulatorAnswer(
        {
            **_build_plugin_json(request, row),
            "release": releases.build_release_reference(backend, release),
        },
        201,
    )


class _PluginCreate(NamedTuple):
    plugin_values: FieldValues
    first_release_contents: FieldValues


def _parse_plugin_create(request: EmulatorRequest) -> _PluginCreate:
    """What a create asks for. Raises ApiError (400, 409)."""
    problems: dict[str, Any] = {}
    values: FieldValues = {}
    contents: FieldValues = {}
    with collect_messages(problems):
        values = with_default_values(
            models.FIELDS,
            convert_sent_fields(models.FIELDS, request.body.parse_json_texts(models.FIELDS)),
        )
    with collect_messages(problems):
        contents = _first_release(request, values)
    if problems:
        raise ApiError(400, problems)
    # On the platform the database refuses a taken code, so that its error is reported alone.
    hide_existing_object(request, "plugin", values["code"])
    if request.backend.store.find_by_key_of_any_tenant("plugin", values["code"]):
        raise build_code_taken_error(values["code"])
    models.require_free_name(request.backend, request.tenant, values["name"])
    return _PluginCreate(values, contents)


def _first_release(request: EmulatorRequest, values: FieldValues) -> FieldValues:
    """The contents of the first release: of the uploaded file, or a scaffold of the fields."""
    release_values = {name: values.get(name) for name in ("readme", "debug", "meta")}
    if request.body.values.get("source") != "file":
        plugin_field_names = ("code", "name", "category", "version", "description")
        field_names = (*plugin_field_names, *(field.name for field in models.SCAFFOLD_FIELDS))
        config = {name: values[name] for name in field_names if values.get(name)}
        return {**release_values, "config": config}
    upload = request.uploads.get("file")
    if upload is None:
        raise build_error_of_field("file", "A file is required when source is file.")
    return {**release_values, **releases.read_package_facts(upload)}


def update_plugin(request: EmulatorRequest) -> EmulatorAnswer:
    """Change name or description; any other field is final. Raises ApiError (400, 403, 404)."""
    backend, row = request.backend, _require_plugin_in_path(request)
    v1.require_own_plugin(backend, request.tenant, row)
    problems: dict[str, Any] = {}
    values: FieldValues = {}
    for name in models.FINAL_FIELD_NAMES:
        if name in request.body.values:
            problems |= models.build_final_field_error(name).body
    with collect_messages(problems):
        values = convert_sent_fields(models.CHANGEABLE_FIELDS, request.body, partial=True)
    with collect_messages(problems):
        if "name" in values:
            models.require_free_name(backend, request.tenant, values["name"], except_id=row.id)
    if problems:
        raise ApiError(400, problems)
    body = {**row.body, **values, "modified": backend.clock.now()}
    return EmulatorAnswer(
        _build_plugin_json(request, backend.store.replace("plugin", row, body, key=row.key))
    )
