"""Which of the calls of unknown or no effect a record remembers."""

from __future__ import annotations

from synapse_apply.model.address import Address
from synapse_apply.model.state import MAX_GIVEN_UP, Intent, IntentState, Record

PLUGIN = Address.parse("plugin/a")


def call(number: int, state: IntentState) -> Intent:
    return Intent(str(number), "plan", PLUGIN, "update", "v1", "", state=state)


def test_the_last_are_kept_and_those_that_others_wait_for_longest() -> None:
    """What was found done makes room first; among equals the oldest does."""
    record = Record(PLUGIN, "1", "v1").with_given_up(call(0, IntentState.UNKNOWN))
    for number in range(1, 9):
        record = record.with_given_up(call(number, IntentState.DONE))
    assert [one.id for one in record.given_up] == ["0", "5", "6", "7", "8"]
    for number in range(9, 9 + MAX_GIVEN_UP):
        record = record.with_given_up(call(number, IntentState.UNKNOWN))
    assert [one.id for one in record.given_up] == ["9", "10", "11", "12", "13"]
