"""How long a call may take, when it is repeated, how many run at once, how far clocks differ."""

from __future__ import annotations

import email.utils
import math
import random
from collections.abc import Callable
from datetime import UTC
from threading import Condition, Lock

from synapse_apply.client.calls import RequestEvent
from synapse_apply.model.frozen import frozen
from synapse_apply.model.remote import ClockSkew

# The longest of the three forms (RFC 9110, 5.6.7) has 33 characters.
_MAX_DATE_LENGTH = 64
# Repeats after a 429 that are allowed beside those of the backoff.
_MAX_FREE_REPEATS = 30

Clock = Callable[[], float]

MAX_LIST_WEIGHT = 128 * 1024 * 1024


@frozen
class Limits:
    """Times in seconds, sizes in bytes, rates in bytes per second.

    `max_answer_size` bounds one decompressed body; `max_weight` the memory of one parsed answer, or
    of all pages of a list (`Answer.parsed_weight`). `total_timeout` covers a call
    with its repeats and waits; an upload gets `size / upload_rate` in addition. A streamed answer
    has no total time: it ends when nothing arrives for `idle_timeout`.
    """

    connect_timeout: float = 5.0
    read_timeout: float = 15.0
    total_timeout: float = 60.0
    upload_rate: float = 256 * 1024
    max_answer_size: int = 16 * 1024 * 1024
    max_pages: int = 10_000
    idle_timeout: float = 60.0
    max_weight: int = MAX_LIST_WEIGHT

    def timeout_with_upload(self, upload_size: int) -> float:
        """Seconds for a call, its repeats included, with an upload of this many bytes."""
        return self.total_timeout + upload_size / self.upload_rate


class Deadline:
    """A point in time on a monotonic clock."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        """A deadline `seconds` from now."""
        self._clock = clock
        self._end = clock() + seconds

    def remaining(self) -> float:
        """Seconds left, 0 when it has passed."""
        return max(0.0, self._end - self._clock())

    @property
    def is_passed(self) -> bool:
        return self.remaining() <= 0


@frozen
class Backoff:
    """Exponential waits with jitter; a Retry-After is honoured up to `max_server_wait` seconds."""

    max_repeats: int = 3
    first_wait: float = 0.5
    max_own_wait: float = 8.0
    max_server_wait: float = 60.0
    jitter: Callable[[], float] = random.random

    def compute_wait_seconds(self, attempt: int, server_wait: float | None = None) -> float:
        """Seconds to wait after this attempt (1 is the first); `server_wait` is Retry-After."""
        # At least half of the full wait: with full jitter a repeat could follow at once.
        # Bounded by 16, since 2.0 ** 1024 raises OverflowError.
        full_wait = min(self.max_own_wait, self.first_wait * 2.0 ** min(attempt - 1, 16))
        own_wait = full_wait * (0.5 + self.jitter() / 2)
        return (
            own_wait
            if server_wait is None
            else max(own_wait, min(server_wait, self.max_server_wait))
        )


class Repeats:
    """Decides after each failed attempt of one call whether another one follows, and when."""

    def __init__(
        self,
        backoff: Backoff,
        deadline: Deadline,
        *,
        rate_limits_count: bool = False,
        max_total_wait: float = math.inf,
    ) -> None:
        """`rate_limits_count`: a 429 uses up a repeat, as for calls that have no total time.

        `max_total_wait` bounds the sum of all waits, in seconds.
        """
        self._backoff = backoff
        self._deadline = deadline
        self._remaining_wait = max_total_wait
        self._rate_limits_count = rate_limits_count
        self._free_repeats = 0
        self.attempt = 1

    def wait(
        self,
        sleep: Callable[[float], None],
        *,
        is_rate_limited: bool = False,
        retry_after: float | None = None,
    ) -> bool:
        """Count the attempt and wait for the next one; False when this one was the last.

        `is_rate_limited`: it was answered 429; `retry_after`: the seconds of the Retry-After
        header.
        """
        # A 429 was not acted on and states when to come again. It uses up waiting time, but none
        # of the few repeats, unless the caller wants that.
        self._free_repeats += is_rate_limited and not self._rate_limits_count
        counted_attempts = self.attempt - self._free_repeats
        max_repeats = self._backoff.max_repeats
        if counted_attempts > max_repeats or max_repeats == 0:
            return False
        # A server that only answers 429 could hold a call without a total time for ever.
        if self._free_repeats > _MAX_FREE_REPEATS:
            return False
        wait = self._backoff.compute_wait_seconds(self.attempt, retry_after)
        # Not cut to what is left: an attempt that begins at the deadline could only fail at it.
        if wait >= min(self._deadline.remaining(), self._remaining_wait):
            return False
        self._remaining_wait -= wait
        self.attempt += 1
        sleep(wait)
        return True


def parse_retry_after(value: str | None, now: Clock) -> float | None:
    """Retry-After in seconds, from seconds or an HTTP date (RFC 9110, 10.2.3); None if unusable.

    `now` is wall-clock seconds since the epoch.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])  # thirty years at most: float() of a long text takes long
    date_seconds = parse_http_date(text)
    return None if date_seconds is None else max(0.0, date_seconds - now())


