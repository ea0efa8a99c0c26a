"""Due times: none is flooded, none is forgotten, whatever the clock does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapse_apply.controller.rules import due
from synapse_apply.controller.settings import Defaults, Source, TargetRule

CHANCES = st.floats(0, 1, exclude_max=True)
DEFAULTS = Defaults()


@given(st.floats(1, 1e6), st.floats(0, 0.9), CHANCES)
def test_jitter_stays_within_its_share(interval, jitter, chance):
    """An interval is longer or shorter by no more than the jitter."""
    varied = due.vary_by_jitter(interval, jitter, chance)
    assert interval * (1 - jitter) * 0.999 <= varied <= interval * (1 + jitter) * 1.001


@given(st.integers(1, 10_000), CHANCES)
def test_retries_go_on_for_ever_and_at_most_an_hour_apart(failures, chance):
    """Never at once, never later than an hour, and no number of failures is too many."""
    assert 1 <= due.compute_retry_delay(failures, DEFAULTS, chance) <= 3600


def test_retries_back_off():
    """The longest delay doubles from 30 s up to an hour."""
    longest = [round(due.compute_retry_delay(n, DEFAULTS, 0.9999999)) for n in range(1, 10)]
    assert longest == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]


@given(st.integers(1, 100_000), CHANCES)
def test_first_looks_are_spread_over_the_interval(count, chance):
    """One is looked at now, twelve within twelve seconds, ten thousand within the interval."""
    delay = due.spread_delay(600, count, chance)
    assert 0 <= delay <= min(600, count)


def test_a_failing_source_is_polled_less_often():
    """By backoff, and never more often than a good one."""
    source = Source("acme", "url", poll=60)
    assert due.compute_poll_delay(source, DEFAULTS, 0, 0.5) == 60
    assert due.compute_poll_delay(source, DEFAULTS, 1, 0.0) == 60
    assert due.compute_poll_delay(source, DEFAULTS, 20, 0.5) == 1800


@pytest.mark.parametrize(("error", "is_jump"), [(0, False), (-2, False), (3, True), (-3, True)])
def test_a_small_step_is_no_jump(error, is_jump):
    """It is taken over as it is; a large one moves the due times, in either direction."""
    assert due.is_clock_jump(error) is is_jump


def test_no_due_time_is_further_away_than_the_longest_delay():
    """What lies beyond was written before the clock was set back."""
    assert due.compute_longest_delay(600, DEFAULTS) == 3600
    assert due.compute_longest_delay(10_000, DEFAULTS) == 12_000
    rule = TargetRule("*", interval=10.0)
    assert due.get_interval_or_default(rule, DEFAULTS) == 10
    assert due.get_interval_or_default(TargetRule("*"), DEFAULTS) == 600
