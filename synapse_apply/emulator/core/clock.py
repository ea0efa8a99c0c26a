"""Which time the server has, which tests may move, and how times are written and parsed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

# The platform writes the times of jobs with this offset.
_SEOUL = timezone(timedelta(hours=9))


@dataclass(slots=True)
class DataSetClock:
    """The machine's clock plus `ahead` seconds."""

    ahead: float = 0.0

    def now(self) -> float:
        """Seconds since the epoch, rounded to microseconds."""
        # As exact as answers write it, so that a filter by an answered time finds the object.
        return round(time.time() + self.ahead, 6)


def format_iso(moment: float) -> str:
    """`2026-01-02T03:04:05.000006Z`, as Django REST framework writes it."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def format_iso_in_seoul(moment: float) -> str:
    """`2026-01-02T12:04:05.000006+09:00`."""
    return datetime.fromtimestamp(moment, _SEOUL).isoformat(timespec="microseconds")


def parse_iso_time_or_none(text: str) -> float | None:
    """Seconds since the epoch; a time without a zone is in UTC; None for another text."""
    try:
        # An unescaped "+" of a query string arrives as a space.
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        # In these zones it is written again, which the first and the last year may not fit.
        moment.astimezone(_SEOUL)
        return moment.astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None
