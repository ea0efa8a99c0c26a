"""Sends calls: deadlines, repeats where a repeat is harmless, redirects, answers read whole."""

from __future__ import annotations

import http.client
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO
from urllib.parse import urlencode

from requests.utils import requote_uri
from urllib3 import BaseHTTPResponse, Timeout

from synapse_apply.client import failures
from synapse_apply.client.answers import Answer
from synapse_apply.client.calls import Call, Query
from synapse_apply.client.connections import (
    FLIGHT,
    CutOffError,
    Flight,
    TimedAdapter,
    blocks,
    ending,
    mask_logs_with,
)
from synapse_apply.client.deadlines import Deadline, Limits, Repeats
from synapse_apply.client.errors import ClientError, RateLimitError
from synapse_apply.client.events import RequestEvent
from synapse_apply.client.masking import Redactor
from synapse_apply.client.multipart import MultipartBody
from synapse_apply.client.options import Options
from synapse_apply.client.pacing import Pace
from synapse_apply.client.redirects import leads_to, origin_of
from synapse_apply.client.storage_files import FailedFetchError, Fetching
from synapse_apply.client.surroundings import Route
from synapse_apply.model.frozen import frozen

_log = logging.getLogger(__name__)
_BLOCK = 64 * 1024
_HOPS = 5
_ENCODINGS = frozenset(("gzip", "x-gzip", "deflate", "identity"))
# A file of this size or more, in bytes, has no longer to arrive than one of it has.
_SLOWEST_FILE = 256 * 1024**2
_SLICE = 0.25  # seconds between two looks at whether there is any use in waiting


@frozen
class _Ended:
    """How one attempt ended: with an answer or an error, and whether it had left.

    `body` is what is still to come of an answer that is taken as it arrives.
    """

    answer: Answer | None
    error: ClientError | None
    sent: bool
    body: BaseHTTPResponse | None = None


