"""A run is killed between what it writes into the state and what it remembers of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fault.commands import kill_amid
from fault.convergence import command
from fault.site import MakeSite, pending, tally
from git_repositories import git, make_bare_repository
from installed import environment

OLDER = "This state is older than the last one seen here"
KILLED_BY = """
import os, sys
from synapse_apply.workspace.target_session import TargetSession
from synapse_apply.cli.main import run
if sys.argv[1] == "before":
    TargetSession.__exit__ = lambda *_given: os._exit(9)
else:
    leave = TargetSession.__exit__
    def leave_and_die(self, *given):
        os.replace = lambda *_given, **_named: os._exit(9)
        leave(self, *given)
    TargetSession.__exit__ = leave_and_die
sys.exit(run(["apply", "-t", "site", "--auto-approve"]))
"""


@pytest.mark.parametrize("store", ["sqlite", "git"])
def test_a_copy_from_before_a_killed_apply_is_not_the_newest(
    make_site: MakeSite, tmp_path: Path, store: str
) -> None:
    """What that apply made would be made a second time: no command goes on from the copy."""
    remote = make_bare_repository(tmp_path / "state.git")
    site = make_site(groups=1, state_url=f"git:file://{remote}?pace=0" if store == "git" else "")
    state = site.root / ".synapse-apply" / "state"
    command(site, "apply -t site --auto-approve --only storage/storage-0")
    early = git(remote, "for-each-ref", "--format=update %(refname) %(objectname)")
    if store == "sqlite":
        shutil.copytree(state, tmp_path / "early")
    kill_amid(site, {"method": "POST", "path": "/plugins/"}, commit="after")
    made = tally(site.server, site.expected)
    if store == "sqlite":
        shutil.rmtree(state)
        shutil.copytree(tmp_path / "early", state)
    else:
        git(remote, "update-ref", "--stdin", input=f"{early}\n".encode())
    told = OLDER if store == "sqlite" else "The state was rolled back"
    for typed in ("plan -t site", "apply -t site --auto-approve", "doctor -t site"):
        assert told in command(site, typed, code=1)
    assert tally(site.server, site.expected) == made


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
