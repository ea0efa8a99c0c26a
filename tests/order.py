"""The order of the tests where pytest-xdist gives them to several processes.

Each of these begins with a stretch of the whole, and takes from the ends of others once it has nothing
left (`--dist worksteal`). So what shares something that is costly to make stands together: tests of real
servers, those that are marked for one process, and those of a file. What takes longest begins each stretch:
at the end nobody waits for one of them.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

# Files of one folder are alike: side by side, those that wait would leave the processors idle. Steps of
# this length, around a circle, spread any row of neighbours over all of it.
_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
# What takes a second or two to start, as fixtures and parameters name it.
_SERVERS = frozenset({"postgres", "s3", "seaweed", "moto", "openbao", "azure", "azurite"})
# What runs for five seconds or thirty, most of them asleep: whole controllers, pipelines and leases.
_LONG = (
    *("contract/controller/fleet/", "contract/controller/loop/test_rollouts_killed.py"),
    *("e2e/pipelines/", "e2e/upgrades/", "e2e/controller/test_controller_example.py"),
    *("e2e/controller/test_first_hour.py", "fault/controller/", "fault/test_clock_jumps.py"),
    *("fault/test_suspended.py", "fault/test_two_hosts.py"),
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "one_process(name): tests of one name share what a process builds once"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    files: defaultdict[Path, float] = defaultdict(lambda: len(files) * _GOLDEN_RATIO % 1)
    items.sort(key=lambda item: (not needs_server(item), -has_mark(item), files[item.path]))
    workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    long = [item for item in items if takes_long(item)]
    short = [item for item in items if not takes_long(item)]
    cuts = [number * len(short) // workers for number in range(workers + 1)]
    items.clear()
    for number, (begin, end) in enumerate(pairwise(cuts)):
        items += [*long[number::workers], *short[begin:end]]


def takes_long(item: pytest.Item) -> bool:
    return item.nodeid.removeprefix("tests/").startswith(_LONG) and not needs_server(item)


def has_mark(item: pytest.Item) -> bool:
    return item.get_closest_marker("one_process") is not None


def needs_server(item: pytest.Item) -> bool:
    names = set(getattr(item, "fixturenames", ()))
    values = getattr(item, "callspec", None)
    if values is not None:
        names.update(value for value in values.params.values() if isinstance(value, str))
    return not _SERVERS.isdisjoint(names)
