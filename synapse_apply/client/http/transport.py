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
from contextlib import suppress
from typing import Any, BinaryIO
from urllib.parse import urlencode

from requests.utils import requote_uri
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import DecodeError

from synapse_apply.client import failures
from synapse_apply.client.calls import ClientCall, OnRateLimit, OnRequest, Query, RequestEvent
from synapse_apply.client.http import connections
from synapse_apply.client.http.answers import Answer
from synapse_apply.client.http.environment import BackendRoute, join_url, origin_of
from synapse_apply.client.http.multipart import MultipartBody
from synapse_apply.client.http.pacing import Backoff, Clock, Deadline, Limits, Repeats, RequestPacer
from synapse_apply.client.storage_files import Download, FailedFetchError
from synapse_apply.model.errors import RateLimited, RemoteError, TooLarge
from synapse_apply.model.frozen import frozen
from synapse_apply.model.redaction import Redactor

_log = logging.getLogger(__name__)
_MAX_REDIRECTS = 5
_ENCODINGS = frozenset(("gzip", "x-gzip", "deflate", "identity"))
_ENCODED_OTHERWISE = "its body has an encoding that was not requested"
# Bytes. Larger files get no more time than one of this size.
_TIMEOUT_SIZE_CAP = 256 * 1024**2
_POLL_SECONDS = 0.25  # between two checks whether a wait has become pointless


