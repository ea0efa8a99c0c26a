"""Agents: their fields, how the server answers, and from which source each behaviour is known."""

from __future__ import annotations

from synapse_apply.emulator.core.backend import format_iso
from synapse_apply.emulator.core.call import EmulatorAnswer, EmulatorRequest, Endpoint
from synapse_apply.emulator.core.fields import (
    AnswerObject,
    Fact,
    FactSource,
    build_not_found_error,
    build_unavailable_error,
)
from synapse_apply.emulator.core.paging import build_page_answer
from synapse_apply.emulator.core.store import EVERY_TENANT, ObjectQuery, StoredObject

HEALTHY = "connected"


def build_agent_json(row: StoredObject, root: str) -> AnswerObject:
    return {
        "id": row.id,
        "name": row.body.get("name", ""),
        "url": row.body.get("url") or root,
        "status": row.body.get("status", HEALTHY),
    }


def check_agent_health(request: EmulatorRequest) -> EmulatorAnswer:
    """The status of the agent with the token in the path. Raises ApiError (404, 503)."""
    row = request.backend.store.find_by_key_of_any_tenant("agent", request.path["token"])
    if row is None or row.tenant not in (request.tenant, EVERY_TENANT):
        raise build_not_found_error()
    agent = build_agent_json(row, request.root_url)
    is_healthy = agent["status"] == HEALTHY
    if not is_healthy and request.backend.switches.has_value("unhealthy_agent", "refused"):
        raise build_unavailable_error("The agent does not answer.")
    connected_at = format_iso(request.backend.clock.now()) if is_healthy else None
    return EmulatorAnswer({**agent, "connected_at": connected_at})


def list_agents(request: EmulatorRequest) -> EmulatorAnswer:
    """One page of the tenant's agents, each with its token as the switch `agent_items` says."""
    store, query = request.backend.store, ObjectQuery(request.tenant)
    return build_page_answer(
        request,
        store.count("agent", query),
        lambda limit, offset: [
            {**build_agent_json(row, request.root_url), **_install_fields(request, row)}
            for row in store.select("agent", query, limit=limit, offset=offset)
        ],
    )


def _install_fields(request: EmulatorRequest, row: StoredObject) -> AnswerObject:
    if request.has_server_switch_value("agent_items", "token"):
        return {"token": row.key, "node_install_script": ""}
    script = f"curl -fsSL {request.root_url}/install.sh | sh -s -- --token {row.key}"
    return {"node_install_script": script}


ENDPOINTS = (
    Endpoint("GET", "agents/", list_agents, FactSource.OBSERVED, "List agents."),
    Endpoint(
        "POST",
        "agents/{token}/connect/",
        check_agent_health,
        FactSource.DOCUMENTED,
        "Check an agent's health; no body.",
    ),
)

FACTS = (
    Fact("A new data set has the two agents of the API page's examples.", FactSource.GUESSED),
    Fact("An unknown agent token is 404.", FactSource.GUESSED),
)
