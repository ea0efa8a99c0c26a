"""Which paths agents have, and from which source each behaviour is known."""

from __future__ import annotations

from synapse_apply.emulator.agents import responses
from synapse_apply.emulator.core.call import Endpoint
from synapse_apply.emulator.core.facts import Fact, FactSource

ENDPOINTS = (
    Endpoint("GET", "agents/", responses.list_agents, FactSource.OBSERVED, "List agents."),
    Endpoint(
        "POST",
        "agents/{token}/connect/",
        responses.check_agent_health,
        FactSource.DOCUMENTED,
        "Check an agent's health; no body.",
    ),
)

FACTS = (
    Fact("A new data set has the two agents of the API page's examples.", FactSource.GUESSED),
    Fact("An unknown agent token is 404.", FactSource.GUESSED),
)
