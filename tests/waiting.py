"""Waits for the end of a call so long that only one that hangs takes longer, and makes one hang."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TypeVar

import pytest
from counting import skip_waits

from synapse_apply.client.http.transport import Transport
from synapse_apply.emulator.faults import middleware

SECONDS = 60.0

T = TypeVar("T")


def finish(call: Callable[[], T]) -> T:
    """What a call gives or raises; TimeoutError for one that hangs, which is left behind."""
    ended: Future[T] = Future()

    def work() -> None:
        try:
            ended.set_result(call())
        except BaseException as raised:  # noqa: BLE001 - raised where it is waited for
            ended.set_exception(raised)

    threading.Thread(target=work, daemon=True).start()
    return ended.result(SECONDS)


def repeat_at_once(patch: pytest.MonkeyPatch) -> None:
    """Let clients of this process wait for no repetition."""
    patch.setattr(Transport, "_sleep_until_over_or_refused", lambda _self, _seconds: None)


@contextmanager
def skip() -> Iterator[list[float]]:
    """Let what faults make a backend of this process wait take no time; the seconds asked for."""
    with skip_waits(middleware) as asked:
        yield asked


@contextmanager
def hold() -> Iterator[list[float]]:
    """Let what a backend of this process hangs on last until the end; the seconds it was to last."""
    is_over = threading.Event()
    asked: list[float] = []

    async def wait(seconds: float) -> None:
        asked.append(seconds)
        await asyncio.to_thread(is_over.wait, SECONDS)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(middleware, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": wait}))
        try:
            yield asked
        finally:
            is_over.set()
