"""Which fields and codes a plugin has, which tenant sees it, and how answers show it."""

from __future__ import annotations

import re
import unicodedata

from synapse_apply.emulator.core.backend import DataSetBackend
from synapse_apply.emulator.core.clock import format_iso
from synapse_apply.emulator.core.errors import build_forbidden_error
from synapse_apply.emulator.core.fields import AnswerObject, Field
from synapse_apply.emulator.core.store import EVERY_TENANT, StoredObject
from synapse_apply.emulator.plugins.errors import build_bad_code_error

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
