"""Sends calls: deadlines, repeats where a repeat is harmless, redirects, answers read whole."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from synapse_apply.client import failures
from synapse_apply.client.answers import Answer
from synapse_apply.client.calls import Call
from synapse_apply.client.connections import FLIGHT, Flight, TimedAdapter
from synapse_apply.client.deadlines import Backoff, Clock, Deadline, Limits
from synapse_apply.client.errors import ClientError, NotSentError, RateLimitError
from synapse_apply.client.events import OnRateLimit, OnRequest, RequestEvent
from synapse_apply.client.multipart import MultipartBody
from synapse_apply.client.surroundings import Route

_log = logging.getLogger(__name__)
_BLOCK = 64 * 1024
_HOPS = 5


@dataclass(frozen=True, slots=True)
class Timing:
    """Time as the transport sees it; tests bring their own."""

    clock: Clock = time.monotonic
    now: Clock = time.time
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Options:
    """How calls are sent. `resend_limited`: a 429, which was not acted on, is sent again."""

    limits: Limits = field(default_factory=Limits)
    backoff: Backoff = field(default_factory=Backoff)
    timing: Timing = field(default_factory=Timing)
    resend_limited: bool = True
    connections: int = 32
    on_request: OnRequest | None = None
    on_rate_limit: OnRateLimit | None = None


@dataclass(frozen=True, slots=True)
class _Ended:
    """How one attempt ended: with an answer or an error, and whether it had left."""

    answer: Answer | None
    error: ClientError | None
    sent: bool


class Transport:
    """Sends calls to one backend; safe for many threads at once."""

    def __init__(
        self, route: Route, headers: Mapping[str, Mapping[str, str]], options: Options
    ) -> None:
        """`headers` say who calls, by API version; they go to the route's origin, to no other."""
        self._route = route
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": "synapse-apply",
        }
        self._who = headers
        self._options = options
        self._closed = False
        self._session = requests.Session()
        self._session.trust_env = False  # the route has what the environment says, read once
        adapter = TimedAdapter(options.connections)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    @property
    def limits(self) -> Limits:
        return self._options.limits

    def close(self) -> None:
        """Close the connections; calls fail from now on."""
        self._closed = True
        self._session.close()

    def send(self, call: Call) -> Answer:
        """The successful answer (2xx). ClientError for everything else."""
        error = self._run(call)
        if isinstance(error, Answer):
            return error
        raise error

    def _run(self, call: Call) -> Answer | ClientError:
        options = self._options
        deadline = Deadline(options.timing.clock, options.limits.seconds_for(call.upload_size))
        for attempt in range(1, options.backoff.repeats + 2):
            ended = self._observed(call, deadline, attempt)
            if ended.error is None:
                break
            if attempt > options.backoff.repeats or not self._may_repeat(call, ended):
                break
            asked = ended.answer.retry_after if ended.answer else None
            wait = options.backoff.wait(attempt, asked)
            if wait >= deadline.remaining():
                break
            options.timing.sleep(wait)
        if ended.error is not None:
            return ended.error
        if ended.answer is None:  # pragma: no cover - an attempt ends with one of the two
            raise AssertionError("an attempt without an end")
        return ended.answer

    def _may_repeat(self, call: Call, ended: _Ended) -> bool:
        """What may have reached the server is repeated only when a repeat does no harm."""
        if ended.error is None or not ended.error.transient:
            return False
        if isinstance(ended.error, RateLimitError):
            return call.repeatable or self._options.resend_limited
        return call.repeatable or not ended.sent

    def _observed(self, call: Call, deadline: Deadline, attempt: int) -> _Ended:
        options = self._options
        begun = options.timing.clock()
        ended = self._attempt(call, deadline)
        error, answer = ended.error, ended.answer
        if isinstance(error, RateLimitError) and options.on_rate_limit is not None:
            _tell(options.on_rate_limit, error.retry_after)
        if options.on_request is not None:
            event = RequestEvent(
                method=call.method,
                path=call.shown_path,
                status=answer.status if answer else 0,
                seconds=options.timing.clock() - begun,
                request_id=answer.request_id if answer else None,
                attempt=attempt,
                mutates=call.mutates,
                failure=type(error).__name__ if error else None,
            )
            _tell(options.on_request, event)
        return ended

    def _attempt(self, call: Call, deadline: Deadline) -> _Ended:
        """One attempt, redirects of a harmless call included."""
        if self._closed:
            return _Ended(None, NotSentError(f"{call}: not sent: the client is closed"), sent=False)
        flight = self._flight(call, deadline)
        url, query, hops = self._route.base + call.path, call.query, 0
        while True:
            ended = self._exchange(call, url, query, flight, deadline)
            answer = ended.answer
            if answer is None or ended.error is not None or 200 <= answer.status < 300:
                return ended
            if not 300 <= answer.status < 400:
                return _Ended(answer, failures.from_status(call, answer), flight.sent)
            url, query, hops = _leads_to(url, answer), (), hops + 1
            if hops > _HOPS or not call.repeatable or not self._route.is_own(url):
                error = failures.from_redirect(call, answer, _origin(url))
                return _Ended(answer, error, flight.sent)

    def _flight(self, call: Call, deadline: Deadline) -> Flight:
        # A server that has a large package to store may say nothing for long.
        reading = deadline.remaining() if call.upload_size else self.limits.read
        return Flight(
            deadline, writing=self.limits.read, reading=reading, repeatable=call.repeatable
        )

    def _exchange(
        self, call: Call, url: str, query: Any, flight: Flight, deadline: Deadline
    ) -> _Ended:
        token = FLIGHT.set(flight)
        answer: Answer | None = None
        failure: Exception
        try:
            response = self._request(call, url, query, deadline)
            # The status line is here; what comes after it can only add to it.
            answer = self._answer(response, b"", complete=False)
            return self._received(call, response, flight)
        except failures.LIBRARY_ERRORS as caught:
            failure = caught
        finally:
            FLIGHT.reset(token)
        if answer is not None and answer.status >= 400 and not call.repeatable:
            return _Ended(answer, None, flight.sent)
        error = failures.from_exception(call, failure, sent=flight.sent, late=deadline.passed)
        return _Ended(None, error, flight.sent)

    def _request(self, call: Call, url: str, query: Any, deadline: Deadline) -> requests.Response:
        headers = {**self._headers, **self._who[call.api]}
        if call.content_type:
            headers["Content-Type"] = call.content_type
        if isinstance(call.body, MultipartBody):
            call.body.rewind()
        # No body is b"": a POST without one still says Content-Length: 0.
        request = requests.Request(
            call.method, url, headers=headers, params=query, data=call.body
        ).prepare()
        left = max(deadline.remaining(), 0.001)
        # Past Session.send, which reads a redirect's whole body and parses where it leads.
        return self._session.get_adapter(url).send(
            request,
            stream=True,
            timeout=(min(self.limits.connect, left), left),
            verify=self._route.verify,
            proxies=dict(self._route.proxies),
        )

    def _received(self, call: Call, response: requests.Response, flight: Flight) -> _Ended:
        body = bytearray()
        with response:
            for block in response.iter_content(_BLOCK):
                body += block
                if len(body) > self.limits.answer_size:
                    answer = self._answer(response, b"", complete=False)
                    words = f"the answer has more than {self.limits.answer_size} bytes"
                    return _Ended(answer, failures.unexpected(call, answer, words), flight.sent)
        return _Ended(self._answer(response, bytes(body), complete=True), None, flight.sent)

    def _answer(self, response: requests.Response, body: bytes, *, complete: bool) -> Answer:
        now = self._options.timing.now
        return Answer(response.status_code, response.headers, body, complete, now)


def _tell(observer: Callable[[Any], None], news: Any) -> None:
    """An observer that fails must not make a call that succeeded look failed."""
    try:
        observer(news)
    except Exception:  # noqa: BLE001 - whatever it raises
        _log.exception("an observer of requests failed")


def _leads_to(url: str, answer: Answer) -> str:
    """Where a redirect leads; "" when it does not say."""
    place = answer.headers.get("Location", "")
    try:
        return urljoin(url, place) if place else ""
    except ValueError:
        return ""


def _origin(url: str) -> str:
    """Scheme and host alone: the rest may quote the request."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else ""
