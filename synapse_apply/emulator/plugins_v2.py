"""Plugins of v2: what differs from those of v1, in fields, answers and paths."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from synapse_apply.emulator import plugins as v1
from synapse_apply.emulator import releases_v2 as releases
from synapse_apply.emulator.core.backend import DataSetBackend, format_iso
from synapse_apply.emulator.core.call import (
    EmulatorAnswer,
    EmulatorRequest,
    Endpoint,
    hide_existing_object,
)
from synapse_apply.emulator.core.cursors import build_cursor_page, convert_filters
from synapse_apply.emulator.core.fields import (
    AnswerObject,
    ApiError,
    Fact,
    FactSource,
    Field,
    FieldValues,
    build_error_of_field,
    build_not_found_error,
    collect_messages,
    convert_sent_fields,
    with_default_values,
)
from synapse_apply.emulator.core.store import EVERY_TENANT, ObjectQuery, StoredObject
from synapse_apply.emulator.plugins import CATEGORIES, build_code_taken_error

_DATA_TYPES = ("image", "text", "video", "pcd", "audio")
OWN_FIELDS = (
    Field("code", required=True, pattern="[a-z0-9]([a-z0-9-]*[a-z0-9])?"),
    Field("name", required=True),
    Field("category", "choice", required=True, choices=CATEGORIES),
    Field("description"),
)
# The input for a scaffold, the generated content of a first release.
SCAFFOLD_FIELDS = (
    Field("data_type", "choice", nullable=True, choices=_DATA_TYPES, default=None),
    Field("tasks", "texts", blank=False, default=[]),
    Field(
        "annotation_category",
        "choice",
        nullable=True,
        choices=("image", "video", "audio", "text", "pcd", "prompt"),
        default=None,
    ),
    Field(
        "annotation_type",
        "choice",
        nullable=True,
        choices=("bbox", "polygon", "point", "line", "mask", "label"),
        default=None,
    ),
    Field(
        "smart_tool_type",
        "choice",
        nullable=True,
        choices=("interactive", "automatic", "semi_automatic"),
        default=None,
    ),
    Field("supported_data_types", "texts", choices=_DATA_TYPES, default=[]),
)
RELEASE_FIELDS = (
    Field("source", "choice", choices=("scaffold", "file"), default="scaffold"),
    Field("version", blank=False, default="0.0.0"),
    Field("readme"),
    Field("debug", "boolean", default=False),
    Field("meta", "any", nullable=True, default=None),
)
FIELDS = (*OWN_FIELDS, *RELEASE_FIELDS, *SCAFFOLD_FIELDS)
CHANGEABLE_FIELDS = (Field("name", blank=False), Field("description"))
FINAL_FIELD_NAMES = ("code", "tenant", "category")


def require_free_name(
    backend: DataSetBackend, tenant: str, name: str, *, except_id: int = 0
) -> None:
    """Raises ApiError (400) if another plugin of the tenant has this name."""
    if backend.store.is_name_used("plugin", tenant, name, except_id=except_id):
        raise build_error_of_field(
            "name", "A plugin with this name already exists in this workspace."
        )


def build_final_field_error(name: str) -> ApiError:
    return build_error_of_field(name, "This field cannot be changed.")


def is_visible_on_v2(row: StoredObject | None) -> bool:
    """Whether API v2 shows a plugin: only one with a code."""
    return row is not None and bool(row.body.get("code"))


def find_by_v2_id(backend: DataSetBackend, tenant: str, text: str) -> StoredObject | None:
    """A tenant's plugin by its id on v2 as text; None if v2 does not show it."""
    if not text.isdecimal() or len(text) > 19:
        return None
    return find_by_row_id(backend, tenant, backend.from_v2_id_or_zero(int(text)))


def find_by_row_id(backend: DataSetBackend, tenant: str, number: int) -> StoredObject | None:
    """A tenant's plugin by its id in the store; None if v2 does not show it."""
    row = backend.store.find_by_id("plugin", number, tenant)
    return row if is_visible_on_v2(row) else None


def plugin_reference(backend: DataSetBackend, row: StoredObject) -> AnswerObject:
    id_field = {"id": backend.to_v2_id(row.id)}
    return {**id_field, **{name: row.body[name] for name in ("code", "name", "category")}}


def build_plugin_item(backend: DataSetBackend, row: StoredObject) -> AnswerObject:
    return {
        **plugin_reference(backend, row),
        "is_active": row.body.get("is_active", True),
        "created": format_iso(row.created),
    }


def build_plugin_json(backend: DataSetBackend, row: StoredObject) -> AnswerObject:
    return {
        **build_plugin_item(backend, row),
        "tenant_id": (
            # A system plugin belongs to no tenant.
            None if row.tenant == EVERY_TENANT else backend.store.tenant_number(row.tenant)
        ),
        "description": row.body.get("description", ""),
        "system_only": row.body.get("system_only", False),
        "is_public": row.body.get("is_public", False),
    }


_FILTERS = (Field("category", "choice", choices=v1.CATEGORIES), Field("is_active", "boolean"))


