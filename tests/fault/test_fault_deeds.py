"""Each deed as a client meets it on the wire, and what the server has done by then."""

from __future__ import annotations

import http.client
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from forges.loopback_server import wait_until
from installed import BIN, environment
from waiting import hold, skip

from synapse_apply import EmbeddedServer

HEADERS = {"Synapse-Access-Token": "x", "Content-Type": "application/json"}


class Wire:
    """One connection a request; `faults` puts one rule in force."""

    def __init__(self, url: str) -> None:
        self.netloc = urlsplit(url).netloc

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, str], Any]:
        connection = http.client.HTTPConnection(self.netloc, timeout=60)
        try:
            text = None if body is None else json.dumps(body).encode()
            connection.request(method, path, text, HEADERS)
            answer = connection.getresponse()
            return (
                answer.status,
                {k.lower(): v for k, v in answer.headers.items()},
                json.loads(answer.read() or b"null"),
            )
        finally:
            connection.close()

    def faults(self, do: dict[str, Any], **match: Any) -> None:
        rule = {"match": {"path": "/storages/", **match}, "do": do}
        assert self.send("PUT", "/_emulator/faults/", {"rules": [rule]})[0] == 200

    def store(self, name: str = "a") -> tuple[int, dict[str, str], Any]:
        body = {"name": name, "provider": "file_system", "configuration": {"base_path": "/"}}
        return self.send("POST", "/storages/", body)

    @property
    def stored(self) -> int:
        count: int = self.send("GET", "/_emulator/state/")[2]["counts"]["storage"]
        return count

    @property
    def done(self) -> int:
        count: int = self.send("GET", "/_emulator/faults/")[2]["counts"][0]["done"]
        return count


@contextmanager
def serving(data: Path, **options: Any) -> Iterator[Wire]:
    with EmbeddedServer(data, any_token=True, **options) as server:
        yield Wire(server.url)


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with serving(tmp_path) as made:
        yield made


@pytest.mark.parametrize(("place", "stored"), [("before", 0), ("after", 1)])
def test_reset(wire: Wire, place: str, stored: int) -> None:
    """RST, not an orderly end; nothing or everything was done; the next request is fine."""
    wire.faults({"reset": place}, nth=1)
    with pytest.raises(ConnectionResetError):
        wire.store()
    assert (wire.stored, wire.done) == (stored, 1)
    assert wire.store()[0] == 201


@pytest.mark.parametrize(("place", "stored"), [("before", 0), ("after", 1)])
def test_server_errors(wire: Wire, place: str, stored: int) -> None:
    """A status in JSON with a request id, whatever was done."""
    wire.faults({"status": 503, "commit": place}, nth=1)
    status, headers, body = wire.store()
    assert (status, body) == (503, {"detail": "Fault: 503."})
    assert headers["x-request-id"]
    assert wire.stored == stored


def test_rate_limit(wire: Wire) -> None:
    """429 says when to come back; nothing was done."""
    wire.faults({"status": 429, "retry_after": 2}, nth=1)
    status, headers, _ = wire.store()
    assert (status, headers["retry-after"], wire.stored) == (429, "2", 0)


def test_bucket(wire: Wire) -> None:
    """A burst of a second's requests is acted on, the next one is told to come back."""
    wire.faults({"bucket": 2, "retry_after": 1})
    answers = [wire.store() for _ in range(3)]
    assert [status for status, *_ in answers] == [201, 201, 429]
    assert (answers[-1][1]["retry-after"], wire.stored) == ("1", 2)


@pytest.mark.parametrize("size", [0, 10, 100_000])
def test_truncate(wire: Wire, size: int) -> None:
    """The body stops short of what was announced, after the commit."""
    wire.faults({"truncate": size}, nth=1)
    with pytest.raises(http.client.IncompleteRead) as stopped:
        wire.store()
    assert len(stopped.value.partial) == size or size > 1000
    assert wire.stored == 1


def test_slow(wire: Wire) -> None:
    """The answer is whole in the end, at about the rate asked for."""
    wire.faults({"slow": 1000}, nth=1)
    with skip() as asked:
        status, _, body = wire.store()
    assert (status, body["name"]) == (201, "a")
    size = len(json.dumps(body, separators=(",", ":")))
    assert sum(asked) == pytest.approx(size / 1000, rel=0.1)


