"""Answers to requests about storages."""

from __future__ import annotations

from typing import Any

from synapse_apply.emulator.core.call import Answer, Call
from synapse_apply.emulator.core.clock import iso
from synapse_apply.emulator.core.errors import field_error, not_found
from synapse_apply.emulator.core.fields import Field, check, with_resets
from synapse_apply.emulator.core.paging import answer_page
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
    switches = call.backend.switches
    return models.shown(
        row,
        secrets=switches["secrets"],
        with_configuration=switches.is_on("configuration", "always")
        or call.asks("with_configuration"),
    )


def read(call: Call) -> Answer:
    return Answer(_shown(call, _by_id(call)))


def list_all(call: Call) -> Answer:
    store = call.backend.store
    wanted = Wanted(call.tenant, newest_first=call.backend.switches.is_on("list_order", "newest"))
    category = call.query.get("category")
    if category is None:
        return answer_page(
            call,
            store.count("storage", wanted),
            lambda limit, offset: [
                _item(call, row)
                for row in store.select("storage", wanted, limit=limit, offset=offset)
            ],
        )
    if category not in ("internal", "external"):
        raise field_error(
            "category",
            f"Select a valid choice. {category} is not one of the available choices.",
        )
    rows = [row for row in store.select("storage", wanted) if row.body["category"] == category]
    return answer_page(
        call,
        len(rows),
        lambda limit, offset: [_item(call, row) for row in rows[offset : offset + limit]],
    )


def _item(call: Call, row: Row) -> dict[str, Any]:
    item = _shown(call, row)
    if call.backend.switches.is_on("list_items", "short"):
        return {name: item[name] for name in models.SHORT}
    return item


def create(call: Call) -> Answer:
    values = with_resets(models.FIELDS, check(models.FIELDS, call.body))
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