class Transport:
    """Sends calls to one backend; safe for many threads at once."""

    def __init__(
        self, route: Route, headers: Mapping[str, Mapping[str, str]], options: Options
    ) -> None:
        """`headers` say who calls, by API version; they go to the route's origin, to no other."""
        self._route = route
        self._headers = {
            "Accept": "application/json",
            # Else the platform answers in Korean.
            "Accept-Language": "en",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": "synapse-apply",
        }
        self._who = headers
        self._options = options
        self._pace = Pace(options.connections, options.timing.clock)
        self._ended = ""
        self._flights: set[Flight] = set()
        self._adapter = TimedAdapter(options.connections, route)
        mask_logs_with(options.redactor)

    @property
    def limits(self) -> Limits:
        return self._options.limits

    @property
    def redactor(self) -> Redactor:
        return self._options.redactor

    @property
    def width(self) -> int:
        """How many calls are worth sending at a time: so many connections are kept."""
        return self._options.connections

    def close(self) -> None:
        """Calls under way end, and others fail from now on."""
        self.hang_up(self._ended or "the client is closed")
        self._adapter.close()

    def hang_up(self, why: str) -> None:
        """End what is under way without its answer, and send nothing more: `why` says so.

        Safe in a signal handler.
        """
        self._ended = why
        for flight in list(self._flights):
            flight.cut()

    def send(self, call: Call) -> Answer:
        """The successful answer (2xx). ClientError for everything else."""
        seconds = self.limits.seconds_for(call.upload_size)
        ended = self._run(call, Deadline(self._options.timing.clock, seconds))
        if ended.error is not None:
            raise ended.error
        if ended.answer is None:  # pragma: no cover - an attempt ends with one of the two
            raise AssertionError("an attempt without an end")
        return ended.answer

    def stream(
        self, call: Call, heard: Callable[[Answer], None], longest: float | None = None
    ) -> Iterator[bytes]:
        """The body of a successful answer as it arrives, in pieces that are never empty.

        `heard` gets the answer's head before the first of them.

        It may go on without end, as long as something comes now and then; `longest` is a bound in
        seconds for the whole of it. ClientError as for `send`, and where it breaks off half-way.
        """
        seconds = math.inf if longest is None else longest
        deadline = Deadline(self._options.timing.clock, seconds)
        ended = self._run(call, deadline)
        if ended.error is not None:
            raise ended.error
        if ended.body is None:  # pragma: no cover - a success has its body still to come
            raise AssertionError("an answer without its body")
        with ending(ended.body) as body:
            if ended.answer is not None:
                heard(ended.answer)
            if ended.answer is not None and (why := _unasked_encoding(body)):
                raise failures.unexpected(call, ended.answer, why)
            if ended.answer is not None and "html" in ended.answer.content_type:
                words = "the answer is an HTML page; check the URL of the backend"
                raise failures.unexpected(call, ended.answer, words)
            while piece := _piece(call, body, deadline):
                yield piece

    def _run(self, call: Call, deadline: Deadline) -> _Ended:
        # For a stream there is no total time that would bound its waits.
        repeats = Repeats(self._options.backoff, deadline, counts_limits=bool(call.accept))
        while True:
            ended = self._paced(call, deadline, repeats.attempt)
            if ended.error is None or not self._may_repeat(call, ended):
                return ended
            wait = repeats.wait_after_failure(
                is_limited=isinstance(ended.error, RateLimitError),
                asked=ended.answer.retry_after if ended.answer else None,
            )
            if wait is None:
                return ended
            self._rest(wait)

    def _paced(self, call: Call, deadline: Deadline, attempt: int) -> _Ended:
        """One attempt, begun when the host bears it. Who waits for a log to be written is idle."""
        if call.accept:
            return self._observed(call, deadline, attempt)

        def is_over() -> bool:
            return bool(self._refusal()) or deadline.passed

        # Who was told to wait has waited already.
        if attempt == 1 and (delay := self._pace.delay()):
            self._rest(min(delay, deadline.remaining()))
        entered = self._pace.enter(is_over)
        answered = False
        try:
            ended = self._observed(call, deadline, attempt)
            if isinstance(ended.error, RateLimitError):
                longest = self._options.backoff.longest
                self._pace.limited(entered, min(ended.error.retry_after or 0.0, longest))
            elif ended.answer is not None:
                answered = ended.answer.status < 500
        finally:
            self._pace.leave(entered, answered=answered)
        return ended

    def _may_repeat(self, call: Call, ended: _Ended) -> bool:
        """What may have reached the server is repeated only when a repeat does no harm."""
        if ended.error is None or not ended.error.transient or self._refusal():
            return False
        if isinstance(ended.error, RateLimitError):
            return call.repeatable or (self._options.resend_limited and not call.once)
        return call.repeatable or not ended.sent or failures.is_cut_short(call)

    def _refusal(self) -> str:
        """Why nothing may be sent any more, "" while it may."""
        return self._ended or self._options.refusal()

    def fetch_file(self, url: str, into: BinaryIO, most: int) -> None:
        """Write at most so many bytes of a file elsewhere, without our headers; RemoteError.

        Repeated as any read is, from the first URL and the first byte: what a redirect led to may
        have been signed for one use.
        """
        seconds, timing = self.limits.seconds_for(min(most, _SLOWEST_FILE)), self._options.timing
        deadline = Deadline(timing.clock, seconds)
        # A large file has long to arrive, which is no reason to wait long for it to begin.
        repeats = Repeats(self._options.backoff, deadline, patience=self.limits.total)
        fetching = Fetching(self._route, self.limits, deadline, self._refusal, most, timing.now)
        begin = into.tell()
        while True:
            try:
                fetching.fetch(url, into)
            except FailedFetchError as caught:
                failure = caught
            else:
                return
            wait = None
            if failure.transient and not self._refusal():
                wait = repeats.wait_after_failure(
                    is_limited=failure.status_code == http.client.TOO_MANY_REQUESTS,
                    asked=failure.retry_after,
                )
            if wait is None:
                raise failure
            self._rest(wait)
            into.seek(begin)
            into.truncate()

    def _rest(self, seconds: float) -> None:
        if self._options.timing.sleep is not None:
            self._options.timing.sleep(seconds)
            return
        until = time.monotonic() + seconds
        while not self._refusal() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE))

    def _observed(self, call: Call, deadline: Deadline, attempt: int) -> _Ended:
        options = self._options
        begun, begun_at = options.timing.clock(), options.timing.now()
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
                begun_at=begun_at,
                server_date=answer.server_date if answer else None,
            )
            _tell(options.on_request, event)
        return ended

    def _attempt(self, call: Call, deadline: Deadline) -> _Ended:
        """One attempt, redirects of a harmless call included."""
        if why := self._refusal():
            return _Ended(None, failures.cut_off(call, why, sent=False), sent=False)
        flight = self._flight(call, deadline)
        self._flights.add(flight)
        try:
            return self._travel(call, flight, deadline)
        finally:
            self._flights.discard(flight)

    def _travel(self, call: Call, flight: Flight, deadline: Deadline) -> _Ended:
        url, query, hops = self._route.base + call.path, call.query, 0
        while True:
            ended = self._exchange(call, url, query, flight, deadline)
            answer = ended.answer
            if answer is None or ended.error is not None or 200 <= answer.status < 300:
                return ended
            if not 300 <= answer.status < 400:
                return _Ended(answer, failures.from_status(call, answer), flight.sent)
            url, query, hops = requote_uri(leads_to(url, answer)), (), hops + 1
            if hops > _HOPS or not call.repeatable or not self._route.is_own(url):
                error = failures.from_redirect(call, answer, origin_of(url))
                return _Ended(answer, error, flight.sent)

    def _flight(self, call: Call, deadline: Deadline) -> Flight:
        # A server that has a large package to store may say nothing for long.
        reading = deadline.remaining() if call.upload_size else self.limits.read
        if call.accept:
            reading = self.limits.idle
        return Flight(
            deadline,
            self._refusal,
            writing=self.limits.read,
            reading=reading,
            repeatable=call.repeatable,
        )

    def _exchange(
        self, call: Call, url: str, query: Query, flight: Flight, deadline: Deadline
    ) -> _Ended:
        token = FLIGHT.set(flight)
        answer: Answer | None = None
        failure: Exception
        try:
            response = self._request(call, url, query, deadline)
            # The status line is here; what comes after it can only add to it.
            answer = self._answer(call, response, b"", complete=False)
            return self._received(call, response, flight)
        except failures.LIBRARY_ERRORS as caught:
            failure = caught
            flight.give_up()
        finally:
            FLIGHT.reset(token)
        if answer is not None and answer.status >= 400 and not call.repeatable:
            return _Ended(answer, None, flight.sent)
        if self._ended or isinstance(failure, CutOffError):
            error = failures.cut_off(call, self._refusal(), sent=flight.sent)
            return _Ended(None, error, flight.sent)
        error = failures.from_exception(call, failure, sent=flight.sent, late=deadline.passed)
        return _Ended(None, error, flight.sent)

    def _request(self, call: Call, url: str, query: Query, deadline: Deadline) -> BaseHTTPResponse:
        headers = {**self._headers, **self._who[call.api]}
        if call.accept:
            headers["Accept"] = f"{call.accept}, application/json;q=0.5"
            # What is compressed comes in blocks, and so late.
            headers["Accept-Encoding"] = "identity"
        if call.key:
            headers["Idempotency-Key"] = call.key
        if call.content_type:
            headers["Content-Type"] = call.content_type
        if isinstance(call.body, MultipartBody):
            call.body.rewind()
            # Else it would go out in chunks, which not every server takes.
            headers["Content-Length"] = str(len(call.body))
        left = max(min(deadline.remaining(), self.limits.idle if call.accept else math.inf), 0.001)
        timeout = Timeout(connect=min(self.limits.connect, left), read=left)
        return self._adapter.exchange(call.method, _with(url, query), headers, call.body, timeout)

    def _received(self, call: Call, response: BaseHTTPResponse, flight: Flight) -> _Ended:
        if call.accept and 200 <= response.status < 300:
            head = self._answer(call, response, b"", complete=False)
            return _Ended(head, None, flight.sent, response)
        body = bytearray()
        if why := _unasked_encoding(response):
            with ending(response):
                answer = self._answer(call, response, b"", complete=False)
                return _Ended(answer, failures.unexpected(call, answer, why), flight.sent)
        with ending(response):
            for block in blocks(response):
                body += block
                if len(body) > self.limits.answer_size:
                    answer = self._answer(call, response, b"", complete=False)
                    words = f"the answer has more than {self.limits.answer_size} bytes"
                    return _Ended(answer, failures.unexpected(call, answer, words), flight.sent)
        answer = self._answer(call, response, bytes(body), complete=True)
        if len(body) > _BLOCK and answer.weight > self.limits.weight:
            answer = self._answer(call, response, b"", complete=False)
            words = "the answer holds more values than any answer of this API"
            return _Ended(answer, failures.unexpected(call, answer, words), flight.sent)
        return _Ended(answer, None, flight.sent)

    def _answer(
        self, call: Call, response: BaseHTTPResponse, body: bytes, *, complete: bool
    ) -> Answer:
        now, redactor = self._options.timing.now, self._options.redactor
        about = (complete, now, call.secret, redactor, call.is_words)
        return Answer(response.status, response.headers, body, *about)


