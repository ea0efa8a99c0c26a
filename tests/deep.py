"""What `make test` leaves to `make test-deep`, and the shares that all of that is cut into.

Deep are the laws, faults and attacks, with more examples and boundaries than in `make test`, whatever else
searches at random, and the cases that `deep_cases.txt` names. A build runs a share, whose number follows from its commit.
"""

from __future__ import annotations

import os
import zlib
from collections import defaultdict
from pathlib import Path

import pytest

DEEP = os.environ.get("SYNAPSE_APPLY_TEST_DEEP") == "1"
SHARES = 400
SHARE = int(os.environ.get("SYNAPSE_APPLY_TEST_SHARE") or 0)  # 0 is all of them
FOLDERS = (
    *("attack/", "fault/", "laws/"),
    *("contract/controller/loop/test_killed.py", "contract/controller/loop/test_outages.py"),
    "contract/controller/loop/test_rollouts_killed.py",
)
TESTS = Path(__file__).parent
NAMED = TESTS / "deep_cases.txt"


def read_named() -> dict[str, set[str]]:
    """The named cases by their function, which stands above them; all of it where none does."""
    named: dict[str, set[str]] = {}
    function = ""
    for line in NAMED.read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            named[function].add(line.removeprefix("  "))
        elif not line.startswith("#"):
            function = line
            named[function] = set()
    return named


def is_in_share(name: str, share: int) -> bool:
    """Whether a test is in that share, whichever others there are."""
    return zlib.crc32(name.encode()) % SHARES + 1 == share


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Before `-m` chooses among them."""
    named, found, left_out = read_named(), defaultdict(set), []
    for item in items:
        name = item.nodeid.removeprefix("tests/")
        function, _, case = name.removesuffix("]").partition("[")
        found[function].add(case)
        is_named = function in named and case in (named[function] or {case})
        is_deep = (
            is_named
            or name.startswith(FOLDERS)
            or item.get_closest_marker("hypothesis") is not None
        )
        if DEEP and is_deep:
            item.add_marker("deep")
        is_asked_for = not SHARE or (is_deep and is_in_share(name, SHARE))
        if (is_named and not DEEP) or not is_asked_for:
            left_out.append(item)
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    for function, cases in named.items() if is_whole and not DEEP else ():
        # A row that says nothing would be believed to say something.
        if function not in found or not cases <= found[function]:
            gone = sorted(cases - found[function]) or "all"
            raise pytest.UsageError(f"{NAMED.name} has no such cases of {function}: {gone}")
        if cases == found[function]:
            raise pytest.UsageError(f"{NAMED.name} leaves no case of {function} to `make test`")
    config.hook.pytest_deselected(items=left_out)
    without = set(left_out)
    items[:] = [item for item in items if item not in without]
