"""`apply` killed while the vendor's v1 acts on its call: found again, made once, nothing unknown."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from contract.vendor.web import Incident
from contract.vendor.world import TOKEN
from e2e.vendor.depth import choose
from forking import ForkedProcess
from installed import BIN, environment

CREATES = {"plugin": "/plugins/", "release": "/plugin_releases/", "storage": "/storages/"}
WHENS = choose(CREATES, "plugin", "release")


def kill_at(backend, place, path: str) -> None:
    """Start `apply` and kill it the moment such a create arrives; the backend acts on it.

    One call at a time: else another create may be under way at the kill as well, and not acted on.
    """
    command = [str(BIN / "synapse-apply"), "apply", "--auto-approve", "--parallelism", "1"]
    program = ForkedProcess(
        command,
        cwd=place.root,
        env=environment({"PROD_TOKEN": TOKEN}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def kill() -> None:
        os.kill(program.pid, signal.SIGKILL)
        program.wait(60)

    backend.site.incidents.append(Incident("POST", path, before=kill, loses_answer=True))
    assert program.wait(60) == -signal.SIGKILL


@pytest.mark.parametrize("path", WHENS.values(), ids=WHENS)
def test_killed_while_a_create_is_acted_on(backend, create_project, path):
    """The next apply finds it in the list or by its version, and does the rest."""
    place = create_project(backend)
    kill_at(backend, place, path)
    place.apply()
    assert backend.counts == (1, 1, 1)
    assert len(backend.requests_to("POST", path)) == 1
    place.unchanged()