def _with(url: str, query: Query) -> str:
    pairs = query.items() if isinstance(query, Mapping) else query
    text = urlencode([(name, value) for name, value in pairs if value is not None], doseq=True)
    return f"{url}?{text}" if text else url


def _unasked_encoding(response: BaseHTTPResponse) -> str:
    """Why a body is not decoded, "" where it may be.

    A body that was compressed several times over can inflate to anything within one block.
    """
    named = response.headers.get("Content-Encoding", "").lower().split(",")
    names = [name.strip() for name in named if name.strip()]
    if len(names) > 1 or not {*names} <= _ENCODINGS:
        return "its body is encoded in a way that was not asked for"
    return ""


def _piece(call: Call, body: BaseHTTPResponse, deadline: Deadline) -> bytes:
    """What has arrived, waiting for it if there is nothing yet; empty at the end."""
    failure: Exception
    try:
        piece: bytes | None = body.read1(_BLOCK, decode_content=True)
    except failures.LIBRARY_ERRORS as caught:
        failure = caught
    else:
        return piece or b""
    raise failures.from_exception(call, failure, sent=True, late=deadline.passed)


def _tell(observer: Callable[[Any], None], news: Any) -> None:
    """An observer that fails must not make a call that succeeded look failed."""
    try:
        observer(news)
    except Exception:  # noqa: BLE001 - whatever it raises
        _log.exception("an observer of requests failed")
