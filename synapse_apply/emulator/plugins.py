"""Plugins: their fields, who sees them, and how both API versions answer."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from functools import partial
from typing import Any

from synapse_apply.emulator import releases
from synapse_apply.emulator.core import v2
from synapse_apply.emulator.core.backend import format_iso
from synapse_apply.emulator.core.call import (
    EmulatorAnswer,
    EmulatorRequest,
    parse_id,
    require_found,
)
from synapse_apply.emulator.core.fields import (
    AnswerObject,
    ApiError,
    Field,
    FieldValues,
    collect_messages,
    convert_all_fields,
    convert_sent_fields,
    forbidden,
    refusal,
    with_default_values,
    wrong_field,
)
from synapse_apply.emulator.core.lists import build_cursor_page, build_page, convert_filters
from synapse_apply.emulator.core.store import EVERY_TENANT, DuplicateKeyError, StoredObject

CATEGORIES = (
    "neural_net",
    "export",
    "upload",
    "smart_tool",
    "pre_annotation",
    "post_annotation",
    "data_validation",
    "converter",
)
_COMMON_FIELDS = (
    Field("name", required=True),
    Field("code", nullable=True, default=None),
    Field("description"),
)
FIELDS = (
    *_COMMON_FIELDS,
    Field("version"),
    Field("author"),
    Field("category"),
    Field("configuration", "object", default={}),
)
PLATFORM_FIELDS = (
    *_COMMON_FIELDS,
    Field("category"),
    Field("is_public", "boolean", default=False),
    Field("is_active", "boolean", default=True),
    Field("system_only", "boolean", default=False),
    Field("detail", "object", default={}),
)
_REQUIRED_FIELDS = {
    "code": Field("code", required=True),
    "category": Field("category", "choice", required=True, choices=CATEGORIES),
}
_CODE_PATTERN = re.compile(r"[-a-zA-Z0-9_]+")

_DATA_TYPES = ("image", "text", "video", "pcd", "audio")
_ANNOTATION_CATEGORIES = ("image", "video", "audio", "text", "pcd", "prompt")
_ANNOTATION_TYPES = ("bbox", "polygon", "point", "line", "mask", "label")
_SMART_TOOLS = ("interactive", "automatic", "semi_automatic")
_optional_choice = partial(Field, type="choice", nullable=True, default=None)
V2_FIELDS = (
    Field("code", required=True, pattern="[a-z0-9]([a-z0-9-]*[a-z0-9])?"),
    Field("name", required=True),
    _REQUIRED_FIELDS["category"],
    Field("description"),
)
# The input for a scaffold, the generated content of a first release.
V2_SCAFFOLD_FIELDS = (
    _optional_choice("data_type", choices=_DATA_TYPES),
    Field("tasks", "texts", blank=False, default=[]),
    _optional_choice("annotation_category", choices=_ANNOTATION_CATEGORIES),
    _optional_choice("annotation_type", choices=_ANNOTATION_TYPES),
    _optional_choice("smart_tool_type", choices=_SMART_TOOLS),
    Field("supported_data_types", "texts", choices=_DATA_TYPES, default=[]),
)
V2_RELEASE_FIELDS = (
    Field("source", "choice", choices=("scaffold", "file"), default="scaffold"),
    Field("version", blank=False, default="0.0.0"),
    Field("readme"),
    Field("debug", "boolean", default=False),
    Field("meta", "any", nullable=True, default=None),
)
V2_CREATE_FIELDS = (*V2_FIELDS, *V2_RELEASE_FIELDS, *V2_SCAFFOLD_FIELDS)
V2_CHANGEABLE_FIELDS = (Field("name", blank=False), Field("description"))
V2_FINAL_FIELD_NAMES = ("code", "tenant", "category")
V2_FILTERS = (Field("category", "choice", choices=CATEGORIES), Field("is_active", "boolean"))


def list_fields(request: EmulatorRequest) -> tuple[Field, ...]:
    """The fields of a plugin on v1 by the switches `plugin_fields` and `plugin_required`."""
    fields = PLATFORM_FIELDS if request.has("plugin_fields", "platform") else FIELDS
    if request.has("plugin_required", "name"):
        return fields
    return tuple(_REQUIRED_FIELDS.get(field.name, field) for field in fields)


def require_valid_code(code: str | None) -> str | None:
    """A valid code, None for an empty one. Raises ApiError (400)."""
    if code and not _CODE_PATTERN.fullmatch(code):
        text = 'Enter a valid "slug" consisting of letters, numbers, underscores or hyphens.'
        raise wrong_field("code", text)
    return code or None


def choose_free_slug(request: EmulatorRequest, name: str) -> str:
    """The name in lower-case ASCII with dashes, with -2, -3, ... if another plugin has it as code.

    "plugin" if nothing is left of the name.
    """
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    first = re.sub(r"[^a-z0-9]+", "-", ascii_name.lower()).strip("-") or "plugin"
    candidate, number = first, 2
    while request.store.find_by_key_of_any_tenant("plugin", candidate):
        candidate = f"{first}-{number}"
        number += 1
    return candidate


def find_visible(request: EmulatorRequest, lookup: str) -> StoredObject | None:
    """A plugin that the tenant sees, by id or code (digits are an id first); None without one."""
    # A longer number cannot be an id, but may be a code.
    by_id = if_visible(request, request.store.find_by_id("plugin", parse_id(lookup)))
    return by_id or find_visible_by_code(request, lookup)


def find_visible_by_code(request: EmulatorRequest, code: str) -> StoredObject | None:
    return if_visible(request, request.store.find_by_key_of_any_tenant("plugin", code))


def if_visible(request: EmulatorRequest, row: StoredObject | None) -> StoredObject | None:
    """The plugin if the tenant sees it: its own, a system's, or by the switch a public one."""
    if row is None or row.tenant in (request.tenant, EVERY_TENANT):
        return row
    is_shown = request.has("plugins_of_others", "shown") and row.body.get("is_public")
    return row if is_shown else None


