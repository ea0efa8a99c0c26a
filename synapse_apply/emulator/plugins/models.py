"""What a plugin is: its fields, its code, how it is found."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from synapse_apply.emulator.core.backend import Backend
from synapse_apply.emulator.core.clock import iso
from synapse_apply.emulator.core.errors import forbidden
from synapse_apply.emulator.core.fields import Field
from synapse_apply.emulator.core.store import EVERY_TENANT, Row
from synapse_apply.emulator.plugins.errors import bad_code

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
_COMMON = (
    Field("name", required=True),
    Field("code", nullable=True, reset=None),
    Field("description"),
)
FIELDS = (
    *_COMMON,
    Field("version"),
    Field("author"),
    Field("category"),
    Field("configuration", "object", reset={}),
)
PLATFORM_FIELDS = (
    *_COMMON,
    Field("category"),
    Field("is_public", "boolean", reset=False),
    Field("is_active", "boolean", reset=True),
    Field("system_only", "boolean", reset=False),
    Field("detail", "object", reset={}),
)
_REQUIRED = {
    "code": Field("code", required=True),
    "category": Field("category", "choice", required=True, choices=CATEGORIES),
}
_CODE = re.compile(r"[-a-zA-Z0-9_]+")


def fields(backend: Backend) -> tuple[Field, ...]:
    """The fields of a plugin, as the switches say."""
    is_platform = backend.switches.is_on("plugin_fields", "platform")
    chosen = PLATFORM_FIELDS if is_platform else FIELDS
    if backend.switches.is_on("plugin_required", "name"):
        return chosen
    return tuple(_REQUIRED.get(field.name, field) for field in chosen)


def check_code(code: str | None) -> str | None:
    """The code to store; an empty one is none. Raises ApiError (400)."""
    if not code:
        return None
    if not _CODE.fullmatch(code):
        raise bad_code()
    return code


def slug(name: str) -> str:
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_name.lower()).strip("-") or "plugin"


def free_slug(backend: Backend, name: str) -> str:
    """A slug of the name that no plugin has yet; the second one ends in `-2`."""
    first = candidate = slug(name)
    number = 2
    while backend.store.find("plugin", candidate):
        candidate = f"{first}-{number}"
        number += 1
    return candidate


def find(backend: Backend, tenant: str, lookup: str) -> Row | None:
    """A plugin that a tenant sees, by id or by code; digits are an id first."""
    if lookup.isdecimal() and len(lookup) < 20:
        row = visible(backend, tenant, backend.store.get("plugin", int(lookup)))
        if row is not None:
            return row
    return visible(backend, tenant, backend.store.find("plugin", lookup))


def visible(backend: Backend, tenant: str, row: Row | None) -> Row | None:
    """A plugin, if a tenant sees it: its own, and as the switches say others'."""
    if row is None or row.tenant in (tenant, EVERY_TENANT):
        return row
    return row if are_others_shown(backend) and row.body.get("is_public") else None


def are_others_shown(backend: Backend) -> bool:
    return backend.switches.is_on("plugins_of_others", "shown")


def check_owner(backend: Backend, tenant: str, row: Row) -> None:
    """Raises ApiError (403) when a plugin that is shown is not the tenant's own."""
    if row.tenant != tenant and are_others_shown(backend):
        raise forbidden("You do not have permission to perform this action.")


def shown(backend: Backend, row: Row) -> dict[str, Any]:
    return {
        "id": row.id,
        **{field.name: row.body.get(field.name, field.reset) for field in fields(backend)},
        "is_active": row.body.get("is_active", True),
        **_tenant(backend, row),
        "created": iso(row.created),
        "modified": iso(row.body.get("modified", row.created)),
    }


def _tenant(backend: Backend, row: Row) -> dict[str, Any]:
    is_of_one = row.tenant != EVERY_TENANT
    match backend.switches["plugin_tenant"]:
        case "name":
            return {"tenant": row.tenant}
        case "number":
            return {"tenant": backend.store.tenant_number(row.tenant) if is_of_one else None}
        case _:
            return {}
