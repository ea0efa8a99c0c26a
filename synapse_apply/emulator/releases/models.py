"""What a release is: its fields, its package, how it is found."""

from __future__ import annotations

from typing import Any

from synapse_apply.emulator.core.backend import Backend
from synapse_apply.emulator.core.call import Upload
from synapse_apply.emulator.core.clock import iso
from synapse_apply.emulator.core.fields import Field
from synapse_apply.emulator.core.store import Row
from synapse_apply.emulator.plugins import models as plugins

PLUGIN = Field("plugin", "raw", required=True)
OWN_FIELDS = (
    Field("version", required=True),
    Field("changelog"),
    Field("is_stable", "boolean", reset=False),
    Field("config", "object", reset={}),
    Field("requirements", "texts", reset=[]),
    Field("debug", "boolean", reset=False),
)


def key(plugin_id: int, version: str) -> str:
    return f"{plugin_id}@{version}"


def find(backend: Backend, tenant: str, lookup: str) -> Row | None:
    """A tenant's release by id or by `code@version`."""
    if lookup.isdecimal() and len(lookup) < 20:
        return backend.store.get("release", int(lookup), tenant)
    code, _, version = lookup.partition("@")
    plugin = plugins.find(backend, tenant, code)
    return backend.store.find("release", key(plugin.id, version)) if plugin else None


def keep_package(backend: Backend, upload: Upload) -> str:
    """Give a received package its place, under its SHA-256; the same bytes are kept once."""
    upload.path.replace(backend.packages / upload.sha256)
    return upload.sha256


def shown(row: Row, root: str, plugin: Row | None) -> dict[str, Any]:
    """`plugin` is shown as its id, or whole when it is given."""
    package = row.body.get("package")
    return {
        "id": row.id,
        "plugin": plugins.shown(plugin) if plugin else row.parent,
        **{field.name: row.body.get(field.name, field.reset) for field in OWN_FIELDS},
        "file": package
        and {
            "name": package["name"],
            "url": f"{root}/_emulator/packages/{row.id}/",
        },
        "created": iso(row.created),
    }
