"""Which of the calls of unknown or no effect a record remembers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from synapse_apply.model.address import Address
from synapse_apply.model.state import MAX_ACTING, MAX_GIVEN_UP, Intent, IntentState, Record
from synapse_apply.model.values import Fields

PLUGIN = Address.parse("plugin/a")
SETTLE_AFTER = 30.0
NONE = Record(PLUGIN, "1", "v1")
UNKNOWN, DONE, ABSENT = IntentState.UNKNOWN, IntentState.DONE, IntentState.ABSENT


def call(number: int, state: IntentState, apart: float = 1000.0) -> Intent:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number * apart)
    return Intent(
        str(number),
        "plan",
        PLUGIN,
        "update",
        "v1",
        "",
        state=state,
        deadline=60.0,
        sent_at=moment.isoformat(),
    )


def kept(record: Record, *calls: Intent) -> tuple[Record, list[int]]:
    for one in calls:
        record = record.with_given_up(one, SETTLE_AFTER)
    return record, [int(one.id) for one in record.given_up]


def test_the_last_are_kept_and_those_of_unknown_outcome_longest() -> None:
    """What was found done makes room first; among equals the oldest does."""
    record, ids = kept(NONE, call(0, UNKNOWN), *(call(number, DONE) for number in range(1, 9)))
    assert ids == [0, 5, 6, 7, 8]
    new = range(9, 9 + MAX_GIVEN_UP)
    assert kept(record, *(call(number, UNKNOWN) for number in new))[1] == [*new]


def test_none_is_dropped_that_may_still_act() -> None:
    """Not even one that was found done, or closed by hand: it may act again, or after all."""
    first = call(0, UNKNOWN, 1.0), call(1, ABSENT, 1.0), call(2, DONE, 1.0)
    record, ids = kept(NONE, *first, *(call(number, UNKNOWN, 1.0) for number in range(3, 10)))
    assert ids == [*range(10)]
    # Once they can act no more, they make room.
    assert kept(record, call(1000, DONE, 1.0))[1] == [6, 7, 8, 9, 1000]


def test_of_those_that_may_act_there_is_an_end() -> None:
    """Then those that were found done go, and the oldest."""
    calls = (call(number, DONE if number == 7 else UNKNOWN, 0.01) for number in range(MAX_ACTING))
    record, ids = kept(NONE, *calls)
    assert ids == [*range(MAX_ACTING)]
    record, ids = kept(record, call(MAX_ACTING, UNKNOWN, 0.01))
    assert ids == [number for number in range(MAX_ACTING + 1) if number != 7]
    assert kept(record, call(MAX_ACTING + 1, UNKNOWN, 0.01))[1][0] == 1


def test_repeats_of_one_call_do_not_push_out_another() -> None:
    """The first one would change another field: whoever forgets it lets a newer value go out."""
    name, other = {("name",): "ten"}, {("description",): "four"}
    assert_first_is_kept(other, name)


@pytest.mark.parametrize("nested", [False, True])
def test_true_is_no_repeat_of_1(nested: bool) -> None:
    """In Python they are equal, and no backend takes one for the other."""
    sides = [{("configuration",): [{"x": one}] if nested else one} for one in (True, 1)]
    assert_first_is_kept(*sides)
    assert (
        replace(call(0, UNKNOWN), fields=sides[1]).effect
        == replace(call(1, UNKNOWN), fields=sides[1]).effect
    )


def assert_first_is_kept(other: Fields, name: Fields) -> None:
    """A call is remembered, however often another one is sent after it."""
    first = replace(call(0, UNKNOWN, 0.01), fields=other)
    repeats = (
        replace(call(number, UNKNOWN, 0.01), fields=name) for number in range(1, 2 * MAX_ACTING)
    )
    record, ids = kept(NONE, first, *repeats)
    assert ids[0] == 0
    assert ids[-1] == 2 * MAX_ACTING - 1
    assert len(record.given_up) == MAX_ACTING
