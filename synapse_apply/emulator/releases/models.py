"""What a release is: its fields, its package, how it is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synapse_apply.emulator.core import signing
from synapse_apply.emulator.core.backend import Backend
from synapse_apply.emulator.core.call import Call, Upload
from synapse_apply.emulator.core.clock import iso
from synapse_apply.emulator.core.fields import Field, with_resets
from synapse_apply.emulator.core.store import Row
from synapse_apply.emulator.plugins import models as plugins

PLUGIN = Field("plugin", "raw", required=True)
_VERSION = Field("version", required=True)
_CONFIG = Field("config", "object", reset={})
_DEBUG = Field("debug", "boolean", reset=False)
META = Field("meta", "any", nullable=True, reset=None)
OWN_FIELDS = (
    _VERSION,
    Field("changelog"),
    Field("is_stable", "boolean", reset=False),
    _CONFIG,
    Field("requirements", "texts", reset=[]),
    _DEBUG,
)
PLATFORM_FIELDS = (_VERSION, _CONFIG, _DEBUG)
_VERSION_IN_PACKAGE = Field("version")
FIRST_VERSION = "0.0.0"
UNSAID_VERSION = "0.1.0"  # of a package whose configuration says none


def fields(backend: Backend) -> tuple[Field, ...]:
    """The fields of a release, as the switches say."""
    switches = backend.switches
    chosen: tuple[Field, ...]
    chosen = PLATFORM_FIELDS if switches.is_on("release_fields", "platform") else OWN_FIELDS
    if not switches.is_on("release_source", "form"):
        chosen = tuple(_VERSION_IN_PACKAGE if one is _VERSION else one for one in chosen)
    return chosen if switches.is_on("release_meta", "none") else (*chosen, META)


def key(plugin_id: int, version: str) -> str:
    return f"{plugin_id}@{version}"


def find(backend: Backend, tenant: str, lookup: str) -> Row | None:
    """A release that a tenant sees, by id or by `code@version`."""
    if lookup.isdecimal() and len(lookup) < 20:
        row = backend.store.get("release", int(lookup))
        return row if row is not None and is_visible(backend, tenant, row) else None
    code, _, version = lookup.partition("@")
    plugin = plugins.find(backend, tenant, code)
    return backend.store.find("release", key(plugin.id, version)) if plugin else None


def is_visible(backend: Backend, tenant: str, row: Row) -> bool:
    """Whether a tenant sees a release: its own, and those of plugins that it sees."""
    if row.tenant == tenant:
        return True
    plugin = backend.store.get("plugin", row.parent or 0)
    return plugin is not None and plugins.visible(backend, tenant, plugin) is not None


def keep_package(backend: Backend, upload: Upload) -> str:
    """Give a received package its place, under its SHA-256; the same bytes are kept once."""
    upload.path.replace(backend.packages / upload.sha256)
    return upload.sha256


def find_package(backend: Backend, row: Row | None) -> Path | None:
    """The file of a release's package; a link in its place is not its file."""
    package = row.body.get("package") if row else None
    file = backend.packages / package["sha256"] if package else None
    return None if file is None or file.is_symlink() else file


def make_first(backend: Backend, plugin: Row) -> dict[str, Any]:
    """Store the first release of a new plugin; what the plugin's answer says of it."""
    named = {name: plugin.body[name] for name in ("name", "code", "category")}
    values = with_resets(fields(backend), {"version": FIRST_VERSION})
    row = backend.store.insert(
        "release",
        plugin.tenant,
        {**values, "config": {**named, "version": FIRST_VERSION}},
        created=backend.clock.now(),
        key=key(plugin.id, FIRST_VERSION),
        parent=plugin.id,
    )
    return {"id": row.id, "version": FIRST_VERSION, "is_released": False}


def shown(call: Call, row: Row, plugin: Row | None) -> dict[str, Any]:
    """`plugin` is shown as its id, or whole when it is given."""
    backend = call.backend
    more = {}
    if backend.switches.is_on("release_fields", "platform"):
        more = {
            "is_released": row.body.get("is_released", False),
            "readme": row.body.get("readme", ""),
            "run_schema": {},
            "installation_schema": {},
            "available_actions": available_actions(row),
        }
    return {
        "id": row.id,
        "plugin": plugins.shown(backend, plugin) if plugin else row.parent,
        **{field.name: row.body.get(field.name, field.reset) for field in fields(backend)},
        **more,
        "file": _show_file(call, row),
        "created": iso(row.created),
    }


def available_actions(row: Row) -> list[str]:
    """The names of the actions that a release's configuration has."""
    config = row.body.get("config")
    actions = config.get("actions") if isinstance(config, dict) else None
    return sorted(map(str, actions)) if isinstance(actions, dict) else []


def _show_file(call: Call, row: Row) -> Any:
    package = row.body.get("package")
    if not package:
        return None
    if call.has("release_file", "signed"):
        return signing.sign(call.backend, call.root, file_path(row.id))
    return {"name": package["name"], "url": f"{call.root}/_emulator/packages/{row.id}/"}


def file_path(release_id: int) -> str:
    return f"/media/plugin_releases/{release_id}/package.zip"
