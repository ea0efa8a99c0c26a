"""Waits for the end of a call so long that only one that hangs takes longer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

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
