"""Counts the work of a call, or what it would wait: the same on every machine, as seconds are not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from cProfile import Profile
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


def calls_of(work: Callable[[], Any]) -> int:
    """How many functions are called in this thread, resumed generators and those of C included."""
    profile = Profile()
    profile.enable()
    try:
        work()
    finally:
        profile.disable()
    return sum(entry.callcount for entry in profile.getstats())


@contextmanager
def calls_of_threads() -> Iterator[list[int]]:
    """The same of all threads that are started in here, so far: of a server, for example."""
    counted = [0]

    def note(_frame: Any, event: str, _argument: Any) -> None:
        counted[0] += event in {"call", "c_call"}

    threading.setprofile(note)
    try:
        yield counted
    finally:
        threading.setprofile(None)


@contextmanager
def skip_waits(module: ModuleType) -> Iterator[list[float]]:
    """Let what a module of a server of this process waits take no time; the seconds asked for."""
    asked: list[float] = []

    async def wait(seconds: float) -> None:
        asked.append(seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": wait}))
        yield asked
