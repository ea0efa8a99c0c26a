"""Every fault at every request of an apply of all three kinds; then at most one more apply."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault.convergence import Row, converge, some, tells_the_truth
from fault.site import READ_SECONDS, SEPARATOR, Server, Site

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
WAITS = {"late-commit", "late-answer", "too-slow-body"}


def first_apply(site: Site) -> None:
    """Nothing is there yet."""


def changes(site: Site) -> None:
    """All is there; plugins are changed, versions raised, and there is one group more."""
    assert site.apply().code == 0
    for number in (0, 1):
        path = site.root / "manifests" / f"group-{number}.yaml"
        path.write_text(path.read_text().replace('"author": "a"', '"author": "b"'))
        _raise_version(site.root, number)


def _raise_version(root: Path, number: int) -> None:
    path = root / "manifests" / f"group-{number}.yaml"
    documents = [json.loads(text) for text in path.read_text().split(SEPARATOR)]
    newer = json.loads(json.dumps(documents[1]))
    newer["spec"] |= {"version": "1.1.0", "source": f"./plugins/newer-{number}"}
    package = root / "plugins" / f"newer-{number}"
    package.mkdir()
    code = documents[0]["spec"]["code"]
    (package / "config.yaml").write_text(f'name: {code}\ncode: {code}\nversion: "1.1.0"\n')
    path.write_text(SEPARATOR.join(map(json.dumps, [*documents, newer])))


COUNTS: dict[str, int] = {}
SCENARIOS = {"first-apply": first_apply, "changes": changes}


def requests_of(make_site: Callable[..., Site], prepare: Callable[[Site], None]) -> int:
    """How many requests an apply makes when nothing goes wrong."""
    site = make_site()
    prepare(site)
    site.server.faults({"match": {"nth": 1_000_000}, "do": {"latency": 0}})
    assert site.apply().code == 0
    return site.server.counts()[0]["seen"]


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("fault", FAULTS)
def test_fault(
    fault: str, scenario: str, make_site: Callable[..., Site], server: Server, row: Row
) -> None:
    """No duplicate, no loss, a truthful report, and nothing left to do."""
    prepare = SCENARIOS[scenario]
    if scenario not in COUNTS:
        COUNTS[scenario] = requests_of(make_site, prepare)
    count = COUNTS[scenario]
    turn = 2 * list(FAULTS).index(fault) + list(SCENARIOS).index(scenario)
    for number in some(count, 1 if fault in WAITS else 3, turn):
        site = make_site()
        prepare(site)
        before = set(server.ids())
        server.faults({"match": {"nth": number}, "do": FAULTS[fault]})
        first = site.apply()
        assert server.counts()[0]["done"] == 1, number
        if fault == "late-commit":
            time.sleep(HANG)
        elif first.report:
            tells_the_truth(site, first.report, before)
        converge(site, first, row)
