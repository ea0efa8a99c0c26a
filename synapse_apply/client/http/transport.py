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
from synapse_apply.client.calls import ClientCall, Query
from synapse_apply.client.errors import ClientError, RateLimitError
from synapse_apply.client.events import RequestEvent
from synapse_apply.client.http.answers import Answer
from synapse_apply.client.http.connections import (
    CURRENT_ATTEMPT,
    Attempt,
    CutOffError,
    TimedAdapter,
    closing_response,
    iter_body_blocks,
    register_log_redactor,
)
from synapse_apply.client.http.deadlines import Deadline, Limits, Repeats
from synapse_apply.client.http.environment import BackendRoute
from synapse_apply.client.http.multipart import MultipartBody
from synapse_apply.client.http.options import Options
from synapse_apply.client.http.pacing import RequestPacer
from synapse_apply.client.http.redaction import Redactor
from synapse_apply.client.http.redirects import extract_origin, resolve_redirect_url
from synapse_apply.client.storage_files import FailedFetchError, FetchOptions
from synapse_apply.model.frozen import frozen

_log = logging.getLogger(__name__)
_BLOCK = 64 * 1024
_MAX_REDIRECTS = 5
_ACCEPTED_ENCODINGS = frozenset(("gzip", "x-gzip", "deflate", "identity"))
# A file of this size or more, in bytes, has no longer to arrive than one of it has.
_TIMEOUT_SIZE_CAP = 256 * 1024**2
_POLL_SECONDS = 0.25  # seconds between two looks at whether there is any use in waiting


