"""Looks at targets of a commit in a mirror, by real children, at a real backend."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from contract.controller.upstream import build_source, read_no_secret, storage
from forges.loopback_server import wait_until
from git_repositories import git
from in_process import run
from waiting import finish

from synapse_apply import EmbeddedServer
from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.rows import RunOutcome, TargetName
from synapse_apply.controller.settings import Controller, MayRead, Source
from synapse_apply.controller.source.mirror import GitMirror
from synapse_apply.controller.worker import child
from synapse_apply.controller.worker.exchange import Order
from synapse_apply.controller.worker.pool import WorkerPool
from synapse_apply.model.codec import plan_from_json

pytestmark = pytest.mark.usefixtures("forked_workers")

TOKEN, KEY = "token-of-acme-1234567890", "key-of-acme-1234567890"
PROJECT_HEAD = "apiVersion: synapse-apply/v1\nkind: Project\n"
ENVIRON = {**os.environ, "ACME_TOKEN": TOKEN, "ACME_KEY": KEY, "OTHER_KEY": "canary-of-another"}


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("backend") / "data", token=TOKEN) as server:
        yield server


@pytest.fixture
def states(tmp_path: Path) -> Path:
    folder = tmp_path / "states"
    folder.mkdir()
    return folder


@pytest.fixture
def files(backend: EmbeddedServer, states: Path) -> dict[str, str]:
    """A project whose target is that backend, with a state in a file."""
    project = f"""
apiVersion: synapse-apply/v1
kind: Project
targets:
  prod:
    url: {backend.url}
    token: {{env: ACME_TOKEN}}
    state: {{url: {states}/prod.db}}
