"""Agents: their fields, and how the server answers."""

from __future__ import annotations

from functools import partial

from synapse_apply.emulator.core.backend import format_iso
from synapse_apply.emulator.core.call import EmulatorAnswer, EmulatorRequest
from synapse_apply.emulator.core.fields import AnswerObject, not_found, refusal
from synapse_apply.emulator.core.lists import build_page
from synapse_apply.emulator.core.store import EVERY_TENANT, ObjectQuery, StoredObject

HEALTHY = "connected"


def _show(row: StoredObject, root: str) -> AnswerObject:
    return {
        "id": row.id,
        "name": row.body.get("name", ""),
        "url": row.body.get("url") or root,
        "status": row.body.get("status", HEALTHY),
    }


def _show_item(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    """An agent as lists show it, with its token as the switch `agent_items` says."""
    agent = _show(row, request.root_url)
    if request.has("agent_items", "token"):
        return {**agent, "token": row.key, "node_install_script": ""}
    script = f"curl -fsSL {request.root_url}/install.sh | sh -s -- --token {row.key}"
    return {**agent, "node_install_script": script}


def check_agent_health(request: EmulatorRequest) -> AnswerObject:
    """The status of the agent with the token in the path. Raises ApiError (404, 503)."""
    row = request.store.find_by_key_of_any_tenant("agent", request.path["token"])
    if row is None or row.tenant not in (request.tenant, EVERY_TENANT):
        raise not_found()
    agent = _show(row, request.root_url)
    is_healthy = agent["status"] == HEALTHY
    if not is_healthy and request.has("unhealthy_agent", "refused"):
        raise refusal(503, "The agent does not answer.")
    return {**agent, "connected_at": format_iso(request.now()) if is_healthy else None}


def list_agents(request: EmulatorRequest) -> EmulatorAnswer:
    return build_page(request, "agent", ObjectQuery(request.tenant), partial(_show_item, request))
