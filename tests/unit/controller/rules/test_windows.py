"""When something may be applied: the windows of a rule as one, against all minutes of some days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort

from synapse_apply.controller.rules.permits import WindowState, compute_window_state
from synapse_apply.model.cron import Cron, Window

SEOUL, BERLIN = ZoneInfo("Asia/Seoul"), ZoneInfo("Europe/Berlin")
NEW_YORK, LORD_HOWE = ZoneInfo("America/New_York"), ZoneInfo("Australia/Lord_Howe")
ZONES = [ZoneInfo("UTC"), SEOUL, BERLIN, NEW_YORK, LORD_HOWE, ZoneInfo("America/Santiago")]


def make_window(cron: str, hours: float, zone: ZoneInfo = BERLIN) -> Window:
    return Window(Cron.parse(cron), timedelta(hours=hours), zone)


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_without_windows_it_is_always_open():
    """And never closes."""
    assert compute_window_state((), 0.0) == WindowState(is_open=True)


def test_windows_of_several_entries_are_one():
    """Where they overlap or touch; with a gap of a minute they are two."""
    day, evening = make_window("0 9 * * *", 8), make_window("30 16 * * 5", 3)
    now = at("2026-11-27T10:00+01:00")
    assert compute_window_state((day, evening), now).until == at("2026-11-27T19:30+01:00")
    touching = make_window("0 17 * * *", 1)
    assert compute_window_state((day, touching), now).until == at("2026-11-27T18:00+01:00")
    later = make_window("1 17 * * *", 1)
    assert compute_window_state((day, later), now).until == at("2026-11-27T17:00+01:00")
    closed = compute_window_state((day, later), at("2026-11-27T17:00+01:00"))
    assert closed.until == at("2026-11-27T17:01+01:00")
    assert closed.phrase == "outside its windows until Fri 2026-11-27 17:01 CET"
    night = make_window("0 17 * * *", 16)
    assert compute_window_state((day, night), now) == WindowState(is_open=True)


@pytest.mark.parametrize(
    ("cron", "now", "opens"),
    [
        ("30 2 * * *", "2026-03-28T12:00+01:00", "2026-03-29T03:30+02:00"),
        ("30 2 * * *", "2026-10-24T12:00+02:00", "2026-10-25T02:30+02:00"),
        ("30 2 * * *", "2026-10-25T02:45+01:00", "2026-10-26T02:30+01:00"),
        ("0 9 29 2 *", "2026-11-27T00:00+01:00", "2028-02-29T09:00+01:00"),
        ("0 9 29 2 *", "2096-03-01T00:00+01:00", "2104-02-29T09:00+01:00"),
        ("0 0 31 12 *", "2026-12-31T00:16+01:00", "2027-12-31T00:00+01:00"),
    ],
)
def test_the_next_opening(cron, now, opens):
    """Over both clock changes of a year, and to the next leap day."""
    state = compute_window_state((make_window(cron, 0.25),), at(now))
    assert (state.is_open, state.until) == (False, at(opens))


def test_a_zone_that_left_out_a_day():
    """Samoa had no 30 December 2011: what was to start then started on the day after."""
    apia = make_window("0 10 30 12 *", 1, ZoneInfo("Pacific/Apia"))
    start = compute_window_state((apia,), at("2011-12-29T20:00-10:00")).until
    assert start == at("2011-12-31T10:00+14:00")
    assert start is not None
    assert compute_window_state((apia,), start).is_open


def test_a_start_that_is_skipped_before_midnight():
    """In Nuuk the clock goes from Saturday 22:59 to Sunday 00:00: 23:30 is at 00:30 then."""
    nuuk = make_window("30 23 * * 6", 1, ZoneInfo("America/Nuuk"))
    for now in ("2026-03-29T00:10Z", "2026-03-29T01:10Z"):
        assert compute_window_state((nuuk,), at(now)).until == at("2026-03-29T00:30-01:00")
    assert compute_window_state((nuuk,), at("2026-03-29T01:00-01:00")).is_open


def some_field(low: int, high: int, *, stars: int = 1) -> st.SearchStrategy[str]:
    numbers = st.lists(st.integers(low, high), min_size=1, max_size=3, unique=True)
    texts = numbers.map(lambda found: ",".join(map(str, found)))
    return st.integers(0, stars).flatmap(lambda number: st.just("*") if number else texts)


CRONS = st.tuples(
    st.integers(0, 59).map(str),
    some_field(0, 23),
    some_field(1, 28, stars=4),
    some_field(1, 12, stars=4),
    some_field(0, 6, stars=2),
).map(" ".join)
# Days with a clock change in one of the zones, and one without.
DAYS = [(2026, 3, 8), (2026, 3, 29), (2026, 4, 5), (2026, 9, 6), (2026, 10, 4), (2026, 10, 25)]


@effort(10, 1000)
@given(
    CRONS,
    st.sampled_from(ZONES),
    st.sampled_from([*DAYS, (2026, 11, 1), (2026, 6, 30)]),
    st.sampled_from([0.5, 1.0, 3.0]),
)
def test_every_quarter_of_two_days_agrees_with_brute_force(cron, zone, day, hours):
    """Open within the duration of a start, and the next start is the first minute that matches."""
    window = make_window(cron, hours, zone)
    begin = datetime(*day, tzinfo=zone).astimezone(UTC) - timedelta(hours=12)
    minutes = [begin + timedelta(minutes=number) for number in range(-240, 3 * 24 * 60)]
    starts = sorted({start for minute in minutes if (start := find_start(window, minute))})
    for number in range(0, 2 * 24 * 60, 97):
        now = begin + timedelta(minutes=number)
        state = compute_window_state((window,), now.timestamp())
        assert state.is_open == any(now - window.duration < start <= now for start in starts)
        if not state.is_open:
            upcoming = [start.timestamp() for start in starts if start > now]
            assert state.until is not None
            assert upcoming[:1] == ([state.until] if upcoming else [])


def find_start(window: Window, minute: datetime) -> datetime | None:
    """The start that is at this minute: the clock shows it for the first time, or skipped it."""
    cron, local = window.cron, minute.astimezone(window.zone)
    shown = [local] if not local.fold else []
    before = (minute - timedelta(hours=2)).astimezone(window.zone).utcoffset()
    assert before is not None
    # What the clock skips counts by the offset before.
    if before != local.utcoffset():
        by_old_clock = (minute + before).replace(tzinfo=window.zone)
        if by_old_clock.astimezone(UTC) == minute and by_old_clock.replace(tzinfo=None) != (
            local.replace(tzinfo=None)
        ):
            shown.append(by_old_clock)
    return next((minute for clock in shown if is_start(cron, clock)), None)


def is_start(cron: Cron, clock: datetime) -> bool:
    of_month, of_week = clock.day in cron.days, clock.isoweekday() % 7 in cron.weekdays
    day_fits = of_month or of_week if cron.either_day_matches else of_month and of_week
    return (
        day_fits
        and clock.month in cron.months
        and clock.hour in cron.hours
        and clock.minute in cron.minutes
    )
