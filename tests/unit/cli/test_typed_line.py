"""An answer is one line; signals are heard while it is waited for."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from synapse_apply.cli.console import read_answer_line


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """What is written to it is typed."""
    stdin, keys = os.pipe()
    with os.fdopen(stdin) as typed:
        monkeypatch.setattr(sys, "stdin", typed)
        yield keys


def test_it_is_the_next_line(keyboard: int) -> None:
    """And empty at the end of the input."""
    os.write(keyboard, b"yes\n")
    assert read_answer_line() == "yes\n"
    os.close(keyboard)
    assert read_answer_line() == ""


def test_a_signal_that_ends_nothing_leaves_the_question(
    keyboard: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of them are heard, then the line is read; nothing is left of the waiting."""
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: heard.append(number))

    def type_late() -> None:
        for count in range(2):
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGUSR1)
            # Two that wait to be heard would be one.
            until = time.monotonic() + 60
            while len(heard) == count and time.monotonic() < until:
                time.sleep(0.005)
        time.sleep(0.05)
        os.write(keyboard, b"no\n")
        os.close(keyboard)

    typist = threading.Thread(target=type_late)
    try:
        typist.start()
        assert read_answer_line() == "no\n"
    finally:
        typist.join()
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1] * 2
    assert signal.set_wakeup_fd(-1) == -1


def test_a_handler_that_raises_ends_the_wait(keyboard: int) -> None:
    """Nothing is typed at all."""

    def read_until_signal() -> None:
        # On a busy machine it comes before the timer's start has returned.
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        read_answer_line()

    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            read_until_signal()
    finally:
        signal.signal(signal.SIGUSR1, before)
        os.close(keyboard)
