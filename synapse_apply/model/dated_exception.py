"""Exceptions that end: what is let pass, until which day, and what is said of its end.

Ignored fields, exceptions of policy rules, allowed secrets and accepted differences end alike. A
day is `YYYY-MM-DD` in UTC, so days compare as texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from datetime import date, timedelta
from typing import Any

from synapse_apply.model.diagnostic import Diagnostic, Position, warning_finding
from synapse_apply.model.frozen import frozen

_TOLD_BEFORE = timedelta(days=7)
DAY_HINT = "write a date, such as 2026-12-31"
_REMOVE_HINT = "Remove the entry, or set a later `until:`."


@frozen
class DatedException:
    """Something that is let pass until the end of the day `until`.

    `subject` is what its owner lets pass, such as a pattern of addresses; `name` is what people
    are told. `address` is the resource that it is of, "" for any.
    """

    subject: Any
    name: str
    until: str
    reason: str = ""
    address: str = ""
    way_out: str = _REMOVE_HINT
    # Not compared: two files may have the same exception at different positions.
    position: Position | None = field(default=None, compare=False)

    def has_ended(self, today: str) -> bool:
        return self.until < today

    def find_warning(self, today: str) -> Diagnostic | None:
        """What to say of it today; None if it holds for more than a week."""
        reason = f" (reason: {self.reason})" if self.reason else ""
        if self.has_ended(today):
            summary = "An exception has ended"
            detail = f"{self.name} ended after {self.until}{reason}. The row is shown again."
        elif date.fromisoformat(self.until) <= date.fromisoformat(today) + _TOLD_BEFORE:
            summary = "An exception ends within a week"
            detail = f"{self.name} ends after {self.until}{reason}. Then the row is shown again."
        else:
            return None
        return warning_finding(
            summary, detail, self.way_out, position=self.position, address=self.address or None
        )


def is_day(text: str) -> bool:
    """Whether a text is a day of the calendar, as YYYY-MM-DD."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def subjects_that_hold(exceptions: Iterable[DatedException], today: str) -> tuple[Any, ...]:
    """What the exceptions let pass today."""
    return tuple(one.subject for one in exceptions if not one.has_ended(today))


def warnings_of(exceptions: Iterable[DatedException], today: str) -> tuple[Diagnostic, ...]:
    """A warning of each exception that has ended, or ends within a week."""
    found = (one.find_warning(today) for one in exceptions)
    return tuple(dict.fromkeys(warning for warning in found if warning is not None))
