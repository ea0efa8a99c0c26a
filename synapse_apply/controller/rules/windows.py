"""Whether one of a rule's windows is open, when the last of them closes, when the next opens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from synapse_apply.model.runtime.cron import Window

# A window of 29 February opens once in four years, and once in eight around 2100.
_MAX_SEARCH = timedelta(days=8 * 366)
# Windows that follow one another count as one; more than so many as one without an end.
_MAX_CONSECUTIVE_WINDOWS = 100
_TIME = "%a %Y-%m-%d %H:%M %Z"


class WindowState(NamedTuple):
    """Whether something may be applied now, as far as windows go. Times are wall-clock seconds.

    `until` is when that changes: when the windows close, or the next one opens; None where it is
    not foreseen. `phrase` is "" while they are open, else for people: "outside of a window until
    Mon 2026-11-30 09:00 KST".
    """

    is_open: bool
    until: float | None = None
    phrase: str = ""


def compute_window_state(windows: Sequence[Window], now: float) -> WindowState:
    """What the windows of a rule say at a wall-clock time, in seconds.

    Windows of several entries that overlap or follow one another count as one. Without windows it
    is always open.
    """
    if not windows:
        return WindowState(is_open=True)
    moment = datetime.fromtimestamp(now, UTC)
    if any(window.find_open_window(moment) is not None for window in windows):
        end = _windows_end(windows, moment)
        return WindowState(is_open=True, until=end.timestamp() if end else None)
    starts = [
        (start, window.zone)
        for window in windows
        if (start := window.find_next_start(moment, _MAX_SEARCH)) is not None
    ]
    if not starts:
        return WindowState(is_open=False, phrase="outside of a window; none is to open")
    start, zone = min(starts, key=lambda opening: opening[0])
    phrase = f"outside of a window until {start.astimezone(zone):{_TIME}}"
    return WindowState(is_open=False, until=start.timestamp(), phrase=phrase)


def _windows_end(windows: Sequence[Window], moment: datetime) -> datetime | None:
    """When the windows that are open at a moment, and all that follow without a gap, have closed.

    None where they never close.
    """
    for _ in range(_MAX_CONSECUTIVE_WINDOWS):
        windows_now = [window.find_open_window(moment) for window in windows]
        opened = [window for window in windows_now if window is not None]
        if not opened:
            return moment
        # In UTC: times of one zone are compared by what its clock shows, also where that goes back.
        ends = [window.end.astimezone(UTC) for window in opened if window.end is not None]
        if len(ends) < len(opened):
            return None
        moment = max(ends)
    return None
