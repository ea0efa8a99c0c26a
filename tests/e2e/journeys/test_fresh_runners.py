"""Every step on a runner with an empty workspace: only Git, two secrets and a database outlive it."""

from __future__ import annotations

import base64
import re
import signal
import subprocess
from pathlib import Path

import pytest
from e2e.journeys.conftest import Runner
from e2e.revisions.conftest import Repository, repository
from e2e.scenarios.workplace import TOKEN, Server, Workplace, project, sample
from forking import ForkedProcess
from installed import BIN, environment
from postgres.server import PASSWORD, PostgresServer
from stopping import meets_fault

KEY = base64.b64encode(b"k" * 32).decode()
SECRET = "s3-secret-of-runners"
S3 = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: s3}
spec:
  name: S3
  provider: amazon_s3
  category: external
  configuration:
    bucket_name: b
    access_key_id: {valueFrom: {env: S3_ID}}
    secret_access_key: {valueFrom: {env: S3_KEY}}
"""


@pytest.fixture
def schema(tmp_path: Path) -> str:
    """Where in the database; several tests have the same server."""
    return tmp_path.name


@pytest.fixture
def team(place: Workplace, server: Server, postgres: PostgresServer, schema: str) -> Repository:
    """A repository whose target keeps its state in PostgreSQL; nothing is applied yet."""
    url = postgres.url(schema=schema)
    place.environ |= {
        "STATE_URL": url, "SYNAPSE_APPLY_STATE_KEY": KEY, "S3_ID": SECRET, "S3_KEY": SECRET,
        "SYNAPSE_APPLY_IN_AUTOMATION": "1",
    }  # fmt: skip
    write_project(place, server)
    place.write("manifests/s3.yaml", S3)
    return repository(place)


def write_project(place: Workplace, server: Server, **pin: str) -> None:
    state = {"url": {"env": "STATE_URL"}, **pin}
    place.write("synapse-apply.yaml", project(server.url, state=state, settle_after=1))
    sample(place)


def left_behind(job: Workplace) -> list[str]:
    """What a job leaves in its workspace beside the checkout and what it was asked to write."""
    return [str(path.relative_to(job.root)) for path in (job.root / ".synapse-apply").rglob("*")
            if path.name != ".gitignore"]  # fmt: skip


def test_a_pipeline_over_some_days(
    team: Repository,
    server: Server,
    runner: Runner,
    postgres: PostgresServer,
    schema: str,
    tmp_path: Path,
) -> None:
    """Begin, pin, plan here and apply there, drift at night; no job leaves anything."""
    seen: list[Workplace] = []

    def job(branch: str = "main") -> Workplace:
        return seen.append(runner(team, branch)) or seen[-1]

    # The first day: without a state nothing is done; the new one's lineage is pinned in Git.
    assert "synapse-apply state init" in job().apply(code=1).err
    begun = job().run("state", "init", code=0).text
    lineage, *others = re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", begun)
    assert set(others) <= {lineage}, begun
    team.git("checkout", "-q", "main")
    write_project(team.place, server, lineage=lineage)
    team.commit("Pin the state")
    assert "Apply complete! Resources: 4 added" in job().apply().out
    job().unchanged()

    # A pull request: planned on one runner, applied as it was reviewed on another.
    team.git("checkout", "-q", "-b", "more")
    team.place.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    team.commit("Describe")
    plan = str(tmp_path / "pr.plan")
    assert "0 to add, 1 to change" in job("more").plan("--out", plan, code=0).out
    team.git("checkout", "-q", "main")
    team.git("merge", "-q", "--squash", "more")
    team.commit("Describe (#1)")
    assert "0 added, 1 changed" in job().run("apply", "--reviewed", plan, code=0).out

    # At night. The state is read by a job that may not even write into its workspace.
    assert "No drift." in job().run("drift", "--detailed-exitcode", code=0).out
    server.call("PATCH", "_emulator/objects/plugin/1/", {"description": "By hand"})
    assert '"Finds more" -> "By hand"' in job().run("drift", "--detailed-exitcode", code=2).out
    assert "0 added, 1 changed" in job().apply().out

    misconfigured(job(), server, postgres, lineage)
    last = job()
    last.unchanged()
    assert len(last.run("state", "history", code=0).out.splitlines()) == 4
    assert [left_behind(one) for one in seen] == [[]] * len(seen)
    kept = [postgres.run(f"SELECT * FROM {schema}.{table}") for table in ("records", "audit")]
    assert SECRET not in str(kept)
    assert PASSWORD not in begun


def misconfigured(
    broken: Workplace, server: Server, postgres: PostgresServer, lineage: str
) -> None:
    """No variable, another database, a key that is another one: told, and nothing is sent."""
    team, writes = dict(broken.environ), server.writes
    broken.environ = {**team, "STATE_URL": ""}
    assert "state.url cannot be used: STATE_URL is empty" in broken.apply(code=1).err
    broken.environ = {**team, "STATE_URL": postgres.url(schema="another")}
    assert "There is no state for this target" in broken.apply(code=1).err
    assert f"--lineage {lineage}" in broken.run("state", "init", code=1).err
    broken.environ = {**team, "SYNAPSE_APPLY_STATE_KEY": KEY[::-1].strip("=") + "="}
    other = broken.plan(code=1).err
    assert "The state has a different key" in other
    assert len(set(re.findall(r"\b[0-9a-f]{16}\b", other))) == 2
    assert server.writes == writes


def test_a_runner_that_is_killed(team: Repository, server: Server, runner: Runner) -> None:
    """The next job says what nobody can tell and how to go on; going on makes nothing twice."""
    runner(team).run("state", "init", code=0)
    hang = {"match": {"method": "POST", "nth": 3}, "do": {"hang": 60, "commit": "before"}}
    server.call("PUT", "_emulator/faults/", {"rules": [hang]})
    doomed = runner(team)
    process = ForkedProcess(
        [str(BIN / "synapse-apply"), "apply", "--auto-approve", "--parallelism", "1"],
        cwd=doomed.root, env=environment(doomed.environ), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        meets_fault(server, process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    server.call("PUT", "_emulator/faults/", {"rules": []})
    told = runner(team).apply(code=7).out
    assert "! plugin/yolo cannot be created: an earlier create was sent at " in told
    assert "if it is there: `synapse-apply import plugin/yolo ID`" in told
    (command,) = set(re.findall(r"if it is not: `synapse-apply ([^`]+)`", told))
    assert server.counts[0] == 0  # somebody looks, in Synapse
    runner(team).run(*command.split(), code=0)
    assert "Apply complete!" in runner(team).apply().out
    runner(team).unchanged()
    assert server.counts == (1, 1, 2)
    assert TOKEN not in told