@frozen
class _AttemptResult:
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
        self, route: BackendRoute, headers: Mapping[str, Mapping[str, str]], options: Options
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
        self._auth_headers = headers
        self._options = options
        self._pacer = RequestPacer(options.max_connections, options.timing.clock)
        self._end_reason = ""
        self._attempts: set[Attempt] = set()
        self._adapter = TimedAdapter(options.max_connections, route)
        register_log_redactor(options.redactor)

    @property
    def limits(self) -> Limits:
        return self._options.limits

    @property
    def redactor(self) -> Redactor:
        return self._options.redactor

    @property
    def max_parallel_calls(self) -> int:
        """How many calls are worth sending at a time: so many connections are kept."""
        return self._options.max_connections

    def close(self) -> None:
        """Calls under way end, and others fail from now on."""
        self.hang_up(self._end_reason or "the client is closed")
        self._adapter.close()

    def hang_up(self, reason: str) -> None:
        """End what is under way without its answer, and send nothing more: `reason` says so.

        Safe in a signal handler.
        """
        self._end_reason = reason
        for attempt in list(self._attempts):
            attempt.abort()

    def send(self, call: ClientCall) -> Answer:
        """The successful answer (2xx). ClientError for everything else."""
        seconds = self.limits.compute_call_timeout(call.upload_size)
        result = self._send_with_repeats(call, Deadline(self._options.timing.clock, seconds))
        if result.error is not None:
            raise result.error
        if result.answer is None:  # pragma: no cover - an attempt ends with one of the two
            raise AssertionError("an attempt without an end")
        return result.answer

    def stream_body(
        self,
        call: ClientCall,
        on_answer: Callable[[Answer], None],
        max_seconds: float | None = None,
    ) -> Iterator[bytes]:
        """The body of a successful answer as it arrives, in pieces that are never empty.

        `on_answer` gets the answer's head before the first of them.

        It may go on without end, as long as something comes now and then; `max_seconds` is a bound
        in seconds for the whole of it. ClientError as for `send`, and where it breaks off half-way.
        """
        seconds = math.inf if max_seconds is None else max_seconds
        deadline = Deadline(self._options.timing.clock, seconds)
        result = self._send_with_repeats(call, deadline)
        if result.error is not None:
            raise result.error
        if result.body is None:  # pragma: no cover - a success has its body still to come
            raise AssertionError("an answer without its body")
        with closing_response(result.body) as body:
            if result.answer is not None:
                on_answer(result.answer)
            if result.answer is not None and (problem := _find_unexpected_encoding(body)):
                raise failures.build_unexpected_answer_error(call, result.answer, problem)
            if result.answer is not None and "html" in result.answer.content_type:
                explanation = "the answer is an HTML page; check the URL of the backend"
                raise failures.build_unexpected_answer_error(call, result.answer, explanation)
            while piece := _read_arrived_bytes(call, body, deadline):
                yield piece

    def _send_with_repeats(self, call: ClientCall, deadline: Deadline) -> _AttemptResult:
        # For a stream there is no total time that would bound its waits.
        repeats = Repeats(self._options.backoff, deadline, rate_limits_count=bool(call.accept))
        while True:
            result = self._send_once_when_host_allows(call, deadline, repeats.attempt)
            if result.error is None or not self._can_repeat(call, result):
                return result
            wait = repeats.next_wait_after_failure(
                is_rate_limited=isinstance(result.error, RateLimitError),
                retry_after=result.answer.retry_after if result.answer else None,
            )
            if wait is None:
                return result
            self._sleep(wait)

    def _send_once_when_host_allows(
        self, call: ClientCall, deadline: Deadline, attempt_number: int
    ) -> _AttemptResult:
        """One attempt, begun when the host bears it. Who waits for a log to be written is idle."""
        if call.accept:
            return self._send_once_and_notify(call, deadline, attempt_number)

        def should_stop() -> bool:
            return bool(self._find_refusal()) or deadline.is_passed

        # Who was told to wait has waited already.
        if attempt_number == 1 and (delay := self._pacer.seconds_until_resume()):
            self._sleep(min(delay, deadline.remaining_seconds()))
        acquired_at = self._pacer.acquire_slot(should_stop)
        is_answered = False
        try:
            result = self._send_once_and_notify(call, deadline, attempt_number)
            if isinstance(result.error, RateLimitError):
                max_wait = self._options.backoff.max_server_wait
                self._pacer.record_rate_limit(
                    acquired_at, min(result.error.retry_after or 0.0, max_wait)
                )
            elif result.answer is not None:
                is_answered = result.answer.status < 500
        finally:
            self._pacer.release_slot(acquired_at, is_answered=is_answered)
        return result

    def _can_repeat(self, call: ClientCall, result: _AttemptResult) -> bool:
        """What may have reached the server is repeated only when a repeat does no harm."""
        if result.error is None or not result.error.transient or self._find_refusal():
            return False
        if isinstance(result.error, RateLimitError):
            return call.repeatable or (self._options.resend_rate_limited and not call.send_once)
        return call.repeatable or not result.sent or failures.is_upload_cut_short(call)

    def _find_refusal(self) -> str:
        """Why nothing may be sent any more, "" while it may."""
        return self._end_reason or self._options.find_refusal()

    def fetch_file(self, url: str, out: BinaryIO, max_bytes: int) -> None:
        """Write at most so many bytes of a file elsewhere, without our headers; RemoteError.

        Repeated as any read is, from the first URL and the first byte: what a redirect led to may
        have been signed for one use.
        """
        seconds, timing = (
            self.limits.compute_call_timeout(min(max_bytes, _TIMEOUT_SIZE_CAP)),
            self._options.timing,
        )
        deadline = Deadline(timing.clock, seconds)
        # A large file has long to arrive, which is no reason to wait long for it to begin.
        repeats = Repeats(self._options.backoff, deadline, max_total_wait=self.limits.total_timeout)
        fetching = FetchOptions(
            self._route, self.limits, deadline, self._find_refusal, max_bytes, timing.now
        )
        begin = out.tell()
        while True:
            try:
                fetching.download_file(url, out)
            except FailedFetchError as caught:
                failure = caught
            else:
                return
            wait = None
            if failure.transient and not self._find_refusal():
                wait = repeats.next_wait_after_failure(
                    is_rate_limited=failure.status_code == http.client.TOO_MANY_REQUESTS,
                    retry_after=failure.retry_after,
                )
            if wait is None:
                raise failure
            self._sleep(wait)
            out.seek(begin)
            out.truncate()

    def _sleep(self, seconds: float) -> None:
        if self._options.timing.sleep is not None:
            self._options.timing.sleep(seconds)
            return
        end = time.monotonic() + seconds
        while not self._find_refusal() and (remaining := end - time.monotonic()) > 0:
            time.sleep(min(remaining, _POLL_SECONDS))

    def _send_once_and_notify(
        self, call: ClientCall, deadline: Deadline, attempt_number: int
    ) -> _AttemptResult:
        options = self._options
        started, started_at = options.timing.clock(), options.timing.now()
        result = self._attempt_unless_refused(call, deadline)
        error, answer = result.error, result.answer
        if isinstance(error, RateLimitError) and options.on_rate_limit is not None:
            _notify_observer(options.on_rate_limit, error.retry_after)
        if options.on_request is not None:
            event = RequestEvent(
                method=call.method,
                path=call.masked_path,
                status=answer.status if answer else 0,
                seconds=options.timing.clock() - started,
                request_id=answer.request_id if answer else None,
                attempt=attempt_number,
                mutates=call.mutates,
                failure=type(error).__name__ if error else None,
                started_at=started_at,
                server_date=answer.server_date if answer else None,
            )
            _notify_observer(options.on_request, event)
        return result

    def _attempt_unless_refused(self, call: ClientCall, deadline: Deadline) -> _AttemptResult:
        """One attempt, redirects of a harmless call included."""
        if reason := self._find_refusal():
            return _AttemptResult(
                None, failures.build_cut_off_error(call, reason, sent=False), sent=False
            )
        attempt = self._build_attempt(call, deadline)
        self._attempts.add(attempt)
        try:
            return self._send_following_redirects(call, attempt, deadline)
        finally:
            self._attempts.discard(attempt)

    def _send_following_redirects(
        self, call: ClientCall, attempt: Attempt, deadline: Deadline
    ) -> _AttemptResult:
        url, query, redirect_count = self._route.base_url + call.path, call.query, 0
        while True:
            result = self._send_to_url(call, url, query, attempt, deadline)
            answer = result.answer
            if answer is None or result.error is not None or 200 <= answer.status < 300:
                return result
            if not 300 <= answer.status < 400:
                return _AttemptResult(
                    answer, failures.build_error_from_status(call, answer), attempt.sent
                )
            url, query, redirect_count = (
                requote_uri(resolve_redirect_url(url, answer)),
                (),
                redirect_count + 1,
            )
            if (
                redirect_count > _MAX_REDIRECTS
                or not call.repeatable
                or not self._route.is_same_origin(url)
            ):
                error = failures.build_redirect_error(call, answer, extract_origin(url))
                return _AttemptResult(answer, error, attempt.sent)

    def _build_attempt(self, call: ClientCall, deadline: Deadline) -> Attempt:
        # A server that has a large package to store may say nothing for long.
        read_timeout = (
            deadline.remaining_seconds() if call.upload_size else self.limits.read_timeout
        )
        if call.accept:
            read_timeout = self.limits.idle_timeout
        return Attempt(
            deadline,
            self._find_refusal,
            write_timeout=self.limits.read_timeout,
            read_timeout=read_timeout,
            repeatable=call.repeatable,
        )

    def _send_to_url(
        self, call: ClientCall, url: str, query: Query, attempt: Attempt, deadline: Deadline
    ) -> _AttemptResult:
        context_token = CURRENT_ATTEMPT.set(attempt)
        answer: Answer | None = None
        failure: Exception
        try:
            response = self._send_and_read_head(call, url, query, deadline)
            # The status line is here; what comes after it can only add to it.
            answer = self._build_answer(call, response, b"", complete=False)
            return self._read_body_or_leave_stream(call, response, attempt)
        except failures.LIBRARY_ERRORS as caught:
            failure = caught
            attempt.close_response()
        finally:
            CURRENT_ATTEMPT.reset(context_token)
        if answer is not None and answer.status >= 400 and not call.repeatable:
            return _AttemptResult(answer, None, attempt.sent)
        if self._end_reason or isinstance(failure, CutOffError):
            error = failures.build_cut_off_error(call, self._find_refusal(), sent=attempt.sent)
            return _AttemptResult(None, error, attempt.sent)
        error = failures.build_error_from_exception(
            call, failure, sent=attempt.sent, is_late=deadline.is_passed
        )
        return _AttemptResult(None, error, attempt.sent)

    def _send_and_read_head(
        self, call: ClientCall, url: str, query: Query, deadline: Deadline
    ) -> BaseHTTPResponse:
        headers = {**self._headers, **self._auth_headers[call.api_version]}
        if call.accept:
            headers["Accept"] = f"{call.accept}, application/json;q=0.5"
            # What is compressed comes in blocks, and so late.
            headers["Accept-Encoding"] = "identity"
        if call.idempotency_key:
            headers["Idempotency-Key"] = call.idempotency_key
        if call.content_type:
            headers["Content-Type"] = call.content_type
        if isinstance(call.body, MultipartBody):
            call.body.rewind()
            # Else it would go out in chunks, which not every server takes.
            headers["Content-Length"] = str(len(call.body))
        remaining = max(
            min(
                deadline.remaining_seconds(), self.limits.idle_timeout if call.accept else math.inf
            ),
            0.001,
        )
        timeout = Timeout(connect=min(self.limits.connect_timeout, remaining), read=remaining)
        return self._adapter.send_request(
            call.method, _append_query(url, query), headers, call.body, timeout
        )

    def _read_body_or_leave_stream(
        self, call: ClientCall, response: BaseHTTPResponse, attempt: Attempt
    ) -> _AttemptResult:
        if call.accept and 200 <= response.status < 300:
            head = self._build_answer(call, response, b"", complete=False)
            return _AttemptResult(head, None, attempt.sent, response)
        body = bytearray()
        if problem := _find_unexpected_encoding(response):
            with closing_response(response):
                answer = self._build_answer(call, response, b"", complete=False)
                return _AttemptResult(
                    answer,
                    failures.build_unexpected_answer_error(call, answer, problem),
                    attempt.sent,
                )
        with closing_response(response):
            for block in iter_body_blocks(response):
                body += block
                if len(body) > self.limits.max_answer_size:
                    answer = self._build_answer(call, response, b"", complete=False)
                    explanation = f"the answer has more than {self.limits.max_answer_size} bytes"
                    return _AttemptResult(
                        answer,
                        failures.build_unexpected_answer_error(call, answer, explanation),
                        attempt.sent,
                    )
        answer = self._build_answer(call, response, bytes(body), complete=True)
        if len(body) > _BLOCK and answer.parsed_weight > self.limits.max_weight:
            answer = self._build_answer(call, response, b"", complete=False)
            explanation = "the answer holds more values than any answer of this API"
            return _AttemptResult(
                answer,
                failures.build_unexpected_answer_error(call, answer, explanation),
                attempt.sent,
            )
        return _AttemptResult(answer, None, attempt.sent)

    def _build_answer(
        self, call: ClientCall, response: BaseHTTPResponse, body: bytes, *, complete: bool
    ) -> Answer:
        now, redactor = self._options.timing.now, self._options.redactor
        answer_arguments = (complete, now, call.secret_bytes, redactor, call.is_display_text)
        return Answer(response.status, response.headers, body, *answer_arguments)


