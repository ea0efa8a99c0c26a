"""Whether and when a call is sent again, which redirects it follows, and what of an answer is read.

A call is repeated only if it did not reach the server, was refused before it was acted on, or is
harmless to repeat. A redirect is followed only to the backend's own origin, and only for calls
that may be repeated.
"""

from __future__ import annotations

import http.client
import logging
import math
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any, BinaryIO
from urllib.parse import urlencode

from requests.utils import requote_uri
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import DecodeError

from synapse_apply.client import failures
from synapse_apply.client.calls import ClientCall, OnRateLimit, OnRequest, Query, RequestEvent
from synapse_apply.client.errors import (
    ClientError,
    RateLimitError,
    TooLargeError,
    UnexpectedAnswerError,
)
from synapse_apply.client.http.answers import Answer, explain_bad_encoding
from synapse_apply.client.http.connections import (
    CURRENT_ATTEMPT,
    Attempt,
    CutOffError,
    Policy,
    Request,
    TimedAdapter,
    close_on_exit,
    decoded_blocks,
    mask_in_logs,
)
from synapse_apply.client.http.environment import BackendRoute, join_url, origin_of
from synapse_apply.client.http.multipart import MultipartBody
from synapse_apply.client.http.pacing import Backoff, Clock, Deadline, Limits, Repeats, RequestPacer
from synapse_apply.client.storage_files import FailedFetchError, FetchOptions
from synapse_apply.model.frozen import frozen
from synapse_apply.model.redaction import Redactor

_log = logging.getLogger(__name__)
_BLOCK = 64 * 1024
_MAX_REDIRECTS = 5
# Bytes. Larger files get no more time than one of this size.
_TIMEOUT_SIZE_CAP = 256 * 1024**2
_POLL_SECONDS = 0.25  # between two checks whether a wait has become pointless


@frozen
class Options:
    """How calls are sent, as the creator of a client chooses.

    `resend_rate_limited`: a call answered 429 is sent again, even a POST. `clock` is monotonic,
    `now` in seconds since the epoch. Without a `sleep` the transport waits in short slices, so that
    `hang_up` ends a wait soon. `find_refusal` gives the reason why nothing may be sent any more, ""
    while calls may be sent; `find_mutation_refusal` why no call that changes the server may begin.
    `redactor` masks secrets in answers. `trace_parent` is sent as `traceparent`.
    """

    limits: Limits
    backoff: Backoff
    clock: Clock
    now: Clock
    sleep: Callable[[float], None] | None
    resend_rate_limited: bool
    max_connections: int
    on_request: OnRequest | None
    on_rate_limit: OnRateLimit | None
    find_refusal: Callable[[], str]
    find_mutation_refusal: Callable[[], str]
    redactor: Redactor
    trace_parent: str


@frozen
class _AttemptResult:
    """The end of one attempt: an answer or an error; `sent`: bytes of the request have left.

    `body` is the unread body of a streamed answer.
    """

    answer: Answer | None
    error: ClientError | None
    sent: bool
    body: BaseHTTPResponse | None = None

    @property
    def head(self) -> Answer:
        if self.answer is None:  # pragma: no cover - an attempt ends with one of the two
            raise AssertionError("an attempt without an end")
        return self.answer


