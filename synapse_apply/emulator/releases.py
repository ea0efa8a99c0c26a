"""Releases: their fields, packages and answers, and from which source each behaviour is known."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from synapse_apply.emulator import plugins
from synapse_apply.emulator.core import auth
from synapse_apply.emulator.core.backend import DataSetBackend, format_iso
from synapse_apply.emulator.core.call import EmulatorAnswer, EmulatorRequest, Endpoint, Upload
from synapse_apply.emulator.core.fields import (
    REQUIRED_MESSAGE,
    AnswerObject,
    ApiError,
    Fact,
    FactSource,
    Field,
    FieldValues,
    build_conflict_error,
    build_error_of_field,
    build_not_found_error,
    collect_messages,
    convert_sent_fields,
    with_default_values,
)
from synapse_apply.emulator.core.paging import add_v1_filters, build_page_answer
from synapse_apply.emulator.core.store import ObjectQuery, StoredObject


def version_exists(plugin: str, version: str, field: str = "") -> ApiError:
    """The refusal of an existing version: a 409, or a 400 on `field` if it is given."""
    text = f"Version {version} of plugin {plugin} already exists."
    return build_error_of_field(field, text) if field else build_conflict_error(text)


def version_locked(version: str) -> ApiError:
    return build_conflict_error(f"Version {version} is released and cannot be deployed again.")


def unknown_plugin(value: object) -> ApiError:
    return build_error_of_field("plugin", f'Invalid pk "{value}" - object does not exist.')


def unknown_plugin_code(value: object) -> ApiError:
    return build_error_of_field("plugin", f"Object with code={value} does not exist.")


def plugin_id_required() -> ApiError:
    return build_error_of_field("plugin", "Incorrect type. Expected pk value.")


def plugin_choice(value: object) -> ApiError:
    text = f"Select a valid choice. {value} is not one of the available choices."
    return build_error_of_field("plugin", text)


def missing_config() -> ApiError:
    return build_error_of_field("file", "There is no config.yaml in the package.")


def version_mismatch(form_version: str, package_version: str) -> ApiError:
    text = f"The package has version {package_version}, and not {form_version}."
    return build_error_of_field("version", text)


def build_empty_file_error() -> ApiError:
    return build_error_of_field("file", "The submitted file is empty.")


def build_not_a_file_error() -> ApiError:
    return build_error_of_field(
        "file", "The submitted data was not a file. Check the encoding type on the form."
    )


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
        return auth.sign_url(request.backend, request.root_url, build_package_url_path(row.id))
    return {"name": package["name"], "url": f"{request.root_url}/_emulator/packages/{row.id}/"}


def build_package_url_path(release_id: int) -> str:
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
    try:
        with _BoundedReads(path) as file, zipfile.ZipFile(file) as archive:
            entry_names = set(archive.namelist())
            name = next((name for name in _CONFIG_NAMES if name in entry_names), None)
            text = _read_entry(archive, name) if name else b""
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError):
        raise _build_file_error("The file is not a zip archive that can be read.") from None
    return _parse_config(text)


def _read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as entry:
        # The size that the zip states may be wrong, so that the bytes read are counted.
        text = entry.read(_MAX_CONFIG_BYTES + 1)
    if len(text) > _MAX_CONFIG_BYTES:
        raise _build_file_error(f"{name} is larger than {_MAX_CONFIG_BYTES} bytes.")
    return text


def _parse_config(text: bytes) -> FieldValues:
    try:
        # `safe_load`, since other loaders construct Python objects named in the text.
        value = yaml.safe_load(text) if text.strip() else {}
        if not isinstance(value, dict):
            raise _build_file_error("The configuration in the package is no mapping.")
        if _count_values_up_to_limit(value) > _MAX_VALUES:
            raise _build_file_error("The configuration in the package is too large.")
        # YAML has dates, which become texts: the store holds JSON.
        json_text = json.dumps(value, default=str, allow_nan=False, ensure_ascii=False).encode()
        config: dict[str, Any] = json.loads(json_text)
    except (yaml.YAMLError, UnicodeError, ValueError, TypeError, RecursionError):
        raise _build_file_error("The configuration in the package cannot be read.") from None
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


def _build_file_error(text: str) -> ApiError:
    return build_error_of_field("file", text)


# The field of the refusal of a taken version, by the switch `release_taken`; "" for a 409.
_VERSION_EXISTS_FIELDS = {"conflict": "", "field": "version", "general": "non_field_errors"}


def read_release(request: EmulatorRequest) -> EmulatorAnswer:
    row = find_visible_release(request.backend, request.tenant, request.path["lookup"])
    if row is None:
        raise build_not_found_error()
    return EmulatorAnswer(_build_release_json(request, row))


def list_releases(request: EmulatorRequest) -> EmulatorAnswer:
    """One page of the tenant's releases, or of those of `?plugin=` (an id or a code).

    For an unknown plugin an empty page, or ApiError (400), by the switch `unknown_plugin`.
    """
    parent = None
    tenant: str | None = request.tenant
    if request.query.get("plugin"):
        plugin = plugins.find_visible_plugin(
            request.backend, request.tenant, request.query["plugin"]
        )
        if plugin is None and request.has_server_switch_value("unknown_plugin", "refused"):
            raise plugin_choice(request.query["plugin"])
        parent = plugin.id if plugin else 0
        # A visible plugin of another tenant has releases of that tenant.
        tenant = plugin.tenant if plugin else request.tenant
    query = ObjectQuery(
        tenant, parent, newest_first=request.has_server_switch_value("list_order", "newest")
    )
    store, query = request.backend.store, add_v1_filters(request, query)
    return build_page_answer(
        request,
        store.count("release", query),
        lambda limit, offset: [
            _build_release_json(request, row)
            for row in store.select("release", query, limit=limit, offset=offset)
        ],
    )


def create_release(request: EmulatorRequest) -> EmulatorAnswer:
    """Create a release, or replace a debug release. Raises ApiError (400, 403, 409)."""
    store = request.backend.store
    plugin, values = _parse_release_create(request)
    version = values["version"]
    key = build_release_key(plugin.id, version)
    earlier = store.find_by_key_of_any_tenant("release", key)
    if earlier is not None:
        _require_replaceable(request, plugin, earlier, values)
    upload = request.uploads.get("file")
    if upload is not None:
        sha256 = move_package(request.backend, upload)
        values["package"] = {"name": upload.name, "size": upload.size, "sha256": sha256}
    if earlier is not None:
        return EmulatorAnswer(
            _build_release_json(request, store.replace("release", earlier, values, key=key)), 201
        )
    row = store.insert(
        "release",
        request.tenant,
        values,
        created=request.backend.clock.now(),
        key=key,
        parent=plugin.id,
    )
    return EmulatorAnswer(_build_release_json(request, row), 201)


def _require_replaceable(
    request: EmulatorRequest, plugin: StoredObject, earlier: StoredObject, values: FieldValues
) -> None:
    """Raises ApiError (400, 409) unless a debug release may replace the earlier one."""
    version = values["version"]
    if not (values["debug"] and request.has_server_switch_value("debug_releases", "replaced")):
        field = _VERSION_EXISTS_FIELDS[request.backend.switches["release_taken"]]
        raise version_exists(plugin.key or str(plugin.id), version, field)
    if earlier.body.get("is_released"):
        raise version_locked(version)


class _ReleaseCreate(NamedTuple):
    plugin: StoredObject
    values: FieldValues


def _parse_release_create(request: EmulatorRequest) -> _ReleaseCreate:
    """What a create asks for. Raises ApiError (400, 403) with all problems."""
    problems: dict[str, Any] = {}
    plugin: StoredObject | None = None
    values: FieldValues = {}
    fields = list_release_fields(request.backend)
    with collect_messages(problems):
        values = with_default_values(fields, convert_sent_fields(fields, request.body))
    with collect_messages(problems):
        upload = request.uploads.get("file")
        if upload is not None and upload.size == 0:
            raise build_empty_file_error()
        if request.body.values.get("file") is not None:
            raise build_not_a_file_error()
        values |= _read_package_facts(request, values)
    with collect_messages(problems):
        plugin = _require_named_plugin(request)
    if problems or plugin is None:
        raise ApiError(400, problems)
    plugins.require_own_plugin(request.backend, request.tenant, plugin)
    if (
        "meta" in values
        and not values["debug"]
        and request.has_server_switch_value("release_meta", "debug")
    ):
        values["meta"] = None
    return _ReleaseCreate(plugin, values)


def _read_package_facts(request: EmulatorRequest, values: FieldValues) -> FieldValues:
    """Version and config from config.yaml in the package; {} with `release_source=form`.

    Raises ApiError (400), but not for a debug release, which is not validated.
    """
    if request.has_server_switch_value("release_source", "form"):
        return {}
    upload, is_debug = request.uploads.get("file"), bool(values.get("debug"))
    if upload is None:
        raise build_error_of_field("file", REQUIRED_MESSAGE)
    form_version = values.get("version", "")
    try:
        config = read_package_config(upload.path)
        if not config:
            raise missing_config()
        # YAML reads an unquoted 1.0 as a number.
        version = str(config.get("version") or form_version or DEFAULT_VERSION)
        if (
            form_version
            and form_version != version
            and request.has_server_switch_value("release_source", "checked")
        ):
            raise version_mismatch(form_version, version)
    except ApiError:
        if not is_debug:
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
    backend, lookup_mode = request.backend, request.backend.switches["release_plugin"]
    if lookup_mode == "code":
        row = plugins.if_visible(
            backend, request.tenant, backend.store.find_by_key_of_any_tenant("plugin", text)
        )
        if row is None:
            raise unknown_plugin_code(value)
        return row
    if lookup_mode == "id" and not text.isdecimal():
        raise plugin_id_required()
    row = plugins.find_visible_plugin(backend, request.tenant, text) if text else None
    if row is None:
        raise unknown_plugin(value)
    return row


def send_package(request: EmulatorRequest) -> EmulatorAnswer:
    """Send the package of a release for a valid signed URL. Raises ApiError (400, 403, 404)."""
    identity = request.path["id"]
    number = int(identity) if identity.isdecimal() and len(identity) < 20 else 0
    auth.require_signed_url(
        request.backend, build_package_url_path(number), request.query, request.headers
    )
    row = request.backend.store.find_by_id("release", number)
    file = find_package_file(request.backend, row)
    if file is None:
        raise build_not_found_error()
    return EmulatorAnswer(None, headers={"Content-Type": "application/zip"}, file=file)


def _build_release_json(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    wants_plugin = "plugin" in request.parse_expanded_fields()
    plugin = request.backend.store.find_by_id("plugin", row.parent or 0) if wants_plugin else None
    return build_release_json(request, row, plugin)


ENDPOINTS = (
    Endpoint(
        "GET",
        "plugin_releases/",
        list_releases,
        FactSource.OBSERVED,
        "List releases; `?plugin=` takes a code or an id.",
    ),
    Endpoint(
        "POST",
        "plugin_releases/",
        create_release,
        FactSource.DOCUMENTED,
        "Create a release: 201. Multipart with its package, or JSON without one.",
    ),
    Endpoint(
        "GET",
        "plugin_releases/{lookup}/",
        read_release,
        FactSource.DOCUMENTED,
        "Read a release by id or `code@version`; `?expand=plugin`.",
    ),
    Endpoint(
        "GET",
        "media/plugin_releases/{id}/package.zip",
        send_package,
        FactSource.PROCEDURE,
        "The package of a release, by the URL that its `file` has; no token.",
        switch=("release_file", "signed"),
        is_open=True,
    ),
)

FACTS = (
    Fact("`plugin` is an integer id.", FactSource.DOCUMENTED),
    Fact("`plugin` is a code, or an id as text (digits are an id first).", FactSource.OBSERVED),
    Fact("`changelog`, `is_stable` and the file are taken.", FactSource.DOCUMENTED),
    Fact("`config`, `requirements` and `debug` are taken.", FactSource.OBSERVED),
    Fact("A release without a file is taken.", FactSource.OBSERVED),
    Fact("The `code@version` lookup and `?plugin=code` exist.", FactSource.OBSERVED),
    Fact(
        "A second release of one plugin and version is 409 with `already exists`.",
        FactSource.OBSERVED,
    ),
    Fact("An unknown plugin is 400 on create, an empty list in `?plugin=`.", FactSource.GUESSED),
    Fact(
        "An empty file is 400; otherwise the file is not looked into with `release_source=form`.",
        FactSource.GUESSED,
    ),
    Fact(
        "With `release_source=package` a file is required, and a zip without a config.yaml that "
        "can be read is 400. A config.yaml without `version` has that of the form, else 0.1.0.",
        FactSource.DERIVED,
    ),
    Fact("A `debug` release is not validated.", FactSource.PROCEDURE),
    Fact(
        "A debug release that replaces another keeps its id; the answer is 201.", FactSource.GUESSED
    ),
    Fact("A locked release is not replaced: 409.", FactSource.DESCRIBED),
    Fact("A release of another tenant's public plugin cannot be made: 403.", FactSource.DERIVED),
    Fact("Releases are immutable: PUT, PATCH and DELETE are 405.", FactSource.DOCUMENTED),
    Fact("`file` is null or `{name, url}`; no digest of the bytes is shown.", FactSource.GUESSED),
    Fact(
        "With `release_file=signed` it is a URL below `/media/` that is good for one hour, then "
        "403, as with any change of it.",
        FactSource.GUESSED,
    ),
    Fact("Beside a token or a tenant in the headers, such a URL is 400.", FactSource.DERIVED),
    Fact(
        "An `Idempotency-Key` is passed over: the same POST twice is two POSTs.",
        FactSource.OBSERVED,
    ),
)
