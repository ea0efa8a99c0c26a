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
from synapse_apply.client.http import connections
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
        self._adapter = connections.TimedAdapter(2, route)

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
            try:
                answer = self._send_once(request, deadline)
                retry_after = parse_retry_after(answer.headers.get("retry-after"), time.time)
                if answer.status not in request.repeated_statuses or not repeats.wait(
                    self._sleep, is_rate_limited=answer.status == 429, retry_after=retry_after
                ):
                    return answer
            except HttpExchangeError as failure:
                if failure.fault is not HttpFault.UNREACHABLE or not repeats.wait(self._sleep):
                    raise

    def _send_once(self, request: HttpRequest, deadline: Deadline) -> HttpAnswer:
        limits = self._limits
        # The libraries log paths, and a redirect's path has words of the server.
        attempt = connections.Attempt(
            connections.Policy(deadline, limits.connect_timeout, limits.read_timeout)
        )
        url = self._route.base_url.rstrip("/") + request.path
        sent = connections.Request(
            request.method, url, {**_HEADERS, **request.headers}, request.body or None
        )
        try:
            with connections.close_on_exit(self._adapter.open(sent, attempt)) as response:
                if connections.is_encoded_otherwise(response):
                    raise HttpExchangeError(
                        HttpFault.BROKEN, "the answer has an encoding that was not requested"
                    )
                headers = {name.lower(): value for name, value in response.headers.items()}
                body = b"".join(connections.decoded_blocks(response, limits.max_answer_size))
                return HttpAnswer(response.status, headers, body)
        except connections.LargeBodyError:
            reason = f"the answer has more than {limits.max_answer_size // 1024} KiB"
            failure = HttpExchangeError(HttpFault.TOO_LARGE, reason)
        except failures.LIBRARY_ERRORS as caught:
            breakage = failures.Breakage(caught, is_late=deadline.is_passed)
            fault, reason = HttpFault.UNREACHABLE, breakage.reason
            if breakage.is_timeout:
                fault, reason = HttpFault.TIMEOUT, "no complete answer in time"
            elif breakage.is_tls or breakage.is_incomplete:
                fault = HttpFault.UNTRUSTED if breakage.is_tls else HttpFault.BROKEN
            failure = HttpExchangeError(fault, reason)
        # Raised outside of the handler, so that no exception of a library, which may quote the
        # request, is chained to it.
        raise failure
