"""Answers to requests about agents."""

from __future__ import annotations

from typing import Any

from synapse_apply.emulator.agents import models
from synapse_apply.emulator.core.call import Answer, Call
from synapse_apply.emulator.core.clock import iso
from synapse_apply.emulator.core.errors import not_found, unavailable
from synapse_apply.emulator.core.paging import answer_page
from synapse_apply.emulator.core.store import EVERY_TENANT, Row, Wanted


def connect(call: Call) -> Answer:
    row = call.backend.store.find("agent", call.path["token"])
    if row is None or row.tenant not in (call.tenant, EVERY_TENANT):
        raise not_found()
    agent = models.shown(row, call.root)
    is_healthy = agent["status"] == models.HEALTHY
    if not is_healthy and call.backend.switches.is_on("unhealthy_agent", "refused"):
        raise unavailable("The agent does not answer.")
    connected_at = iso(call.backend.clock.now()) if is_healthy else None
    return Answer({**agent, "connected_at": connected_at})


def list_all(call: Call) -> Answer:
    """The agents a tenant has, with their tokens: as a field, or in a script that installs one."""
    store, wanted = call.backend.store, Wanted(call.tenant)
    return answer_page(
        call,
        store.count("agent", wanted),
        lambda limit, offset: [
            {**models.shown(row, call.root), **_show_token(call, row)}
            for row in store.select("agent", wanted, limit=limit, offset=offset)
        ],
    )


def _show_token(call: Call, row: Row) -> dict[str, Any]:
    if call.has("agent_items", "token"):
        return {"token": row.key, "node_install_script": ""}
    script = f"curl -fsSL {call.root}/install.sh | sh -s -- --token {row.key}"
    return {"node_install_script": script}
