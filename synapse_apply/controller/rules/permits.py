"""When calls of an apply may begin: windows, pauses, and the permit that they make.

A permit is short and is given anew all the time, so that whatever changes ends an apply soon.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import NamedTuple

from synapse_apply.controller.ports import Permit
from synapse_apply.controller.rows import PauseRow, TargetCondition, TargetName
from synapse_apply.controller.settings import Mode, TargetRule
from synapse_apply.model.cron import Window
from synapse_apply.model.frozen import frozen

PERMIT_SECONDS = 10.0


def compute_permit(
    name: TargetName,
    rule: TargetRule | None,
    pauses: Iterable[PauseRow],
    *,
    begun_rule: TargetRule,
    now: float,
    monotonic: float,
    has_claim: bool,
    is_commit_wanted: bool,
    is_stopping: bool,
    has_approvals: bool = True,
    has_new_rejection: bool = False,
) -> Permit:
    """How long calls of an apply may begin: 10 s at most, and never past the end of the windows.

    All else is as it is now, but `begun_rule`: the rule by which the apply was judged. `rule` is
    None where no rule matches the target any more. `now` is the wall clock, `monotonic` that of
    the permit. A newer head does not cut an apply: `is_commit_wanted` is asked for its first permit
    and True for all others. `has_approvals`: the approvals that it was judged by are there, and are
    enough by the rules of now; `has_new_rejection`: a person has rejected a row that it may do.
    """
    ends = (
        (is_stopping, "the controller is stopping"),
        (rule is None, "no rule in controller.yaml matches the target now"),
        (rule is not None and rule.mode is Mode.OBSERVE, "the mode is observe"),
        (
            rule is not None and _list_judging_settings(rule) != _list_judging_settings(begun_rule),
            "the target's rule in controller.yaml has changed",
        ),
        (not has_claim, "another worker has taken over the target"),
        (not has_approvals, "an approval was withdrawn, or no longer counts"),
        (has_new_rejection, "a person has rejected a row"),
        (not is_commit_wanted, "the target revision has changed"),
    )
    reason = next((reason for is_end, reason in ends if is_end), "")
    if reason or rule is None:
        return Permit(monotonic, reason)
    block = find_apply_block(rule, pauses, name, now)
    if block is not None:
        return Permit(monotonic, block.phrase)
    closes_at = compute_window_state(rule.windows, now).until
    seconds = PERMIT_SECONDS if closes_at is None else min(PERMIT_SECONDS, closes_at - now)
    return Permit(monotonic + seconds)


def _list_judging_settings(rule: TargetRule) -> tuple[object, ...]:
    """All of a rule by which rows are judged; windows and pauses are asked by the time."""
    return (
        *(rule.mode, rule.auto, rule.approvals, rule.approval_lists, rule.not_author, rule.prune),
        rule.brake_holds,
    )


CONFIGURATION = "controller.yaml"
# What datetime can show.
_DISTANT_FUTURE = 253_402_300_799.0


@frozen
class ActivePause:
    """A pause that holds now. `who` is an identity or `controller.yaml`; `until` None: for good.

    `phrase` is for people: "paused by proxy:ann until Fri 2026-11-27 18:00 UTC: release freeze".
    """

    who: str
    reason: str
    until: float | None
    phrase: str


@frozen
class ApplyBlock:
    """Why nothing is applied now, and until when (a wall-clock time; None: not foreseen).

    `condition` is PAUSED or WAITING; `phrase` says it to people.
    """

    condition: TargetCondition
    until: float | None
    phrase: str


def is_pause_active(pause: PauseRow, now: float) -> bool:
    """Whether a pause of a person has not ended yet."""
    return now < pause.until


def longest_active_pause(
    rule: TargetRule | None, pauses: Iterable[PauseRow], name: TargetName, now: float
) -> ActivePause | None:
    """The pause of a target that lasts longest, None where none holds.

    `pauses` are those of people, also others and ended ones; `rule` has that of controller.yaml.
    """
    active = [
        (pause.who, pause.reason, pause.until)
        for pause in pauses
        if is_pause_active(pause, now) and fnmatchcase(str(name), pause.scope)
    ]
    fixed = rule.pause if rule is not None else None
    if fixed is not None and (fixed.until is None or now < fixed.until):
        end = float("inf") if fixed.until is None else fixed.until
        active.append((CONFIGURATION, fixed.reason, end))
    if not active:
        return None
    who, reason, end = max(active, key=lambda pause: pause[2])
    moment = datetime.fromtimestamp(min(end, _DISTANT_FUTURE), UTC)
    is_for_good = end == float("inf")
    phrase = f"paused by {who}" + ("" if is_for_good else f" until {moment:%a %Y-%m-%d %H:%M UTC}")
    until = None if is_for_good else end
    return ActivePause(who, reason, until, f"{phrase}: {reason}" if reason else phrase)


def find_apply_block(
    rule: TargetRule, pauses: Iterable[PauseRow], name: TargetName, now: float
) -> ApplyBlock | None:
    """Why a target is not applied now: a pause before a window; None where it may be.

    Mode observe is no block: there nothing is applied but on request.
    """
    pause = longest_active_pause(rule, pauses, name, now)
    if pause is not None:
        return ApplyBlock(TargetCondition.PAUSED, pause.until, pause.phrase)
    window = compute_window_state(rule.windows, now)
    if window.is_open:
        return None
    return ApplyBlock(TargetCondition.WAITING, window.until, window.phrase)


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
        return WindowState(is_open=False, phrase="outside its windows, and none opens again")
    start, zone = min(starts, key=lambda opening: opening[0])
    phrase = f"outside its windows until {start.astimezone(zone):{_TIME}}"
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
