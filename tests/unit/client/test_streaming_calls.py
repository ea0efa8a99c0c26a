"""Answers that are taken as they arrive: their errors, their end, their time."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from failing import fails
from unit.client.scripted import (
    SILENCE,
    Received,
    ScriptedServer,
    Step,
    answer,
    head,
    raw,
    truncated,
)
from waiting import finish

from synapse_apply import BackendClient, ClientError

EVENTS = {"Content-Type": "text/event-stream"}
LINE = b'data: {"type": "log", "data": "a"}\n\n'
CHUNKED = head(200, {**EVENTS, "Transfer-Encoding": "chunked"})


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def silent_after(start: bytes) -> Step:
    """These bytes, then nothing while the server lives."""

    def step(server: ScriptedServer, sock: socket.socket, _request: Received) -> bool:
        sock.sendall(start)
        server.stopped.wait(SILENCE)
        return False

    return step


def test_a_stream_that_breaks_off(server: ScriptedServer, client: BackendClient) -> None:
    """What came whole is told first; the break is an error that may pass, never a repeat."""
    server.then(raw(CHUNKED + chunk(LINE) + b"ff\r\ndata: ha"))
    frames = client.tail_job_console_logs(7)
    assert next(frames)["type"] == "log"
    with fails("Unreachable") as caught:
        next(frames)
    assert caught.value.transient
    assert len(server.received) == 1


@pytest.mark.parametrize(("status", "kind"), [(429, "RateLimited"), (503, "ServerFault")])
def test_retry_after_before_the_stream(
    status: int, kind: str, server: ScriptedServer, client: BackendClient, waits: Any
) -> None:
    """It is waited for as the server asks; in the end it is the error."""
    busy = answer(status, {"detail": "busy"}, Retry_After="7")
    server.then(busy, raw(CHUNKED + chunk(LINE) + b"0\r\n\r\n"))
    assert len(list(client.tail_job_console_logs(7))) == 1
    assert waits == [7.0]
    server.then(*[busy] * 4)
    with fails(kind):
        list(client.tail_job_console_logs(7))


def test_silence_has_an_end(server: ScriptedServer, connect: Callable[..., BackendClient]) -> None:
    """So long a one is a lost connection."""
    client = connect(server, idle_timeout=0.3)
    server.then(silent_after(CHUNKED + chunk(LINE)))
    with fails("RemoteTimeout"):
        finish(lambda: list(client.tail_job_console_logs(7)))


def test_no_read_timeout_bounds_a_stream(
    server: ScriptedServer, connect: Callable[..., BackendClient]
) -> None:
    """What comes later than that is a line as any other."""
    client = connect(server, read_timeout=0.1, idle_timeout=SILENCE)

    def pause(scripted: ScriptedServer, sock: socket.socket, _request: Received) -> bool:
        sock.sendall(CHUNKED + chunk(LINE))
        scripted.stopped.wait(0.2)
        sock.sendall(chunk(LINE) + b"0\r\n\r\n")
        return False

    server.then(pause)
    assert len(list(client.tail_job_console_logs(7))) == 2


def test_the_longest_time_bounds_a_stream_that_lives(
    server: ScriptedServer, client: BackendClient
) -> None:
    """Heartbeats keep it alive, not for ever."""

    def beat(scripted: ScriptedServer, sock: socket.socket, _request: Received) -> bool:
        sock.sendall(CHUNKED)
        while not scripted.stopped.wait(0.02):
            sock.sendall(chunk(b": heartbeat\n\n"))
        return False

    server.then(beat)
    with fails("RemoteTimeout"):
        finish(lambda: list(client.tail_job_console_logs(7, max_seconds=0.3)))


def test_a_page_of_html_is_no_log(server: ScriptedServer, client: BackendClient) -> None:
    """A login page in between is an error, not a line."""
    server.then(answer(200, b"<html><title>Log in</title></html>", Content_Type="text/html"))
    with fails("UnexpectedAnswer"):
        list(client.tail_job_console_logs(7))


def test_console_logs_of_several_pages(server: ScriptedServer, client: BackendClient) -> None:
    """The query of `next` leads on, its host does not; a circle is an error."""
    more = {"next": "https://elsewhere.example/jobs/1/console_logs/?page=2", "results": ["a"]}
    server.then(answer(200, more), answer(200, {"next": None, "results": ["b"]}))
    assert list(client.iterate_job_console_logs(1)) == ["a", "b"]
    assert server.received[1].query == {"page": "2"}
    server.then(*[answer(200, more)] * 3)
    with fails("UnexpectedAnswer", match="loop"):
        list(client.iterate_job_console_logs(1))


def test_console_logs_larger_than_an_answer_may_be(
    server: ScriptedServer, connect: Callable[..., BackendClient]
) -> None:
    """The bound on answers is on what is held in memory; this is not held."""
    client = connect(server, max_answer_size=1000)
    server.then(answer(200, ["x" * 100] * 1000))
    assert sum(1 for _ in client.iterate_job_console_logs(1)) == 1000


def test_console_logs_that_break_off(server: ScriptedServer, client: BackendClient) -> None:
    """The error comes behind the entries that arrived."""
    server.then(raw(head(200, {"Content-Length": "100"}) + b'["a", "b'))
    found = client.iterate_job_console_logs(1)
    assert next(found) == "a"
    with fails("Unreachable"):
        next(found)
    server.then(truncated())
    with pytest.raises(ClientError):
        list(client.iterate_job_console_logs(1))


def test_console_logs_that_are_none(server: ScriptedServer, client: BackendClient) -> None:
    """Another shape is named as such."""
    server.then(answer(200, {"id": 1}))
    with fails("UnexpectedAnswer", match="an object without a list"):
        list(client.iterate_job_console_logs(1))
