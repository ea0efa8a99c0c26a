"""How many writes a slow store gets: many calls are announced together, none before its time."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from waiting import finish

from synapse_apply.applying import run as run_module
from synapse_apply.applying.run import ThreadedExecutor
from synapse_apply.stores.database import WritePace, WritePacer
from synapse_apply.stores.lock.write_batch import WriteBatch

SIZE, CALL_SECONDS, WRITE_SECONDS = 5, 0.01, 0.03


class SlowLog:
    """A store of which each batch takes a while; it remembers what is durable."""

    def __init__(self, pace):
        self.batches = []
        self.durable = set()
        self.pacer = WritePacer(pace)
        self.group = WriteBatch(self.commit, wait_for_turn=self.pacer.wait_for_turn)

    def commit(self, work):
        written = []
        self.pacer.count_write()
        work(lambda _sql, values: written.append(values[0]) or [])
        time.sleep(WRITE_SECONDS)
        self.batches.append(written)
        self.durable.update(written)

    def write(self, *value):
        self.group.write_durably(lambda run: run("add", (value,)))


def apply_pieces(log, count, *, ahead_seconds, announces_ahead=True, calls=None):
    """Announce, call and close `count` pieces; returns the calls that were not announced."""
    calls, unannounced = calls if calls is not None else [], []
    in_call, most = [], []
    mutex = threading.Lock()

    def build_piece(number, executor):
        def run_piece():
            if not announces_ahead:
                executor.acquire_slot_unless_held()
            log.write("open", number)
            executor.acquire_slot_unless_held()
            with mutex:
                in_call.append(number)
                most.append(len(in_call))
            if ("open", number) not in log.durable:
                unannounced.append(number)
            time.sleep(CALL_SECONDS)
            with mutex:
                in_call.remove(number)
                calls.append(number)
            executor.release_slot()
            log.write("close", number)

        return run_piece

    with ThreadedExecutor(SIZE, ahead_seconds) as executor:
        log.group.call_load = executor
        running, numbers = 0, iter(range(count))
        left = count
        while left or running:
            while left and executor.has_room:
                number = next(numbers)
                executor.submit(number, build_piece(number, executor))
                left, running = left - 1, running + 1
            _, failure = executor.wait_for_result()
            assert failure is None
            running -= 1
    assert max(most) <= SIZE
    return unannounced


def test_many_calls_of_a_slow_store_share_its_writes(monkeypatch):
    """300 calls are 600 writes; what was not durable was not called."""
    # Calls are as brief as they are, however busy the machine is.
    ticks = itertools.count()
    monkeypatch.setattr(run_module, "monotonic", lambda: next(ticks) / 1000)
    log, calls = SlowLog(WritePace(longest_deferral=60.0)), []
    unannounced = apply_pieces(log, 300, ahead_seconds=2.0, calls=calls)
    assert (unannounced, sorted(calls)) == ([], list(range(300)))
    assert sorted(row for batch in log.batches for row in batch) == sorted(
        (verb, number) for verb in ("open", "close") for number in range(300)
    )
    assert len(log.batches) <= 40


def test_a_call_that_is_announced_in_its_slot_does_not_wait_for_others():
    """Nothing would come: all slots are held by those who wait for the store."""
    log = SlowLog(WritePace(longest_deferral=600.0))
    finish(lambda: apply_pieces(log, 15, ahead_seconds=2.0, announces_ahead=False))


def test_one_call_after_the_other_waits_for_nothing():
    """A chain of dependents: each of them is alone."""
    log = SlowLog(WritePace(longest_deferral=600.0))
    for _ in range(3):
        finish(lambda: apply_pieces(log, 1, ahead_seconds=2.0))
    assert len(log.batches) == 6


@pytest.mark.parametrize(("count", "waited"), [(3, 0.0), (5, 20.0)])
def test_a_host_that_counts_pushes_is_spared_after_the_first_ones(count, waited):
    """Three at once, then one in ten seconds; the sum is told."""
    clock = [0.0]
    pacer = WritePacer(
        WritePace(burst=3, interval=10.0),
        lambda: clock[0],
        lambda seconds: clock.__setitem__(0, clock[0] + seconds),
    )
    told: list[float] = []
    for _ in range(count):
        pacer.wait_for_turn(lambda: False, told.append)
        pacer.count_write()
    assert (pacer.waited_seconds, clock[0]) == (waited, waited)
    assert told == [10.0, 0.0] * int(waited / 10)
