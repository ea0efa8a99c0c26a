"""A run that is told to stop while its state takes nothing: what was answered is in a file, and it ends."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from buckets.proxy import BucketProxy
from buckets.servers import BucketServer
from fault.commands import applying, ended, reaches
from fault.convergence import Row, command, converge
from fault.site import MakeSite, Server, Site, tally
from forges.loopback_server import wait_until
from git_repositories import make_bare_repository, make_repository
from postgres.server import PostgresServer
from stopping import asked_again

SECONDS = 60
# A state that is asked for so long hangs for ever: nobody waits for the end of that.
FOREVER = 600.0
ANSWERED = {"match": {"method": "POST", "nth": 1}, "do": {"hang": 1.5, "commit": "after"}}
# A call that hangs so long is answered before its connection is closed, also on a busy machine.
DRAIN = 5.0
HOOK = """#!/bin/sh
cd {folder} && echo >>pushes
test "$(wc -l <pushes)" -ge {nth} || exit 0
while test -e hangs; do sleep 0.1; done
exit 1
"""

# Has a state hang in the block, from its next write on.
Hangs = Callable[[], AbstractContextManager[None]]
Stuck = tuple[Site, Hangs, dict[str, Any]]


@contextmanager
def file_hangs(file: Path) -> Iterator[None]:
    with closing(sqlite3.connect(file, timeout=SECONDS, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def bucket_does(proxy: BucketProxy, deed: Any) -> Iterator[None]:
    proxy.choose = lambda _method, _path: deed
    yield
    proxy.choose = lambda _method, _path: None
    proxy.flows.set()


@contextmanager
def table_hangs(url: str, schema: str) -> Iterator[None]:
    with psycopg.connect(url) as connection:
        connection.execute(f"LOCK TABLE {schema}.meta IN ACCESS EXCLUSIVE MODE")
        yield


def make_git_site(make_site: MakeSite, folder: Path, nth: int) -> tuple[Site, Hangs]:
    """A state whose pushes hang from the nth one of an apply on, while there is a file `hangs`."""
    remote = make_bare_repository(folder / "state.git")
    # Of a checkout's own remote: hooks of a repository that the project file names are not run.
    make_repository(folder, f'[remote "origin"]\n\turl = {remote}\n')
    site = make_site(groups=1, state_url="git:origin?pace=0")
    hook = remote / "hooks" / "pre-receive"
    hook.parent.mkdir()
    hook.write_text(HOOK.format(folder=folder, nth=nth))
    hook.chmod(0o755)

    @contextmanager
    def hangs() -> Iterator[None]:
        (folder / "hangs").touch()
        yield
        (folder / "hangs").unlink()
        hook.unlink()

    return site, hangs


@pytest.fixture(params=["sqlite", "s3 hangs", "s3 resets", "git", "postgres"])
def stuck(request: pytest.FixtureRequest, make_site: MakeSite, tmp_path: Path) -> Stuck:
    """A site, and what makes its state hang, for ever with what is altered."""
    if request.param == "sqlite":
        site = make_site(groups=1)
        return site, lambda: file_hangs(site.state_file), {}
    if request.param == "git":
        return *make_git_site(make_site, tmp_path, nth=3), {}
    if request.param == "postgres":
        database: PostgresServer = request.getfixturevalue("postgres")
        schema = f"state_{uuid4().hex}"
        site = make_site(groups=1, state_url=database.url(schema=schema))
        return site, lambda: table_hangs(database.url(), schema), {}
    bucket: BucketServer = request.getfixturevalue("seaweed")
    proxy: BucketProxy = request.getfixturevalue("proxy")
    # What is reset is sent again for a third of a lease.
    deed, altered = (
        ("before", {"lease": 3 * FOREVER})
        if request.param == "s3 resets"
        else (("hang", "before"), {})
    )
    site = make_site(groups=1, state_url=bucket.url(port=proxy.port))
    return site, lambda: bucket_does(proxy, deed), altered


def files_of(site: Site) -> list[Path]:
    return list((site.root / ".synapse-apply").glob("unrecorded-site-*.jsonl"))


def _count_lines(site: Site) -> int:
    return sum(path.read_text().count("\n") for path in files_of(site))


def require_nothing_is_lost(site: Site, server: Server, row: Row) -> None:
    """The file names what was made, with its id; then all goes on."""
    server.faults()
    made = server.ids()
    assert made
    (file,) = files_of(site)
    # A bucket may carry out the write that it held back.
    told = re.search(
        r"Recorded: (\d). Known before: (\d)", command(site, f"state record -t site {file}")
    )
    assert told
    assert sum(map(int, told.groups())) == len(made)
    assert {name: [remote] for name, remote in site.records().items()} == made
    assert site.open_intents() == []
    assert not files_of(site)
    converge(site, None, row)
    assert not tally(server, site.expected)["duplicates"]


def test_it_ends_and_tells_of_the_file(stuck: Stuck, server: Server, row: Row) -> None:
    """Nobody sends a second signal, and the state never comes back."""
    site, hangs, altered = stuck
    server.faults(ANSWERED)
    with applying(site, drain=DRAIN, patience=FOREVER, **altered) as process:
        reaches(server, process)
        with hangs():
            process.send_signal(signal.SIGTERM)
            code, out, err = ended(process)
    report = json.loads(out)
    assert code == report["exit_code"] == 7, out + err
    assert report["stopped"] == signal.SIGTERM
    (told,) = [one for one in report["outcomes"] if one["result"] == "unknown"]
    (file,) = files_of(site)
    assert told["unrecorded_in"] == str(file)
    assert [told["id"]] in server.ids().values()
    require_nothing_is_lost(site, server, row)


def test_a_kill_loses_no_answer(stuck: Stuck, server: Server, row: Row) -> None:
    """The file is there before the state is given up: a runner kills what outlives its signal."""
    site, hangs, altered = stuck
    server.faults(ANSWERED)
    with applying(site, drain=FOREVER, patience=FOREVER, **altered) as process:
        reaches(server, process)
        with hangs():
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: _count_lines(site) == 1, SECONDS, "the answer is in a file")
            process.kill()
            process.communicate()
    require_nothing_is_lost(site, server, row)


@pytest.mark.parametrize(("parallelism", "calls"), [(1, 1), (3, 2)])
def test_a_second_signal_leaves_the_file(
    make_site: MakeSite, server: Server, row: Row, parallelism: int, calls: int
) -> None:
    """The run stops at once, tells of the file, and calls nothing unknown that was answered."""
    site = make_site(groups=1)
    server.faults({**ANSWERED, "match": {"method": "POST"}})
    with applying(site, drain=FOREVER, patience=FOREVER, parallelism=parallelism) as process:
        # The plugin and the storage; with one place the first of them.
        wait_until(lambda: server.counts()[0]["done"] == calls, SECONDS, "the calls are under way")
        with file_hangs(site.state_file):
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: _count_lines(site) == calls, SECONDS, "the answers are in a file")
            asked_again(process, signal.SIGTERM)
            code, out, err = ended(process)
    report = json.loads(out)
    assert code == report["exit_code"] == 7, out + err
    (file,) = files_of(site)
    told = {one["unrecorded_in"]: one for one in report["outcomes"]}
    assert [told[str(file)]["id"]] in server.ids().values()
    require_nothing_is_lost(site, server, row)


def test_both_objects_of_one_call_are_in_the_file(make_site: MakeSite, server: Server) -> None:
    """On API v2 a plugin and its first release."""
    site = make_site(groups=1, api="v2")
    server.faults({**ANSWERED, "match": {"method": "POST", "path": "/v2/plugins/"}})
    with applying(site, drain=DRAIN, patience=FOREVER) as process:
        reaches(server, process)
        with file_hangs(site.state_file):
            process.send_signal(signal.SIGTERM)
            code, out, err = ended(process)
    assert code == 7, out + err
    (file,) = files_of(site)
    assert "Recorded: 2. Known before: 0." in command(site, f"state record -t site {file}")
    assert set(site.records()) == set(server.ids())


def test_a_state_that_comes_back_has_it_and_no_file_is_left(
    make_site: MakeSite, server: Server
) -> None:
    """What the file had for a while needs nobody to record it."""
    site = make_site(groups=1)
    server.faults(ANSWERED)
    with applying(site, drain=FOREVER, patience=FOREVER) as process:
        reaches(server, process)
        with file_hangs(site.state_file):
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: _count_lines(site) == 1, SECONDS, "the answer is in a file")
        code, out, err = ended(process)
    assert code == 143, out + err
    assert not files_of(site)
    assert {name: [remote] for name, remote in site.records().items()} == server.ids()


def test_a_signal_after_the_report_ends_the_wait_for_the_lock(
    make_site: MakeSite, server: Server, tmp_path: Path
) -> None:
    """All is recorded and told, and the lock cannot be given back."""
    site, hangs = make_git_site(make_site, tmp_path, nth=4)
    server.faults(ANSWERED)
    with applying(site, drain=FOREVER) as process:
        reaches(server, process)
        with hangs():
            process.send_signal(signal.SIGTERM)
            assert process.stdout is not None
            wait_until(
                lambda: (tmp_path / "pushes").read_text().count("\n") >= 4, SECONDS, "the last push"
            )
            asked_again(process, signal.SIGTERM)
            code, out, _ = ended(process)
    report = json.loads(out)
    assert code == report["exit_code"] == 143
    assert {name: [remote] for name, remote in site.records().items()} == server.ids()
