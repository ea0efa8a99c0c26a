"""The installed command, as programs of their own: two at once, and what plan leaves alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from e2e.scenarios.workplace import QUIET, TOKEN, Server, Workplace, project, sample
from forking import ForkedProcess

from synapse_apply import EmbeddedServer

COMMAND = [str(Path(sys.executable).with_name("synapse-apply"))]


def start(place: Workplace, *typed: str) -> subprocess.Popen[str]:
    return ForkedProcess(
        [*COMMAND, *typed],
        cwd=place.root,
        env={**QUIET, **place.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_applies_at_once(tmp_path):
    """One does it all, the other is told to wait (exit 6) or finds nothing left: no second copy."""
    with EmbeddedServer(
        tmp_path / "data", tokens={TOKEN: "acme"}, tenant="acme", latency=80.0
    ) as running:
        place = Workplace(tmp_path / "project", {"PROD_TOKEN": TOKEN})
        place.write("synapse-apply.yaml", project(running.url))
        sample(place)
        place.run("state", "init", code=0)
        both = [start(place, "apply", "--auto-approve") for _ in range(2)]
        told = [one.communicate(timeout=60) for one in both]
        codes = sorted(one.returncode for one in both)
        assert codes in ([0, 0], [0, 6]), told
        assert Server(running.url).counts == (1, 1, 1)
        place.unchanged()


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("typed", [("plan",), ("plan", "--json"), ("validate",)])
def test_looking_writes_nothing(applied, server, typed):
    """Not in the project, not on the server, even where there is much to do."""
    applied.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    before, sent = snapshot(applied.root), server.writes
    applied.run(*typed, code=0)
    assert snapshot(applied.root) == before
    assert server.writes == sent


def test_validate_needs_nothing(tmp_path):
    """No server, no token, no state, no secret: a pull request from a fork."""
    place = Workplace(tmp_path / "project")
    place.write("synapse-apply.yaml", project("https://nobody.invalid"))
    sample(place)
    place.run("validate", code=0)
    assert not (place.root / ".synapse-apply").exists()


def test_a_backend_that_does_not_answer(make, server):
    """An error of what could not be read; apply sends nothing; exit 1."""
    place = make(server)
    (place.root / "manifests" / "plugin.yaml").unlink()
    place.run("state", "init", code=0)
    place.apply()
    place.write("synapse-apply.yaml", project("http://127.0.0.1:9"))
    place.run("state", "rebind", "--auto-approve", code=0)
    ran = place.apply(code=1)
    assert "Check the target's url and the network" in ran.text


def test_hosts_limit_where_a_token_goes(applied, server):
    """SYNAPSE_APPLY_HOSTS: another host gets no request at all."""
    applied.environ["SYNAPSE_APPLY_HOSTS"] = "api.example.org, backup.example.org"
    sent = server.call("GET", "_emulator/requests/")["counts"]
    ran = applied.plan(code=1)
    assert "The token may not go to this host" in ran.err
    after = server.call("GET", "_emulator/requests/")["counts"]
    assert {at: n for at, n in after.items() if "_emulator" not in at} == {
        at: n for at, n in sent.items() if "_emulator" not in at
    }
    applied.environ["SYNAPSE_APPLY_HOSTS"] = "127.0.0.1"
    applied.unchanged()
