"""What a plugin is to API v2. The store holds the same row that v1 shows."""

from __future__ import annotations

from typing import Any

from synapse_apply.emulator.core.backend import Backend
from synapse_apply.emulator.core.clock import iso
from synapse_apply.emulator.core.errors import ApiError, field_error
from synapse_apply.emulator.core.fields import Field
from synapse_apply.emulator.core.store import EVERY_TENANT, Row
from synapse_apply.emulator.plugins.models import CATEGORIES

_DATA_TYPES = ("image", "text", "video", "pcd", "audio")
OWN_FIELDS = (
    Field("code", required=True, pattern="[a-z0-9]([a-z0-9-]*[a-z0-9])?"),
    Field("name", required=True),
    Field("category", "choice", required=True, choices=CATEGORIES),
    Field("description"),
)
# Of the first release; what a scaffold is made from.
SCAFFOLD_FIELDS = (
    Field("data_type", "choice", nullable=True, choices=_DATA_TYPES, reset=None),
    Field("tasks", "texts", blank=False, reset=[]),
    Field(
        "annotation_category",
        "choice",
        nullable=True,
        choices=("image", "video", "audio", "text", "pcd", "prompt"),
        reset=None,
    ),
    Field(
        "annotation_type",
        "choice",
        nullable=True,
        choices=("bbox", "polygon", "point", "line", "mask", "label"),
        reset=None,
    ),
    Field(
        "smart_tool_type",
        "choice",
        nullable=True,
        choices=("interactive", "automatic", "semi_automatic"),
        reset=None,
    ),
    Field("supported_data_types", "texts", choices=_DATA_TYPES, reset=[]),
)
RELEASE_FIELDS = (
    Field("source", "choice", choices=("scaffold", "file"), reset="scaffold"),
    Field("version", blank=False, reset="0.0.0"),
    Field("readme"),
    Field("debug", "boolean", reset=False),
    Field("meta", "any", nullable=True, reset=None),
)
FIELDS = (*OWN_FIELDS, *RELEASE_FIELDS, *SCAFFOLD_FIELDS)
CHANGEABLE = (Field("name", blank=False), Field("description"))
FINAL = ("code", "tenant", "category")


def check_name(backend: Backend, tenant: str, name: str, *, apart: int = 0) -> None:
    """Raises ApiError (400) when another plugin of the tenant has the name."""
    if backend.store.is_named("plugin", tenant, name, apart=apart):
        raise field_error("name", "A plugin with this name already exists in this workspace.")


def is_final(name: str) -> ApiError:
    return field_error(name, "This field cannot be changed.")


def is_shown(row: Row | None) -> bool:
    """API v2 has no plugin without a code."""
    return row is not None and bool(row.body.get("code"))


def find(backend: Backend, tenant: str, text: str) -> Row | None:
    """A tenant's plugin by its integer id, if v2 has it."""
    if not text.isdecimal() or len(text) > 19:
        return None
    return of(backend, tenant, backend.id_from_v2(int(text)))


def of(backend: Backend, tenant: str, number: int) -> Row | None:
    """The same by the number that the store knows it by."""
    row = backend.store.get("plugin", number, tenant)
    return row if is_shown(row) else None


def embedded(backend: Backend, row: Row) -> dict[str, Any]:
    named = {"id": backend.id_on_v2(row.id)}
    return {**named, **{name: row.body[name] for name in ("code", "name", "category")}}


def item(backend: Backend, row: Row) -> dict[str, Any]:
    return {
        **embedded(backend, row),
        "is_active": row.body.get("is_active", True),
        "created": iso(row.created),
    }


def whole(backend: Backend, row: Row) -> dict[str, Any]:
    return {
        **item(backend, row),
        "tenant_id": (
            None if row.tenant == EVERY_TENANT else backend.store.tenant_number(row.tenant)
        ),
        "description": row.body.get("description", ""),
        "system_only": row.body.get("system_only", False),
        "is_public": row.body.get("is_public", False),
    }
