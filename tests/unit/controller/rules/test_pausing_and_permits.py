"""What keeps a target from being applied, in which words, and how short permits are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort

from synapse_apply.controller.ports import Permit
from synapse_apply.controller.rows import PauseRow, TargetCondition, TargetName
from synapse_apply.controller.rules.permits import (
    compute_permit,
    compute_window_state,
    find_apply_block,
    longest_active_pause,
)
from synapse_apply.controller.settings import AutoRule, FixedPause, Mode, TargetRule
from synapse_apply.model.cron import Cron, Window

PROD = TargetName("acme", "prod")
NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC).timestamp()  # a Friday, 21:00 in Seoul
RULE = TargetRule("*", Mode.AUTO)
OFFICE = Window(Cron.parse("0 9 * * 1-5"), timedelta(hours=8), ZoneInfo("Asia/Seoul"))
HOUR = 3600.0


def make_pause(scope: str = "acme/*", *, hours: float = 6, reason: str = "freeze") -> PauseRow:
    return PauseRow(scope, "proxy:ann", reason, NOW - HOUR, NOW + hours * HOUR)


def test_pauses_in_words():
    """Who, until when and why."""
    found = longest_active_pause(RULE, [make_pause()], PROD, NOW)
    assert found.phrase == "paused by proxy:ann until Fri 2026-11-27 18:00 UTC: freeze"
    found = longest_active_pause(replace(RULE, pause=FixedPause("audit")), [], PROD, NOW)
    assert found.phrase == "paused by controller.yaml: audit"


def test_the_longest_pause_is_told():
    """One without an end before all others; ended ones and those of other targets never."""
    pauses = [make_pause(hours=2), make_pause("acme/prod", hours=4), make_pause("*", hours=-1)]
    pauses.append(make_pause("lab/*", hours=9))
    found = longest_active_pause(RULE, pauses, PROD, NOW)
    assert found.until == NOW + 4 * HOUR
    short = replace(RULE, pause=FixedPause("audit", NOW + HOUR))
    found = longest_active_pause(short, pauses, PROD, NOW)
    assert found.who == "proxy:ann"
    forever = replace(RULE, pause=FixedPause("audit"))
    found = longest_active_pause(forever, pauses, PROD, NOW)
    assert (found.who, found.until) == ("controller.yaml", None)
    assert longest_active_pause(replace(RULE, pause=FixedPause("x", NOW)), [], PROD, NOW) is None
    assert longest_active_pause(RULE, [make_pause(hours=0)], PROD, NOW) is None


def test_a_pause_is_told_before_a_window():
    """A window says when it opens, in its own zone."""
    rule = replace(RULE, windows=(OFFICE,))
    block = find_apply_block(rule, [make_pause()], PROD, NOW)
    assert block.condition is TargetCondition.PAUSED
    block = find_apply_block(rule, [], PROD, NOW)
    assert block.condition is TargetCondition.WAITING
    assert block.phrase == "outside its windows until Mon 2026-11-30 09:00 KST"
    assert block.until == datetime(2026, 11, 30, tzinfo=UTC).timestamp()
    assert find_apply_block(rule, [], PROD, block.until) is None
    assert find_apply_block(RULE, [], PROD, NOW) is None


def permit(
    rule: TargetRule | None = RULE,
    *pauses: PauseRow,
    now: float = NOW,
    begun_rule: TargetRule = RULE,
    has_claim: bool = True,
    is_commit_wanted: bool = True,
    is_stopping: bool = False,
    has_approvals: bool = True,
) -> Permit:
    return compute_permit(
        PROD,
        rule,
        pauses,
        begun_rule=begun_rule,
        now=now,
        monotonic=50.0,
        has_claim=has_claim,
        is_commit_wanted=is_commit_wanted,
        is_stopping=is_stopping,
        has_approvals=has_approvals,
    )


def test_a_permit_is_for_ten_seconds():
    """From the given time of the counting clock, without a reason."""
    assert permit() == Permit(60.0)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (permit(is_stopping=True), "the controller is stopping"),
        (permit(None), "no rule in controller.yaml matches the target now"),
        (permit(replace(RULE, mode=Mode.OBSERVE)), "the mode is observe"),
        (
            permit(replace(RULE, mode=Mode.APPROVE)),
            "the target's rule in controller.yaml has changed",
        ),
        (
            permit(replace(RULE, auto=AutoRule(causes=frozenset()))),
            "the target's rule in controller.yaml has changed",
        ),
        (permit(has_claim=False), "another worker has taken over the target"),
        (permit(is_commit_wanted=False), "the target revision has changed"),
        (permit(has_approvals=False), "an approval was withdrawn, or no longer counts"),
        (permit(RULE, make_pause()), "paused by proxy:ann until Fri 2026-11-27 18:00 UTC: freeze"),
        (
            permit(replace(RULE, windows=(OFFICE,))),
            "outside its windows until Mon 2026-11-30 09:00 KST",
        ),
    ],
)
def test_why_there_is_no_permit(found, reason):
    """Nothing begins from that moment on, and the reason is one for people."""
    assert found == Permit(50.0, reason)


@effort(15, 600)
@given(st.floats(0, 7 * 24 * HOUR), st.sampled_from([0.0, 1.0, 9.5, 8 * HOUR - 3, 8 * HOUR - 0.5]))
def test_no_permit_lasts_past_the_end_of_the_window(offset, inside):
    """Ten seconds at most, and each moment of it is inside of a window."""
    rule = replace(RULE, windows=(OFFICE,))
    opening = datetime(2026, 11, 30, tzinfo=UTC).timestamp()
    for now in (NOW + offset, opening + inside):
        found = permit(rule, now=now)
        seconds = found.until - 50.0
        assert 0 <= seconds <= 10
        assert bool(found.reason) is not compute_window_state(rule.windows, now).is_open
        if not found.reason:
            assert seconds > 0
            assert compute_window_state(rule.windows, now + seconds * 0.999).is_open
