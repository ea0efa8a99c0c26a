"""Releases: their fields, their packages, and how both API versions answer."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

import yaml

from synapse_apply.emulator import plugins
from synapse_apply.emulator.core import auth, v2
from synapse_apply.emulator.core.backend import format_iso
from synapse_apply.emulator.core.call import (
    EmulatorAnswer,
    EmulatorRequest,
    Upload,
    parse_id,
    require_found,
)
from synapse_apply.emulator.core.fields import (
    REQUIRED_MESSAGE,
    AnswerObject,
    ApiError,
    Field,
    FieldValues,
    collect_messages,
    convert_all_fields,
    convert_sent_fields,
    no_choice,
    refusal,
    unsupported_media,
    with_default_values,
    wrong_field,
)
from synapse_apply.emulator.core.lists import build_cursor_page, build_page, convert_filters
from synapse_apply.emulator.core.store import DuplicateKeyError, StoredObject

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
V2_FIELDS = (
    Field("plugin", "integer", required=True),
    _VERSION_FIELD,
    Field("sha256", required=True, pattern="[0-9a-fA-F]{64}"),
)
V2_FILTERS = (Field("plugin", "integer"), Field("debug", "boolean"))
FIRST_VERSION = "0.0.0"
DEFAULT_VERSION = "0.1.0"  # of a package whose config.yaml has no version
AUTHOR = {"id": 1, "email": "someone@example.com", "name": "Someone"}
IN_USE_KEY = "in_use"  # set by an outside edit, in place of a serve application that uses it
# Of a plugin: versions that stay locked when their release is deleted.
LOCKED_VERSIONS_KEY = "locked_versions"
# The field of the refusal of a taken version, by the switch `release_taken`; "" for a 409.
_VERSION_EXISTS_FIELDS = {"conflict": "", "field": "version", "general": "non_field_errors"}


_NOT_A_FILE = "The submitted data was not a file. Check the encoding type on the form."


def _version_exists(code: str, version: str, field: str = "") -> ApiError:
    text = f"Version {version} of plugin {code} already exists."
    return wrong_field(field, text) if field else refusal(409, text)


def _version_locked(version: str) -> ApiError:
    return refusal(409, f"Version {version} is released and cannot be deployed again.")


def _unknown_plugin(value: object) -> ApiError:
    return wrong_field("plugin", f'Invalid pk "{value}" - object does not exist.')


def list_fields(request: EmulatorRequest) -> tuple[Field, ...]:
    """The fields of a release on v1 by the switches whose names begin with `release_`."""
    is_platform = request.has("release_fields", "platform")
    fields: tuple[Field, ...] = PLATFORM_FIELDS if is_platform else OWN_FIELDS
    if not request.has("release_source", "form"):
        fields = (Field("version"), *fields[1:])
    return fields if request.has("release_meta", "none") else (*fields, META_FIELD)


def build_key(plugin_id: int, version: str) -> str:
    """The natural key of a release."""
    return f"{plugin_id}@{version}"


def find_visible(request: EmulatorRequest, lookup: str) -> StoredObject | None:
    """A release that the tenant sees, by id or by `code@version`; None without one.

    It sees its own, and those of a plugin that it sees.
    """
    if number := parse_id(lookup):
        row = request.store.find_by_id("release", number)
        if row is None or row.tenant == request.tenant:
            return row
        plugin = request.store.find_by_id("plugin", row.parent or 0)
        return row if plugins.if_visible(request, plugin) else None
    # A code has no `@`, a version may have one.
    code, _, version = lookup.partition("@")
    plugin = plugins.find_visible(request, code)
    return find_of_plugin(request, plugin, version) if plugin else None


def find_of_plugin(
    request: EmulatorRequest, plugin: StoredObject, version: str
) -> StoredObject | None:
    key = build_key(plugin.id, version)
    return request.store.find_by_key_of_any_tenant("release", key)


def move_package(request: EmulatorRequest, upload: Upload) -> None:
    """Move an uploaded package to the file named by its SHA-256; equal ones are stored once."""
    # Named by content: two releases with the same package share a file, and none is ever changed.
    upload.path.replace(request.backend.packages_folder / upload.sha256)


def send_file(request: EmulatorRequest, row: StoredObject | None) -> EmulatorAnswer:
    """The package of a release. Raises ApiError (404) without one."""
    package = row.body.get("package") if row else None
    file = request.backend.packages_folder / package["sha256"] if package else None
    # A link in its place may have been committed and could lead anywhere.
    file = None if file is None or file.is_symlink() else file
    headers = {"Content-Type": "application/zip"}
    return EmulatorAnswer(None, headers=headers, file=require_found(file))


def store_first_release(request: EmulatorRequest, plugin: StoredObject) -> AnswerObject:
    """Store the first release of a new plugin on v1; returns its part of the plugin's answer."""
    plugin_fields = {name: plugin.body[name] for name in ("name", "code", "category")}
    values = with_default_values(list_fields(request), {"version": FIRST_VERSION})
    values["config"] = {**plugin_fields, "version": FIRST_VERSION}
    row = _insert(request, plugin, FIRST_VERSION, values)
    return {"id": row.id, "version": FIRST_VERSION, "is_released": False}


