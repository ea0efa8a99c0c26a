"""How small requests are sent to a server that is not the backend: bounded in time and size.

No redirect is followed and no header is added that could identify anybody: who asks decides what
an answer means.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import field

from synapse_apply.client import failures
from synapse_apply.client.http.connections import (
    Attempt,
    Policy,
    Request,
    TimedAdapter,
    decoded_blocks,
    open_answer,
)
from synapse_apply.client.http.environment import BackendRoute
from synapse_apply.client.http.pacing import Backoff, Deadline, Repeats, parse_retry_after
from synapse_apply.model.frozen import frozen
from synapse_apply.model.remote import HttpAnswer, HttpExchangeError, HttpFault, HttpRequest

_HEADERS = {
    "Accept": "application/json",
    # A compressed body could inflate beyond its limit before it is counted.
    "Accept-Encoding": "identity",
    "User-Agent": "synapse-apply",
}


@frozen
class ExchangeLimits:
    """Times in seconds, sizes in bytes; `total_timeout` covers a request with its repeats."""

    connect_timeout: float = 5.0
    read_timeout: float = 10.0
    total_timeout: float = 20.0
    max_answer_size: int = 2 * 1024 * 1024
    backoff: Backoff = field(default_factory=lambda: Backoff(max_repeats=2, first_wait=0.25))


class HttpExchanger:
    """Sends requests that are harmless to repeat to one server; safe for many threads."""

    def __init__(
        self,
        route: BackendRoute,
        limits: ExchangeLimits | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._route = route
        self._limits = limits or ExchangeLimits()
        self._sleep = sleep
        self._adapter = TimedAdapter(2, route)

    def close(self) -> None:
        """Close the connections."""
        with suppress(OSError):
            self._adapter.close()

    def send_request(self, request: HttpRequest) -> HttpAnswer:
        """The answer to a request, which is sent again where that may help.

        HttpExchangeError without a whole answer.
        """
        limits = self._limits
        deadline = Deadline(time.monotonic, min(limits.total_timeout, request.max_seconds))
        repeats = Repeats(limits.backoff, deadline, rate_limits_count=True)
        while True:
            answer, failure, wait = None, None, None
            try:
                answer = self._send_once(request, deadline)
            except HttpExchangeError as caught:
                failure = caught
            if _may_repeat(request, answer, failure):
                retry_after = answer.headers.get("retry-after") if answer else None
                wait = repeats.next_wait(
                    is_rate_limited=answer is not None and answer.status == 429,
                    retry_after=parse_retry_after(retry_after, time.time),
                )
            if wait is None and answer is not None:
                return answer
            if wait is None and failure is not None:
                raise failure
            self._sleep(wait or 0.0)

    def _send_once(self, request: HttpRequest, deadline: Deadline) -> HttpAnswer:
        limits = self._limits
        # The libraries log paths, and a redirect's path has words of the server.
        policy = Policy(
            deadline, lambda _: "", limits.connect_timeout, limits.read_timeout, limits.read_timeout
        )
        url = self._route.base_url.rstrip("/") + request.path
        sent = Request(request.method, url, {**_HEADERS, **request.headers}, request.body or None)
        try:
            with open_answer(self._adapter, sent, Attempt(policy)) as response:
                # The whole answer; HttpExchangeError for one that is too large or encoded.
                limit = self._limits.max_answer_size
                headers = {name.lower(): value for name, value in response.headers.items()}
                if headers.get("content-encoding", "identity").strip().lower() != "identity":
                    raise HttpExchangeError(
                        HttpFault.BROKEN, "the answer is encoded in a way that was not asked for"
                    )
                body = bytearray()
                for block in decoded_blocks(response):
                    body += block
                    if len(body) > limit:
                        reason = f"the answer has more than {limit // 1024} KiB"
                        raise HttpExchangeError(HttpFault.TOO_LARGE, reason)
                return HttpAnswer(response.status, headers, bytes(body))
        except failures.LIBRARY_ERRORS as caught:
            failure = _exchange_error(caught, is_late=deadline.is_passed)
        # Raised outside of the handler, so that no exception of a library, which may quote the
        # request, is chained to it.
        raise failure


def _may_repeat(
    request: HttpRequest, answer: HttpAnswer | None, failure: HttpExchangeError | None
) -> bool:
    if answer is not None:
        return answer.status in request.repeated_statuses
    return failure is not None and failure.fault is HttpFault.UNREACHABLE


def _exchange_error(failure: Exception, *, is_late: bool) -> HttpExchangeError:
    """The error for an exception of an HTTP library, without that exception's text."""
    causes = list(failures.causes_of(failure))
    reason = failures.explain(causes)
    if is_late or any(failures.is_timeout(cause) for cause in causes):
        return HttpExchangeError(HttpFault.TIMEOUT, "no whole answer in time")
    if any(failures.is_tls(cause) for cause in causes):
        return HttpExchangeError(HttpFault.UNTRUSTED, reason)
    if isinstance(failure, failures.INCOMPLETE_ERRORS):
        return HttpExchangeError(HttpFault.BROKEN, reason)
    return HttpExchangeError(HttpFault.UNREACHABLE, reason)
