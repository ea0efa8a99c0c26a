"""What keeps a target from being applied now: a pause of the file or of a person, or no window."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from synapse_apply.controller.rows import PauseRow, TargetCondition, TargetName
from synapse_apply.controller.rules.windows import compute_window_state
from synapse_apply.controller.settings import TargetRule
from synapse_apply.model.frozen import frozen

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
        _build_active_pause(pause.who, pause.reason, pause.until)
        for pause in pauses
        if is_pause_active(pause, now) and fnmatchcase(str(name), pause.scope)
    ]
    fixed = rule.pause if rule is not None else None
    if fixed is not None and (fixed.until is None or now < fixed.until):
        active.append(_build_active_pause(CONFIGURATION, fixed.reason, fixed.until))
    return max(active, key=_get_end_or_infinity, default=None)


def find_apply_block(
    rule: TargetRule, pauses: Iterable[PauseRow], name: TargetName, now: float
) -> ApplyBlock | None:
    """Why a target is not applied now: a pause before a window; None where it may be.

    Mode observe is no block: there nothing is ever applied.
    """
    pause = longest_active_pause(rule, pauses, name, now)
    if pause is not None:
        return ApplyBlock(TargetCondition.PAUSED, pause.until, pause.phrase)
    window = compute_window_state(rule.windows, now)
    if window.is_open:
        return None
    return ApplyBlock(TargetCondition.WAITING, window.until, window.phrase)


def _build_active_pause(who: str, reason: str, until: float | None) -> ActivePause:
    end = f" until {_format_time(until)}" if until is not None else ""
    return ActivePause(who, reason, until, f"paused by {who}{end}{f': {reason}' if reason else ''}")


def _format_time(when: float) -> str:
    return f"{datetime.fromtimestamp(min(when, _DISTANT_FUTURE), UTC):%a %Y-%m-%d %H:%M UTC}"


def _get_end_or_infinity(pause: ActivePause) -> float:
    return float("inf") if pause.until is None else pause.until
