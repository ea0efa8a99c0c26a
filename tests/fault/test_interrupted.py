"""Ctrl-C at any request, and a backend that dies half-way."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fault.commands import FOREVER, Backend, applying, ended, reaches
from fault.convergence import Row, converge, on_api, some, tells_the_truth
from fault.scenarios import requests_of
from fault.site import Applied, MakeSite, Server, Site, pending, tally
from stopping import suspend

BOUNDARIES = 8  # tried on API v2; all are on v1
UNDER_WAY = 0.8  # seconds of a call in which Ctrl-C comes, also on a busy machine
AWAY = 0.4  # seconds that a backend takes to start, of which a fork takes none


@pytest.mark.usefixtures("with_ctrl_c")
@on_api("v1", "v2")
@pytest.mark.parametrize("commit", ["before", "after"])
def test_interrupted_at_a_request(
    commit: str,
    api: str,
    profile: str,
    make_site: MakeSite,
    server: Server,
    row: Row,
) -> None:
    """What has begun ends and is reported, the rest is skipped: exit 130."""
    few, most = (3, 0) if api == "v1" else (1, BOUNDARIES)
    requests = requests_of(make_site, "first-apply", api, profile)
    for number in some(requests, few, turn=2 + (commit == "after"), most=most):
        site = make_site()
        server.faults({"match": {"nth": number}, "do": {"hang": UNDER_WAY, "commit": commit}})
        with applying(site) as process:
            reaches(server, process)
            process.send_signal(signal.SIGINT)
            code, out, err = ended(process)
        assert code == 130, (number, out, err)
        if server.posts():
            _tells_the_truth(server, json.loads(out), server.made())
        converge(site, None, row)
        assert row.unknowns == 0


def _tells_the_truth(server: Server, report: dict[str, Any], made: int) -> None:
    found = server.ids()
    outcomes = {one["address"]: one["result"] for one in report["outcomes"]}
    assert report["exit_code"] == 130
    assert {name for name, result in outcomes.items() if result == "done"} == set(found)
    assert set(outcomes.values()) <= {"done", "skipped"}
    assert report["complete"] is ("skipped" not in outcomes.values())
    assert len(found) == made


@on_api("v1")
@pytest.mark.parametrize("commit", ["before", "after"])
def test_the_backend_is_killed(
    commit: str,
    api: str,
    profile: str,
    make_site: MakeSite,
    backend: Backend,
    tmp_path: Path,
    row: Row,
) -> None:
    """It comes back with what it had committed; the apply has said what it knew."""
    requests = requests_of(make_site, "first-apply", api, profile)
    most = 0 if api == "v1" else BOUNDARIES
    for number in some(requests, 2, turn=4 + 2 * (commit == "after"), most=most):
        server = backend.start()
        site = Site.make(tmp_path / f"{commit}-{number}", server, api=api)
        server.faults({"match": {"nth": number}, "do": {"hang": FOREVER, "commit": commit}})
        applied: list[Applied] = []
        work = threading.Thread(target=lambda made=applied, on=site: made.append(on.apply()))
        work.start()
        assert server.wait_done(), number
        backend.kill()
        time.sleep(AWAY)
        server = backend.start()
        work.join(60)
        again = replace(site, server=server)
        if applied[0].report:
            tells_the_truth(again, applied[0].report)
        converge(again, applied[0], row)
        backend.kill()


def test_the_backend_comes_back_in_time(backend: Backend, tmp_path: Path, row: Row) -> None:
    """The installed command waits a little for a backend that was restarted, and goes on."""
    server = backend.start()
    site = Site.make(tmp_path / "project", server, groups=0, extra_storages=12)
    rule = {"match": {"method": "POST", "nth": 5}, "do": {"hang": FOREVER, "commit": "after"}}
    server.faults(rule)
    logging = replace(site, environ={**site.environ, "SYNAPSE_APPLY_LOG": "debug"})
    with applying(logging) as process:
        reaches(server, process)
        backend.kill()
        _fails_to_connect(process)
        # It tries for seconds, and a slow machine may take longer to start the backend.
        suspend(process, site.state_file)
        server = backend.start()
        process.send_signal(signal.SIGCONT)
        code, out, err = ended(process)
    assert code == 0, out + err
    row.add(1, 0)
    assert not any(tally(server, site.expected).values())
    assert pending(Site(site.root, server, 0).plan()) == []


def _fails_to_connect(process: subprocess.Popen[str]) -> None:
    """Wait until it has logged two requests without an answer: one in vain behind that which hung."""
    assert process.stderr is not None
    failed = 0
    while failed < 2:
        line = process.stderr.readline()
        assert line, process.communicate()
        failed += "(request id none" in line
