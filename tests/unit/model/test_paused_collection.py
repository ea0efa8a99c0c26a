"""Garbage collection rests while values are built, and is left to whoever the process belongs to."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

from synapse_apply.model.paused_collection import pause_gc

COUNT = 300


class Ring:
    """A reference cycle."""

    def __init__(self) -> None:
        self.itself = self
        self.others: list[list[int]] = [[] for _ in range(1000)]


def test_nothing_is_collected_inside_a_pause():
    rings: weakref.WeakSet[Ring] = weakref.WeakSet()
    with pause_gc():
        for _ in range(COUNT):
            rings.add(Ring())
        assert len(rings) == COUNT


def test_cycles_of_many_pauses_are_collected_soon():
    """In use while a pause ends, or not: a program that plans for months does not grow."""
    rings: weakref.WeakSet[Ring] = weakref.WeakSet()
    for _ in range(COUNT):
        with pause_gc():
            rings.add(Ring())
        ring = Ring()
        rings.add(ring)
        with pause_gc():
            pass
        del ring
    assert len(rings) < COUNT


def test_frozen_objects_of_a_program_stay_frozen():
    gc.freeze()
    before = gc.get_freeze_count()
    with pause_gc():
        built = [[] for _ in range(1000)]
    # Other threads may drop frozen objects meanwhile; to unfreeze them leaves none.
    assert before - 10_000 < gc.get_freeze_count() <= before
    assert built


def test_a_pause_in_a_pause_ends_with_the_outer_one():
    with pause_gc():
        with pause_gc():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_collection_that_is_off_stays_off():
    gc.disable()
    try:
        with pause_gc():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_command_makes_what_it_builds_old_at_once():
    """No later collection of young objects walks over it."""
    code = (
        "import gc\n"
        "from synapse_apply.model import paused_collection as collection\n"
        "collection.tune_collector_for_command()\n"
        "with collection.pause_gc(): built = [[] for _ in range(1000)]\n"
        "print(sum(value is built for value in gc.get_objects(generation=2)), gc.isenabled())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1 True\n"
