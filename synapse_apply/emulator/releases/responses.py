"""What requests about plugin releases are answered on API v1."""

from __future__ import annotations

from typing import Any, NamedTuple

from synapse_apply.emulator.core import signing
from synapse_apply.emulator.core.call import EmulatorAnswer, EmulatorRequest
from synapse_apply.emulator.core.errors import ApiError, build_error_of_field, build_not_found_error
from synapse_apply.emulator.core.fields import (
    REQUIRED_MESSAGE,
    AnswerObject,
    FieldValues,
    collect_messages,
    convert_sent_fields,
    with_default_values,
)
from synapse_apply.emulator.core.paging import add_v1_filters, build_page_answer
from synapse_apply.emulator.core.store import ObjectQuery, StoredObject
from synapse_apply.emulator.plugins import models as plugins
from synapse_apply.emulator.releases import errors, models
from synapse_apply.emulator.releases.package import read_package_config

# The field of the refusal of a taken version, by the switch `release_taken`; "" for a 409.
_VERSION_EXISTS_FIELDS = {"conflict": "", "field": "version", "general": "non_field_errors"}


def read_release(request: EmulatorRequest) -> EmulatorAnswer:
    row = models.find_visible_release(request.backend, request.tenant, request.path["lookup"])
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
            raise errors.plugin_choice(request.query["plugin"])
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
    key = models.build_release_key(plugin.id, version)
    earlier = store.find_by_key_of_any_tenant("release", key)
    if earlier is not None:
        _require_replaceable(request, plugin, earlier, values)
    upload = request.uploads.get("file")
    if upload is not None:
        sha256 = models.move_package(request.backend, upload)
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
        raise errors.version_exists(plugin.key or str(plugin.id), version, field)
    if earlier.body.get("is_released"):
        raise errors.version_locked(version)


class _ReleaseCreate(NamedTuple):
    plugin: StoredObject
    values: FieldValues


def _parse_release_create(request: EmulatorRequest) -> _ReleaseCreate:
    """What a create asks for. Raises ApiError (400, 403) with all problems."""
    problems: dict[str, Any] = {}
    plugin: StoredObject | None = None
    values: FieldValues = {}
    fields = models.list_release_fields(request.backend)
    with collect_messages(problems):
        values = with_default_values(fields, convert_sent_fields(fields, request.body))
    with collect_messages(problems):
        upload = request.uploads.get("file")
        if upload is not None and upload.size == 0:
            raise errors.build_empty_file_error()
        if request.body.values.get("file") is not None:
            raise errors.build_not_a_file_error()
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
            raise errors.missing_config()
        # YAML reads an unquoted 1.0 as a number.
        version = str(config.get("version") or form_version or models.DEFAULT_VERSION)
        if (
            form_version
            and form_version != version
            and request.has_server_switch_value("release_source", "checked")
        ):
            raise errors.version_mismatch(form_version, version)
    except ApiError:
        if not is_debug:
            raise
        return {"version": form_version or models.DEFAULT_VERSION}
    return {"version": version, "config": config}


def _require_named_plugin(request: EmulatorRequest) -> StoredObject:
    """The plugin in the body, by id or code as `release_plugin` says. Raises ApiError (400)."""
    value = convert_sent_fields((models.PLUGIN_FIELD,), request.body)["plugin"]
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
            raise errors.unknown_plugin_code(value)
        return row
    if lookup_mode == "id" and not text.isdecimal():
        raise errors.plugin_id_required()
    row = plugins.find_visible_plugin(backend, request.tenant, text) if text else None
    if row is None:
        raise errors.unknown_plugin(value)
    return row


def send_package(request: EmulatorRequest) -> EmulatorAnswer:
    """Send the package of a release for a valid signed URL. Raises ApiError (400, 403, 404)."""
    identity = request.path["id"]
    number = int(identity) if identity.isdecimal() and len(identity) < 20 else 0
    signing.require_signed_url(
        request.backend, models.build_package_url_path(number), request.query, request.headers
    )
    row = request.backend.store.find_by_id("release", number)
    file = models.find_package_file(request.backend, row)
    if file is None:
        raise build_not_found_error()
    return EmulatorAnswer(None, headers={"Content-Type": "application/zip"}, file=file)


def _build_release_json(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    wants_plugin = "plugin" in request.parse_expanded_fields()
    plugin = request.backend.store.find_by_id("plugin", row.parent or 0) if wants_plugin else None
    return models.build_release_json(request, row, plugin)
