"""Two pull requests are merged within a minute, and somebody cancels the first one's job."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from e2e.journeys.conftest import Runner
from e2e.revisions.conftest import Repository, repository
from e2e.scenarios.workplace import STORAGE, TOKEN, Server, Workplace, project, sample
from forking import ForkedProcess
from installed import BIN, environment
from stopping import meets_fault

SECONDS = 60


def storages(*names: str) -> str:
    return "---\n".join(STORAGE.replace("raw-data", n).replace("Raw data", n) for n in names)


@pytest.fixture
def team(place: Workplace, server: Server, tmp_path: Path) -> Repository:
    """All applied, the state outside of every checkout; branches `one` and `two` add storages."""
    kept = str(tmp_path / "state" / "prod.db")
    place.write("synapse-apply.yaml", project(server.url, state={"url": kept}, settle_after=1))
    sample(place)
    place.environ["SYNAPSE_APPLY_STATE_KEY"] = "A" * 43 + "="
    place.run("state", "init", code=0)
    place.apply()
    made = repository(place)
    for branch, names in (("one", ("a1", "a2", "a3", "a4")), ("two", ("b1", "b2"))):
        made.git("checkout", "-q", "-b", branch, "main")
        place.write(f"manifests/{branch}.yaml", storages(*names))
        made.commit(f"Add {branch}")
    return made


class Pipeline:
    """Jobs as a runner starts them: processes, which are told to stop by a signal."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def start(self, place: Workplace, *typed: str) -> subprocess.Popen[str]:
        process = ForkedProcess(
            [str(BIN / "synapse-apply"), *typed],
            cwd=place.root, env=environment(place.environ), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._stack.callback(process.communicate)
        self._stack.callback(process.kill)
        return process


@pytest.fixture
def jobs() -> Iterator[Pipeline]:
    with ExitStack() as stack:
        yield Pipeline(stack)


def test_the_first_job_is_cancelled(
    team: Repository, server: Server, runner: Runner, jobs: Pipeline, tmp_path: Path
) -> None:
    """The second waits, does its own rows, and leaves the rest to the first one's second try."""
    plans = {name: str(tmp_path / f"{name}.plan") for name in ("one", "two")}
    for name, file in plans.items():
        runner(team, name).plan("--out", file, code=0)
    team.git("checkout", "-q", "main")
    team.git("merge", "-q", "--squash", "one")
    team.commit("One (#1)")
    first = runner(team)
    team.git("merge", "-q", "--squash", "two")
    team.commit("Two (#2)")
    second = runner(team)

    # The first job hangs at its second create; the second begins, and somebody cancels the first.
    # All of that while it hangs, also on a busy machine, and it ends in the time that a drain has.
    hang = {"match": {"method": "POST", "nth": 2}, "do": {"hang": 5, "commit": "after"}}
    server.call("PUT", "_emulator/faults/", {"rules": [hang]})
    options = ("--parallelism", "1", "--json")
    one = jobs.start(first, "apply", "--reviewed", plans["one"], *options)
    meets_fault(server, one)
    two = jobs.start(second, "apply", "--reviewed", plans["two"])
    locked = second.run("apply", "--reviewed", plans["two"], "--lock-timeout", "0", code=6)
    assert "synapse-apply state unlock" in locked.err
    one.send_signal(signal.SIGTERM)
    out, err = one.communicate(timeout=SECONDS)
    report = json.loads(out)
    assert one.returncode == report["exit_code"] == 143, err
    results = [row["result"] for row in report["outcomes"]]
    assert sorted(results) == ["done", "done", "skipped", "skipped"]

    # The second job got the state when the first gave it back. What is the first one's is refused.
    out, err = two.communicate(timeout=SECONDS)
    assert two.returncode == 4, out + err
    assert "Apply incomplete! Resources: 2 added, 0 changed, 0 destroyed; 2 refused." in out
    assert out.partition("Refused: 2")[0].count("no reviewed plan contains it") == 2
    names = sorted(one["body"]["name"] for one in server.objects("storage"))
    assert names == ["Raw data", "a1", "a2", "b1", "b2"]

    # Somebody presses "run again" on the first job: the same plan, the rest of it.
    again = runner(team).run("apply", "--reviewed", plans["one"], code=0).out
    assert "Apply complete! Resources: 2 added, 0 changed, 0 destroyed." in again
    last = runner(team)
    last.unchanged()
    names = sorted(one["body"]["name"] for one in server.objects("storage"))
    assert names == ["Raw data", "a1", "a2", "a3", "a4", "b1", "b2"]
    assert TOKEN not in out + err
