"""Cron and the windows that begin by it: what fires when, over clock changes too."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from synapse_apply.model.cron import Cron, Window

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def around(cron: str, hours: float, now: str, zone: ZoneInfo = BERLIN) -> list[str] | None:
    """Begin and end of the window as its zone's clock shows them; "" for no end."""
    window = Window(Cron.parse(cron), timedelta(hours=hours), zone)
    found = window.find_open_window(at(now))
    return [f"{side:%m-%d %H:%M%z}" if side else "" for side in found] if found else None


@pytest.mark.parametrize(
    ("now", "inside"),
    [
        ("2026-11-27T16:59:59+01:00", False),
        ("2026-11-27T17:00:00+01:00", True),
        ("2026-11-29T03:00:00+01:00", True),
        ("2026-11-30T07:59:59+01:00", True),
        ("2026-11-30T08:00:00+01:00", False),
        ("2026-11-27T16:30:00Z", True),
    ],
)
def test_a_weekend(now: str, inside: bool) -> None:
    """From its first instant, the last left out, whatever zone `now` is told in."""
    weekend = ["11-27 17:00+0100", "11-30 08:00+0100"]
    assert around("0 17 * * 5", 63, now) == (weekend if inside else None)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        # Clocks go back on Sunday 25 October 2026, and forward on Sunday 29 March 2026.
        ("2026-10-26T06:59:00+01:00", ["10-23 17:00+0200", "10-26 07:00+0100"]),
        ("2026-10-26T07:00:00+01:00", None),
        ("2026-03-30T08:59:00+02:00", ["03-27 17:00+0100", "03-30 09:00+0200"]),
        ("2026-03-30T09:00:00+02:00", None),
    ],
)
def test_a_weekend_in_which_clocks_change(now: str, expected: list[str] | None) -> None:
    """It lasts 63 hours, so that it ends an hour off by the clock on the wall."""
    assert around("0 17 * * 5", 63, now) == expected


def test_a_time_that_the_clock_skips() -> None:
    """02:30 is not there on 29 March 2026: it counts by the offset before, as 03:30."""
    assert around("30 2 * * *", 1, "2026-03-29T03:29:00+02:00") is None
    assert around("30 2 * * *", 1, "2026-03-29T03:30:00+02:00") == [
        "03-29 03:30+0200",
        "03-29 04:30+0200",
    ]


def test_a_time_that_comes_twice() -> None:
    """02:30 comes twice on 25 October 2026: the first opens the window."""
    assert around("30 2 * * *", 0.5, "2026-10-25T02:35:00+02:00") == [
        "10-25 02:30+0200",
        "10-25 02:00+0100",
    ]
    assert around("30 2 * * *", 0.5, "2026-10-25T02:35:00+01:00") is None


@pytest.mark.parametrize(
    ("cron", "now", "fires"),
    [
        ("*/15 8-9 * * *", "2026-06-03T09:45", True),
        ("*/15 8-9 * * *", "2026-06-03T10:00", False),
        ("0 0 1 jan *", "2026-01-01T00:00", True),
        ("0 12 * * MON-FRI", "2026-06-05T12:00", True),
        ("0 12 * * MON-FRI", "2026-06-06T12:00", False),
        ("0 12 * * 7", "2026-06-07T12:00", True),
        ("0 12 * * 0", "2026-06-07T12:00", True),
        ("0 12 13 * 5", "2026-06-05T12:00", True),  # a Friday or a 13th
        ("0 12 13 * 5", "2026-06-13T12:00", True),
        ("0 12 13 * 5", "2026-06-14T12:00", False),
        ("0 12 */2 * 5", "2026-06-05T12:00", True),  # a Friday, of every other day
        ("0 12 */2 * 5", "2026-06-12T12:00", False),
        ("5,35 * * * *", "2026-06-05T12:35", True),
        ("10/20 * * * *", "2026-06-05T12:50", True),
        ("10/20 * * * *", "2026-06-05T12:00", False),
        ("0 0 29 2 *", "2028-02-29T00:00", True),
    ],
)
def test_what_fires(cron: str, now: str, fires: bool) -> None:
    """Steps, ranges, lists and names mean what crontab(5) says."""
    assert (around(cron, 1 / 60, f"{now}:30+00:00", ZoneInfo("UTC")) is not None) is fires


def test_windows_that_touch_are_one() -> None:
    """The end is that of the last one; with no gap at all there is none."""
    nightly = around("0 0 * * 1-5", 24, "2026-06-02T12:00:00+02:00")
    assert nightly == ["06-02 00:00+0200", "06-06 00:00+0200"]
    assert around("0 0 * * *", 24, "2026-06-02T12:00:00+02:00") == ["06-02 00:00+0200", ""]


@pytest.mark.parametrize(
    ("cron", "hours"),
    [
        ("*/15 * * * *", 0.25),
        ("10,30 9-17 * * *", 15 + 2 / 3),
        ("0 9 * * 1-5", 72),
        ("0 0 1 * *", 31 * 24),
        ("0 0 29 2 *", 1461 * 24),
        ("0 12 13 * 5", 7 * 24),
    ],
)
def test_the_longest_time_between_two_starts(cron: str, hours: float) -> None:
    """Within a day, over a night, a weekend, a month, up to a leap day."""
    gap = Cron.parse(cron).compute_longest_gap()
    assert gap.total_seconds() == pytest.approx(hours * 3600)


def test_a_window_of_a_year() -> None:
    """A yearly cron is found again however long ago it fired."""
    assert around("0 0 20 12 *", 24 * 14, "2027-01-02T23:59:00+01:00") == [
        "12-20 00:00+0100",
        "01-03 00:00+0100",
    ]
    assert around("0 0 1 1 *", 24 * 300, "2026-10-27T00:00:00+01:00") is not None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0 17 * *", "a cron has 5 fields, not 4"),
        ("", "not 0"),
        ("60 * * * *", "`60` is not a valid minute (0 to 59)"),
        ("* 24 * * *", "`24` is not a valid hour"),
        ("* * 0 * *", "`0` is not a valid day of the month (1 to 31)"),
        ("* * * foo *", "`foo` is not a valid month"),
        ("* * * * 8", "`8` is not a valid day of the week"),
        ("* * * * fri-mon", "`fri-mon` of the day of the week runs backwards"),
        ("*/0 * * * *", "`*/0` is not a step of the minute"),
        ("*/x * * * *", "`*/x` is not a step"),
        ("1- * * * *", "`` is not a valid minute"),
        ("-1 * * * *", "`` is not a valid minute"),
        ("1,,2 * * * *", "`` is not a valid minute"),
        ("² * * * *", "`²` is not a valid minute"),
        ("0 0 31 2,4 *", "no such day exists"),
        ("@weekly", "not 1"),
    ],
)
def test_what_is_no_cron(text: str, problem: str) -> None:
    """The reason names the part that is wrong."""
    with pytest.raises(ValueError, match=re.escape(problem)):
        Cron.parse(text)
