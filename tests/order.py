"""The order of the tests where pytest-xdist gives them to several processes.

Each of these begins with a stretch of the whole, and takes from the ends of others once it has nothing
left (`--dist worksteal`). So what shares something that is costly to make stands together: tests of real
servers, those that are marked for one process, and those of a file.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from pathlib import Path

import pytest

# Files of one folder are alike: side by side, those that wait would leave the processors idle. Steps of
# this length, around a circle, spread any row of neighbours over all of it.
_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
# What takes a second or two to start, as fixtures and parameters name it.
_SERVERS = frozenset({"postgres", "s3", "seaweed", "moto", "openbao", "azure", "azurite"})


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


def has_mark(item: pytest.Item) -> bool:
    return item.get_closest_marker("one_process") is not None


def needs_server(item: pytest.Item) -> bool:
    names = set(getattr(item, "fixturenames", ()))
    values = getattr(item, "callspec", None)
    if values is not None:
        names.update(value for value in values.params.values() if isinstance(value, str))
    return not _SERVERS.isdisjoint(names)