"""
    return {
        "synapse-apply.yaml": project,
        "manifests/a.yaml": storage("a"),
        "manifests/b.yaml": storage("b"),
    }


@pytest.fixture
def make_pool(data: Path) -> Iterator[Callable[..., WorkerPool]]:
    pools = []

    def make(*sources: Source, most_looks: int = 2) -> WorkerPool:
        controller = Controller("main", {source.name: source for source in sources})
        pools.append(WorkerPool(controller, data, ENVIRON, most_looks, most_children=2))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def look(pool: WorkerPool, commit: str, target: str = "prod", timeout: float = 60.0) -> RunResult:
    return pool.look(Order(*TargetName("acme", target), commit, timeout))


def list_texts(result: RunResult) -> str:
    return json.dumps([finding.to_json() for finding in result.findings])


def test_a_target_through_its_life(upstream, data, states, files, make_pool, tmp_path):
    """Without a state, in sync, changed in Git; and no secret is in what is told of it."""
    source = build_source(upstream, may_read=MayRead(("ACME_*",), (str(states),)))
    first = upstream.commit(files)
    mirror, pool = GitMirror(source, data, read_no_secret), make_pool(source)
    mirror.fetch_head()
    missing = look(pool, first)
    assert missing.outcome is RunOutcome.PLAN_ERROR
    assert "There is no state for this target" in list_texts(missing)
    assert not list(states.iterdir())

    checkout = tmp_path / "checkout"
    git(tmp_path, "clone", "-q", str(upstream.path), str(checkout))
    given = {"ACME_TOKEN": TOKEN, "ACME_KEY": KEY}
    run("state init -t prod", checkout, given)
    run("apply -t prod --auto-approve", checkout, given)
    in_sync = look(pool, first)
    assert in_sync.outcome is RunOutcome.IN_SYNC, list_texts(in_sync)
    assert in_sync.counts.row_count_without_guards == 0
    assert in_sync.backend_host.startswith("127.0.0.1:")

    second = upstream.commit(
        {"manifests/b.yaml": storage("b", "moved"), "manifests/c.yaml": storage("c")}
    )
    mirror.fetch_head()
    changed, again = look(pool, second), look(pool, second)
    assert changed.outcome is RunOutcome.CHANGES
    assert (changed.counts.add, changed.counts.refused) == (1, 1)
    assert changed.result_digest == again.result_digest != in_sync.result_digest
    plan = plan_from_json(json.loads(changed.plan_json))
    assert plan.base.commit == second
    assert KEY not in changed.plan_json
    assert TOKEN not in changed.plan_json


def test_what_a_look_has_started_ends_with_it(upstream, data, tmp_path, monkeypatch):
    """Also what has left its session, as the programs do that are started for secrets."""
    source = build_source(upstream)
    commit = upstream.commit({"synapse-apply.yaml": "kind: x\n"})
    GitMirror(source, data, read_no_secret).fetch_head()
    shim, note = tmp_path / "programs" / "git", tmp_path / "process"
    shim.parent.mkdir()
    shim.write_text(f"#!/bin/sh\nexec setsid -w sh -c 'echo $$ >{note}; exec sleep 97'\n")
    shim.chmod(0o755)
    environ = {**ENVIRON, "PATH": f"{shim.parent}:{os.environ['PATH']}"}
    pool = WorkerPool(Controller("main", {"acme": source}), data, environ)
    with ThreadPoolExecutor(1) as threads:
        looking = threads.submit(look, pool, commit, timeout=300.0)
        wait_until(lambda: note.is_file() and note.read_text().endswith("\n"), 60, "it has started")
        later = SimpleNamespace(monotonic=lambda: time.monotonic() + 300.0)
        monkeypatch.setattr(child, "time", later)
        assert looking.result(60).outcome is RunOutcome.TIMEOUT
    pool.close()
    started = Path("/proc") / note.read_text().strip()
    wait_until(lambda: not is_running(started), 60, "it has ended")


def test_a_child_that_is_late_or_killed_is_told_and_replaced(upstream, data, make_pool):
    """A look that takes too long ends the child; one that died is told; the next is another."""
    source = build_source(upstream)
    # One that is looked at until its server answers, which it does not.
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        state = f"git:https://127.0.0.1:{silent.getsockname()[1]}/x"
        waiting = f"{PROJECT_HEAD}targets: {{prod: {{state: {{url: '{state}'}}}}}}\n"
        commit = upstream.commit({"synapse-apply.yaml": waiting})
        GitMirror(source, data, read_no_secret).fetch_head()
        pool = make_pool(source)
        late = finish(lambda: look(pool, commit, timeout=1.0))
        assert late.outcome is RunOutcome.TIMEOUT
        assert late.findings
    commit = upstream.commit({"synapse-apply.yaml": "kind: x\n"})
    GitMirror(source, data, read_no_secret).fetch_head()
    assert pool.list_process_ids() == ()
    assert look(pool, commit).outcome is RunOutcome.PLAN_ERROR
    (process_id,) = pool.list_process_ids()
    os.kill(process_id, signal.SIGKILL)
    lost = look(pool, commit)
    assert lost.outcome is RunOutcome.WORKER_LOST
    assert lost.findings
    assert look(pool, commit).outcome is RunOutcome.PLAN_ERROR
    assert pool.list_process_ids() != (process_id,)


def test_sources_share_the_children(upstream, data, make_pool):
    """Two at most, each of one source alone; none is left behind at the end."""
    commit = upstream.commit({"synapse-apply.yaml": "kind: x\n"})
    sources = [Source(name, str(upstream.path)) for name in ("a", "b", "c")]
    for source in sources:
        GitMirror(source, data, read_no_secret).fetch_head()
    pool = make_pool(*sources)
    requests = [Order(*TargetName(source.name, "t"), commit, 60.0) for source in sources]
    with ThreadPoolExecutor(3) as threads:
        results = list(threads.map(pool.look, requests))
    assert {result.outcome for result in results} == {RunOutcome.PLAN_ERROR}
    process_ids = pool.list_process_ids()
    assert len(process_ids) <= 2
    pool.close()
    assert not any(Path(f"/proc/{process_id}").exists() for process_id in process_ids)
    assert pool.look(requests[0]).outcome is RunOutcome.WORKER_LOST


def test_a_child_ends_with_its_controller():
    """Also where that is killed, so that nobody could tell it to."""
    script = (
        "import os, time; from synapse_apply.controller.worker.child import Child;"
        "child = Child({'PATH': os.environ['PATH']}); print(child.process_id, flush=True);"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as controller:
        assert controller.stdout is not None
        process = Path("/proc") / controller.stdout.readline().strip()
        assert process.exists()
        controller.kill()
    wait_until(lambda: not is_running(process), 60, "it has ended")


def is_running(process: Path) -> bool:
    """Whether there is such a process, and it has not ended; nobody may have asked for its end."""
    try:
        return process.joinpath("stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_source_whose_servers_do_not_answer_keeps_no_other_one_waiting(upstream, data, make_pool):
    """Also not what comes when nothing else was due for a while."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        state = f"git:https://127.0.0.1:{silent.getsockname()[1]}/x"
        targets = "".join(f"  {name}: {{state: {{url: '{state}/{name}'}}}}\n" for name in "ab")
        commit = upstream.commit({"synapse-apply.yaml": f"{PROJECT_HEAD}targets:\n{targets}"})
        sources = [Source(name, str(upstream.path)) for name in ("slow", "other")]
        for source in sources:
            GitMirror(source, data, read_no_secret).fetch_head()
        pool = make_pool(*sources)
        with ThreadPoolExecutor(2) as threads:
            slow = [
                threads.submit(pool.look, Order(*TargetName("slow", name), commit, 300.0))
                for name in "ab"
            ]
            connection, _ = silent.accept()
            result = pool.look(Order(*TargetName("other", "none"), commit, 60.0))
            assert result.outcome is RunOutcome.PLAN_ERROR
            assert not any(one.done() for one in slow)
            pool.close()
            connection.close()


def test_a_source_with_many_targets_lets_another_one_in(upstream, data, make_pool):
    commit = upstream.commit({"synapse-apply.yaml": "kind: x\n"})
    many, other = (Source(name, str(upstream.path)) for name in ("many", "other"))
    for source in (many, other):
        GitMirror(source, data, read_no_secret).fetch_head()
    pool = make_pool(many, other, most_looks=1)
    names = [TargetName("many", f"t{number}") for number in range(26)]
    names.insert(2, TargetName("other", "t"))
    order: list[str] = []

    def look_and_note(name: TargetName) -> None:
        pool.look(Order(*name, commit, 60.0))
        order.append(name.source)

    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(look_and_note, names))
    assert order.index("other") < 24
    assert len(order) == len(names)
