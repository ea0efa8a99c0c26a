"""A thread that is stopped anywhere in a group's code leaves nobody waiting and doubles nothing."""

from __future__ import annotations

import sys
import threading
from collections import Counter

import pytest

from synapse_apply.model.errors import StateError
from synapse_apply.stores.lock import write_batch as module
from synapse_apply.stores.lock.write_batch import WriteBatch

FOLLOWERS = 3


class Killed(BaseException):
    """As KeyboardInterrupt, and no test runner takes it for its own."""


class Disk:
    """Transactions on a list; the first one waits until everybody else has come."""

    def __init__(self):
        self.kept = Counter()
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.before, self.after = None, None

    def commit(self, work):
        written = []
        self.begun.set()
        self.gate.wait(60)
        work(lambda _sql, values: written.append(values[0]) or [])
        if self.before:
            raise self.before
        self.kept.update(written)
        if self.after:
            raise self.after


class StopAt:
    """A profiler that raises at the n-th place in the code of groups where a signal can get in.

    Those are the beginnings of functions, and where a call of the interpreter's own functions
    has returned. A second signal comes `again` such places later.
    """

    def __init__(self, place, again=0):
        self.left, self.again, self.fired = place, again, 0

    def __call__(self, frame, event, _arg):
        if frame.f_code.co_filename != module.__file__ or event not in {"call", "c_return"}:
            return
        self.left -= 1
        if self.left == 0 or (self.fired and self.again and self.left == -self.again):
            self.fired += 1
            raise Killed


def write(group, value, ended, profiler=None):
    def run():
        if profiler:
            sys.setprofile(profiler)
        try:
            group.write_durably(lambda run: run("add", (value,)))
            ended[value] = None
        except BaseException as failure:  # noqa: BLE001
            ended[value] = failure
        finally:
            sys.setprofile(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def scene(profiler, *, stopped_leads):
    """One thread that is stopped, and others that come before and after it."""
    disk, ended = Disk(), {}
    group = WriteBatch(disk.commit)
    threads = []
    if stopped_leads:
        threads.append(write(group, "stopped", ended, profiler))
    else:
        threads.append(write(group, "first", ended))
        disk.begun.wait(60)
        threads.append(write(group, "stopped", ended, profiler))
    threads += [write(group, f"other {number}", ended) for number in range(FOLLOWERS)]
    for _ in range(200):
        if len(group._queue) >= FOLLOWERS - 1:
            break
        threading.Event().wait(0.0005)
    disk.gate.set()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), (
        f"somebody waits for ever (place {profiler.left})"
    )
    return disk, group, ended


def check(disk, group, ended):
    """What was said to be written is, once; what failed did so in our words; the next one goes."""
    for value, failure in ended.items():
        if failure is None:
            assert disk.kept[value] == 1, value
        else:
            assert isinstance(failure, (Killed, StateError)), failure
    assert not [value for value, count in disk.kept.items() if count > 1]
    after = {}
    write(group, "after", after).join(60)
    assert after == {"after": None}
    assert disk.kept["after"] == 1


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(module, "_LEADER_CHECK_SECONDS", 0.01, raising=False)


@pytest.mark.parametrize("stopped_leads", [True, False], ids=["leader", "follower"])
@pytest.mark.parametrize("again", [0, 1, 2, 3], ids="stopped again {} later".format)
def test_a_thread_stopped_at_any_place_leaves_nobody_waiting(stopped_leads, again):
    """One run for each place; where none is reached in several runs, there is none left.

    A follower whose write is done by the time it looks passes fewer places than one that waits.
    """
    for place in range(1, 200):
        for _ in range(5):
            profiler = StopAt(place, again)
            disk, group, ended = scene(profiler, stopped_leads=stopped_leads)
            if profiler.fired:
                break
        if not profiler.fired:
            break
        check(disk, group, ended)
    assert place > 10


@pytest.mark.parametrize("failure", [Killed(), MemoryError(), KeyboardInterrupt(), SystemExit()])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_that_is_cut_short_ends_for_all_who_share_it(when, failure):
    """Whether it was durable or not: nobody is told that it was, and nobody waits."""
    disk, ended = Disk(), {}
    group = WriteBatch(disk.commit)
    threads = [write(group, "first", ended)]
    disk.begun.wait(60)
    threads += [write(group, f"other {number}", ended) for number in range(FOLLOWERS)]
    while len(group._queue) < FOLLOWERS:
        pass
    setattr(disk, when, failure)
    disk.gate.set()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert all(ended.values()), ended
    setattr(disk, when, None)
    after = {}
    write(group, "after", after).join(60)
    assert after == {"after": None}
