"""Broken connections: what is repeated, what is not, and what the error says about the effect."""

from __future__ import annotations

import socket
import threading

import pytest
from forges.loopback_server import wait_until
from unit.client.scripted import answer, drip, dropped, hang, head, raw, reset, truncated
from waiting import finish

from synapse_apply import ClientError
from synapse_apply.model.errors import (
    Effect,
    RemoteTimeout,
    ServerFault,
    UnexpectedAnswer,
    Unreachable,
)

LOST = [reset, dropped, truncated, lambda: raw(b"HTTP/1.1 garbage\r\n\r\n"), lambda: answer(503)]


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("fault", LOST)
def test_reads_are_repeated(server, client, waits, fault):
    """A GET survives three faults, with a growing wait before each repeat."""
    server.then(fault(), fault(), fault(), answer(200, {"id": 1}))
    assert client.get_plugin(1) == {"id": 1}
    assert waits == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("fault", LOST)
def test_reads_give_up(server, client, fault):
    """After four attempts the fault is the caller's; a read has no effect."""
    server.then(*[fault() for _ in range(4)])
    with pytest.raises(ClientError) as caught:
        client.get_plugin(1)
    assert len(server.received) == 4
    assert caught.value.effect is Effect.NONE
    assert caught.value.transient


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("method", ["create_plugin", "update_plugin", "update_job"])
def test_writes_are_sent_once(server, client, fault, method):
    """What may have reached the server is not repeated, and its effect is unknown."""
    server.then(fault())
    arguments = ({},) if method == "create_plugin" else (1, {})
    with pytest.raises(ClientError, match="may have acted") as caught:
        getattr(client, method)(*arguments)
    assert len(server.received) == 1
    assert caught.value.effect is Effect.UNKNOWN


@pytest.mark.parametrize("fault", LOST)
def test_health_check_is_sent_once_without_effect(server, client, fault):
    """It is a read, so nothing is unknown; it is a POST, so it is not repeated."""
    server.then(fault())
    with pytest.raises(ClientError) as caught:
        client.health_check_agent("a")
    assert len(server.received) == 1
    assert caught.value.effect is Effect.NONE


def test_a_write_on_a_connection_that_went_stale_is_not_repeated(server, client, monkeypatch):
    """The server drops a kept connection as the POST arrives: nothing below sends it again."""
    monkeypatch.setattr("synapse_apply.client.http.connections.FRESH_SECONDS", 60.0)
    server.then(answer(), reset())
    client.get_plugin(1)
    with pytest.raises(Unreachable) as caught:
        client.create_plugin({})
    assert [(r.method, r.connection) for r in server.received] == [("GET", 1), ("POST", 1)]
    assert caught.value.effect is Effect.UNKNOWN


def test_a_write_avoids_a_connection_that_idled(server, client, monkeypatch):
    """After a pause a POST gets a new connection, a GET takes the kept one."""
    client.get_plugin(1)
    monkeypatch.setattr("synapse_apply.client.http.connections.FRESH_SECONDS", 0.0)
    client.get_plugin(1)
    client.create_plugin({})
    assert [r.connection for r in server.received] == [1, 1, 2]


def test_refused_connections_are_tried_again_for_writes_too(connect, waits):
    """Nothing was sent, so a POST is repeated; in the end the effect is none."""
    client = connect(f"http://127.0.0.1:{unused_port()}")
    with pytest.raises(Unreachable, match="did not reach the server") as caught:
        client.create_plugin({})
    assert len(waits) == 3
    assert (caught.value.status_code, caught.value.effect) == (0, Effect.NONE)
    assert isinstance(caught.value, Unreachable)
    assert caught.value.response is None
    assert "connection refused" in str(caught.value)


def test_unknown_host(connect):
    """A name that does not resolve is a connection error without effect."""
    with pytest.raises(Unreachable, match="cannot be resolved") as caught:
        connect("http://no-such-host.invalid").create_plugin({})
    assert caught.value.effect is Effect.NONE


def test_no_answer_in_time(server, connect):
    """A read timeout of a POST: unknown, and sent once."""
    server.then(hang())
    with pytest.raises(RemoteTimeout, match="may have acted") as caught:
        connect(server, read_timeout=0.1).create_plugin({})
    # On a busy machine the server reads what was sent to it only now.
    wait_until(lambda: bool(server.received), 60, "the request is read")
    assert len(server.received) == 1
    assert (caught.value.status_code, caught.value.effect) == (0, Effect.UNKNOWN)
    assert isinstance(caught.value, RemoteTimeout)


@pytest.mark.parametrize(
    "start",
    [head(200, {"Content-Length": "99999"}), b"HTTP/1.1 200 OK\r\nX: ", b""],
    ids=["body", "headers", "status"],
)
def test_a_dripping_answer_ends(server, connect, start):
    """A byte now and then keeps no call alive beyond its total time."""
    server.then(drip(start))
    client = connect(server, total_timeout=0.3)
    with pytest.raises(RemoteTimeout):
        finish(lambda: client.get_plugin(1))


def test_no_repeat_beyond_the_total_time(server, connect, waits):
    """A wait that would end after the deadline is not begun."""
    server.then(answer(503, Retry_After="60"), answer(503))
    with pytest.raises(ServerFault):
        connect(server, total_timeout=60).get_plugin(1)
    assert waits == []


def test_an_error_answer_whose_body_is_lost_still_has_its_status(server, client):
    """A 409 line was read: it is a conflict, not an unknown outcome."""
    server.then(truncated(409))
    with pytest.raises(ClientError) as caught:
        client.create_plugin({})
    assert (caught.value.status_code, caught.value.effect) == (409, Effect.NONE)


def test_a_truncated_success_of_a_read(server, connect):
    """It is no answer; half an object is never returned."""
    server.then(truncated())
    with pytest.raises(Unreachable, match="cut off"):
        connect(server, retries=0).get_plugin(1)


def test_undecodable_compression(server, connect):
    """A body that is not what its header says cannot be read; a call that may act was answered."""
    for _ in range(2):
        server.then(answer(200, b"not gzip", Content_Encoding="gzip"))
    client = connect(server, retries=0)
    with pytest.raises(Unreachable):
        client.get_plugin(1)
    with pytest.raises(UnexpectedAnswer, match="200 OK: its body cannot be decoded") as caught:
        client.create_plugin({})
    assert (caught.value.status_code, caught.value.effect) == (200, Effect.UNKNOWN)


def test_an_answer_too_large(server, connect):
    """Reading stops at the limit."""
    server.then(answer(200, b'"' + b"x" * 300_000 + b'"'))
    with pytest.raises(ClientError, match="more than 100000 bytes"):
        connect(server, max_answer_size=100_000).get_plugin(1)


def test_an_outer_timeout_does_not_colour_the_error(connect):
    """What the caller was handling is no cause of what failed now."""
    try:
        raise TimeoutError  # noqa: TRY301
    except TimeoutError:
        with pytest.raises(Unreachable):
            connect(f"http://127.0.0.1:{unused_port()}", retries=0).get_plugin(1)


def test_many_threads_share_a_client(server, client):
    """Every worker gets its own answer."""
    server.route = lambda _request: answer()
    wrong: list[int] = []

    def work(start: int) -> None:
        asked = range(start, start + 20)
        wrong.extend(pk for pk in asked if client.get_plugin(pk)["id"] != str(pk))

    threads = [threading.Thread(target=work, args=(n * 100,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(server.received) == 160
