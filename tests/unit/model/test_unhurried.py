"""What rests of the garbage collection make old is searched for circles all the same."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from synapse_apply.model.runtime import paused_collection
from synapse_apply.model.runtime.paused_collection import pause_gc

SIZE = 1000


class Ring:
    def __init__(self) -> None:
        self.itself = self
        self.others: list[list[int]] = [[] for _ in range(SIZE)]


@pytest.fixture(autouse=True)
def thresholds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Those of Python 3.11 and 3.12, and nothing owed by the tests before."""
    monkeypatch.setattr(paused_collection, "_COLLECTION_DEBT", paused_collection._CollectionDebt())
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def enough() -> int:
    """How many rings are many beside all that this process keeps."""
    gc.collect()
    return 300 + 3 * len(gc.get_objects()) // SIZE


def left_of(count: int) -> int:
    """How many rings are still there, of as many made in rests and forgotten."""
    rings: weakref.WeakSet[Ring] = weakref.WeakSet()
    for _ in range(count):
        with pause_gc():
            rings.add(Ring())
    return len(rings)


def test_circles_made_in_many_rests_go():
    count = enough()
    assert left_of(count) < count * 0.6


def test_circles_made_between_rests_go():
    """In use while a rest ends, they are old when they are forgotten."""
    rings: weakref.WeakSet[Ring] = weakref.WeakSet()
    count = enough()
    for _ in range(count):
        ring = Ring()
        rings.add(ring)
        with pause_gc():
            pass
        del ring
    assert len(rings) < count * 0.6


@pytest.mark.parametrize("given", [(0, 10, 10), (100_000, 50, 100)], ids=["never", "the command's"])
def test_no_search_before_the_interpreter_would(given):
    count = enough()
    gc.set_threshold(*given)
    assert left_of(count) == count
