"""How the server ends while requests are under way."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from synapse_apply.emulator.core.listener import Listener, open_listening_socket


async def answer_never(_send: Any) -> None:
    await asyncio.sleep(60)


async def answer_more_than_is_read(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": bytes(100_000_000), "more_body": True})
    await asyncio.sleep(60)


@pytest.mark.parametrize("answer", [answer_never, answer_more_than_is_read])
def test_a_request_that_outlives_the_grace_period_leaves_no_connection_open(
    answer: Callable[[Any], Awaitable[None]],
) -> None:
    """Its client sees the end, and nothing is left to the garbage collector."""
    is_ready, has_begun = threading.Event(), threading.Event()

    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        has_begun.set()
        await answer(send)

    listening_socket = open_listening_socket("127.0.0.1", 0)
    listener = Listener(application, is_ready.set)
    thread = threading.Thread(target=listener.run, args=([listening_socket],))
    thread.start()
    assert is_ready.wait(60)
    with (
        socket.create_connection(listening_socket.getsockname(), timeout=60) as client,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert has_begun.wait(60)
        listener.stop()
        thread.join(60)
        assert not thread.is_alive()
        with suppress(ConnectionResetError):
            while client.recv(1 << 20):
                pass
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
