"""The deep forms of tests, which `make laws`, `make faults` and `make attack` run, can be collected."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent


def test_the_deep_forms_are_collected() -> None:
    """Parameters and marks that only they have are looked at here, and run there."""
    files = [file for file in TESTS.rglob("test_*.py") if "DEEP" in file.read_text("utf-8")]
    command = [sys.executable, "-m", "pytest", "--collect-only", *map(str, files)]
    environ = {**os.environ, "SYNAPSE_APPLY_TEST_DEEP": "1"}
    done = subprocess.run(
        command, cwd=TESTS.parent, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
