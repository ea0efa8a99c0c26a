"""Every fault at every request of an apply of all three kinds; then at most one more apply."""

from __future__ import annotations

from typing import Any

import pytest
from fault.convergence import PROFILES, Row, chosen, converge, few_on, some, tells_the_truth
from fault.scenarios import ON_V1, ON_V2, SCENARIOS, requests_of
from fault.site import READ_SECONDS, MakeSite, Server
from profiles import PROFILE

HANG = READ_SECONDS + 0.2
FAULTS: dict[str, dict[str, Any]] = {
    "latency": {"latency": 30},
    "429": {"status": 429, "retry_after": 0},
    "500-before": {"status": 500},
    "503-before": {"status": 503},
    "502-after": {"status": 502, "commit": "after"},
    "reset-before": {"reset": "before"},
    "reset-after": {"reset": "after"},
    "no-body": {"truncate": 0},
    "half-body": {"truncate": 20},
    "slow-body": {"slow": 5000},
    "too-slow-body": {"slow": 40},
    "late-commit": {"hang": HANG},
    "late-answer": {"hang": HANG, "commit": "after"},
}


# What may have been done is tried at two requests, and on v2 and on another profile always; the
# rest is when all is asked for.
AT_LEAST = ("502-after", "reset-after", "half-body")
WHERE = [
    *((fault, "v1", PROFILE, scenario) for fault in FAULTS for scenario in ON_V1),
    *((f, "v2", PROFILE, scenario) for f in chosen(FAULTS, *AT_LEAST) for scenario in ON_V2),
    *(
        (fault, "v1", profile, scenario)
        for profile in PROFILES[1:]
        for fault in chosen(FAULTS, *AT_LEAST)
        for scenario in chosen(ON_V1, "first-apply")
    ),
]


@pytest.mark.parametrize(
    ("fault", "api", "profile", "scenario"), WHERE, indirect=["api", "profile"]
)
def test_fault(
    fault: str,
    scenario: str,
    api: str,
    profile: str,
    make_site: MakeSite,
    server: Server,
    row: Row,
) -> None:
    """No duplicate, no loss, a truthful report, and nothing left to do."""
    prepare = SCENARIOS[scenario]
    count = requests_of(make_site, scenario, api, profile)
    turn = 2 * list(FAULTS).index(fault) + list(SCENARIOS).index(scenario)
    few = few_on(profile, 2) if fault in AT_LEAST else 1
    for number in some(count, few, turn):
        site = make_site()
        prepare(site)
        before = set(server.ids())
        logged = len(server.requests())
        server.faults({"match": {"nth": number}, "do": FAULTS[fault]})
        first = site.apply()
        assert server.counts()[0]["done"] == 1, number
        if fault == "late-commit":
            server.wait_until_acted_on(logged)
        elif first.report:
            tells_the_truth(site, first.report, before)
        converge(site, first, row)
