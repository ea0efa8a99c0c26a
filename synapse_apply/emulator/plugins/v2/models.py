"""Which fields a plugin has on API v2 and how it is shown; the stored row is the same as on v1."""

from __future__ import annotations

from synapse_apply.emulator.core.backend import DataSetBackend
from synapse_apply.emulator.core.clock import format_iso
from synapse_apply.emulator.core.errors import ApiError, build_error_of_field
from synapse_apply.emulator.core.fields import AnswerObject, Field
from synapse_apply.emulator.core.store import EVERY_TENANT, StoredObject
from synapse_apply.emulator.plugins.models import CATEGORIES

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
