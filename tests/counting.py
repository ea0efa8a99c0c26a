"""Counts the work of a call by the functions that it calls: the same on every machine, as seconds are not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from cProfile import Profile
from typing import Any


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
