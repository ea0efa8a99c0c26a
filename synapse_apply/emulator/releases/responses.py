"""Answers to requests about plugin releases."""

from __future__ import annotations

from typing import Any

from synapse_apply.emulator.core import signing
from synapse_apply.emulator.core.call import Answer, Call
from synapse_apply.emulator.core.errors import ApiError, field_error, not_found
from synapse_apply.emulator.core.fields import REQUIRED, check, noting, with_resets
from synapse_apply.emulator.core.paging import answer_page, narrow
from synapse_apply.emulator.core.store import Row, Wanted
from synapse_apply.emulator.plugins import models as plugins
from synapse_apply.emulator.releases import errors, models
from synapse_apply.emulator.releases.package import config_in

# The field that a taken version is refused on, by the switch `release_taken`; none for a 409.
_TAKEN = {"conflict": "", "field": "version", "general": "non_field_errors"}


def read(call: Call) -> Answer:
    row = models.find(call.backend, call.tenant, call.path["lookup"])
    if row is None:
        raise not_found()
    return Answer(_shown(call, row))


def list_all(call: Call) -> Answer:
    """All releases of the tenant, or of `?plugin=` (an id or a code; unknown: none, or 400)."""
    parent = None
    tenant: str | None = call.tenant
    if call.query.get("plugin"):
        plugin = plugins.find(call.backend, call.tenant, call.query["plugin"])
        if plugin is None and call.has("unknown_plugin", "refused"):
            raise errors.no_choice(call.query["plugin"])
        parent = plugin.id if plugin else 0
        tenant = plugin.tenant if plugin else call.tenant
    wanted = Wanted(tenant, parent, newest_first=call.has("list_order", "newest"))
    store, wanted = call.backend.store, narrow(call, wanted)
    return answer_page(
        call,
        store.count("release", wanted),
        lambda limit, offset: [
            _shown(call, row) for row in store.select("release", wanted, limit=limit, offset=offset)
        ],
    )


def create(call: Call) -> Answer:
    store = call.backend.store
    plugin, values = _checked(call)
    version = values["version"]
    key = models.key(plugin.id, version)
    earlier = store.find("release", key)
    if earlier is not None:
        _check_replaceable(call, plugin, earlier, values)
    upload = call.uploads.get("file")
    if upload is not None:
        sha256 = models.keep_package(call.backend, upload)
        values["package"] = {"name": upload.name, "size": upload.size, "sha256": sha256}
    if earlier is not None:
        return Answer(_shown(call, store.replace("release", earlier, values, key=key)), 201)
    row = store.insert(
        "release",
        call.tenant,
        values,
        created=call.backend.clock.now(),
        key=key,
        parent=plugin.id,
    )
    return Answer(_shown(call, row), 201)


def _check_replaceable(call: Call, plugin: Row, earlier: Row, values: dict[str, Any]) -> None:
    """Raises ApiError (400, 409) unless this is a debug release, which replaces what is there."""
    version = values["version"]
    if not (values["debug"] and call.has("debug_releases", "replaced")):
        field = _TAKEN[call.backend.switches["release_taken"]]
        raise errors.version_exists(plugin.key or str(plugin.id), version, field)
    if earlier.body.get("is_released"):
        raise errors.is_locked(version)


def _checked(call: Call) -> tuple[Row, dict[str, Any]]:
    """The plugin and the values to store. Raises ApiError (400, 403) with every problem."""
    problems: dict[str, Any] = {}
    plugin: Row | None = None
    values: dict[str, Any] = {}
    fields = models.fields(call.backend)
    with noting(problems):
        values = with_resets(fields, check(fields, call.body))
    with noting(problems):
        _check_file(call)
        values |= _read_package(call, values)
    with noting(problems):
        plugin = _plugin(call)
    if problems or plugin is None:
        raise ApiError(400, problems)
    plugins.check_owner(call.backend, call.tenant, plugin)
    if "meta" in values and not values["debug"] and call.has("release_meta", "debug"):
        values["meta"] = None
    return plugin, values


def _check_file(call: Call) -> None:
    upload = call.uploads.get("file")
    if upload is not None and upload.size == 0:
        raise errors.empty_file()
    if call.body.values.get("file") is not None:
        raise errors.not_a_file()


def _read_package(call: Call, values: dict[str, Any]) -> dict[str, Any]:
    """Version and config as config.yaml in the package has them, where that decides.

    A debug release is not validated. Raises ApiError (400).
    """
    if call.has("release_source", "form"):
        return {}
    upload, is_debug = call.uploads.get("file"), bool(values.get("debug"))
    if upload is None:
        raise field_error("file", REQUIRED)
    said = values.get("version", "")
    try:
        config = config_in(upload.path)
        if not config:
            raise errors.no_config()
        version = str(config.get("version") or said or models.UNSAID_VERSION)
        if said and said != version and call.has("release_source", "checked"):
            raise errors.other_version(said, version)
    except ApiError:
        if not is_debug:
            raise
        return {"version": said or models.UNSAID_VERSION}
    return {"version": version, "config": config}


def _plugin(call: Call) -> Row:
    value = check((models.PLUGIN,), call.body)["plugin"]
    if isinstance(value, list):  # a form part that was sent twice
        value = value[-1] if value else None
    is_name = isinstance(value, int | str) and not isinstance(value, bool)
    text = str(value).strip() if is_name else ""
    backend, way = call.backend, call.backend.switches["release_plugin"]
    if way == "code":
        row = plugins.visible(backend, call.tenant, backend.store.find("plugin", text))
        if row is None:
            raise errors.no_such_code(value)
        return row
    if way == "id" and not text.isdecimal():
        raise errors.no_id()
    row = plugins.find(backend, call.tenant, text) if text else None
    if row is None:
        raise errors.no_such_plugin(value)
    return row


def read_file(call: Call) -> Answer:
    """The bytes of a release's package, for who has its URL."""
    identity = call.path["id"]
    number = int(identity) if identity.isdecimal() and len(identity) < 20 else 0
    signing.check(call.backend, models.file_path(number), call.query, call.headers)
    row = call.backend.store.get("release", number)
    file = models.find_package(call.backend, row)
    if file is None:
        raise not_found()
    return Answer(None, headers={"Content-Type": "application/zip"}, file=file)


def _shown(call: Call, row: Row) -> dict[str, Any]:
    wants_plugin = "plugin" in call.expands()
    plugin = call.backend.store.get("plugin", row.parent or 0) if wants_plugin else None
    return models.shown(call, row, plugin)
