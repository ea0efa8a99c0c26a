"""Which fields and package a release has, which tenant sees it, and how answers show it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synapse_apply.emulator.core import signing
from synapse_apply.emulator.core.backend import DataSetBackend
from synapse_apply.emulator.core.call import EmulatorRequest, Upload
from synapse_apply.emulator.core.clock import format_iso
from synapse_apply.emulator.core.fields import AnswerObject, Field, with_default_values
from synapse_apply.emulator.core.store import StoredObject
from synapse_apply.emulator.plugins import models as plugins

PLUGIN_FIELD = Field("plugin", "raw", required=True)
_VERSION_FIELD = Field("version", required=True)
_CONFIG_FIELD = Field("config", "object", default={})
_DEBUG_FIELD = Field("debug", "boolean", default=False)
META_FIELD = Field("meta", "any", nullable=True, default=None)
OWN_FIELDS = (
    _VERSION_FIELD,
    Field("changelog"),
    Field("is_stable", "boolean", default=False),
    _CONFIG_FIELD,
    Field("requirements", "texts", default=[]),
    _DEBUG_FIELD,
)
PLATFORM_FIELDS = (_VERSION_FIELD, _CONFIG_FIELD, _DEBUG_FIELD)
_OPTIONAL_VERSION_FIELD = Field("version")
FIRST_VERSION = "0.0.0"
DEFAULT_VERSION = "0.1.0"  # of a package whose config.yaml has no version


def list_release_fields(backend: DataSetBackend) -> tuple[Field, ...]:
    """The fields of a release by the switches whose names begin with `release_`."""
    switches = backend.switches
    selected_fields: tuple[Field, ...]
    selected_fields = (
        PLATFORM_FIELDS if switches.has_value("release_fields", "platform") else OWN_FIELDS
    )
    if not switches.has_value("release_source", "form"):
        selected_fields = tuple(
            _OPTIONAL_VERSION_FIELD if field is _VERSION_FIELD else field
            for field in selected_fields
        )
    return (
        selected_fields
        if switches.has_value("release_meta", "none")
        else (*selected_fields, META_FIELD)
    )


def build_release_key(plugin_id: int, version: str) -> str:
    return f"{plugin_id}@{version}"


def find_visible_release(backend: DataSetBackend, tenant: str, lookup: str) -> StoredObject | None:
    """A release that a tenant sees, by id or by `code@version`; None without one."""
    if lookup.isdecimal() and len(lookup) < 20:
        row = backend.store.find_by_id("release", int(lookup))
        return row if row is not None and is_release_visible(backend, tenant, row) else None
    # A code has no `@`, a version may have one.
    code, _, version = lookup.partition("@")
    plugin = plugins.find_visible_plugin(backend, tenant, code)
    return (
        backend.store.find_by_key_of_any_tenant("release", build_release_key(plugin.id, version))
        if plugin
        else None
    )


def is_release_visible(backend: DataSetBackend, tenant: str, row: StoredObject) -> bool:
    """Whether a tenant sees a release: its own, or one of a plugin that it sees."""
    if row.tenant == tenant:
        return True
    plugin = backend.store.find_by_id("plugin", row.parent or 0)
    return plugin is not None and plugins.if_visible(backend, tenant, plugin) is not None


def move_package(backend: DataSetBackend, upload: Upload) -> str:
    """Move an uploaded package to the file named by its SHA-256, which is returned.

    Equal packages are stored once.
    """
    # Named by content: two releases with the same package share a file, and none is ever changed.
    upload.path.replace(backend.packages_folder / upload.sha256)
    return upload.sha256


def find_package_file(backend: DataSetBackend, row: StoredObject | None) -> Path | None:
    """The file of a release's package; None without one, or if it is a link."""
    package = row.body.get("package") if row else None
    file = backend.packages_folder / package["sha256"] if package else None
    return None if file is None or file.is_symlink() else file


def store_first_release(backend: DataSetBackend, plugin: StoredObject) -> AnswerObject:
    """Store the first release of a new plugin; returns its part of the plugin's answer."""
    plugin_fields = {name: plugin.body[name] for name in ("name", "code", "category")}
    values = with_default_values(list_release_fields(backend), {"version": FIRST_VERSION})
    row = backend.store.insert(
        "release",
        plugin.tenant,
        {**values, "config": {**plugin_fields, "version": FIRST_VERSION}},
        created=backend.clock.now(),
        key=build_release_key(plugin.id, FIRST_VERSION),
        parent=plugin.id,
    )
    return {"id": row.id, "version": FIRST_VERSION, "is_released": False}


def build_release_json(
    request: EmulatorRequest, row: StoredObject, plugin: StoredObject | None
) -> AnswerObject:
    """A release as answers of v1 show it; its plugin as an object if given, else as its id."""
    backend = request.backend
    platform_fields = {}
    if backend.switches.has_value("release_fields", "platform"):
        platform_fields = {
            "is_released": row.body.get("is_released", False),
            "readme": row.body.get("readme", ""),
            "run_schema": {},
            "installation_schema": {},
            "available_actions": list_available_actions(row),
        }
    return {
        "id": row.id,
        "plugin": plugins.build_plugin_json(backend, plugin) if plugin else row.parent,
        **{
            field.name: row.body.get(field.name, field.default)
            for field in list_release_fields(backend)
        },
        **platform_fields,
        "file": _build_file_field(request, row),
        "created": format_iso(row.created),
    }


def list_available_actions(row: StoredObject) -> list[str]:
    """The sorted names of the actions in a release's config."""
    config = row.body.get("config")
    actions = config.get("actions") if isinstance(config, dict) else None
    return sorted(map(str, actions)) if isinstance(actions, dict) else []


def _build_file_field(request: EmulatorRequest, row: StoredObject) -> Any:
    package = row.body.get("package")
    if not package:
        return None
    if request.has_server_switch_value("release_file", "signed"):
        return signing.sign_url(request.backend, request.root_url, build_package_url_path(row.id))
    return {"name": package["name"], "url": f"{request.root_url}/_emulator/packages/{row.id}/"}


def build_package_url_path(release_id: int) -> str:
    return f"/media/plugin_releases/{release_id}/package.zip"
