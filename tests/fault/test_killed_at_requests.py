"""SIGKILL for the installed command at every HTTP boundary; then one more apply."""

from __future__ import annotations

import pytest
from fault.commands import FOREVER, applying, kill, reaches
from fault.convergence import DEEP, PLACES, Row, converge, few_on, on_store_and_api, some
from fault.scenarios import ON_V1, ON_V2, SCENARIOS, requests_of
from fault.site import MakeSite, Server
from profiles import PROFILE

# Of a plugin, its release and a storage each.
GROUPS = {"first-apply": 10 if DEEP else 4, "changes": 4, "lock-and-prune": 2}
# A project of API v1 has nothing to lock or to delete.
SCENES = [
    (*place, scenario)
    for place in PLACES
    for scenario in (ON_V1 if place[1] == "v1" else ON_V2)
    if DEEP or place[2] == PROFILE or scenario == "first-apply"
]


@pytest.mark.parametrize(
    ("make_shared_site", "api", "profile", "scenario"),
    SCENES,
    indirect=["make_shared_site", "api", "profile"],
)
@pytest.mark.parametrize("commit", ["before", "after"])
def test_killed_at_a_request(
    commit: str,
    scenario: str,
    api: str,
    profile: str,
    make_shared_site: MakeSite,
    server: Server,
    row: Row,
    request: pytest.FixtureRequest,
) -> None:
    """The server has the request, has or has not done it, and nobody gets the answer."""
    count = requests_of(make_shared_site, scenario, api, profile, GROUPS[scenario])
    # A call that is on its way meets the backend: the sort of store is tried at the writes.
    few = few_on(profile, 2) if request.node.callspec.params["make_shared_site"] == "sqlite" else 1
    for number in some(count, few, turn=count // 3 + (commit == "after")):
        site = make_shared_site(groups=GROUPS[scenario])
        SCENARIOS[scenario](site)
        server.faults({"match": {"nth": number}, "do": {"hang": FOREVER, "commit": commit}})
        with applying(site) as process:
            reaches(server, process)
            assert kill(process)
        converge(site, None, row)


@on_store_and_api()
def test_killed_with_many_requests_under_way(
    make_shared_site: MakeSite, api: str, server: Server, row: Row
) -> None:
    """Ten at once: half of them done, half of them not, none of them answered."""
    # On v2 a plugin's create makes its release.
    for first in some(8 if api == "v2" else 12, 1, turn=3):
        site = make_shared_site()
        server.faults(
            {"match": {"method": "POST", "nth": first}, "do": {"hang": FOREVER}},
            {
                "match": {"method": "POST", "from": first + 1},
                "do": {"hang": FOREVER, "commit": "after"},
            },
        )
        with applying(site, parallelism=10) as process:
            reaches(server, process)
            assert kill(process)
        converge(site, None, row)
