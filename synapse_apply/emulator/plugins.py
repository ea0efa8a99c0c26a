"""Plugins: their fields, how the server answers, and from which source each behaviour is known."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from synapse_apply.emulator import releases
from synapse_apply.emulator.core.backend import DataSetBackend, format_iso
from synapse_apply.emulator.core.call import EmulatorAnswer, EmulatorRequest, Endpoint
from synapse_apply.emulator.core.fields import (
    AnswerObject,
    ApiError,
    Fact,
    FactSource,
    Field,
    FieldValues,
    build_conflict_error,
    build_error_of_field,
    build_forbidden_error,
    build_not_found_error,
    convert_sent_fields,
    with_default_values,
)
from synapse_apply.emulator.core.paging import add_v1_filters, build_page_answer
from synapse_apply.emulator.core.store import (
    EVERY_TENANT,
    DuplicateKeyError,
    ObjectQuery,
    StoredObject,
)


def build_code_taken_error(code: str, *, is_field: bool = False) -> ApiError:
    text = f'A plugin with code "{code}" already exists.'
    return build_error_of_field("code", text) if is_field else build_conflict_error(text)


def system_only() -> ApiError:
    return build_error_of_field(
        "system_only", "Only a plugin of no tenant can be for the system alone."
    )


def build_bad_code_error() -> ApiError:
    return build_error_of_field(
        "code", 'Enter a valid "slug" consisting of letters, numbers, underscores or hyphens.'
    )


def build_code_change_error() -> ApiError:
    return build_error_of_field("code", "The code of a plugin may not be changed.")


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


def list_plugin_fields(backend: DataSetBackend) -> tuple[Field, ...]:
    """The fields of a plugin by the switches `plugin_fields` and `plugin_required`."""
    is_platform = backend.switches.has_value("plugin_fields", "platform")
    base_fields = PLATFORM_FIELDS if is_platform else FIELDS
    if backend.switches.has_value("plugin_required", "name"):
        return base_fields
    return tuple(_REQUIRED_FIELDS.get(field.name, field) for field in base_fields)


def require_valid_code(code: str | None) -> str | None:
    """A valid code, None for an empty one. Raises ApiError (400)."""
    if not code:
        return None
    if not _CODE_PATTERN.fullmatch(code):
        raise build_bad_code_error()
    return code


def build_slug(name: str) -> str:
    """The name in lower-case ASCII with dashes; "plugin" if nothing is left of it."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_name.lower()).strip("-") or "plugin"


def choose_free_slug(backend: DataSetBackend, name: str) -> str:
    """The slug of a name, with -2, -3, ... appended if another plugin has it as its code."""
    first = candidate = build_slug(name)
    number = 2
    while backend.store.find_by_key_of_any_tenant("plugin", candidate):
        candidate = f"{first}-{number}"
        number += 1
    return candidate


def find_visible_plugin(backend: DataSetBackend, tenant: str, lookup: str) -> StoredObject | None:
    """A plugin that a tenant sees, by id or code (digits are an id first); None without one."""
    # A longer number cannot be an id, but may be a code.
    if lookup.isdecimal() and len(lookup) < 20:
        row = if_visible(backend, tenant, backend.store.find_by_id("plugin", int(lookup)))
        if row is not None:
            return row
    return if_visible(backend, tenant, backend.store.find_by_key_of_any_tenant("plugin", lookup))


def if_visible(
    backend: DataSetBackend, tenant: str, row: StoredObject | None
) -> StoredObject | None:
    """The plugin if a tenant sees it: its own, a system's, or by the switch a public one."""
    if row is None or row.tenant in (tenant, EVERY_TENANT):
        return row
    return row if shows_plugins_of_others(backend) and row.body.get("is_public") else None


def shows_plugins_of_others(backend: DataSetBackend) -> bool:
    return backend.switches.has_value("plugins_of_others", "shown")


def require_own_plugin(backend: DataSetBackend, tenant: str, row: StoredObject) -> None:
    """Raises ApiError (403) for a visible plugin of another tenant or the system."""
    if row.tenant != tenant and shows_plugins_of_others(backend):
        raise build_forbidden_error("You do not have permission to perform this action.")


def build_plugin_json(backend: DataSetBackend, row: StoredObject) -> AnswerObject:
    """A plugin as answers of v1 show it, by the switches."""
    return {
        "id": row.id,
        **{
            field.name: row.body.get(field.name, field.default)
            for field in list_plugin_fields(backend)
        },
        "is_active": row.body.get("is_active", True),
        **_build_tenant_field(backend, row),
        "created": format_iso(row.created),
        "modified": format_iso(row.body.get("modified", row.created)),
    }


def _build_tenant_field(backend: DataSetBackend, row: StoredObject) -> AnswerObject:
    has_tenant = row.tenant != EVERY_TENANT
    match backend.switches["plugin_tenant"]:
        case "name":
            return {"tenant": row.tenant}
        case "number":
            return {"tenant": backend.store.tenant_number(row.tenant) if has_tenant else None}
        case _:
            return {}


