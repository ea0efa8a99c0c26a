"""SIGKILL for the installed command at every HTTP boundary; then one more apply."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fault.commands import FOREVER, applying, kill, reaches
from fault.convergence import STORES_AND_APIS, Row, converge, on_store_and_api, some
from fault.scenarios import ON_V1, ON_V2, SCENARIOS, requests_of
from fault.site import Server, Site

# Of a plugin, its release and a storage each.
GROUPS = {"first-apply": 10, "changes": 4, "lock-and-prune": 2}
# A project of API v1 has nothing to lock or to delete.
PLACES = [
    (store, api, scenario)
    for store, api in STORES_AND_APIS
    for scenario in (ON_V1 if api == "v1" else ON_V2)
]


@pytest.mark.parametrize(
    ("make_shared_site", "api", "scenario"), PLACES, indirect=["make_shared_site", "api"]
)
@pytest.mark.parametrize("commit", ["before", "after"])
def test_killed_at_a_request(
    commit: str, scenario: str, make_shared_site: Callable[..., Site], server: Server, row: Row
) -> None:
    """The server has the request, has or has not done it, and nobody gets the answer."""
    count = requests_of(make_shared_site, scenario, GROUPS[scenario])
    for number in some(count, 2, turn=count // 3 + (commit == "after")):
        site = make_shared_site(groups=GROUPS[scenario])
        SCENARIOS[scenario](site)
        server.faults({"match": {"nth": number}, "do": {"hang": FOREVER, "commit": commit}})
        with applying(site) as process:
            reaches(server, process)
            assert kill(process)
        converge(site, None, row)


@on_store_and_api()
def test_killed_with_many_requests_under_way(
    make_shared_site: Callable[..., Site], api: str, server: Server, row: Row
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
