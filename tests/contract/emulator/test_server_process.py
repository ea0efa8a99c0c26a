"""The server as a program: how it starts, is refused, is killed, and is reset."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from contract.emulator.conftest import Wire
from counting import skip_waits
from forking import ForkedProcess

from synapse_apply import EmbeddedServer
from synapse_apply.emulator.core import app
from synapse_apply.emulator.data_set import find_running_server

MODULE = (sys.executable, "-m", "synapse_apply.emulator")
TOKEN = "t"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def launch(data: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], Wire]]]:
    """Starts the program, by default as a fork, and waits for its line."""
    with ExitStack() as stack:

        def launched(
            *more: str, start: type[subprocess.Popen[str]] = ForkedProcess
        ) -> tuple[subprocess.Popen[str], Wire]:
            process = start(
                [*MODULE, "serve", "--data", str(data), "--token", TOKEN, *more],
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            line = process.stdout.readline()
            assert line.startswith("listening on http://127.0.0.1:"), line
            url = line.removeprefix("listening on ").strip()
            return process, Wire(url, {"Synapse-Access-Token": TOKEN})

        yield launched


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    with ForkedProcess(
        [*MODULE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def test_one_line_an_endpoint_file_and_a_clean_stop(launch, data):
    """The line is all of stdout; endpoint.json tells url, pid, data set, and goes at the end."""
    process, wire = launch(start=subprocess.Popen)
    told = json.loads((data / "endpoint.json").read_text())
    data_set = wire.get("/_emulator/health").body["data_set"]
    assert told == {"url": wire.url, "pid": process.pid, "data_set": data_set, "token": TOKEN}
    open_to_others = {path.name for path in data.iterdir() if path.stat().st_mode & 0o77}
    assert open_to_others <= {".gitignore"}
    assert find_running_server(data).url == wire.url
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=60)
    assert (process.returncode, rest) == (0, "")
    assert not (data / "endpoint.json").exists()
    assert find_running_server(data) is None


def test_ctrl_c_is_a_clean_stop(launch, data):
    """SIGINT ends with 0 and without a traceback."""
    process, _ = launch(start=subprocess.Popen)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert not (data / "endpoint.json").exists()


def test_acknowledged_writes_survive_kill_9(launch):
    """Killed amid writes, everything answered is there after a new start, once."""
    process, wire = launch()
    data_set = wire.get("/_emulator/health").body["data_set"]
    acknowledged: list[str] = []

    def write() -> None:
        for number in range(100_000):
            name = f"{threading.get_ident()}-{number}"
            try:
                wire.storage(name=name)
            except (OSError, http.client.HTTPException):  # killed, maybe amid an answer
                return
            acknowledged.append(name)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while len(acknowledged) < 60 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    for thread in threads:
        thread.join(60)
    process.wait(60)
    _, again = launch()
    assert again.get("/_emulator/health").body["data_set"] == data_set
    stored = [
        row["body"]["name"] for row in again.get("/_emulator/objects/storage/").body["results"]
    ]
    assert len(acknowledged) >= 60
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))


def test_packages_survive_kill_9(launch, data):
    """An acknowledged release has its bytes; what was only half received leaves nothing."""
    process, wire = launch()
    wire.plugin(code="yolo")
    parts = (("plugin", "yolo"), ("version", "1"), ("file", b"PK" * 1000))
    assert wire.post_form("/plugin_releases/", *parts).status == 201
    port = int(wire.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as half:
        half.sendall(
            b"POST /plugin_releases/ HTTP/1.1\r\nHost: localhost\r\nSynapse-Access-Token: t\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9999\r\n\r\n"
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf'
        )
        deadline = time.monotonic() + 60
        while not list((data / "incoming").iterdir()) and time.monotonic() < deadline:
            time.sleep(0.005)
        process.kill()
        process.wait(60)
    assert find_running_server(data) is None
    _, again = launch()
    assert list((data / "incoming").iterdir()) == []
    assert again.get("/_emulator/packages/1/").content == b"PK" * 1000
    assert again.get("/plugin_releases/").body["count"] == 1


def test_second_server_on_one_data_set_is_refused(launch, data):
    """Exit 1 with a message that says what to do; also for reset, and on a thread."""
    launch()
    for arguments in (("serve", "--data", str(data)), ("reset", "--data", str(data))):
        refused = call(*arguments)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith(
            f"Error: another server of the embedded backend uses the data set {data}"
        )
    with (
        pytest.raises(Exception, match="another server of the embedded backend uses the data set"),
        EmbeddedServer(data),
    ):
        pass


def test_port_in_use_is_refused(launch, tmp_path):
    """Exit 1, one line, and nothing is left locked."""
    _, wire = launch()
    port = wire.url.rsplit(":", 1)[1]
    refused = call("serve", "--data", str(tmp_path / "second"), "--port", port)
    assert refused.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--switch", "put=odd"), "switch 'put' must be one of partial, full, not 'odd'"),
        (("--switch", "nonsense=1"), "unknown switch 'nonsense'; known: put, secrets"),
        (("--host", "0.0.0.0"), "give a token with --token"),
        (("--host", "0.0.0.0", "--any-token"), "give a token with --token"),
        (("--token", "t", "--any-token"), "--token and --any-token cannot be combined"),
        (("--port", "70000"), "cannot listen on 127.0.0.1:70000"),
    ],
)
def test_bad_options_are_told(data, arguments, text):
    """Exit 1 and the reason."""
    refused = call("serve", "--data", str(data), *arguments)
    assert refused.returncode == 1
    assert text in refused.stderr
    assert "Traceback" not in refused.stderr


def test_unusable_folders_are_told(tmp_path):
    """A file in the way, a database that is none, a format of the future."""
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    assert "cannot store a data set in" in call("serve", "--data", str(in_the_way)).stderr
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "data.sqlite3").write_bytes(b"not a database" * 100)
    assert "emulator --reset" in call("serve", "--data", str(broken)).stderr
    future = tmp_path / "future"
    with EmbeddedServer(future) as server:
        server.backend.store._connection.execute("PRAGMA user_version=99")
    assert "a newer version wrote " in call("serve", "--data", str(future)).stderr


def test_reset_makes_a_new_data_set(data):
    """The objects are gone and the data set has another UUID; without one, nothing happens."""
    assert call("reset", "--data", str(data)).returncode == 0
    assert not data.exists()
    with EmbeddedServer(data) as server:
        first = server.data_set
        Wire(server.url, {"Synapse-Access-Token": server.token}).plugin(code="yolo")
    assert call("reset", "--data", str(data)).returncode == 0
    with EmbeddedServer(data) as server:
        assert server.data_set != first
        Wire(server.url, {"Synapse-Access-Token": server.token}).plugin(code="yolo")


def test_latency(data):
    """Every answer takes that long."""
    with EmbeddedServer(data, latency=60) as server, skip_waits(app) as asked:
        Wire(server.url, {"Synapse-Access-Token": server.token}).get("/storages/")
    assert asked == [0.06]


def test_stopped_server_is_told_from_a_dead_file(data):
    """A stale endpoint.json of a killed server is not taken for a running one."""
    data.mkdir()
    stale = {"url": "http://127.0.0.1:9", "pid": os.getpid(), "data_set": "x"}
    (data / "endpoint.json").write_text(json.dumps(stale))
    assert find_running_server(data) is None
