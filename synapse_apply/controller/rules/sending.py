"""When a status or a message is sent, read back, tried again or given up.

A status is a register: what is wished and what was sent are compared, and the difference is sent.
"""

from __future__ import annotations

from dataclasses import replace

from synapse_apply.controller.ports import SendResult
from synapse_apply.controller.rows import MessageRow, StatusRow, StatusState, StatusText
from synapse_apply.controller.rules.due import compute_retry_delay
from synapse_apply.controller.settings import DAY, HOUR, MINUTE, Defaults

# An alarm that is a day old is noise.
MAX_MESSAGE_AGE = DAY
GIVEN_UP = "it could not be delivered for a day"


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
    """Whether a status that shows its end is read back: a minute after, then once an interval."""
    if row.sent is None or row.sent != row.wished or row.refusal:
        return False
    if row.sent.state is StatusState.PENDING or now < row.try_at:
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
    failures = row.failures + 1
    delay = _retry_delay(result, failures, defaults, chance)
    return replace(row, failures=failures, try_at=now + delay)


def build_status_after_read(row: StatusRow, read_text: StatusText | None, now: float) -> StatusRow:
    """A status after it was read back: what the forge shows counts as sent."""
    return replace(row, sent=read_text, read_at=now, failures=0)


def after_failed_read(
    row: StatusRow, result: SendResult, now: float, defaults: Defaults, chance: float
) -> StatusRow:
    """A status that could not be read back, which is tried again later; it is never given up."""
    failures = row.failures + 1
    delay = _retry_delay(result, failures, defaults, chance)
    return replace(row, failures=failures, try_at=now + delay)


def with_new_wish(row: StatusRow | None, new: StatusRow) -> StatusRow:
    """The register with another wish; `row` is the one that is there, None for none."""
    if row is None:
        return new
    return replace(row, wished=new.wished)


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
    failures = row.failures + 1
    return replace(
        row, failures=failures, try_at=now + _retry_delay(result, failures, defaults, chance)
    )


def _retry_delay(result: SendResult, failures: int, defaults: Defaults, chance: float) -> float:
    """Seconds until it is tried again: as long as the receiver asked for, or by backoff."""
    if result.retry_after is not None:
        return min(max(result.retry_after, 1.0), HOUR)
    return compute_retry_delay(failures, defaults, chance)