def test_narrow(wire: Wire) -> None:
    """The request takes its time, and is acted on as any other."""
    wire.faults({"narrow": 500_000}, nth=1)
    begun = time.monotonic()
    status, *_ = wire.store("a" * 200_000)
    assert (status, wire.stored, wire.done) == (201, 1, 1)
    assert time.monotonic() - begun >= 0.9 * 200_000 / 500_000


def test_latency(wire: Wire) -> None:
    """The answer comes late, and is the usual one."""
    wire.faults({"latency": 80})
    with skip() as asked:
        assert wire.store()[0] == 201
    assert asked == [0.08]


@pytest.mark.parametrize(("place", "stored"), [("before", 0), ("after", 1)])
def test_hang(wire: Wire, place: str, stored: int) -> None:
    """While it hangs, nothing or everything has been done, and `done` says that it hangs."""
    wire.faults({"hang": 1.5, "commit": place}, nth=1)
    answers: list[int] = []
    waiting = threading.Thread(target=lambda: answers.append(wire.store()[0]))
    with hold() as held:
        waiting.start()
        wait_until(lambda: wire.done, 60, "it hangs")
        assert (wire.stored, answers) == (stored, [])
    waiting.join(60)
    assert (wire.stored, answers, held) == (1, [201], [1.5])


def test_a_late_commit(wire: Wire) -> None:
    """A client that has gone does not keep the server from doing what it was asked."""
    wire.faults({"hang": 1.0}, nth=1)
    connection = http.client.HTTPConnection(wire.netloc, timeout=60)
    body = {"name": "late", "provider": "file_system", "configuration": {}}
    with hold():
        connection.request("POST", "/storages/", json.dumps(body).encode(), HEADERS)
        wait_until(lambda: wire.done, 60, "it hangs")
        connection.close()
        assert wire.stored == 0
    wait_until(lambda: wire.stored, 60, "it is stored")
    assert wire.stored == 1


@pytest.mark.parametrize(
    ("shift", "order", "seen"),
    [
        ("delete", "oldest", ["0", "1", "3"]),
        ("insert", "newest", ["3", "2", "2", "1"]),
    ],
)
def test_page_shift(tmp_path: Path, shift: str, order: str, seen: list[str]) -> None:
    """What follows moves to another page: one is passed over, or comes twice."""
    with serving(tmp_path, switches={"list_order": order}) as wire:
        for number in range(4):
            wire.store(str(number))
        wire.faults({"page_shift": shift}, method="GET", nth=1)
        names = [
            item["name"]
            for page in (1, 2)
            for item in wire.send("GET", f"/storages/?page_size=2&page={page}")[2]["results"]
        ]
        assert names == seen


@pytest.mark.parametrize(
    "command", [["synapse-apply", "emulator"], ["python", "-m", "synapse_apply.emulator", "serve"]]
)
def test_a_bad_file_is_told_before_the_server_starts(tmp_path: Path, command: list[str]) -> None:
    """Exit 1 and words, by both commands."""
    (tmp_path / "faults.json").write_text('{"rules": [{"do": {"slow": 0}}]}')
    program = str(BIN / command[0])
    ended = subprocess.run(
        [program, *command[1:], "--faults", "faults.json", "--data", "data"],
        cwd=tmp_path,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 1
    assert "faults.json: rules[0]: slow must be a number" in ended.stderr
    assert not (tmp_path / "data").exists()


def test_faults_from_the_start(tmp_path: Path) -> None:
    """`EmbeddedServer(faults=...)`; own endpoints never fail; a bad document changes nothing."""
    with serving(tmp_path, faults={"rules": [{"do": {"status": 500}}]}) as wire:
        assert wire.store()[0] == 500
        status, _, body = wire.send("PUT", "/_emulator/faults", {"rules": [{"do": {"slow": 0}}]})
        assert (status, "rules[0]: slow must be" in body["detail"]) == (400, True)
        assert wire.store()[0] == 500
        assert wire.send("GET", "/_emulator/faults")[2]["counts"] == [{"seen": 2, "done": 2}]
        assert wire.send("PUT", "/_emulator/faults", {"rules": []})[0] == 200
        assert wire.store()[0] == 201
