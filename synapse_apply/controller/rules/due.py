"""When, and in which turn, targets are looked at and statuses and messages are sent.

Each `chance` is a number from 0 up to 1 (excluded) that the caller draws. Due times are of the wall
clock; when that jumps, all of them are moved by as much, so that what was due in a minute still is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

from synapse_apply.controller.ports import SendResult
from synapse_apply.controller.rows import MessageRow, StatusRow, StatusState, StatusText, TargetRow
from synapse_apply.controller.settings import DAY, HOUR, MINUTE, Defaults, Source, TargetRule
from synapse_apply.model.frozen import replace

R = TypeVar("R", StatusRow, MessageRow)

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


def compute_longest_delay(interval: float, defaults: Defaults, *, has_failed: bool = True) -> float:
    """The longest time, in seconds, that a target of this interval is ever put off.

    A due time further away was written before the clock was set back, while nobody watched it.
    """
    longest = interval * (1 + defaults.jitter)
    return max(longest, defaults.retry_most) if has_failed else longest


# When a status or a message is sent, read back, tried again or given up.
#
# A status is a register: what is wished and what was sent are compared, and the difference is sent.

# An alarm that is a day old is noise.
MAX_MESSAGE_AGE = DAY
GIVEN_UP = "the controller could not deliver it for a day"


def is_status_due(row: StatusRow, now: float, spacing: float) -> bool:
    """Whether the difference between what a status is to show and shows is sent now.

    `spacing` is the time between two updates, in seconds; an end does not wait for it.
    """
    if row.wished == row.sent or row.refusal or now < row.try_at:
        return False
    is_end = row.wished.state is not StatusState.PENDING
    passed = now - row.sent_at
    # A clock that was set back would make it wait for ever.
    return row.sent is None or is_end or passed < 0 or passed >= spacing


def must_read_back(row: StatusRow, now: float, check_interval: float) -> bool:
    """Whether a status is read back: a minute after it was sent, then once an interval.

    A pending one, too: where somebody writes success over it, it lets a commit through a gate.
    """
    if row.sent is None or row.sent != row.wished or row.refusal or now < row.try_at:
        return False
    if row.read_at <= row.sent_at:
        return now >= row.sent_at + min(MINUTE, check_interval)
    return now >= row.read_at + check_interval or now < row.read_at


def build_status_after_send(
    row: StatusRow,
    sent: StatusText,
    result: SendResult,
    now: float,
    defaults: Defaults,
    chance: float,
) -> StatusRow:
    """A status after `sent` was sent; `row` may wish something newer by now."""
    if result.finding is None:
        return replace(row, sent=sent, sent_at=now, try_at=0.0, failures=0)
    if result.is_final:
        return replace(row, refusal=result.finding.summary)
    return _tried_again(row, result, now, defaults, chance)


def build_status_after_read(row: StatusRow, read_text: StatusText | None, now: float) -> StatusRow:
    """A status after it was read back: what the forge shows counts as sent."""
    return replace(row, sent=read_text, read_at=now, failures=0)


def after_failed_read(
    row: StatusRow, result: SendResult, now: float, defaults: Defaults, chance: float
) -> StatusRow:
    """A status that could not be read back, which is tried again later; it is never given up."""
    return _tried_again(row, result, now, defaults, chance)


def with_new_wish(row: StatusRow | None, new: StatusRow) -> StatusRow:
    """The register with another wish; `row` is the one that is there, None for none."""
    return new if row is None else replace(row, wished=new.wished)


def reminder_number(since: float, now: float) -> int:
    """The number of the day's reminder of what began at `since`; 0 within the first day."""
    return max(0, int((now - since) // DAY))


def is_message_due(row: MessageRow, now: float) -> bool:
    return not row.sent_at and not row.refusal and now >= row.try_at


def build_message_after_send(
    row: MessageRow, result: SendResult, now: float, defaults: Defaults, chance: float
) -> MessageRow:
    """A message after it was sent, or not: it is tried again for a day."""
    if result.finding is None:
        return replace(row, sent_at=now)
    if result.is_final:
        return replace(row, refusal=result.finding.summary)
    if now - row.created_at > MAX_MESSAGE_AGE:
        return replace(row, refusal=GIVEN_UP)
    return _tried_again(row, result, now, defaults, chance)


def _tried_again(row: R, result: SendResult, now: float, defaults: Defaults, chance: float) -> R:
    """As long after now as the receiver asked for, or by backoff."""
    failures = row.failures + 1
    delay = compute_retry_delay(failures, defaults, chance)
    if result.retry_after is not None:
        delay = min(max(result.retry_after, 1.0), HOUR)
    return replace(row, failures=failures, try_at=now + delay)


MAX_LOOKS_PER_HOST = 4


def choose_due_targets(
    due: Sequence[TargetRow],
    running: Iterable[TargetRow],
    worker_count: int,
    *,
    has_many_sources: bool,
    most_of_source: int | None = None,
) -> list[TargetRow]:
    """Those of the due targets that may begin beside the running ones, in their order.

    Targets of a host that is not known yet count for none. Where there are several sources, one
    worker stays free of a source that has all others, also while no other one has something due.
    `most_of_source` is how many targets of one source may be under way, None: as many as that.
    """
    running = list(running)
    by_host = Counter(row.backend_host for row in running if row.backend_host)
    by_source = Counter(row.name.source for row in running)
    # A look or an apply cannot be put off once it runs: a source whose backend does not answer
    # would keep what is pushed to another one meanwhile waiting until its timeout.
    share = max(worker_count - has_many_sources, 1) if most_of_source is None else most_of_source
    names = {row.name for row in running}
    chosen: list[TargetRow] = []
    for row in due:
        if len(running) + len(chosen) >= worker_count:
            break
        source, host = row.name.source, row.backend_host
        if row.name in names or by_source[source] >= share:
            continue
        if host and by_host[host] >= MAX_LOOKS_PER_HOST:
            continue
        chosen.append(row)
        by_source[source] += 1
        by_host[host] += 1
    return chosen
