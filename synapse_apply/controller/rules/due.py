"""When a target or a source is looked at next: intervals, retries, first looks, clocks that jump.

Each `chance` is a number from 0 up to 1 (excluded) that the caller draws. Due times are of the wall
clock; when that jumps, all of them are moved by as much, so that what was due in a minute still is.
"""

from __future__ import annotations

from synapse_apply.controller.settings import Defaults, Source, TargetRule

# A wall clock is set in smaller steps all the time; more than this, in seconds, is a jump.
JUMP_SECONDS = 2.0
# The share of a retry's longest delay that passes in any case.
_RETRY_FLOOR = 0.05
_MAX_DOUBLINGS = 30
# A webhook makes one poll come sooner; a flood of them makes no more than one in so many seconds.
MIN_POLL_SECONDS = 5.0
# How soon a target is looked at again whose state another run had locked for the whole look.
HELD_UP_SECONDS = 30.0
# The same for one with an open call that is too young to tell whether the server acted on it.
SETTLING_SECONDS = 30.0


def get_interval_or_default(rule: TargetRule, defaults: Defaults) -> float:
    """The interval of a rule's targets, in seconds."""
    return defaults.interval if rule.interval is None else rule.interval


def vary_by_jitter(interval: float, jitter: float, chance: float) -> float:
    """An interval that is longer or shorter by at most the share `jitter`."""
    return interval * (1 - jitter + 2 * jitter * chance)


def compute_retry_delay(failures: int, defaults: Defaults, chance: float) -> float:
    """Seconds until what failed so many times in a row is tried again.

    The longest delay doubles with each failure up to `retry_most`; any share of it is as likely
    (full jitter), so that what failed together is not tried again together.
    """
    doublings = min(max(failures - 1, 0), _MAX_DOUBLINGS)
    longest = min(defaults.retry_first * 2.0**doublings, defaults.retry_most)
    return longest * max(chance, _RETRY_FLOOR)


def spread_delay(interval: float, target_count: int, chance: float) -> float:
    """Seconds until the first look at a new target, one of so many that are new with it.

    Few are looked at in a moment; many are spread over their interval.
    """
    return min(interval, float(target_count - 1)) * chance


def compute_poll_delay(source: Source, defaults: Defaults, failures: int, chance: float) -> float:
    """Seconds until a source is fetched again, of which so many fetches in a row have failed."""
    if failures:
        return max(source.poll, compute_retry_delay(failures, defaults, chance))
    return vary_by_jitter(source.poll, defaults.jitter, chance)


def is_clock_jump(error: float) -> bool:
    """Whether a wall clock that is ahead by `error` seconds (behind if negative) has jumped."""
    return abs(error) > JUMP_SECONDS


def compute_longest_delay(interval: float, defaults: Defaults) -> float:
    """The longest time, in seconds, that any target of this interval is ever put off.

    A due time further away was written before the clock was set back, while nobody watched it.
    """
    return max(interval * (1 + defaults.jitter), defaults.retry_most)
