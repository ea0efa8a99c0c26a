"""When a five-field cron last and next starts, and whether a window of a duration is open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import pairwise
from typing import NamedTuple

from synapse_apply.model.frozen import frozen

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MAX_DAYS_OF_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
# Consecutive windows count as one; more than so many as one without an end.
_MAX_CONSECUTIVE_WINDOWS = 60
_DAY = timedelta(days=1)
_GAP_BEGIN, _GAP_DAYS = date(2024, 1, 1), 8 * 365 + 2


@frozen
class _CronField:
    """One of the five fields: its range, and names of its numbers."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def parse_numbers(self, text: str) -> frozenset[int]:
        """The numbers of a field's text; raises ValueError with what is wrong with it."""
        return frozenset(number for part in text.split(",") for number in self._iter_range(part))

    def _iter_range(self, text: str) -> Iterator[int]:
        """The numbers of one part, such as `1-5/2`; ValueError with what is wrong with it."""
        span, slash, step = text.partition("/")
        first, dash, last = span.partition("-")
        if slash and (not step.isascii() or not step.isdigit() or int(step) == 0):
            raise ValueError(f"`{text}` is not a step of the {self.name}")
        if span == "*":
            low, high = self.low, self.high
        else:
            low = self._parse_number(first)
            # `5/10` means from 5 to the end in steps of 10, as in most cron implementations.
            high = self._parse_number(last) if dash else (self.high if slash else low)
        if low > high:
            raise ValueError(f"`{text}` of the {self.name} runs backwards")
        yield from range(low, high + 1, int(step) if slash else 1)

    def _parse_number(self, text: str) -> int:
        """The number or name in a text; ValueError for one that the field does not have."""
        if text.lower() in self.names:
            return self.names.index(text.lower()) + self.low
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= 2 else -1
        if not self.low <= number <= self.high:
            raise ValueError(f"`{text}` is not a valid {self.name} ({self.low} to {self.high})")
        return number


_MAX_LENGTH = 1000
_CRON_FIELDS = (
    _CronField("minute", 0, 59),
    _CronField("hour", 0, 23),
    _CronField("day of the month", 1, 31),
    _CronField("month", 1, 12, _MONTHS),
    _CronField("day of the week", 0, 7, _WEEKDAYS),
)


# Our own: five fields and "did it begin within the last DURATION" are one small pure function. The
# time is passed in, so that planning stays pure.
@frozen
class Cron:
    """Start times as in crontab(5): minute, hour, day, month, day of the week.

    `either_day_matches`: day of month and day of week are both restricted, so that either suffices.
    """

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day_matches: bool

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Parse the five fields of a text; raises ValueError with what is wrong with it."""
        if len(text) > _MAX_LENGTH:
            raise ValueError(f"a cron has at most {_MAX_LENGTH} characters")
        fields = text.split()
        if len(fields) != len(_CRON_FIELDS):
            raise ValueError(f"a cron has 5 fields, not {len(fields)}")
        minutes, hours, days, months, weekdays = (
            cron_field.parse_numbers(field)
            for cron_field, field in zip(_CRON_FIELDS, fields, strict=True)
        )
        # crontab(5): if both fields are restricted, the command runs when either matches.
        either_day_matches = not fields[2].startswith("*") and not fields[4].startswith("*")
        if not either_day_matches and all(
            min(days) > _MAX_DAYS_OF_MONTH[month - 1] for month in months
        ):
            raise ValueError("no such day exists")
        # Sunday may be written as 0 or 7.
        weekdays = frozenset(day % 7 for day in weekdays)
        return cls(" ".join(fields), minutes, hours, days, months, weekdays, either_day_matches)

    def find_last_start(self, now: datetime, since: datetime, zone: tzinfo) -> datetime | None:
        """The newest start after `since` and not after `now`, in UTC; None without one.

        A local time that is skipped when the clock is set forward uses the offset before; of one
        that occurs twice the first counts (PEP 495, fold=0).
        """
        # Days are those of the zone, in which the cron is written. What is skipped before midnight
        # starts after it: a day is asked together with the one before.
        day, oldest = now.astimezone(zone).date(), since.astimezone(zone).date()
        while day >= oldest:
            days = (day,) if day == date.min else (day - _DAY, day)
            starts = self._list_starts(days, since, now, zone)
            if starts:
                return max(starts)
            # A day before the first one raises OverflowError.
            if day == date.min:
                break
            day -= _DAY
        return None

    def find_next_start(self, now: datetime, until: datetime, zone: tzinfo) -> datetime | None:
        """The first start after `now` and not after `until`, in UTC; None without one.

        Local times that are skipped or occur twice are as in `find_last_start`.
        """
        day, newest = now.astimezone(zone).date() - _DAY, until.astimezone(zone).date()
        while day <= newest:
            starts = self._list_starts((day, day + _DAY), now, until, zone)
            if starts:
                return min(starts)
            day += _DAY
        return None

    def compute_longest_gap(self) -> timedelta:
        """The longest time between two starts, by a clock that is never changed.

        Eight years are looked at, which have each date on most days of the week.
        """
        minutes = sorted(hour * 60 + minute for hour in self.hours for minute in self.minutes)
        days = [
            number for number in range(_GAP_DAYS) if self._matches_day(_GAP_BEGIN + number * _DAY)
        ]
        within_day = max((after - before for before, after in pairwise(minutes)), default=0)
        overnight = minutes[0] + 24 * 60 - minutes[-1]
        between_days = max((after - before for before, after in pairwise(days)), default=_GAP_DAYS)
        longest = max(within_day, (between_days - 1) * 24 * 60 + overnight)
        return timedelta(minutes=longest)

    def _list_starts(
        self, days: Iterable[date], since: datetime, until: datetime, zone: tzinfo
    ) -> list[datetime]:
        """The starts of some days, after `since` and not after `until`."""
        starts = (
            datetime.combine(day, time(hour, minute), zone).astimezone(UTC)
            for day in days
            if self._matches_day(day)
            for hour in self.hours
            for minute in self.minutes
        )
        return [start for start in starts if since < start <= until]

    def _matches_day(self, day: date) -> bool:
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        fits = (of_month or of_week) if self.either_day_matches else (of_month and of_week)
        return fits and day.month in self.months


class OpenWindow(NamedTuple):
    """When a window began, and its exclusive end: None for one that never ends."""

    start: datetime
    end: datetime | None


@frozen
class Window:
    """Windows that start by a cron in a time zone and last `duration` of elapsed time."""

    cron: Cron
    duration: timedelta
    zone: tzinfo

    def find_open_window(self, now: datetime) -> OpenWindow | None:
        """The window that contains `now`, its times in the zone; None outside of one.

        Consecutive windows count as one; its end is None where they never end.
        """
        start = self._window_start(now)
        if start is None:
            return None
        end = start + self.duration
        for _ in range(_MAX_CONSECUTIVE_WINDOWS):
            next_start = self._window_start(end)
            if next_start is None:
                return OpenWindow(start.astimezone(self.zone), end.astimezone(self.zone))
            end = next_start + self.duration
        return OpenWindow(start.astimezone(self.zone), None)

    def find_next_start(self, now: datetime, within: timedelta) -> datetime | None:
        """When a window begins next, after `now`, in UTC; None if none does `within` that time."""
        return self.cron.find_next_start(now, now + within, self.zone)

    def _window_start(self, now: datetime) -> datetime | None:
        return self.cron.find_last_start(now, now - self.duration, self.zone)