@frozen
class Options:
    """How calls are sent, as the creator of a client chooses; see `BackendClient`.

    Without a `sleep` the transport waits in short slices, so that `hang_up` ends a wait soon.
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


class _CallAttempt(connections.Attempt):
    """One attempt of a call, with its answer, which may lack its body, once there is one.

    `stream` is the unread body of a streamed answer.
    """

    answer: Answer | None = None
    stream: BaseHTTPResponse | None = None


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
        self._attempts: set[connections.Attempt] = set()
        # No requests.Session: it would add cookies, and credentials of a .netrc file.
        self._adapter = connections.TimedAdapter(options.max_connections, route)
        connections.mask_in_logs(options.redactor)

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
        """Send a call, repeated within its deadline; returns its 2xx answer, else RemoteError."""
        seconds = self.limits.timeout_with_upload(call.upload_size)
        attempt = self._send_with_repeats(call, Deadline(self._options.clock, seconds))
        if attempt.answer is None:  # pragma: no cover - an attempt ends with it or an error
            raise AssertionError("an attempt without an end")
        return attempt.answer

    def stream_body(
        self,
        call: ClientCall,
        on_answer: Callable[[Answer], None],
        max_seconds: float | None = None,
    ) -> Generator[bytes, None, None]:
        """The body of a successful answer as it arrives, in pieces that are never empty.

        To be closed by a caller that does not read it to its end: it holds a connection.

        `on_answer` is called with the answer's head before the first piece. The stream has no
        total time unless `max_seconds` gives one. RemoteError as for `send`, and if it breaks off.
        """
        seconds = math.inf if max_seconds is None else max_seconds
        attempt = self._send_with_repeats(call, Deadline(self._options.clock, seconds))
        head, stream = attempt.answer, attempt.stream
        if head is None or stream is None:  # pragma: no cover - a success has its body to come
            raise AssertionError("an answer without its body")
        with connections.close_on_exit(stream) as body:
            on_answer(head)
            problem = (
                _ENCODED_OTHERWISE if connections.is_encoded_otherwise(body, _ENCODINGS) else ""
            )
            # A proxy's login page is a 200 with HTML; as a log it would be shown line by line.
            if not problem and "html" in head.content_type:
                problem = "the answer is an HTML page; check the URL of the backend"
            if problem:
                raise failures.unexpected_answer(head, problem)
            while piece := _read_arrived(attempt, call, body):
                yield piece

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
        policy = connections.Policy(
            deadline,
            self.limits.connect_timeout,
            self.limits.read_timeout,
            find_refusal=lambda _is_begun: self._refusal(),
        )
        file = Download(self._route, policy, out, max_bytes, options.now)
        begin = out.tell()
        while True:
            try:
                return file.fetch(url)
            except FailedFetchError as failure:
                if (
                    not failure.transient
                    or self._refusal()
                    or not self._wait(repeats, failure.status_code, failure.retry_after)
                ):
                    raise
            # The failed attempt may have written a part of the file.
            out.seek(begin)
            out.truncate()

    def _send_with_repeats(self, call: ClientCall, deadline: Deadline) -> _CallAttempt:
        """The last attempt, which has an answer; RemoteError."""
        # A stream has no total time to bound the waits after 429s, so that they count as repeats.
        repeats = Repeats(self._options.backoff, deadline, rate_limits_count=bool(call.accept))
        limits = self.limits
        while True:
            # A server that stores a large upload may be silent for longer than usual.
            read_timeout = deadline.remaining() if call.upload_size else limits.read_timeout
            policy = connections.Policy(
                deadline,
                limits.connect_timeout,
                limits.idle_timeout if call.accept else read_timeout,
                limits.read_timeout,
                lambda is_begun: self._refusal(None if is_begun else call),
                call.repeatable,
                is_logged=True,
            )
            attempt = _CallAttempt(policy)
            try:
                self._attempt_paced(call, attempt, repeats.attempt)
            except RemoteError as error:
                retry_after = attempt.answer.retry_after if attempt.answer else None
                if not self._may_repeat(call, attempt, error) or not self._wait(
                    repeats, error.status_code, retry_after
                ):
                    raise
            else:
                return attempt

    # An upload that did not leave completely was not acted on: its length is announced and its last
    # boundary is missing. It is sent again; a complete one without an answer never is.
    def _may_repeat(
        self, call: ClientCall, attempt: connections.Attempt, error: RemoteError
    ) -> bool:
        """Whether a failed call may be sent again: it is harmless, or was not acted on."""
        if not error.transient or self._refusal(call):
            return False
        if isinstance(error, RateLimited):
            return call.repeatable or (self._options.resend_rate_limited and not call.send_once)
        return call.repeatable or not attempt.sent or call.is_cut_short

    def _refusal(self, call: ClientCall | None = None) -> str:
        """The reason why nothing may be sent, or why this call may not begin; "" while it may."""
        mutates = call is not None and call.mutates
        # First, since it may take a while: what else is said is as true as it can be then.
        reason = self._options.find_mutation_refusal() if mutates else ""
        return self._end_reason or self._options.find_refusal() or reason

    def _wait(self, repeats: Repeats, status: int, retry_after: float | None) -> bool:
        """Wait for the next attempt after an answer (0: none); False when there is none."""
        return repeats.wait(
            self._sleep_until_over_or_refused,
            is_rate_limited=status == http.client.TOO_MANY_REQUESTS,
            retry_after=retry_after,
        )

    def _sleep_until_over_or_refused(self, seconds: float) -> None:
        if self._options.sleep is not None:
            self._options.sleep(seconds)
            return
        # Not the injected clock: without an injected `sleep` real time has to pass.
        end = time.monotonic() + seconds
        while not self._refusal() and (remaining := end - time.monotonic()) > 0:
            time.sleep(min(remaining, _POLL_SECONDS))

    def _attempt_paced(self, call: ClientCall, attempt: _CallAttempt, number: int) -> None:
        """One attempt, begun when the pacer has a free slot; a stream takes none.

        A stream mostly waits for a log to be written, which is no load for the host.
        """
        if call.accept:
            self._attempt_observed(call, attempt, number)
            return
        deadline = attempt.policy.deadline

        def should_stop() -> bool:
            return bool(self._refusal(call)) or deadline.is_passed

        # A later attempt has already waited for the server's Retry-After.
        if number == 1 and (delay := self._pacer.pause_left()):
            self._sleep_until_over_or_refused(min(delay, deadline.remaining()))
        acquired_at = self._pacer.take_slot(should_stop)
        is_answered = False
        try:
            self._attempt_observed(call, attempt, number)
            is_answered = True
        except RemoteError as error:
            if isinstance(error, RateLimited):
                max_wait = self._options.backoff.max_server_wait
                self._pacer.slow_down(acquired_at, min(error.retry_after or 0.0, max_wait))
            elif attempt.answer is not None:
                is_answered = attempt.answer.status < 500
            raise
        finally:
            self._pacer.release_slot(acquired_at, is_answered=is_answered)

    def _attempt_observed(self, call: ClientCall, attempt: _CallAttempt, number: int) -> None:
        options = self._options
        started, started_at = options.clock(), options.now()
        error: RemoteError | None = None
        try:
            self._attempt(call, attempt)
        except RemoteError as caught:
            error = caught
        answer = attempt.answer
        if isinstance(error, RateLimited) and options.on_rate_limit is not None:
            _notify(options.on_rate_limit, error.retry_after)
        if options.on_request is not None:
            event = RequestEvent(
                method=call.method,
                path=call.masked_path,
                status=answer.status if answer else 0,
                seconds=options.clock() - started,
                request_id=answer.request_id if answer else None,
                attempt=number,
                mutates=call.mutates,
                failure=type(error).__name__ if error else None,
                started_at=started_at,
                server_date=answer.server_date if answer else None,
            )
            _notify(options.on_request, event)
        if error is not None:
            raise error

    def _attempt(self, call: ClientCall, attempt: _CallAttempt) -> None:
        """Send to the call's URL and on; nothing is sent if calls are refused.

        A redirect that is not followed is an error.
        """
        if reason := self._refusal(call):
            raise failures.aborted_call(call, reason, sent=False)
        url, query, redirect_count = self._route.base_url + call.path, call.query, 0
        self._attempts.add(attempt)
        try:
            while True:
                answer = attempt.answer = self._send_to_url(call, attempt, url, query)
                if 200 <= answer.status < 300:
                    return
                if not 300 <= answer.status < 400:
                    raise failures.failed_status(answer)
                location = answer.headers.get("Location", "")
                url = requote_uri(join_url(url, location) if location else "")
                query, redirect_count = (), redirect_count + 1
                if (
                    redirect_count > _MAX_REDIRECTS
                    or not call.repeatable
                    or not self._route.may_get_token(url)
                ):
                    raise failures.unfollowed_redirect(answer, origin_of(url))
        finally:
            self._attempts.discard(attempt)

    def _send_to_url(
        self, call: ClientCall, attempt: _CallAttempt, url: str, query: Query
    ) -> Answer:
        head: Answer | None = None
        failure: Exception
        try:
            response = self._adapter.open(self._request(call, url, query), attempt)
            # Kept for the case that the body breaks off: the status alone settles a 4xx or 5xx.
            head = attempt.answer = self._answer(call, response)
            if call.accept and 200 <= response.status < 300:
                attempt.stream = response
                return head
            with connections.close_on_exit(response):
                return self._whole_answer(head, response)
        except failures.LIBRARY_ERRORS as caught:
            failure = caught
        # The body of an error broke off. For a call that must not be repeated the status tells
        # more than the broken connection does.
        if head is not None and head.status >= 400 and not call.repeatable:
            return head
        if head is not None and isinstance(failure, DecodeError) and not call.repeatable:
            raise failures.unexpected_answer(head, "its body cannot be decoded")
        attempt.answer = None
        if self._end_reason or isinstance(failure, connections.CutOffError):
            reason = self._end_reason or str(failure)
            raise failures.aborted_call(call, reason, sent=attempt.sent)
        breakage = failures.Breakage(failure, is_late=attempt.policy.deadline.is_passed)
        raise breakage.error(call, sent=attempt.sent)

    def _request(self, call: ClientCall, url: str, query: Query) -> connections.Request:
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
        text = urlencode([(name, value) for name, value in pairs if value is not None], doseq=True)
        return connections.Request(
            call.method, f"{url}?{text}" if text else url, headers, call.body
        )

    def _whole_answer(self, head: Answer, response: BaseHTTPResponse) -> Answer:
        """The answer with its body; TooLarge, UnexpectedAnswer."""
        if connections.is_encoded_otherwise(response, _ENCODINGS):
            raise failures.unexpected_answer(head, _ENCODED_OTHERWISE)
        limits = self.limits
        problem = f"the answer has more than {limits.max_answer_size} bytes"
        with suppress(connections.LargeBodyError):
            body = b"".join(connections.decoded_blocks(response, limits.max_answer_size))
            answer = self._answer(head.call, response, body)
            # A body of one block cannot be too heavy, so that most answers are not counted.
            if len(body) <= connections.BLOCK or answer.parsed_weight <= limits.max_weight:
                return answer
            problem = "the answer holds more values than any answer of this API"
        raise failures.unexpected_answer(head, problem, TooLarge)

    def _answer(self, call: ClientCall, response: BaseHTTPResponse, body: bytes = b"") -> Answer:
        options = self._options
        return Answer(response.status, response.headers, body, call, options.now, options.redactor)


def _read_arrived(attempt: connections.Attempt, call: ClientCall, body: BaseHTTPResponse) -> bytes:
    """The bytes that have arrived, after waiting for the first one; b"" at the end of the body."""
    try:
        piece: bytes | None = body.read1(connections.BLOCK, decode_content=True)
    except failures.LIBRARY_ERRORS as caught:
        breakage = failures.Breakage(caught, is_late=attempt.policy.deadline.is_passed)
    else:
        return piece or b""
    raise breakage.error(call, sent=True)


def _notify(observer: Callable[[Any], None], notice: Any) -> None:
    """Call an observer; its exceptions are logged, since the observed call is not at fault."""
    try:
        observer(notice)
    except Exception:  # noqa: BLE001 - whatever it raises
        _log.exception("an observer of requests failed")
