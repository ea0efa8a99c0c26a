"""What a plugin is: its fields, its code, how it is found."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from synapse_apply.emulator.core.backend import Backend
from synapse_apply.emulator.core.clock import iso
from synapse_apply.emulator.core.fields import Field
from synapse_apply.emulator.core.store import Row
from synapse_apply.emulator.plugins.errors import bad_code

FIELDS = (
    Field("name", required=True),
    Field("code", nullable=True, reset=None),
    Field("description"),
    Field("version"),
    Field("author"),
    Field("category"),
    Field("configuration", "object", reset={}),
)
WRITABLE = tuple(field for field in FIELDS if field.name != "code")
_CODE = re.compile(r"[-a-zA-Z0-9_]+")


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
    """A tenant's plugin by id or by code; digits are an id first."""
    if lookup.isdecimal() and len(lookup) < 20:
        row = backend.store.get("plugin", int(lookup), tenant)
        if row is not None:
            return row
    row = backend.store.find("plugin", lookup)
    return row if row is not None and row.tenant == tenant else None


def shown(row: Row) -> dict[str, Any]:
    return {
        "id": row.id,
        **{field.name: row.body.get(field.name, field.reset) for field in FIELDS},
        "is_active": row.body.get("is_active", True),
        "tenant": row.tenant,
        "created": iso(row.created),
        "modified": iso(row.body.get("modified", row.created)),
    }
