"""What requests about plugins are answered on API v1."""

from __future__ import annotations

from typing import Any

from synapse_apply.emulator.core.call import EmulatorAnswer, EmulatorRequest
from synapse_apply.emulator.core.errors import build_not_found_error
from synapse_apply.emulator.core.fields import FieldValues, convert_sent_fields, with_default_values
from synapse_apply.emulator.core.paging import add_v1_filters, build_page_answer
from synapse_apply.emulator.core.store import DuplicateKeyError, ObjectQuery, StoredObject
from synapse_apply.emulator.plugins import errors, models
from synapse_apply.emulator.releases import models as releases


def require_plugin_in_path(request: EmulatorRequest) -> StoredObject:
    """The plugin that the tenant sees with the integer id in the path. Raises ApiError (404)."""
    text = request.path["lookup"]
    if text.isdecimal() and len(text) < 20:
        row = request.backend.store.find_by_id("plugin", int(text))
        row = models.if_visible(request.backend, request.tenant, row)
        if row is not None:
            return row
    raise build_not_found_error()


def read_plugin(request: EmulatorRequest) -> EmulatorAnswer:
    return EmulatorAnswer(
        models.build_plugin_json(request.backend, require_plugin_in_path(request))
    )


def list_plugins(request: EmulatorRequest) -> EmulatorAnswer:
    store = request.backend.store
    query = ObjectQuery(
        request.tenant,
        newest_first=request.has_server_switch_value("list_order", "newest"),
        includes_public=models.shows_plugins_of_others(request.backend),
    )
    query = add_v1_filters(request, query)
    return build_page_answer(
        request,
        store.count("plugin", query),
        lambda limit, offset: [
            models.build_plugin_json(request.backend, row)
            for row in store.select("plugin", query, limit=limit, offset=offset)
        ],
    )


def create_plugin(request: EmulatorRequest) -> EmulatorAnswer:
    """Create a plugin, with `first_release=made` also its release. Raises ApiError (400, 409)."""
    backend = request.backend
    fields = models.list_plugin_fields(backend)
    values = with_default_values(fields, convert_sent_fields(fields, request.body))
    _raise_if_system_only(values)
    code = models.require_valid_code(values["code"])
    if code is None and backend.switches.has_value("code", "slug"):
        code = models.choose_free_slug(backend, values["name"])
    now = backend.clock.now()
    body = {"is_active": True, **values, "code": code, "modified": now}
    release_field: dict[str, Any] = {}
    try:
        # Plugin and first release are made together or not at all.
        with backend.store.transaction():
            row = backend.store.insert("plugin", request.tenant, body, created=now, key=code)
            if request.has_server_switch_value("first_release", "made"):
                release_field["release"] = releases.store_first_release(backend, row)
    except DuplicateKeyError:
        raise errors.build_code_taken_error(
            str(code), is_field=request.has_server_switch_value("code_taken", "field")
        ) from None
    return EmulatorAnswer({**models.build_plugin_json(backend, row), **release_field}, 201)


def _raise_if_system_only(values: FieldValues) -> None:
    if values.get("system_only"):
        raise errors.system_only()


def update_plugin(request: EmulatorRequest) -> EmulatorAnswer:
    """Update a plugin partially or fully, by the switch `put`. Raises ApiError (400, 403, 409)."""
    backend, row = request.backend, require_plugin_in_path(request)
    models.require_own_plugin(backend, request.tenant, row)
    fields = models.list_plugin_fields(backend)
    is_full = backend.switches.has_value("put", "full")
    values = convert_sent_fields(fields, request.body, partial=not is_full)
    _raise_if_system_only(values)
    old_code = row.body.get("code")
    # A code that is not sent, or is empty, stays.
    code = models.require_valid_code(values.pop("code", None)) or old_code
    # A plugin without a code may get one; then it is final.
    if old_code is not None and code != old_code:
        if request.has_server_switch_value("code_change", "refused"):
            raise errors.build_code_change_error()
        code = old_code
    if is_full:
        values = with_default_values((field for field in fields if field.name != "code"), values)
    body = {**row.body, **values, "code": code, "modified": backend.clock.now()}
    try:
        return EmulatorAnswer(
            models.build_plugin_json(backend, backend.store.replace("plugin", row, body, key=code))
        )
    except DuplicateKeyError:
        raise errors.build_code_taken_error(
            str(code), is_field=request.has_server_switch_value("code_taken", "field")
        ) from None