def _insert(
    request: EmulatorRequest, plugin: StoredObject, version: str, values: FieldValues
) -> StoredObject:
    """Store a new release of a plugin. Raises DuplicateKeyError."""
    key = build_key(plugin.id, version)
    return request.store.insert(
        "release", request.tenant, values, created=request.now(), key=key, parent=plugin.id
    )


def list_available_actions(row: StoredObject) -> list[str]:
    """The sorted names of the actions in a release's config."""
    return sorted(map(str, read_actions(row)))


def read_actions(row: StoredObject) -> Mapping[Any, Any]:
    """The actions in a release's config; none where it has no such mapping."""
    config = row.body.get("config")
    actions = config.get("actions") if isinstance(config, dict) else None
    return actions if isinstance(actions, dict) else {}


def show(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    """A release as answers of v1 show it; with `?expand=plugin` its plugin as an object."""
    plugin = None
    if "plugin" in request.parse_expanded_fields():
        plugin = request.store.find_by_id("plugin", row.parent or 0)
    platform_fields = {
        "is_released": row.body.get("is_released", False),
        "readme": row.body.get("readme", ""),
        "run_schema": {},
        "installation_schema": {},
        "available_actions": list_available_actions(row),
    }
    return {
        "id": row.id,
        "plugin": plugins.show(request, plugin) if plugin else row.parent,
        **with_default_values(list_fields(request), row.body),
        **(platform_fields if request.has("release_fields", "platform") else {}),
        "file": _show_file(request, row),
        "created": format_iso(row.created),
    }


def _show_file(request: EmulatorRequest, row: StoredObject) -> Any:
    if not (package := row.body.get("package")):
        return None
    if request.has("release_file", "signed"):
        return auth.sign_url(request, _build_package_path(row.id))
    return {"name": package["name"], "url": f"{request.root_url}/_emulator/packages/{row.id}/"}


def _build_package_path(release_id: int) -> str:
    return f"/media/plugin_releases/{release_id}/package.zip"


_CONFIG_NAMES = ("config.yaml", "synapse.yaml")
_MAX_CONFIG_BYTES = 1024 * 1024
_MAX_DIRECTORY = 8 * 1024 * 1024
_MAX_VALUES = 100_000  # YAML aliases can expand a small text to a very large value


class _BoundedReads(FileIO):
    """A zip's file, of which zipfile reads the whole directory at once."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > _MAX_DIRECTORY:
            raise zipfile.BadZipFile
        return super().read(size)


def read_package_config(path: Path) -> FieldValues:
    """The config.yaml (or synapse.yaml) in a zip; {} without one. Raises ApiError (400)."""
    text = b""
    try:
        with _BoundedReads(path) as file, zipfile.ZipFile(file) as archive:
            entry_names = set(archive.namelist())
            name = next((name for name in _CONFIG_NAMES if name in entry_names), None)
            if name:
                with archive.open(name) as entry:
                    # The size that the zip states may be wrong, so that the bytes are counted.
                    text = entry.read(_MAX_CONFIG_BYTES + 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError):
        raise wrong_field("file", "The file is not a zip archive that can be read.") from None
    if len(text) > _MAX_CONFIG_BYTES:
        raise wrong_field("file", f"{name} is larger than {_MAX_CONFIG_BYTES} bytes.")
    return _parse_config(text)


def _parse_config(text: bytes) -> FieldValues:
    try:
        # `safe_load`, since other loaders construct Python objects named in the text.
        value = yaml.safe_load(text) if text.strip() else {}
        if not isinstance(value, dict):
            raise wrong_field("file", "The configuration in the package is not a mapping.")
        if _count_values_up_to_limit(value) > _MAX_VALUES:
            raise wrong_field("file", "The configuration in the package is too large.")
        # YAML has dates, which become texts: the store holds JSON.
        json_text = json.dumps(value, default=str, allow_nan=False, ensure_ascii=False).encode()
        config: dict[str, Any] = json.loads(json_text)
    except (yaml.YAMLError, UnicodeError, ValueError, TypeError, RecursionError):
        raise wrong_field("file", "The configuration in the package cannot be read.") from None
    return config


def _count_values_up_to_limit(value: Any) -> int:
    """The number of values in a tree; stops soon after _MAX_VALUES."""
    pending, count = [value], 0
    while pending and count <= _MAX_VALUES:
        item = pending.pop()
        count += 1
        if isinstance(item, Mapping):
            pending += item.values()
        elif isinstance(item, list):
            pending += item
    return count


def require_in_path(request: EmulatorRequest) -> StoredObject:
    """The release that the tenant sees by what is in the path. Raises ApiError (404)."""
    return require_found(find_visible(request, request.path["lookup"]))


def list_releases(request: EmulatorRequest) -> EmulatorAnswer:
    """One page of the tenant's releases, or of those of `?plugin=` (an id or a code).

    For an unknown plugin an empty page, or ApiError (400), by the switch `unknown_plugin`.
    """
    query = request.list_query()
    if lookup := request.query.get("plugin"):
        plugin = plugins.find_visible(request, lookup)
        if plugin is None and request.has("unknown_plugin", "refused"):
            raise wrong_field("plugin", no_choice(lookup))
        # No object has the id 0, so that an unknown plugin gives an empty list.
        query = replace(query, parent=plugin.id if plugin else 0)
        # A visible plugin of another tenant has releases of that tenant.
        query = replace(query, tenant=plugin.tenant if plugin else request.tenant)
    return build_page(request, "release", query, partial(show, request))


def create_release(request: EmulatorRequest) -> AnswerObject:
    """Create a release, or replace a debug release. Raises ApiError (400, 403, 409)."""
    plugin, values = _parse_create(request)
    version = values["version"]
    earlier = find_of_plugin(request, plugin, version)
    if earlier is not None:
        if not (values["debug"] and request.has("debug_releases", "replaced")):
            field = _VERSION_EXISTS_FIELDS[request.backend.switches["release_taken"]]
            raise _version_exists(plugin.key or str(plugin.id), version, field)
        if earlier.body.get("is_released"):
            raise _version_locked(version)
    upload = request.uploads.get("file")
    if upload is not None:
        move_package(request, upload)
        values["package"] = upload.describe()
    if earlier is None:
        return show(request, _insert(request, plugin, version, values))
    return show(request, request.store.replace("release", earlier, values, key=earlier.key))


def _parse_create(request: EmulatorRequest) -> tuple[StoredObject, FieldValues]:
    """The plugin and the values of a create on v1. Raises ApiError (400, 403) with all problems."""
    problems: dict[str, Any] = {}
    plugin: StoredObject | None = None
    values: FieldValues = {}
    with collect_messages(problems):
        values = convert_all_fields(list_fields(request), request.body)
    with collect_messages(problems):
        upload = request.uploads.get("file")
        if upload is not None:
            _require_content(upload)
        if request.body.values.get("file") is not None:
            raise wrong_field("file", _NOT_A_FILE)
        values |= _read_package_facts(request, values)
    with collect_messages(problems):
        plugin = _require_named_plugin(request)
    if problems or plugin is None:
        raise ApiError(400, problems)
    plugins.require_own(request, plugin)
    if "meta" in values and not values["debug"] and request.has("release_meta", "debug"):
        values["meta"] = None
    return plugin, values


def _require_content(upload: Upload) -> None:
    if upload.size == 0:
        raise wrong_field("file", "The submitted file is empty.")


def _read_package_facts(request: EmulatorRequest, values: FieldValues) -> FieldValues:
    """Version and config from config.yaml in the package; {} with `release_source=form`.

    Raises ApiError (400), but not for a debug release, which is not validated.
    """
    if request.has("release_source", "form"):
        return {}
    upload = request.uploads.get("file")
    if upload is None:
        raise wrong_field("file", REQUIRED_MESSAGE)
    form_version = values.get("version", "")
    try:
        config = read_package_config(upload.path)
        if not config:
            raise wrong_field("file", "There is no config.yaml in the package.")
        # YAML reads an unquoted 1.0 as a number.
        version = str(config.get("version") or form_version or DEFAULT_VERSION)
        if form_version not in ("", version) and request.has("release_source", "checked"):
            text = f"The package has version {version}, not {form_version}."
            raise wrong_field("version", text)
    except ApiError:
        if not values.get("debug"):
            raise
        return {"version": form_version or DEFAULT_VERSION}
    return {"version": version, "config": config}


def _require_named_plugin(request: EmulatorRequest) -> StoredObject:
    """The plugin in the body, by id or code as `release_plugin` says. Raises ApiError (400)."""
    value = convert_sent_fields((PLUGIN_FIELD,), request.body)["plugin"]
    if isinstance(value, list):  # a form part that was sent twice
        value = value[-1] if value else None
    is_name = isinstance(value, int | str) and not isinstance(value, bool)
    text = str(value).strip() if is_name else ""
    if request.has("release_plugin", "code"):
        row = plugins.find_visible_by_code(request, text)
        if row is None:
            raise wrong_field("plugin", f"Object with code={value} does not exist.")
        return row
    if request.has("release_plugin", "id") and not text.isdecimal():
        raise wrong_field("plugin", "Incorrect type. Expected pk value.")
    row = plugins.find_visible(request, text) if text else None
    if row is None:
        raise _unknown_plugin(value)
    return row


def send_package(request: EmulatorRequest) -> EmulatorAnswer:
    """Send the package of a release for a valid signed URL. Raises ApiError (400, 403, 404)."""
    number = parse_id(request.path["id"])
    auth.require_signed_url(request, _build_package_path(number))
    return send_file(request, request.store.find_by_id("release", number))


# API v2 shows the releases of the plugins that it shows, and can lock and delete them.


def read_contents(upload: Upload) -> FieldValues:
    """The config and package facts that a release keeps of an upload. Raises ApiError (400)."""
    _require_content(upload)
    return {"config": read_package_config(upload.path), "package": upload.describe()}


def store_release(
    request: EmulatorRequest, plugin: StoredObject, version: str, contents: Mapping[str, Any]
) -> StoredObject:
    """Store a release and its package (in a dry run only the release). Raises ApiError (409)."""
    if version in plugin.body.get(LOCKED_VERSIONS_KEY, ()):
        raise _version_locked(version)
    v2.hide_existing_object(request, "release", build_key(plugin.id, version))
    values = {**with_default_values(OWN_FIELDS, {}), **contents, "version": version}
    try:
        row = _insert(request, plugin, version, values)
    except DuplicateKeyError:
        raise _version_exists(plugin.body["code"], version) from None
    # A file is not rolled back with the database.
    if "package" in contents and not request.is_dry_run:
        move_package(request, request.uploads["file"])
    return row


def show_reference(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    return {
        "id": request.backend.to_v2_id(row.id),
        "version": row.body["version"],
        "is_released": row.body.get("is_released", False),
    }


def show_item_v2(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    """A release as lists of v2 show it."""
    return {
        **show_reference(request, row),
        "plugin_id": request.backend.to_v2_id(row.parent or 0),
        "created": format_iso(row.created),
        "debug": row.body.get("debug", False),
    }


def show_v2(
    request: EmulatorRequest, row_and_plugin: tuple[StoredObject, StoredObject]
) -> AnswerObject:
    row, plugin = row_and_plugin
    return {
        **show_item_v2(request, row),
        "plugin": plugins.show_reference(request, plugin),
        "readme": row.body.get("readme", ""),
        "config": row.body.get("config") or {},
        "run_schema": {},
        "installation_schema": {},
        "available_actions": list_available_actions(row),
        "author_id": AUTHOR["id"],
        "author": AUTHOR,
        "meta": row.body.get("meta"),
    }


def require_in_path_v2(request: EmulatorRequest) -> tuple[StoredObject, StoredObject]:
    """The release in the path and its plugin. Raises ApiError (404) where v2 shows no such one."""
    number = request.backend.from_v2_id(parse_id(request.path["id"]))
    row = require_found(request.store.find_by_id("release", number, request.tenant))
    return row, require_found(plugins.find_by_row_id(request, row.parent or 0))


def list_releases_v2(request: EmulatorRequest) -> EmulatorAnswer:
    """One page of the tenant's releases, filtered; an empty one for an unknown plugin."""
    filters, query = convert_filters(request, V2_FILTERS), request.list_query()
    if "plugin" in filters:
        plugin = plugins.find_by_v2_id(request, str(filters["plugin"]))
        query = replace(query, parent=plugin.id if plugin else 0)

    def is_included(row: StoredObject) -> bool:
        if filters.get("debug") not in (None, row.body.get("debug", False)):
            return False
        # The release of a hidden plugin would name a plugin that is 404.
        return plugins.is_visible_on_v2(request.store.find_by_id("plugin", row.parent or 0))

    return build_cursor_page(request, "release", query, partial(show_item_v2, request), is_included)


def create_release_v2(request: EmulatorRequest) -> AnswerObject:
    """Create a release of a plugin with its package. Raises ApiError (400, 403, 409, 415)."""
    if not request.body.is_form:
        raise unsupported_media("application/json")
    problems: dict[str, Any] = {}
    values: FieldValues = {}
    contents: FieldValues = {}
    plugin: StoredObject | None = None
    with collect_messages(problems):
        values = convert_sent_fields(V2_FIELDS, request.body)
        plugin = plugins.find_by_v2_id(request, str(values["plugin"]))
        if plugin is None:
            raise _unknown_plugin(values["plugin"])
    with collect_messages(problems):
        upload = request.uploads.get("file")
        if upload is None and "file" in request.body.values:
            raise wrong_field("file", _NOT_A_FILE)
        if upload is None:
            raise wrong_field("file", REQUIRED_MESSAGE)
        sha256 = values.get("sha256", upload.sha256)
        if sha256.lower() != upload.sha256 and request.has("v2_sha256", "compared"):
            raise wrong_field("sha256", "The file has another SHA-256.")
        contents = read_contents(upload)
    # Both blocks ran first, so that every wrong field is named at once.
    if problems or plugin is None:
        raise ApiError(400, problems)
    plugins.require_own(request, plugin)
    release = store_release(request, plugin, values["version"], contents)
    return show_v2(request, (release, plugin))


def lock_release(request: EmulatorRequest) -> AnswerObject:
    """Lock a release for ever. The plugin also remembers its version, which stays taken."""
    store, (row, plugin) = request.store, require_in_path_v2(request)
    version = row.body["version"]
    locked_versions = plugin.body.get(LOCKED_VERSIONS_KEY, [])
    if version not in locked_versions:
        body = {**plugin.body, LOCKED_VERSIONS_KEY: [*locked_versions, version]}
        store.replace("plugin", plugin, body, key=plugin.key)
    locked = store.replace("release", row, {**row.body, "is_released": True}, key=row.key)
    return show_v2(request, (locked, plugin))


def delete_release(request: EmulatorRequest) -> None:
    row, _plugin = require_in_path_v2(request)
    if row.body.get(IN_USE_KEY):
        raise refusal(409, "The release is used by an active serve application.")
    request.store.delete("release", row.id)