class Transport:
    """Sends calls to one backend; safe for many threads at once."""

    def __init__(
        self, route: BackendRoute, headers: Mapping[str, Mapping[str, str]], options: Options
    ) -> None:
        """`headers`: the credential headers by API version, sent to the route's origin only."""
        self._route = route
        self._headers = {
            "Accept": "application/json",
            # Without it the platform's messages are in Korean.
            "Accept-Language": "en",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": "synapse-apply",
            **({"traceparent": options.trace_parent} if options.trace_parent else {}),
        }
        self._auth_headers = headers
        self._options = options
        self._pacer = RequestPacer(options.max_connections, options.clock)
        self._end_reason = ""
        self._attempts: set[Attempt] = set()
        # No requests.Session: it would add cookies, and credentials of a .netrc file.
        self._adapter = TimedAdapter(options.max_connections, route)
        mask_in_logs(options.redactor)

    @property
    def limits(self) -> Limits:
        return self._options.limits

    @property
    def redactor(self) -> Redactor:
        return self._options.redactor

    @property
    def max_parallel_calls(self) -> int:
        """How many calls are worth sending at the same time: the number of kept connections."""
        return self._options.max_connections

    def close(self) -> None:
        """Abort running calls and close the connections; later calls fail."""
        self.hang_up(self._end_reason or "the client is closed")
        self._adapter.close()

    def hang_up(self, reason: str) -> None:
        """Abort running calls and refuse all later ones, both with this `reason`.

        Safe in a signal handler.
        """
        self._end_reason = reason
        # A copy, since other threads add and remove attempts at the same time.
        for attempt in list(self._attempts):
            attempt.shut_down()

    def send(self, call: ClientCall) -> Answer:
        """Send a call, repeated within its deadline; returns its 2xx answer, else ClientError."""
        seconds = self.limits.timeout_with_upload(call.upload_size)
        return self._send_with_repeats(call, Deadline(self._options.clock, seconds)).head

    def stream_body(
        self,
        call: ClientCall,
        on_answer: Callable[[Answer], None],
        max_seconds: float | None = None,
    ) -> Generator[bytes, None, None]:
        """The body of a successful answer as it arrives, in pieces that are never empty.

        To be closed by a caller that does not read it to its end: it holds a connection.

        `on_answer` is called with the answer's head before the first piece. The stream has no
        total time unless `max_seconds` gives one. ClientError as for `send`, and if it breaks off.
        """
        seconds = math.inf if max_seconds is None else max_seconds
        deadline = Deadline(self._options.clock, seconds)
        result = self._send_with_repeats(call, deadline)
        if result.body is None:  # pragma: no cover - a success has its body still to come
            raise AssertionError("an answer without its body")
        with close_on_exit(result.body) as body:
            on_answer(result.head)
            problem = explain_bad_encoding(body)
            # A proxy's login page is a 200 with HTML; as a log it would be shown line by line.
            if not problem and "html" in result.head.content_type:
                problem = "the answer is an HTML page; check the URL of the backend"
            if problem:
                raise failures.unexpected_answer(call, result.head, problem)
            while piece := _read_arrived(call, body, deadline):
                yield piece

    def _send_with_repeats(self, call: ClientCall, deadline: Deadline) -> _AttemptResult:
        """The last attempt, which has an answer; ClientError."""
        # A stream has no total time to bound the waits after 429s, so that they count as repeats.
        repeats = Repeats(self._options.backoff, deadline, rate_limits_count=bool(call.accept))
        while True:
            result = self._attempt_paced(call, deadline, repeats.attempt)
            if result.error is None:
                return result
            wait = None
            if self._may_repeat(call, result):
                wait = repeats.next_wait(
                    is_rate_limited=isinstance(result.error, RateLimitError),
                    retry_after=result.answer.retry_after if result.answer else None,
                )
            if wait is None:
                raise result.error
            self._sleep_until_over_or_refused(wait)

    def _attempt_paced(
        self, call: ClientCall, deadline: Deadline, attempt_number: int
    ) -> _AttemptResult:
        """One attempt, begun when the pacer has a free slot; a stream takes none.

        A stream mostly waits for a log to be written, which is no load for the host.
        """
        if call.accept:
            return self._attempt_observed(call, deadline, attempt_number)

        def should_stop() -> bool:
            return bool(self._refusal(call)) or deadline.is_passed

        # A later attempt has already waited for the server's Retry-After.
        if attempt_number == 1 and (delay := self._pacer.pause_left()):
            self._sleep_until_over_or_refused(min(delay, deadline.remaining()))
        acquired_at = self._pacer.take_slot(should_stop)
        is_answered = False
        try:
            result = self._attempt_observed(call, deadline, attempt_number)
            if isinstance(result.error, RateLimitError):
                max_wait = self._options.backoff.max_server_wait
                self._pacer.slow_down(acquired_at, min(result.error.retry_after or 0.0, max_wait))
            elif result.answer is not None:
                is_answered = result.answer.status < 500
        finally:
            self._pacer.release_slot(acquired_at, is_answered=is_answered)
        return result

    # An upload that did not leave completely was not acted on: its length is announced and its last
    # boundary is missing. It is sent again; a complete one without an answer never is.
    def _may_repeat(self, call: ClientCall, result: _AttemptResult) -> bool:
        """Whether a failed call may be sent again: it is harmless, or was not acted on."""
        if result.error is None or not result.error.transient or self._refusal(call):
            return False
        if isinstance(result.error, RateLimitError):
            return call.repeatable or (self._options.resend_rate_limited and not call.send_once)
        return call.repeatable or not result.sent or failures.is_upload_cut_short(call)

    def _refusal(self, call: ClientCall | None = None) -> str:
        """The reason why nothing may be sent, or why this call may not begin; "" while it may."""
        mutates = call is not None and call.mutates
        # First, since it may take a while: what else is said is as true as it can be then.
        reason = self._options.find_mutation_refusal() if mutates else ""
        return self._end_reason or self._options.find_refusal() or reason

    def download(self, url: str, out: BinaryIO, max_bytes: int) -> None:
        """Download a file of at most `max_bytes` from a storage, without any of our headers.

        RemoteError if it cannot be fetched. Each repeat starts again at the first URL: the target
        of a redirect may have been signed for a single use. `out` is cut back to its start.
        """
        options = self._options
        seconds = self.limits.timeout_with_upload(min(max_bytes, _TIMEOUT_SIZE_CAP))
        deadline = Deadline(options.clock, seconds)
        # The deadline grows with the file's size; the waits between attempts need not.
        repeats = Repeats(options.backoff, deadline, max_total_wait=self.limits.total_timeout)
        fetching = FetchOptions(
            self._route, self.limits, deadline, self._refusal, max_bytes, options.now
        )
        begin = out.tell()
        while True:
            try:
                fetching.download_once(url, out)
            except FailedFetchError as caught:
                failure = caught
            else:
                return
            wait = None
            if failure.transient and not self._refusal():
                wait = repeats.next_wait(
                    is_rate_limited=failure.status_code == http.client.TOO_MANY_REQUESTS,
                    retry_after=failure.retry_after,
                )
            if wait is None:
                raise failure
            self._sleep_until_over_or_refused(wait)
            # The failed attempt may have written a part of the file.
            out.seek(begin)
            out.truncate()

    def _sleep_until_over_or_refused(self, seconds: float) -> None:
        if self._options.sleep is not None:
            self._options.sleep(seconds)
            return
        # Not the injected clock: without an injected `sleep` real time has to pass.
        end = time.monotonic() + seconds
        while not self._refusal() and (remaining := end - time.monotonic()) > 0:
            time.sleep(min(remaining, _POLL_SECONDS))

    def _attempt_observed(
        self, call: ClientCall, deadline: Deadline, attempt_number: int
    ) -> _AttemptResult:
        options = self._options
        started, started_at = options.clock(), options.now()
        result = self._attempt(call, deadline)
        error, answer = result.error, result.answer
        if isinstance(error, RateLimitError) and options.on_rate_limit is not None:
            _notify(options.on_rate_limit, error.retry_after)
        if options.on_request is not None:
            event = RequestEvent(
                method=call.method,
                path=call.masked_path,
                status=answer.status if answer else 0,
                seconds=options.clock() - started,
                request_id=answer.request_id if answer else None,
                attempt=attempt_number,
                mutates=call.mutates,
                failure=type(error).__name__ if error else None,
                started_at=started_at,
                server_date=answer.server_date if answer else None,
            )
            _notify(options.on_request, event)
        return result

    def _attempt(self, call: ClientCall, deadline: Deadline) -> _AttemptResult:
        """One attempt with its redirects; an error without sending if calls are refused."""
        if reason := self._refusal(call):
            return _AttemptResult(None, failures.aborted_call(call, reason, sent=False), sent=False)
        limits = self.limits
        # A server that stores a large upload may be silent for longer than a usual read timeout.
        read_timeout = deadline.remaining() if call.upload_size else limits.read_timeout
        attempt = Attempt(
            Policy(
                deadline,
                lambda is_begun: self._refusal(None if is_begun else call),
                limits.connect_timeout,
                limits.read_timeout,
                limits.idle_timeout if call.accept else read_timeout,
                call.repeatable,
                is_logged=True,
            )
        )
        self._attempts.add(attempt)
        try:
            return self._follow_redirects(call, attempt, deadline)
        finally:
            self._attempts.discard(attempt)

    def _follow_redirects(
        self, call: ClientCall, attempt: Attempt, deadline: Deadline
    ) -> _AttemptResult:
        """Send to the call's URL and on; a redirect that is not followed is an error."""
        url, query, redirect_count = self._route.base_url + call.path, call.query, 0
        while True:
            result = self._send_to_url(call, url, query, attempt, deadline)
            answer = result.answer
            if answer is None or result.error is not None or 200 <= answer.status < 300:
                return result
            if not 300 <= answer.status < 400:
                return _AttemptResult(answer, failures.failed_status(call, answer), attempt.sent)
            location = answer.headers.get("Location", "")
            url = requote_uri(join_url(url, location) if location else "")
            query, redirect_count = (), redirect_count + 1
            if (
                redirect_count > _MAX_REDIRECTS
                or not call.repeatable
                or not self._route.may_get_token(url)
            ):
                error = failures.unfollowed_redirect(call, answer, origin_of(url))
                return _AttemptResult(answer, error, attempt.sent)

    def _send_to_url(
        self, call: ClientCall, url: str, query: Query, attempt: Attempt, deadline: Deadline
    ) -> _AttemptResult:
        context_token = CURRENT_ATTEMPT.set(attempt)
        answer: Answer | None = None
        failure: Exception
        try:
            headers = {**self._headers, **self._auth_headers[call.api_version]}
            if call.accept:
                headers["Accept"] = f"{call.accept}, application/json;q=0.5"
                # Compression would hold lines back until a block is full.
                headers["Accept-Encoding"] = "identity"
            if call.idempotency_key:
                headers["Idempotency-Key"] = call.idempotency_key
            if call.content_type:
                headers["Content-Type"] = call.content_type
            if isinstance(call.body, MultipartBody):
                call.body.rewind()
                # Without it urllib3 would use chunked encoding, which not every server accepts.
                headers["Content-Length"] = str(len(call.body))
            pairs = query.items() if isinstance(query, Mapping) else query
            text = urlencode(
                [(name, value) for name, value in pairs if value is not None], doseq=True
            )
            response = self._adapter.open(
                Request(call.method, f"{url}?{text}" if text else url, headers, call.body), attempt
            )
            # Kept for the case that the body breaks off: the status alone settles a 4xx or 5xx.
            answer = self._build_answer(call, response, b"", complete=False)
            return self._read_body(call, response, attempt)
        except failures.LIBRARY_ERRORS as caught:
            failure = caught
            attempt.close_response()
        finally:
            CURRENT_ATTEMPT.reset(context_token)
        # The body of an error broke off. For a call that must not be repeated the status tells
        # more than the broken connection does.
        if answer is not None and answer.status >= 400 and not call.repeatable:
            return _AttemptResult(answer, None, attempt.sent)
        if answer is not None and isinstance(failure, DecodeError) and not call.repeatable:
            error = failures.unexpected_answer(call, answer, "its body cannot be decoded")
            return _AttemptResult(answer, error, attempt.sent)
        if self._end_reason or isinstance(failure, CutOffError):
            reason = self._end_reason or str(failure)
            error = failures.aborted_call(call, reason, sent=attempt.sent)
            return _AttemptResult(None, error, attempt.sent)
        error = failures.broken_call(call, failure, sent=attempt.sent, is_late=deadline.is_passed)
        return _AttemptResult(None, error, attempt.sent)

    def _read_body(
        self, call: ClientCall, response: BaseHTTPResponse, attempt: Attempt
    ) -> _AttemptResult:
        if call.accept and 200 <= response.status < 300:
            head = self._build_answer(call, response, b"", complete=False)
            return _AttemptResult(head, None, attempt.sent, response)
        body = bytearray()
        problem, error_class = explain_bad_encoding(response), UnexpectedAnswerError
        with close_on_exit(response):
            for block in decoded_blocks(response) if not problem else ():
                body += block
                if len(body) > self.limits.max_answer_size:
                    problem = f"the answer has more than {self.limits.max_answer_size} bytes"
                    error_class = TooLargeError
                    break
        if not problem:
            answer = self._build_answer(call, response, bytes(body), complete=True)
            # A body of one block cannot be too heavy, so that most answers are not counted.
            weight = answer.parsed_weight if len(body) > _BLOCK else 0
            if weight <= self.limits.max_weight:
                return _AttemptResult(answer, None, attempt.sent)
            problem = "the answer holds more values than any answer of this API"
            error_class = TooLargeError
        answer = self._build_answer(call, response, b"", complete=False)
        error = failures.unexpected_answer(call, answer, problem, error_class)
        return _AttemptResult(answer, error, attempt.sent)

    def _build_answer(
        self, call: ClientCall, response: BaseHTTPResponse, body: bytes, *, complete: bool
    ) -> Answer:
        now, redactor = self._options.now, self._options.redactor
        answer_arguments = (complete, now, call.secret_bytes, redactor, call.is_display_text)
        return Answer(response.status, response.headers, body, *answer_arguments)


def _read_arrived(call: ClientCall, body: BaseHTTPResponse, deadline: Deadline) -> bytes:
    """The bytes that have arrived, after waiting for the first one; b"" at the end of the body."""
    failure: Exception
    try:
        piece: bytes | None = body.read1(_BLOCK, decode_content=True)
    except failures.LIBRARY_ERRORS as caught:
        failure = caught
    else:
        return piece or b""
    raise failures.broken_call(call, failure, sent=True, is_late=deadline.is_passed)


def _notify(observer: Callable[[Any], None], notice: Any) -> None:
    """Call an observer; its exceptions are logged, since the observed call is not at fault."""
    try:
        observer(notice)
    except Exception:  # noqa: BLE001 - whatever it raises
        _log.exception("an observer of requests failed")
