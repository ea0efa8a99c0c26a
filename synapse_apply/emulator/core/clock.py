"""Time, as one value that tests may move."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

_SEOUL = timezone(timedelta(hours=9))


@dataclass(slots=True)
class DataSetClock:
    """Seconds since the epoch, plus whatever it was moved ahead."""

    ahead: float = 0.0

    def now(self) -> float:
        # As exact as it is written, so that what an answer tells finds the same object again.
        return round(time.time() + self.ahead, 6)


def format_iso(moment: float) -> str:
    """`2026-01-02T03:04:05.000006Z`, as Django REST framework writes it."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def format_iso_in_seoul(moment: float) -> str:
    """`2026-01-02T12:04:05.000006+09:00`."""
    return datetime.fromtimestamp(moment, _SEOUL).isoformat(timespec="microseconds")


def parse_iso(text: str) -> float | None:
    """Seconds since the epoch; a time without zone is UTC; None when it is no time."""
    try:
        # An unescaped "+" of a query string arrives as a space.
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
