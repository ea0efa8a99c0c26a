"""All endpoints of the embedded backend, by API version."""

from __future__ import annotations

from synapse_apply.emulator.admin.urls import ENDPOINTS as ADMIN
from synapse_apply.emulator.agents import urls as agents
from synapse_apply.emulator.core import auth, body, paging
from synapse_apply.emulator.core.call import ApiVersion
from synapse_apply.emulator.core.facts import Fact
from synapse_apply.emulator.jobs import urls as jobs
from synapse_apply.emulator.plugins import urls as plugins
from synapse_apply.emulator.releases import urls as releases
from synapse_apply.emulator.storages import urls as storages

V1 = ApiVersion(
    "v1",
    "/",
    (
        *plugins.ENDPOINTS,
        *releases.ENDPOINTS,
        *storages.ENDPOINTS,
        *jobs.ENDPOINTS,
        *agents.ENDPOINTS,
    ),
)
OWN = ApiVersion("own", "/_emulator/", ADMIN, is_logged=False, slash_is_optional=True)
VERSIONS = (OWN, V1)

FACTS: dict[str, tuple[Fact, ...]] = {
    "Who asks": auth.FACTS,
    "Bodies": body.FACTS,
    "Pages": paging.FACTS,
    "Plugins": plugins.FACTS,
    "Releases": releases.FACTS,
    "Storages": storages.FACTS,
    "Jobs": jobs.FACTS,
    "Agents": agents.FACTS,
}
