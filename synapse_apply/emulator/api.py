"""Which endpoints and facts make up each API version of the embedded backend."""

from __future__ import annotations

from synapse_apply.emulator import (
    agents,
    jobs,
    jobs_v2,
    plugins,
    plugins_v2,
    releases,
    releases_v2,
    storages,
)
from synapse_apply.emulator.admin import ENDPOINTS as ADMIN
from synapse_apply.emulator.core import auth, body, cursors, envelope, guards, languages, paging
from synapse_apply.emulator.core.call import ApiVersion
from synapse_apply.emulator.core.fields import Fact

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
V2 = ApiVersion(
    "v2",
    "/v2/",
    (*plugins_v2.ENDPOINTS, *releases_v2.ENDPOINTS, *jobs_v2.ENDPOINTS),
    supports_dry_run=True,
    is_guarded=True,
    wrap_answer=envelope.wrap_in_envelope,
    build_error_body=envelope.build_error_body,
)
OWN = ApiVersion("own", "/_emulator/", ADMIN, is_logged=False, slash_is_optional=True)
# A request is compared with the paths in this order: most are of V1.
VERSIONS = (V1, V2, OWN)

FACTS: dict[str, tuple[Fact, ...]] = {
    "Who asks": auth.FACTS,
    "Bodies": body.FACTS,
    "Words": languages.FACTS,
    "Pages": paging.FACTS,
    "Plugins": plugins.FACTS,
    "Releases": releases.FACTS,
    "Storages": storages.FACTS,
    "Jobs": jobs.FACTS,
    "Agents": agents.FACTS,
    "Answers of v2": envelope.FACTS,
    "What v2 refuses at once": guards.FACTS,
    "Pages of v2": cursors.FACTS,
    "Plugins of v2": plugins_v2.FACTS,
    "Releases of v2": releases_v2.FACTS,
    "Jobs of v2": jobs_v2.FACTS,
}
