"""What a server sends that nobody asked for is never taken for an answer."""

from __future__ import annotations

import gc
import json
import select
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from failing import fails
from unit.client.scripted import Received, ScriptedServer, Step, answer, head
from urllib3.util import connection

from synapse_apply import BackendClient

FORGED = head(201, {"Content-Type": "application/json", "Content-Length": "11"}) + b'{"id": 666}'


def then_also(extra: bytes, *, after: float = 0.0, is_sent: threading.Event | None = None) -> Step:
    """A whole answer, and behind it bytes that nobody asked for; then `is_sent` is set."""

    def step(_server: ScriptedServer, sock: socket.socket, request: Received) -> bool:
        told = json.dumps({"id": request.path.split("/")[2] or 1}).encode()
        whole = head(200, {"Content-Length": str(len(told))}) + told
        if after:
            sock.sendall(whole)
            time.sleep(after)
            sock.sendall(extra)
        else:
            sock.sendall(whole + extra)
        if is_sent is not None:
            is_sent.set()
        return True

    return step


@pytest.mark.parametrize("after", [0.0, 0.05], ids=["in one piece", "later"])
@pytest.mark.parametrize("extra", [FORGED, FORGED[:20], b"x", FORGED * 3])
def test_a_create_after_an_answer_with_more_behind_it(
    server: ScriptedServer, client: BackendClient, extra: bytes, after: float
) -> None:
    """It goes out on another connection and gets its own answer."""
    is_sent = threading.Event()
    server.then(then_also(extra, after=after, is_sent=is_sent), answer(201, {"id": 7}))
    client.get_plugin(1)
    assert is_sent.wait(60)
    assert client.create_plugin({"name": "x"}) == {"id": 7}
    assert [one.connection for one in server.received] == [1, 2]


def test_a_connection_that_ended_is_not_used(server: ScriptedServer, client: BackendClient) -> None:
    """A server that closed it would lose what is sent now."""
    server.then(answer(close=True), answer(201, {"id": 7}))
    client.get_plugin(1)
    assert server.closed.get(timeout=60) == 1
    assert client.create_plugin({"name": "x"}) == {"id": 7}


@pytest.fixture
def eager() -> Iterator[str]:
    """A server that answers every connection before it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    sock, _ = listening.accept()
                    kept.append(sock)
                    sock.sendall(FORGED)

        kept: list[socket.socket] = []
        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        serving.join()
        for sock in kept:
            sock.close()


def test_a_server_that_speaks_first(
    eager: str, connect: Callable[..., BackendClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent there: its answer would be one to nothing."""
    connect_to = connection.create_connection

    def connect_until_spoken_to(*arguments: Any, **options: Any) -> socket.socket:
        sock = connect_to(*arguments, **options)
        assert select.select([sock], [], [], 60)[0]
        return sock

    monkeypatch.setattr(connection, "create_connection", connect_until_spoken_to)
    with fails("Unreachable", match="before the request") as caught:
        connect(eager).create_plugin({"name": "x"})
    assert caught.value.effect.value == "none"


@pytest.mark.parametrize("interim", [102, 103, 199])
def test_what_is_said_before_an_answer_is_none(
    server: ScriptedServer, client: BackendClient, interim: int
) -> None:
    """RFC 9110, 15.2: any number of interim answers may come before the final one."""
    told = head(interim, {"Link": "</x>"}) * 2
    server.then(_bytes(told + head(201, {"Content-Length": "9"}) + b'{"id": 7}'))
    assert client.create_plugin({"name": "x"}) == {"id": 7}


@pytest.mark.parametrize("status", [101, 305, 399, 600, 999])
def test_a_status_that_tells_nothing_leaves_a_create_unknown(
    server: ScriptedServer, client: BackendClient, status: int
) -> None:
    """Only a 4xx says that nothing was done."""
    server.then(answer(status, {}))
    with pytest.raises(Exception, match="may have acted") as caught:
        client.create_plugin({"name": "x"})
    assert caught.value.effect.value == "unknown"  # type: ignore[attr-defined]


def _bytes(data: bytes) -> Step:
    def step(_server: ScriptedServer, sock: socket.socket, _request: Received) -> bool:
        sock.sendall(data)
        return True

    return step


def test_a_client_that_nobody_has_is_freed_with_its_connections(server: ScriptedServer) -> None:
    """urllib3 keeps a registry of pools for the end of the process: nothing in it leads back."""
    server.then(answer(body={"id": 1}), answer(body={"id": 2}))
    client = BackendClient(server.url, "tok-1")
    client.get_plugin(1)
    client.get_plugin(2)
    transport = weakref.ref(client._transport)
    client.close()
    del client
    gc.collect()
    assert transport() is None