def _require_plugin_in_path(request: EmulatorRequest) -> StoredObject:
    row = find_by_v2_id(request.backend, request.tenant, request.path["id"])
    if row is None:
        raise build_not_found_error()
    return row


def _build_plugin_json(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    return build_plugin_json(request.backend, row)


def read_plugin(request: EmulatorRequest) -> EmulatorAnswer:
    return EmulatorAnswer(_build_plugin_json(request, _require_plugin_in_path(request)))


def list_plugins(request: EmulatorRequest) -> EmulatorAnswer:
    filter_values = convert_filters(request, _FILTERS)

    def is_included(row: StoredObject) -> bool:
        body = {"is_active": True, **row.body}
        return is_visible_on_v2(row) and all(
            body.get(name) == filter_values[name] for name in filter_values
        )

    newest_first = request.backend.switches.has_value("list_order", "newest")
    query = ObjectQuery(request.tenant, newest_first=newest_first)
    return build_cursor_page(
        request, "plugin", query, partial(build_plugin_item, request.backend), is_included
    )


def create_with_release(request: EmulatorRequest) -> EmulatorAnswer:
    """Create a plugin and its first release, or neither. Raises ApiError (400, 409)."""
    backend = request.backend
    values, contents = _parse_plugin_create(request)
    now = backend.clock.now()
    plugin_values = {field.name: values[field.name] for field in OWN_FIELDS}
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
            FIELDS,
            convert_sent_fields(FIELDS, request.body.parse_json_texts(FIELDS)),
        )
    with collect_messages(problems):
        contents = _first_release(request, values)
    if problems:
        raise ApiError(400, problems)
    # On the platform the database refuses a taken code, so that its error is reported alone.
    hide_existing_object(request, "plugin", values["code"])
    if request.backend.store.find_by_key_of_any_tenant("plugin", values["code"]):
        raise build_code_taken_error(values["code"])
    require_free_name(request.backend, request.tenant, values["name"])
    return _PluginCreate(values, contents)


def _first_release(request: EmulatorRequest, values: FieldValues) -> FieldValues:
    """The contents of the first release: of the uploaded file, or a scaffold of the fields."""
    release_values = {name: values.get(name) for name in ("readme", "debug", "meta")}
    if request.body.values.get("source") != "file":
        plugin_field_names = ("code", "name", "category", "version", "description")
        field_names = (*plugin_field_names, *(field.name for field in SCAFFOLD_FIELDS))
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
    for name in FINAL_FIELD_NAMES:
        if name in request.body.values:
            problems |= build_final_field_error(name).body
    with collect_messages(problems):
        values = convert_sent_fields(CHANGEABLE_FIELDS, request.body, partial=True)
    with collect_messages(problems):
        if "name" in values:
            require_free_name(backend, request.tenant, values["name"], except_id=row.id)
    if problems:
        raise ApiError(400, problems)
    body = {**row.body, **values, "modified": backend.clock.now()}
    return EmulatorAnswer(
        _build_plugin_json(request, backend.store.replace("plugin", row, body, key=row.key))
    )


_D = FactSource.DOCUMENTED

_WRITES = ("v2_writes", "all")

ENDPOINTS = (
    Endpoint("GET", "plugins/", list_plugins, _D, "List plugins; `?category=`, `?is_active=`."),
    Endpoint(
        "POST",
        "plugins/",
        create_with_release,
        _D,
        "Create a plugin and its first release: 201. JSON, form or multipart.",
        switch=_WRITES,
    ),
    Endpoint("GET", "plugins/{id}/", read_plugin, _D, "Read a plugin by id."),
    Endpoint(
        "PATCH",
        "plugins/{id}/",
        update_plugin,
        _D,
        "Change a plugin's name and description.",
        switch=_WRITES,
    ),
)

FACTS = (
    Fact("Both versions show one data set: what one makes, the other has.", FactSource.GUESSED),
    Fact(
        "A plugin of v1 without a code is not there on v2: 404, and in no list.", FactSource.GUESSED
    ),
    Fact("A plugin of v1 with a category v2 does not have is shown with it.", FactSource.GUESSED),
    Fact("`code` is lower-case letters, digits and inner `-`; there is no `_`.", _D),
    Fact("A code that any tenant has is 409.", _D),
    Fact("The first release, of `version` or else 0.0.0, is made with the plugin or neither.", _D),
    Fact("`source=scaffold` makes it from the fields sent, `source=file` from `file`.", _D),
    Fact("A scaffold's `config` holds the fields that were sent.", FactSource.GUESSED),
    Fact("A name is had once by a tenant: 400.", _D),
    Fact("Where the code and the name are taken, the answer is 409.", FactSource.GUESSED),
    Fact("PATCH with `code`, `tenant` or `category` is 400, also with the value they have.", _D),
    Fact("PUT and DELETE are 405.", _D),
    Fact(
        "Lists, objects, booleans and numbers are read from texts, in JSON too.",
        FactSource.OBSERVED,
    ),
    Fact(
        "In a dry run a code that is taken is 409; with `v2_dry_run=blind` nobody looks.",
        FactSource.GUESSED,
    ),
)
