"""A run is killed between what it writes into the state and what it remembers of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fault.convergence import command
from fault.site import MakeSite, pending, tally
from installed import environment

OLDER = "This state is older than the last one seen here"
KILLED_BY = """
import os, sys
from synapse_apply.workspace.target_session import TargetSession
from synapse_apply.cli.main import run
if sys.argv[1] == "before":
    TargetSession.__exit__ = lambda *_given: os._exit(9)
else:
    os.replace = lambda *_given, **_named: os._exit(9)
sys.exit(run(["apply", "-t", "site", "--auto-approve"]))
"""


@pytest.mark.parametrize("killed", ["before", "in the middle"])
def test_a_kill_before_it_is_remembered_is_harmless(
    make_site: MakeSite, tmp_path: Path, killed: str
) -> None:
    """The next run goes on from a state that is farther than what is remembered, and notes it."""
    site = make_site(groups=1)
    state = site.root / ".synapse-apply" / "state" / "site.db"
    command(site, "apply -t site --auto-approve --only storage/storage-0")
    done = subprocess.run(
        [sys.executable, "-c", KILLED_BY, killed],
        cwd=site.root, env=environment(site.environ), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 9, done.stdout + done.stderr
    assert len(site.server.ids()) == len(site.records()) == len(site.expected)  # all is recorded
    assert site.apply().code == 0
    assert pending(site.plan()) == []
    assert not tally(site.server, site.expected)["duplicates"]
    early = shutil.copy(state, tmp_path / "early.db")
    command(site, "state rm storage/storage-0 -t site")
    shutil.copy(early, state)
    assert OLDER in command(site, "apply -t site --auto-approve", code=1)
    assert not tally(site.server, site.expected)["duplicates"]
