"""The deep forms of tests, which `make test-deep` runs, can be collected."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import chain
from pathlib import Path

from deep import SHARES, is_in_share, read_named

TESTS = Path(__file__).resolve().parent


def test_each_case_is_in_one_share() -> None:
    """So all shares together are all of them."""
    cases = [f"{function}[{case}]" for function, named in read_named().items() for case in named]
    shares = [[case for case in cases if is_in_share(case, n)] for n in range(1, SHARES + 1)]
    assert sorted(chain.from_iterable(shares)) == sorted(cases)


def test_the_deep_forms_are_collected() -> None:
    """Parameters and marks that only they have are looked at here, and run there."""
    files = [file for file in TESTS.rglob("test_*.py") if "DEEP" in file.read_text("utf-8")]
    command = [sys.executable, "-m", "pytest", "--collect-only", *map(str, files)]
    environ = {**os.environ, "SYNAPSE_APPLY_TEST_DEEP": "1"}
    done = subprocess.run(
        command, cwd=TESTS.parent, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
