"""Many threads' writes as few transactions: who shares, who fails, who leads next."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from synapse_apply.model.errors import LockLost, StateError
from synapse_apply.stores.lock.write_batch import WriteBatch


class Disk:
    """Transactions on a list: kept when they end well, and not before the gate is open."""

    def __init__(self):
        self.kept = []
        self.transactions = 0
        self.failures = []
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Semaphore(0)

    def commit(self, work):
        written = []

        def run(sql, values):
            if sql == "break":
                raise StateError.from_summary("The disk is full")
            written.append(values[0])
            return []

        self.begun.release()
        self.gate.wait(60)
        self.transactions += 1
        work(run)
        if self.failures:
            raise self.failures.pop(0)
        self.kept += written


def adding(value):
    def work(run):
        run("add", (value,))

    return work


def refusing(run):
    run("add", ("never",))
    raise StateError.from_summary("This piece is wrong")


def together(disk, group, *works):
    """Start all while a first transaction is under way, so that they share the next one."""
    disk.gate.clear()
    with ThreadPoolExecutor(len(works) + 1) as pool:
        first = pool.submit(group.write_durably, adding("first"))
        disk.begun.acquire()
        rest = [pool.submit(group.write_durably, work) for work in works]
        while len(group._queue) < len(works):
            pass
        disk.gate.set()
        return [first.exception(10), *(one.exception(10) for one in rest)]


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def group(disk):
    return WriteBatch(disk.commit)


def test_one_thread_writes_a_transaction_each(disk, group):
    """Nothing is held back to wait for company."""
    for value in range(3):
        group.write_durably(adding(value))
        assert disk.kept[-1] == value
    assert disk.transactions == 3


def test_who_comes_meanwhile_shares_the_next_transaction(disk, group):
    """Eight writes behind one that is under way are one transaction."""
    assert together(disk, group, *map(adding, range(8))) == [None] * 9
    assert sorted(disk.kept[1:]) == list(range(8))
    assert disk.transactions == 2


def test_a_wrong_piece_fails_alone(disk, group):
    """The others of its transaction are written, once each."""
    ended = together(disk, group, adding("a"), refusing, adding("b"), refusing)
    assert [str(failure) for failure in ended if failure] == ["This piece is wrong"] * 2
    assert sorted(disk.kept) == ["a", "b", "first"]


def test_what_the_database_refuses_is_refused_to_all(disk, group):
    """A failed commit is everybody's, each with an exception of its own."""

    def breaking(run):
        run("break", ())

    ended = together(disk, group, adding("a"), breaking, adding("b"))
    assert [str(failure) for failure in ended[1:]] == ["The disk is full"] * 3
    assert len({id(failure) for failure in ended[1:]}) == 3
    assert disk.kept == ["first"]
    group.write_durably(adding("after"))
    assert disk.kept[-1] == "after"


def test_a_lost_lock_is_lost_to_all(disk, group):
    """The kind of the failure stays, since the exit code hangs on it."""
    disk.failures = [LockLost.from_summary("Lost"), LockLost.from_summary("Lost")]
    ended = together(disk, group, adding("a"), adding("b"))
    assert [type(failure) for failure in ended] == [LockLost] * 3
    assert disk.kept == []


def test_many_threads_lose_and_double_nothing(disk, group):
    """Every write that returned is kept once, whoever led."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda value: group.write_durably(adding(value)), range(2000)))
    assert sorted(disk.kept) == list(range(2000))
    assert disk.transactions <= 2000


def test_an_interrupted_leader_leaves_nobody_waiting(disk, group):
    """What it led ends with it, and the next write goes on."""

    def interrupted(run):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        group.write_durably(interrupted)
    group.write_durably(adding("after"))
    assert disk.kept == ["after"]