def parse_http_date(value: str | None) -> float | None:
    """An HTTP date (RFC 9110, 5.6.7) in seconds since the epoch; None if unusable."""
    if not value or len(value) > _MAX_DATE_LENGTH or not value.isascii():
        return None
    try:
        date = email.utils.parsedate_to_datetime(value)
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, ArithmeticError, TypeError, LookupError):
        return None  # an unusable date must not make a usable answer an error
    return seconds if seconds >= 0 else None


# Seconds. An HTTP date is truncated to whole seconds (RFC 9110, 5.6.7).
_DATE_RESOLUTION = 1.0


# More than `settle_after` (5 s at least) stops an apply: the age of a lost create is told by the
# clocks of the machines that share a state. The lease is no measure, because it is kept by clocks
# that only count.
class ServerClock:
    """Narrows down the clock skew with each request event, on any thread.

    The server wrote its Date at some moment between start and end of the request, so that each
    answer bounds the skew from both sides; the skew is the intersection of these ranges.
    """

    def __init__(self) -> None:
        self._skew: ClockSkew | None = None
        self._lock = Lock()

    @property
    def skew(self) -> ClockSkew | None:
        """The possible range of the skew; None until an answer has a date."""
        return self._skew

    def narrow_skew(self, event: RequestEvent) -> None:
        """Narrow the skew by the date of one attempt's answer."""
        if event.server_date is None:
            return
        ended_at = event.started_at + event.seconds
        answer_skew = ClockSkew(
            event.server_date - ended_at, event.server_date + _DATE_RESOLUTION - event.started_at
        )
        with self._lock:
            skew = self._skew or answer_skew
            common = ClockSkew(max(skew.low, answer_skew.low), min(skew.high, answer_skew.high))
            # No common range: one of the clocks was set meanwhile, so that only the new one counts.
            self._skew = common if common.low <= common.high else answer_skew


# How many calls may run at the same time against one host, and when to pause after a 429.
#
# Additive increase, multiplicative decrease, as in TCP (RFC 5681, 3.1): a 429 halves the number of
# calls, and each round of answers without one adds one.

# When a call got its slot, by the pacer's clock; see `release_slot`.
AcquisitionTime = float

_POLL_SECONDS = 0.25  # between two checks of `should_stop`


class RequestPacer:
    """Limits the calls of all threads to one host."""

    def __init__(self, max_calls: int, clock: Clock) -> None:
        """`max_calls` is the limit while the host answers no 429."""
        self._max_calls = float(max(1, max_calls))
        self._clock = clock
        self._condition = Condition()
        self._allowed_calls = self._max_calls
        self._running_calls = 0
        self._rate_limited_at = float("-inf")
        self._paused_until = float("-inf")

    @property
    def allowed_calls(self) -> int:
        """How many calls may run at the same time now."""
        return int(self._allowed_calls)

    def pause_left(self) -> float:
        """Seconds until the pause that a Retry-After asked for is over; 0 without one."""
        return max(0.0, self._paused_until - self._clock())

    def take_slot(self, should_stop: Callable[[], bool]) -> AcquisitionTime:
        """Wait for a free slot or until `should_stop`; returns the clock's time for its release.

        A slot is taken in both cases, so that each call must release it.
        """
        with self._condition:
            while self._running_calls >= self.allowed_calls and not should_stop():
                self._condition.wait(_POLL_SECONDS)
            self._running_calls += 1
            return self._clock()

    def release_slot(self, acquired_at: AcquisitionTime, *, is_answered: bool) -> None:
        """Give the slot back; `is_answered`, without a sign of overload, raises the limit."""
        with self._condition:
            self._running_calls -= 1
            # Calls that began before the last 429 say nothing about the lower limit.
            if is_answered and acquired_at > self._rate_limited_at:
                self._allowed_calls = min(
                    self._max_calls, self._allowed_calls + 1 / self._allowed_calls
                )
                self._paused_until = float("-inf")
            self._condition.notify()

    def slow_down(self, acquired_at: AcquisitionTime, retry_after: float) -> None:
        """Lower the limit after a 429 and pause `retry_after` seconds. Call before the release.

        Several 429s of calls that ran at the same time lower the limit once.
        """
        with self._condition:
            now = self._clock()
            if acquired_at > self._rate_limited_at:
                self._allowed_calls = max(1.0, self._allowed_calls / 2)
                self._rate_limited_at = now
            self._paused_until = max(self._paused_until, now + retry_after)