def require_plugin_in_path(request: EmulatorRequest) -> StoredObject:
    """The plugin that the tenant sees with the integer id in the path. Raises ApiError (404)."""
    text = request.path["lookup"]
    if text.isdecimal() and len(text) < 20:
        row = request.backend.store.find_by_id("plugin", int(text))
        row = if_visible(request.backend, request.tenant, row)
        if row is not None:
            return row
    raise build_not_found_error()


def read_plugin(request: EmulatorRequest) -> EmulatorAnswer:
    return EmulatorAnswer(build_plugin_json(request.backend, require_plugin_in_path(request)))


def list_plugins(request: EmulatorRequest) -> EmulatorAnswer:
    store = request.backend.store
    query = ObjectQuery(
        request.tenant,
        newest_first=request.has_server_switch_value("list_order", "newest"),
        includes_public=shows_plugins_of_others(request.backend),
    )
    query = add_v1_filters(request, query)
    return build_page_answer(
        request,
        store.count("plugin", query),
        lambda limit, offset: [
            build_plugin_json(request.backend, row)
            for row in store.select("plugin", query, limit=limit, offset=offset)
        ],
    )


def create_plugin(request: EmulatorRequest) -> EmulatorAnswer:
    """Create a plugin, with `first_release=made` also its release. Raises ApiError (400, 409)."""
    backend = request.backend
    fields = list_plugin_fields(backend)
    values = with_default_values(fields, convert_sent_fields(fields, request.body))
    _raise_if_system_only(values)
    code = require_valid_code(values["code"])
    if code is None and backend.switches.has_value("code", "slug"):
        code = choose_free_slug(backend, values["name"])
    now = backend.clock.now()
    body = {"is_active": True, **values, "code": code, "modified": now}
    release_field: dict[str, Any] = {}
    try:
        # Plugin and first release are made together or not at all.
        with backend.store.transaction():
            row = backend.store.insert("plugin", request.tenant, body, created=now, key=code)
            if request.has_server_switch_value("first_release", "made"):
                release_field["release"] = releases.store_first_release(backend, row)
    except DuplicateKeyError:
        raise build_code_taken_error(
            str(code), is_field=request.has_server_switch_value("code_taken", "field")
        ) from None
    return EmulatorAnswer({**build_plugin_json(backend, row), **release_field}, 201)


def _raise_if_system_only(values: FieldValues) -> None:
    if values.get("system_only"):
        raise system_only()


def update_plugin(request: EmulatorRequest) -> EmulatorAnswer:
    """Update a plugin partially or fully, by the switch `put`. Raises ApiError (400, 403, 409)."""
    backend, row = request.backend, require_plugin_in_path(request)
    require_own_plugin(backend, request.tenant, row)
    fields = list_plugin_fields(backend)
    is_full = backend.switches.has_value("put", "full")
    values = convert_sent_fields(fields, request.body, partial=not is_full)
    _raise_if_system_only(values)
    old_code = row.body.get("code")
    # A code that is not sent, or is empty, stays.
    code = require_valid_code(values.pop("code", None)) or old_code
    # A plugin without a code may get one; then it is final.
    if old_code is not None and code != old_code:
        if request.has_server_switch_value("code_change", "refused"):
            raise build_code_change_error()
        code = old_code
    if is_full:
        values = with_default_values((field for field in fields if field.name != "code"), values)
    body = {**row.body, **values, "code": code, "modified": backend.clock.now()}
    try:
        return EmulatorAnswer(
            build_plugin_json(backend, backend.store.replace("plugin", row, body, key=code))
        )
    except DuplicateKeyError:
        raise build_code_taken_error(
            str(code), is_field=request.has_server_switch_value("code_taken", "field")
        ) from None


ENDPOINTS = (
    Endpoint(
        "GET",
        "plugins/",
        list_plugins,
        FactSource.PROCEDURE,
        "List plugins.",
        switch=("plugin_list", "list"),
    ),
    Endpoint("POST", "plugins/", create_plugin, FactSource.DOCUMENTED, "Create a plugin: 201."),
    Endpoint(
        "GET",
        "plugins/{lookup}/",
        read_plugin,
        FactSource.DOCUMENTED,
        "Read a plugin by id.",
    ),
    Endpoint("PUT", "plugins/{lookup}/", update_plugin, FactSource.OBSERVED, "Change a plugin."),
)

FACTS = (
    Fact("`name` is required and need not be unique.", FactSource.GUESSED),
    Fact("`code` is unique over all tenants: a second one is 409.", FactSource.OBSERVED),
    Fact(
        "`code` is letters, digits, `-` and `_`; once set, it cannot be changed (400).",
        FactSource.GUESSED,
    ),
    Fact(
        "`category` is free text; `configuration` any object, replaced as a whole.",
        FactSource.DOCUMENTED,
    ),
    Fact(
        "A plugin is read and changed by its id alone; by its code it is 404.", FactSource.GUESSED
    ),
    Fact("There is no delete: 405.", FactSource.DOCUMENTED),
    Fact(
        "With `plugin_fields=platform`, `system_only` is for plugins of no tenant: 400.",
        FactSource.PROCEDURE,
    ),
    Fact(
        "A plugin stored from outside with tenant `*` is a system plugin, one with "
        "`is_public: true` is public.",
        FactSource.GUESSED,
    ),
)