def require_own(request: EmulatorRequest, row: StoredObject) -> None:
    """Raises ApiError (403) for a visible plugin of another tenant or the system."""
    if row.tenant != request.tenant and request.has("plugins_of_others", "shown"):
        raise forbidden()


def show(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    """A plugin as answers of v1 show it, by the switches."""
    tenants: AnswerObject = {}
    if request.has("plugin_tenant", "name"):
        tenants["tenant"] = row.tenant
    elif request.has("plugin_tenant", "number"):
        tenants["tenant"] = request.store.find_tenant_number(row.tenant)
    return {
        "id": row.id,
        **with_default_values(list_fields(request), row.body),
        "is_active": row.body.get("is_active", True),
        **tenants,
        "created": format_iso(row.created),
        "modified": format_iso(row.body.get("modified", row.created)),
    }


def require_in_path(request: EmulatorRequest) -> StoredObject:
    """The plugin that the tenant sees with the integer id in the path. Raises ApiError (404)."""
    row = request.store.find_by_id("plugin", parse_id(request.path["lookup"]))
    return require_found(if_visible(request, row))


def list_plugins(request: EmulatorRequest) -> EmulatorAnswer:
    includes_public = request.has("plugins_of_others", "shown")
    query = replace(request.list_query(), includes_public=includes_public)
    return build_page(request, "plugin", query, partial(show, request))


def create_plugin(request: EmulatorRequest) -> AnswerObject:
    """Create a plugin, with `first_release=made` also its release. Raises ApiError (400, 409)."""
    values = convert_all_fields(list_fields(request), request.body)
    _require_no_system_plugin(values)
    code = require_valid_code(values["code"])
    if code is None and request.has("code", "slug"):
        code = choose_free_slug(request, values["name"])
    now = request.now()
    body = {"is_active": True, **values, "code": code, "modified": now}
    release_field: AnswerObject = {}
    try:
        # Plugin and first release are made together or not at all.
        with request.store.transaction():
            row = request.store.insert("plugin", request.tenant, body, created=now, key=code)
            if request.has("first_release", "made"):
                release_field["release"] = releases.store_first_release(request, row)
    except DuplicateKeyError:
        raise _code_taken(request, code) from None
    return {**show(request, row), **release_field}


def _code_taken(request: EmulatorRequest, code: str | None) -> ApiError:
    text = f'A plugin with code "{code}" already exists.'
    return wrong_field("code", text) if request.has("code_taken", "field") else refusal(409, text)


def _require_no_system_plugin(values: FieldValues) -> None:
    if values.get("system_only"):
        raise wrong_field("system_only", "Only a plugin without a tenant can be `system_only`.")


def update_plugin(request: EmulatorRequest) -> AnswerObject:
    """Update a plugin partially or fully, by the switch `put`. Raises ApiError (400, 403, 409)."""
    row, fields = require_in_path(request), list_fields(request)
    require_own(request, row)
    is_full = request.has("put", "full")
    values = convert_sent_fields(fields, request.body, partial=not is_full)
    _require_no_system_plugin(values)
    old_code = row.body.get("code")
    # A code that is not sent, or is empty, stays.
    code = require_valid_code(values.pop("code", None)) or old_code
    # A plugin without a code may get one; then it is final.
    if old_code is not None and code != old_code:
        if request.has("code_change", "refused"):
            raise wrong_field("code", "The code of a plugin may not be changed.")
        code = old_code
    if is_full:
        values = with_default_values((field for field in fields if field.name != "code"), values)
    body = {**row.body, **values, "code": code, "modified": request.now()}
    try:
        return show(request, request.store.replace("plugin", row, body, key=code))
    except DuplicateKeyError:
        raise _code_taken(request, code) from None


# API v2 shows the plugins of the tenant that have a code, under ids that may be of its own.


def is_visible_on_v2(row: StoredObject | None) -> bool:
    """Whether API v2 shows a plugin: only one with a code."""
    return row is not None and bool(row.body.get("code"))


def find_by_v2_id(request: EmulatorRequest, text: str) -> StoredObject | None:
    """The tenant's plugin by its id on v2 as text; None if v2 does not show it."""
    return find_by_row_id(request, request.backend.from_v2_id(parse_id(text)))


def require_in_path_v2(request: EmulatorRequest) -> StoredObject:
    return require_found(find_by_v2_id(request, request.path["id"]))


def find_by_row_id(request: EmulatorRequest, number: int) -> StoredObject | None:
    """The tenant's plugin by its id in the store; None if v2 does not show it."""
    row = request.store.find_by_id("plugin", number, request.tenant)
    return row if is_visible_on_v2(row) else None


def show_reference(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    names = ("code", "name", "category")
    return {"id": request.backend.to_v2_id(row.id), **{name: row.body[name] for name in names}}


def show_item_v2(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    """A plugin as lists of v2 show it."""
    return {
        **show_reference(request, row),
        "is_active": row.body.get("is_active", True),
        "created": format_iso(row.created),
    }


def show_v2(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    return {
        **show_item_v2(request, row),
        "tenant_id": request.store.find_tenant_number(row.tenant),
        "description": row.body.get("description", ""),
        "system_only": row.body.get("system_only", False),
        "is_public": row.body.get("is_public", False),
    }


def list_plugins_v2(request: EmulatorRequest) -> EmulatorAnswer:
    filters = convert_filters(request, V2_FILTERS)

    def is_included(row: StoredObject) -> bool:
        body = {"is_active": True, **row.body}
        return is_visible_on_v2(row) and filters.items() <= body.items()

    show_item = partial(show_item_v2, request)
    return build_cursor_page(request, "plugin", request.list_query(), show_item, is_included)


def create_plugin_v2(request: EmulatorRequest) -> AnswerObject:
    """Create a plugin and its first release, or neither. Raises ApiError (400, 409)."""
    store = request.store
    problems: dict[str, Any] = {}
    values: FieldValues = {}
    contents: FieldValues = {}
    with collect_messages(problems):
        body = request.body.parse_json_texts(V2_CREATE_FIELDS)
        values = convert_all_fields(V2_CREATE_FIELDS, body)
    with collect_messages(problems):
        contents = _parse_first_release(request, values)
    if problems:
        raise ApiError(400, problems)
    code, now = values["code"], request.now()
    # On the platform the database refuses a taken code, so that its error is reported alone.
    v2.hide_existing_object(request, "plugin", code)
    if store.find_by_key_of_any_tenant("plugin", code):
        raise refusal(409, f'A plugin with code "{code}" already exists.')
    _require_free_name(request, values["name"])
    own_values = {field.name: values[field.name] for field in V2_FIELDS}
    stored = with_default_values(list_fields(request), own_values)
    stored |= {"is_active": True, "modified": now}
    with store.transaction():
        row = store.insert("plugin", request.tenant, stored, created=now, key=code)
        release = releases.store_release(request, row, values["version"], contents)
    return {**show_v2(request, row), "release": releases.show_reference(request, release)}


def _require_free_name(request: EmulatorRequest, name: str, *, except_id: int = 0) -> None:
    """Raises ApiError (400) if another plugin of the tenant has this name."""
    if request.store.is_name_used("plugin", request.tenant, name, except_id=except_id):
        raise wrong_field("name", "A plugin with this name already exists in this workspace.")


def _parse_first_release(request: EmulatorRequest, values: FieldValues) -> FieldValues:
    """The contents of the first release: of the uploaded file, or a scaffold of the fields."""
    release_values = {name: values.get(name) for name in ("readme", "debug", "meta")}
    if request.body.values.get("source") != "file":
        plugin_field_names = ("code", "name", "category", "version", "description")
        field_names = (*plugin_field_names, *(field.name for field in V2_SCAFFOLD_FIELDS))
        config = {name: values[name] for name in field_names if values.get(name)}
        return {**release_values, "config": config}
    upload = request.uploads.get("file")
    if upload is None:
        raise wrong_field("file", "A file is required when source is file.")
    return {**release_values, **releases.read_contents(upload)}


def update_plugin_v2(request: EmulatorRequest) -> AnswerObject:
    """Change name or description; any other field is final. Raises ApiError (400, 403, 404)."""
    row = require_in_path_v2(request)
    require_own(request, row)
    problems: dict[str, Any] = {
        name: ["This field cannot be changed."]
        for name in V2_FINAL_FIELD_NAMES
        if name in request.body.values
    }
    values: FieldValues = {}
    with collect_messages(problems):
        values = convert_sent_fields(V2_CHANGEABLE_FIELDS, request.body, partial=True)
    with collect_messages(problems):
        if "name" in values:
            _require_free_name(request, values["name"], except_id=row.id)
    if problems:
        raise ApiError(400, problems)
    body = {**row.body, **values, "modified": request.now()}
    return show_v2(request, request.store.replace("plugin", row, body, key=row.key))
