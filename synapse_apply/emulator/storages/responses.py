"""What requests about storages are answered."""

from __future__ import annotations

from synapse_apply.emulator.core.call import EmulatorAnswer, EmulatorRequest
from synapse_apply.emulator.core.clock import format_iso
from synapse_apply.emulator.core.errors import build_error_of_field, build_not_found_error
from synapse_apply.emulator.core.fields import (
    AnswerObject,
    Field,
    convert_sent_fields,
    with_default_values,
)
from synapse_apply.emulator.core.paging import add_v1_filters, build_page_answer
from synapse_apply.emulator.core.store import ObjectQuery, StoredObject
from synapse_apply.emulator.storages import errors, models

SESSION_SECONDS = 3600
_PURPOSE_FIELDS = (Field("purpose", "choice", choices=("read", "write"), default="read"),)


def _require_storage_in_path(request: EmulatorRequest) -> StoredObject:
    """The tenant's storage with the id in the path. Raises ApiError (404)."""
    text = request.path["id"]
    row = None
    if text.isdecimal() and len(text) < 20:
        row = request.backend.store.find_by_id("storage", int(text), request.tenant)
    if row is None:
        raise build_not_found_error()
    return row


def _build_storage_json(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    is_in_session = request.has_server_switch_value("credential_regime", "session")
    return models.build_storage_json(
        row,
        # In this regime the session alone shows credentials, whatever the switch `secrets` says.
        secrets="omitted" if is_in_session else request.backend.switches["secrets"],
        with_configuration=request.has_server_switch_value("configuration", "always")
        or request.is_query_true("with_configuration"),
    )


def read_storage(request: EmulatorRequest) -> EmulatorAnswer:
    return EmulatorAnswer(_build_storage_json(request, _require_storage_in_path(request)))


def list_storages(request: EmulatorRequest) -> EmulatorAnswer:
    """One page of the tenant's storages of `?category=`, or all, by the switch `storage_pages`."""
    store = request.backend.store
    query = ObjectQuery(
        request.tenant, newest_first=request.has_server_switch_value("list_order", "newest")
    )
    query = add_v1_filters(request, query)
    # Filtered in Python, since the category is no column.
    category = request.query.get("category")
    if category is not None and category not in ("internal", "external"):
        raise build_error_of_field(
            "category", f"Select a valid choice. {category} is not one of the available choices."
        )
    if request.has_server_switch_value("storage_pages", "bare"):
        rows = [row for row in store.select("storage", query) if _has_category(row, category)]
        return EmulatorAnswer([_build_list_item(request, row) for row in rows])
    if category is None:
        return build_page_answer(
            request,
            store.count("storage", query),
            lambda limit, offset: [
                _build_list_item(request, row)
                for row in store.select("storage", query, limit=limit, offset=offset)
            ],
        )
    rows = [row for row in store.select("storage", query) if _has_category(row, category)]
    return build_page_answer(
        request,
        len(rows),
        lambda limit, offset: [
            _build_list_item(request, row) for row in rows[offset : offset + limit]
        ],
    )


def _has_category(row: StoredObject, category: str | None) -> bool:
    return category is None or row.body["category"] == category


def _build_list_item(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    item = _build_storage_json(request, row)
    if request.backend.switches.has_value("list_items", "short"):
        return {name: item[name] for name in models.SHORT_FIELDS}
    return item


def create_storage(request: EmulatorRequest) -> EmulatorAnswer:
    values = with_default_values(models.FIELDS, convert_sent_fields(models.FIELDS, request.body))
    if request.has_server_switch_value("storage_keys", "checked"):
        errors.require_keys(models.list_missing_keys(values["provider"], values["configuration"]))
    now = request.backend.clock.now()
    row = request.backend.store.insert(
        "storage", request.tenant, {**values, "modified": now}, created=now
    )
    return EmulatorAnswer(_build_storage_json(request, row), 201)


def answer_configuration(request: EmulatorRequest) -> EmulatorAnswer:
    """The configuration with its credentials, valid for an hour. Raises ApiError (400, 404)."""
    row = _require_storage_in_path(request)
    # Only checked: a session to read and one to write show the same configuration.
    convert_sent_fields(_PURPOSE_FIELDS, request.body)
    provider = row.body["provider"]
    if provider == "smb":
        raise errors.session_refused(
            "credential_not_registered", "No credential is registered for this storage."
        )
    if provider not in models.SESSION_PROVIDERS:
        raise errors.session_refused(
            "provider_unsupported", f'Provider "{provider}" has no sessions.'
        )
    return EmulatorAnswer(
        {
            "provider": provider,
            "configuration": row.body["configuration"],
            "expires_at": format_iso(request.backend.clock.now() + SESSION_SECONDS),
            "contract_version": 1,
        }
    )
