"""What is planted where the embedded backend keeps its data, and who may use one that runs."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from attack.planting import contents, foreign_database, give_away, make_pipe
from e2e.scenarios.workplace import Ran, Workplace, sample
from git_repositories import git
from openers import get_opener_without_proxy

from synapse_apply import EmbeddedServer

SECRETS = {"RAW_ID": "raw-id-canary", "RAW_KEY": "raw-key-canary"}
REFUSED = "Error: A file is not trusted: synapse-apply did not create it\n"


@dataclass
class Here:
    """A project that uses the embedded backend; `outside` is no part of it."""

    place: Workplace
    outside: Path

    @property
    def data(self) -> Path:
        return self.place.root / ".synapse-apply" / "embedded"

    def is_refused(self, *typed: str, because: str) -> Ran:
        before = contents(self.outside)
        ran = self.place.run(*typed, code=1)
        assert because in " ".join(ran.err.split()), ran.err
        assert contents(self.outside) == before
        return ran


@pytest.fixture
def here(tmp_path: Path) -> Here:
    place = Workplace(tmp_path / "project", dict(SECRETS))
    sample(place)
    (tmp_path / "outside").mkdir()
    return Here(place, tmp_path / "outside")


@pytest.fixture(scope="module")
def applied_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project that was applied, for each test to copy."""
    place = Workplace(tmp_path_factory.mktemp("applied") / "project", dict(SECRETS))
    sample(place)
    place.apply("-t", "embedded")
    return place.root


@pytest.fixture
def applied(here: Here, applied_project: Path) -> Here:
    shutil.copytree(applied_project, here.place.root, dirs_exist_ok=True)
    return here


def _victims(here: Here) -> Path:
    folder = here.outside / "victims"
    folder.mkdir(exist_ok=True)
    for name in ("important", "tmpabc.part", "f" * 64):
        (folder / name).write_text("mine")
        (folder / name).chmod(0o644)
    return folder


@pytest.mark.parametrize("name", ["incoming", "packages", ""])
def test_a_folder_that_is_a_link_is_not_emptied(here: Here, name: str) -> None:
    """A link of a commit, in a project that was never applied: no file it leads to is deleted."""
    victims = _victims(here)
    path = here.data / name
    path.parent.mkdir(parents=True)
    path.symlink_to(victims)
    for typed in (
        ("plan",),
        ("apply", "--auto-approve"),
        ("emulator", "--reset", "--auto-approve"),
    ):
        more = () if typed[0] == "emulator" else ("-t", "embedded")
        ran = here.is_refused(*typed, *more, because="is a link")
        assert ran.err.startswith(REFUSED)


