"""Answers to requests about storages."""

from __future__ import annotations

from typing import Any

from synapse_apply.emulator.core.call import Answer, Call
from synapse_apply.emulator.core.clock import iso
from synapse_apply.emulator.core.errors import field_error, not_found
from synapse_apply.emulator.core.fields import Field, check, with_resets
from synapse_apply.emulator.core.paging import answer_page, narrow
from synapse_apply.emulator.core.store import Row, Wanted
from synapse_apply.emulator.storages import errors, models

SESSION_SECONDS = 3600
_PURPOSE = (Field("purpose", "choice", choices=("read", "write"), reset="read"),)


def _by_id(call: Call) -> Row:
    text = call.path["id"]
    row = None
    if text.isdecimal() and len(text) < 20:
        row = call.backend.store.get("storage", int(text), call.tenant)
    if row is None:
        raise not_found()
    return row


def _shown(call: Call, row: Row) -> dict[str, Any]:
    is_in_session = call.has("credential_regime", "session")
    return models.shown(
        row,
        secrets="omitted" if is_in_session else call.backend.switches["secrets"],
        with_configuration=call.has("configuration", "always") or call.asks("with_configuration"),
    )


def read(call: Call) -> Answer:
    return Answer(_shown(call, _by_id(call)))


def list_all(call: Call) -> Answer:
    store = call.backend.store
    wanted = Wanted(call.tenant, newest_first=call.has("list_order", "newest"))
    wanted = narrow(call, wanted)
    category = _asked_category(call)
    if call.has("storage_pages", "bare"):
        rows = [row for row in store.select("storage", wanted) if _is_of(row, category)]
        return Answer([_item(call, row) for row in rows])
    if category is None:
        return answer_page(
            call,
            store.count("storage", wanted),
            lambda limit, offset: [
                _item(call, row)
                for row in store.select("storage", wanted, limit=limit, offset=offset)
            ],
        )
    rows = [row for row in store.select("storage", wanted) if _is_of(row, category)]
    return answer_page(
        call,
        len(rows),
        lambda limit, offset: [_item(call, row) for row in rows[offset : offset + limit]],
    )


def _asked_category(call: Call) -> str | None:
    category = call.query.get("category")
    if category is not None and category not in ("internal", "external"):
        raise field_error(
            "category",
            f"Select a valid choice. {category} is not one of the available choices.",
        )
    return category


def _is_of(row: Row, category: str | None) -> bool:
    return category is None or row.body["category"] == category


def _item(call: Call, row: Row) -> dict[str, Any]:
    item = _shown(call, row)
    if call.backend.switches.is_on("list_items", "short"):
        return {name: item[name] for name in models.SHORT}
    return item


def create(call: Call) -> Answer:
    values = with_resets(models.FIELDS, check(models.FIELDS, call.body))
    if call.has("storage_keys", "checked"):
        errors.check_keys(models.missing_keys(values["provider"], values["configuration"]))
    now = call.backend.clock.now()
    row = call.backend.store.insert(
        "storage", call.tenant, {**values, "modified": now}, created=now
    )
    return Answer(_shown(call, row), 201)


def open_session(call: Call) -> Answer:
    row = _by_id(call)
    check(_PURPOSE, call.body)
    provider = row.body["provider"]
    if provider == "smb":
        raise errors.session_refused(
            "credential_not_registered", "No credential is registered for this storage."
        )
    if provider not in models.OPENED_BY_SESSION:
        raise errors.session_refused(
            "provider_unsupported", f'Provider "{provider}" has no sessions.'
        )
    return Answer(
        {
            "provider": provider,
            "configuration": row.body["configuration"],
            "expires_at": iso(call.backend.clock.now() + SESSION_SECONDS),
            "contract_version": 1,
        }
    )
