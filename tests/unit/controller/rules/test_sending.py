"""Statuses are a register and messages a queue: what is sent when, and when it is given up."""

from dataclasses import replace

import pytest

from synapse_apply.controller.ports import SendResult
from synapse_apply.controller.rows import (
    MessageRow,
    RevisionRow,
    SourceRow,
    StatusRow,
    StatusState,
    StatusText,
)
from synapse_apply.controller.rules import due, revisions
from synapse_apply.controller.settings import Defaults, Event
from synapse_apply.model.diagnostic import error_finding

DEFAULTS = Defaults()
PENDING = StatusText(StatusState.PENDING, "1 of 2", "")
MORE = StatusText(StatusState.PENDING, "2 of 3", "")
END = StatusText(StatusState.SUCCESS, "planned only: no changes", "")
ROW = StatusRow("acme", "c1", "x", PENDING)
REFUSAL = SendResult(error_finding("Forbidden"), is_final=True)
FAILED = SendResult(error_finding("Unreachable"))
LATER = SendResult(error_finding("Rate limited"), retry_after=90.0)
DONE = SendResult()


def test_updates_are_ten_seconds_apart_but_for_the_end():
    """The first is sent at once; an end never waits; nothing equal is sent."""
    assert due.is_status_due(ROW, 100.0, 10.0)
    sent = due.build_status_after_send(ROW, PENDING, DONE, 100.0, DEFAULTS, 0.5)
    assert not due.is_status_due(sent, 200.0, 10.0)
    more = replace(sent, wished=MORE)
    assert not due.is_status_due(more, 109.0, 10.0)
    assert due.is_status_due(more, 110.0, 10.0)
    assert due.is_status_due(more, 1.0, 10.0)  # the clock was set back
    assert due.is_status_due(replace(sent, wished=END), 101.0, 10.0)


def test_failures_are_tried_again_as_asked_and_a_refusal_never():
    """By the forge's own delay where it names one."""
    failed = due.build_status_after_send(ROW, PENDING, FAILED, 100.0, DEFAULTS, 0.5)
    assert (failed.failures, failed.try_at, failed.sent) == (1, 115.0, None)
    assert not due.is_status_due(failed, 114.0, 10.0)
    assert due.is_status_due(failed, 115.0, 10.0)
    later = due.build_status_after_send(failed, PENDING, LATER, 100.0, DEFAULTS, 0.5)
    assert (later.failures, later.try_at) == (2, 190.0)
    refused = due.build_status_after_send(ROW, PENDING, REFUSAL, 100.0, DEFAULTS, 0.5)
    assert refused.refusal == "Forbidden"
    assert not due.is_status_due(refused, 1e9, 10.0)
    assert not due.must_read_back(refused, 1e9, 3600.0)


@pytest.mark.parametrize("shown", [PENDING, END], ids=["pending", "end"])
def test_a_status_is_read_back_after_a_minute_and_every_hour(shown):
    """What somebody else wrote over it is found and sent again."""
    ended = replace(ROW, wished=shown, sent=shown, sent_at=100.0)
    assert not due.must_read_back(ended, 159.0, 3600.0)
    assert due.must_read_back(ended, 160.0, 3600.0)
    read = due.build_status_after_read(ended, shown, 160.0)
    assert not due.must_read_back(read, 3759.0, 3600.0)
    assert due.must_read_back(read, 3760.0, 3600.0)
    overwritten = due.build_status_after_read(ended, None, 160.0)
    assert due.is_status_due(overwritten, 161.0, 10.0)
    unread = due.after_failed_read(ended, FAILED, 160.0, DEFAULTS, 0.5)
    assert not due.must_read_back(unread, 174.0, 3600.0)
    assert due.must_read_back(unread, 175.0, 3600.0)
    assert due.with_new_wish(read, replace(ROW, wished=MORE)) == replace(read, wished=MORE)
    assert due.with_new_wish(None, ROW) == ROW


def test_a_message_is_tried_for_a_day():
    """Then it is given up, since an old alarm is noise."""
    row = MessageRow("m", "hook", "failed", "f", {}, created_at=100.0)
    assert due.is_message_due(row, 100.0)
    failed = due.build_message_after_send(row, FAILED, 100.0, DEFAULTS, 0.5)
    assert (failed.try_at, failed.failures) == (115.0, 1)
    assert not due.is_message_due(failed, 101.0)
    old = due.build_message_after_send(row, FAILED, 100.0 + 86_401, DEFAULTS, 0.5)
    assert old.refusal == "the controller could not deliver it for a day"
    assert not due.is_message_due(old, 1e9)
    sent = due.build_message_after_send(row, DONE, 101.0, DEFAULTS, 0.5)
    assert not due.is_message_due(sent, 1e9)
    refused = due.build_message_after_send(row, REFUSAL, 101.0, DEFAULTS, 0.5)
    assert refused.refusal == "Forbidden"


def test_a_source_is_told_of_at_its_third_failure_in_a_row_and_when_it_is_back():
    """One failed fetch is no news."""
    rows = [SourceRow("acme", failures=n) for n in range(6)]
    told = [revisions.find_fetch_event(rows[n], rows[n + 1]) for n in range(5)]
    assert told == [None, None, Event.FAILED, None, None]
    assert revisions.find_fetch_event(rows[2], rows[0]) is None
    assert revisions.find_fetch_event(rows[5], rows[0]) is Event.RECOVERED


def test_a_head_that_cannot_be_used_is_told_and_so_is_the_next_good_one():
    """Two good ones in a row are no news."""
    good = RevisionRow("acme", 1, "c1", 0.0)
    broken = replace(good, finding=error_finding("Duplicate key"))
    assert revisions.find_head_event(None, good) is None
    assert revisions.find_head_event(good, broken) is Event.FAILED
    assert revisions.find_head_event(broken, good) is Event.RECOVERED
    assert revisions.find_head_event(good, good) is None