FILES = [
    "data.sqlite3",
    "data.sqlite3-wal",
    "data.sqlite3-shm",
    "data.sqlite3-journal",
    "endpoint.json",
    "endpoint.json.new",
    "lock",
]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_a_link_is_not_written(applied: Here, name: str) -> None:
    """Nor made where it leads to nothing."""
    victims = _victims(applied)
    path = applied.data / name
    path.unlink(missing_ok=True)
    path.symlink_to(victims / "important")
    applied.is_refused("plan", "-t", "embedded", because=f"{name} is a link")
    path.unlink()
    path.symlink_to(applied.outside / "made-by-a-link")
    applied.is_refused("plan", "-t", "embedded", because=f"{name} is a link")
    applied.is_refused("emulator", "--reset", "--auto-approve", because=f"{name} is a link")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_none(applied: Here, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe keeps nobody waiting; another user's file is not used."""
    path = applied.data / name
    make_pipe(path)
    applied.is_refused("plan", "-t", "embedded", because="is not a regular file")
    path.unlink()
    path.write_text("")
    give_away(path, monkeypatch)
    applied.is_refused("plan", "-t", "embedded", because="belongs to another user")


def test_a_data_set_that_git_tracks(applied: Here) -> None:
    """Plain files of a commit: the state and the data of somebody else."""
    root = applied.place.root
    git(root, "init", "-q")
    git(root, "add", "-f", ".synapse-apply/embedded/data.sqlite3")
    before = contents(applied.data)
    ran = applied.is_refused("plan", "-t", "embedded", because="is in Git's index")
    assert ran.err.startswith(REFUSED)
    applied.is_refused("emulator", "--reset", "--auto-approve", because="is in Git's index")
    assert contents(applied.data) == before


def test_only_files_of_its_own_are_cleared_away(applied: Here) -> None:
    """In the folder of uploads that a killed server left, and in that of packages."""
    mine = [applied.data / "incoming" / "notes.txt", applied.data / "packages" / "notes.txt"]
    for path in mine:
        path.write_text("mine")
    (applied.data / "incoming" / "tmpabc123.part").write_text("left behind")
    (applied.data / "incoming" / "tmplink12.part").symlink_to(applied.place.root)
    packages = [path for path in (applied.data / "packages").iterdir() if path.name != "notes.txt"]
    assert packages
    applied.place.run("plan", "-t", "embedded", code=0)
    assert sorted(path.name for path in (applied.data / "incoming").iterdir()) == [
        "notes.txt",
        "tmplink12.part",
    ]
    applied.place.run("emulator", "--reset", "--auto-approve", code=0)
    assert not any(path.exists() for path in packages)
    assert all(path.read_text() == "mine" for path in mine)


def test_no_tables_are_made_in_a_foreign_database(here: Here) -> None:
    """A plain file in the place of the data set, and one that a user names."""
    here.data.mkdir(parents=True)
    foreign = foreign_database(here.data / "data.sqlite3")
    before = foreign.read_bytes()
    ran = here.place.run("apply", "-t", "embedded", "--auto-approve", code=1)
    assert "is the database of another program" in ran.err
    assert foreign.read_bytes() == before
    named = here.outside / "data"
    named.mkdir()
    foreign_database(named / "data.sqlite3")
    with pytest.raises(Exception, match="another program"), EmbeddedServer(named):
        pass


def test_a_data_set_of_an_earlier_version_is_known_by_its_tables(applied: Here) -> None:
    """It has no id yet, and gets one."""
    file = applied.data / "data.sqlite3"
    with closing(sqlite3.connect(file)) as opened:
        own = opened.execute("PRAGMA application_id").fetchone()
        assert own != (0,)
        opened.execute("PRAGMA application_id = 0")
    assert "No changes." in applied.place.run("plan", "-t", "embedded", code=0).out
    with closing(sqlite3.connect(file)) as opened:
        assert opened.execute("PRAGMA application_id").fetchone() == own


def test_the_program_itself_follows_no_link(tmp_path: Path) -> None:
    """`python -m synapse_apply.emulator` has the default place of a project, too."""
    (tmp_path / "victims").mkdir()
    (tmp_path / "victims" / "tmpabc.part").write_text("mine")
    (tmp_path / ".synapse-apply").mkdir()
    (tmp_path / ".synapse-apply" / "embedded").symlink_to(tmp_path / "victims")
    for verb in ("serve", "reset"):
        done = subprocess.run(
            [sys.executable, "-m", "synapse_apply.emulator", verb],
            cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (1, ""), verb
        assert "embedded is a link" in done.stderr
        assert [path.name for path in (tmp_path / "victims").iterdir()] == ["tmpabc.part"]


# Where endpoint.json leads


class _Listening(BaseHTTPRequestHandler):
    def _hear(self) -> None:
        self.server.heard.append(f"{self.requestline}\n{self.headers}")  # type: ignore[attr-defined]
        self.send_response(500)
        self.end_headers()

    do_GET = do_POST = do_PUT = do_PATCH = _hear  # noqa: N815 - names of the library

    def log_message(self, *_words: object) -> None:
        pass


@contextmanager
def listening(host: str) -> Iterator[HTTPServer]:
    server = HTTPServer((host, 0), _Listening)
    server.heard = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Told:
    """An endpoint.json that somebody wrote, while somebody else has the lock."""

    here: Here
    stack: ExitStack = field(default_factory=ExitStack)

    def tell(self, **changes: Any) -> dict[str, Any]:
        """As an honest one with changes; the lock is held by this process."""
        with closing(sqlite3.connect(self.here.data / "data.sqlite3")) as opened:
            (data_set,) = opened.execute("SELECT value FROM about WHERE name='data_set'").fetchone()
        told = {"pid": os.getpid(), "data_set": data_set, "token": "t", **changes}
        (self.here.data / "endpoint.json").write_text(json.dumps(told))
        return told


@pytest.fixture
def told(applied: Here) -> Iterator[Told]:
    with EmbeddedServer(applied.data):
        yield Told(applied)


def _sleeper(stack: ExitStack) -> int:
    """A process of ours that has no lock."""
    process = stack.enter_context(subprocess.Popen(["sleep", "60"]))
    stack.callback(process.kill)
    return process.pid


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"host": "127.0.0.2.nip.example"}, "not a plain loopback address"),
        ({"host": "localhost"}, "not a plain loopback address"),
        ({"host": "evil.example"}, "not a plain loopback address"),
        ({"path": "/elsewhere"}, "not a plain loopback address"),
        ({"user": "127.0.0.1@"}, "names a url that contains a user"),
        ({"data_set": "another"}, "names another data set"),
        ({"pid": 2**22 + 1}, "not yours"),
        ({"pid": 0}, "not yours"),
        ({"pid": "1"}, "lacks a valid url, pid, data_set or token"),
        ({"pid": _sleeper}, "does not use the data set"),
        ({"token": None}, "lacks a valid url, pid, data_set or token"),
        ({"token": ""}, "lacks a valid url, pid, data_set or token"),
        ({"url": ["http://127.0.0.1:1"]}, "lacks a valid url, pid, data_set or token"),
        ({"url": "https://127.0.0.1:1"}, "lacks a valid url, pid, data_set or token"),
        ({"url": "http://127.0.0.1:99999"}, "lacks a valid url, pid, data_set or token"),
    ],
)
def test_a_server_that_is_not_ours_gets_nothing(
    told: Told, changes: dict[str, Any], because: str
) -> None:
    """No secret and no token; with and without a list of hosts."""
    with told.stack as stack, listening("127.0.0.1") as server:
        port = server.server_address[1]
        parts = {"host": "127.0.0.1", "path": "", "user": "", **changes}
        url = f"http://{parts.pop('user')}{parts.pop('host')}:{port}{parts.pop('path')}"
        said = {name: value(stack) if callable(value) else value for name, value in parts.items()}
        told.tell(**{"url": url, **said})
        for hosts in ("api.synapse.sh", "127.0.0.1"):
            told.here.place.environ["SYNAPSE_APPLY_HOSTS"] = hosts
            ran = told.here.is_refused("apply", "-t", "embedded", "--auto-approve", because=because)
            assert ran.err.startswith("Error: The embedded backend that runs here is not used")
        assert server.heard == []  # type: ignore[attr-defined]