def _append_query(url: str, query: Query) -> str:
    pairs = query.items() if isinstance(query, Mapping) else query
    text = urlencode([(name, value) for name, value in pairs if value is not None], doseq=True)
    return f"{url}?{text}" if text else url


def _find_unexpected_encoding(response: BaseHTTPResponse) -> str:
    """Why a body is not decoded, "" where it may be.

    A body that was compressed several times over can inflate to anything within one block.
    """
    header_parts = response.headers.get("Content-Encoding", "").lower().split(",")
    encodings = [name.strip() for name in header_parts if name.strip()]
    if len(encodings) > 1 or not {*encodings} <= _ACCEPTED_ENCODINGS:
        return "its body is encoded in a way that was not asked for"
    return ""


def _read_arrived_bytes(call: ClientCall, body: BaseHTTPResponse, deadline: Deadline) -> bytes:
    """What has arrived, waiting for it if there is nothing yet; empty at the end."""
    failure: Exception
    try:
        piece: bytes | None = body.read1(_BLOCK, decode_content=True)
    except failures.LIBRARY_ERRORS as caught:
        failure = caught
    else:
        return piece or b""
    raise failures.build_error_from_exception(call, failure, sent=True, is_late=deadline.is_passed)


def _notify_observer(observer: Callable[[Any], None], notice: Any) -> None:
    """An observer that fails must not make a call that succeeded look failed."""
    try:
        observer(notice)
    except Exception:  # noqa: BLE001 - whatever it raises
        _log.exception("an observer of requests failed")
