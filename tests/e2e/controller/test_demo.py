"""`controller run --demo`: one command shows targets in different conditions, and leaves nothing."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import requests
from controllers.forked_workers import ForkedController
from installed import BIN, environment

SECONDS = 60.0
EXPECTED = {"acme/dev": "in sync", "acme/prod": "held", "lab/bench": "failing"}


def test_the_demo_shows_targets_and_leaves_nothing(tmp_path):
    """From a bare clone: a page, a target that goes live by itself, one that waits for a person."""
    command = [BIN / "synapse-apply", "controller", "run", "--demo"]
    variables = environment({"TMPDIR": str(tmp_path)})
    with ForkedController(
        command, env=variables, cwd=tmp_path, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            process.stdout.readline()
            match = re.search(r"in (\S+), and the page is at (\S+)$", process.stdout.readline())
            assert match is not None
            folder, url = Path(match[1]), match[2]
            assert folder.parent == tmp_path.resolve()
            conditions = wait_for_conditions(url)
            html = requests.get(url, timeout=60).text
        finally:
            process.send_signal(signal.SIGINT)
            _out, err = process.communicate(timeout=60)
    assert conditions.pop("acme/staging") in {"in sync", "drifted"}  # the story may have begun
    assert conditions == EXPECTED
    assert "2 of 4 targets need attention" in html
    assert process.returncode == 0, err
    assert list(tmp_path.iterdir()) == []


def wait_for_conditions(url: str) -> dict[str, str]:
    """The conditions of all targets by name, once those are there that the demo begins with."""
    give_up_at = time.monotonic() + SECONDS
    while True:
        try:
            items = requests.get(f"{url}/api/v1/targets", timeout=60).json()["items"]
        except requests.RequestException:  # the page is not there yet
            items = []
        conditions = {item["name"]: item["state"] for item in items}
        is_complete = conditions.items() >= EXPECTED.items() and len(conditions) == 4
        is_complete = is_complete and "not looked at" not in conditions.values()
        if is_complete or time.monotonic() > give_up_at:
            return conditions
        time.sleep(0.2)