def test_a_committed_endpoint_with_a_lock_link(here: Here) -> None:
    """The attack as it was: a link to a file that somebody has locked, and a url of anybody."""
    here.data.mkdir(parents=True)
    with listening("127.0.0.1") as server, (here.outside / "lock").open("w") as held:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX)
        (here.data / "lock").symlink_to(here.outside / "lock")
        told = {"url": f"http://127.0.0.1:{server.server_address[1]}", "pid": os.getpid()}
        (here.data / "endpoint.json").write_text(json.dumps({**told, "data_set": "x"}))
        here.is_refused("plan", "-t", "embedded", because="lock is a link")
        here.is_refused("apply", "-t", "embedded", "--auto-approve", because="lock is a link")
        assert server.heard == []  # type: ignore[attr-defined]


def test_the_embedded_backend_needs_no_place_in_the_list_of_hosts(here: Here) -> None:
    """It is this machine's, and gets a token of its own alone."""
    here.place.environ["SYNAPSE_APPLY_HOSTS"] = "api.synapse.sh"
    here.place.apply("-t", "embedded")
    with EmbeddedServer(here.data):
        assert "No changes." in here.place.run("plan", "-t", "embedded", code=0).out


# Another user of the machine


def ask(url: str, path: str, **headers: str) -> int:
    request = urllib.request.Request(f"{url}{path}", headers=headers)
    try:
        with get_opener_without_proxy().open(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Token embedded"},
        {"Synapse-Access-Token": "anything"},
        {"SYNAPSE-Agent": "agent-token-123"},
        {"SYNAPSE-Agent": "my-agent-token", "Synapse-Tenant": "default"},
    ],
)
def test_who_cannot_read_the_endpoint_cannot_use_the_server(
    applied: Here, headers: dict[str, str]
) -> None:
    """Neither its objects nor its own doors; its token is new at each start."""
    seen = set()
    for _ in range(2):
        with EmbeddedServer(applied.data) as server:
            endpoint = applied.data / "endpoint.json"
            assert stat.S_IMODE(endpoint.stat().st_mode) == 0o600
            told = json.loads(endpoint.read_text())
            seen.add(told["token"])
            for path in ("/storages/", "/_emulator/objects/storage/", "/v2/plugins/"):
                assert ask(server.url, path, **headers) == 401
            assert ask(server.url, "/storages/", Authorization=f"Token {told['token']}") == 200
            assert "No changes." in applied.place.run("plan", "-t", "embedded", code=0).out
    assert len(seen) == 2


def test_a_served_backend_tells_its_token_to_its_user_alone(here: Here) -> None:
    """Not on its output, which a log keeps; `--any-token` is said by hand."""
    serve = [sys.executable, "-m", "synapse_apply.emulator", "serve", "--data", str(here.data)]
    with subprocess.Popen(
        serve, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            url = process.stdout.readline().removeprefix("listening on ").strip()
            where = process.stderr.readline()
            token = json.loads((here.data / "endpoint.json").read_text())["token"]
            assert where == f"the access token is `token` in {here.data / 'endpoint.json'}\n"
            assert ask(url, "/storages/", Authorization="Token x") == 401
            assert ask(url, "/storages/", Authorization=f"Token {token}") == 200
        finally:
            process.terminate()
        rest = "".join(process.communicate(timeout=60))
    assert token not in rest
    with EmbeddedServer(here.data, any_token=True) as server:
        assert ask(server.url, "/storages/", Authorization="Token x") == 200
