"""Which ClientError an exception, a status or an unusable answer becomes, and its message.

The message never quotes a value of the request. `effect` is UNKNOWN wherever the server may have
acted on a mutating call.
"""

from __future__ import annotations

import http
import http.client
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import requests
import urllib3.exceptions

from synapse_apply.client.calls import ClientCall
from synapse_apply.client.errors import (
    ClientConnectionError,
    ClientError,
    ClientTimeoutError,
    EndedError,
    IncompleteAnswerError,
    NotSentError,
    RateLimitError,
    UnexpectedAnswerError,
    choose_error_class_for_status,
)
from synapse_apply.client.http.answers import Answer
from synapse_apply.client.http.connections import CutOffError, SpokeFirstError
from synapse_apply.client.http.multipart import MultipartBody, UnreadableBodyError
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.errors import Effect
from synapse_apply.model.json_types import JsonValue
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.remote import HTML_PAGE, format_safe_name, parse_field_errors

# All that requests, urllib3, http.client and socket raise; anything else is a bug of this program
# and keeps its traceback.
LIBRARY_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    UnreadableBodyError,
    CutOffError,
    OSError,
    UnicodeError,
    ValueError,
)
MAY_HAVE_ACTED_TEXT = "The server may have acted on it: look before it is sent again."
NOT_ACTED_TEXT = "It did not reach the server."
CUT_SHORT_TEXT = "Only a part of the upload was sent, so nothing was done with it."

_MAX_LINE_LENGTH = 400
TRANSIENT_STATUSES = frozenset({429, 502, 503, 504})
# 307 and 308 ask for the same request elsewhere (RFC 9110, 15.4.8 and 15.4.9): this server did not
# act on it. After a 301, 302 or 303 it may have.
_NOT_ACTED_REDIRECTS = frozenset({307, 308})
# What an edge answers before it passes a request on: it lets in nobody unknown, nothing too large,
# and no more at once.
_NOT_PASSED_ON = frozenset({401, 407, 413, 429})


def broken_call(call: ClientCall, failure: Exception, *, sent: bool, is_late: bool) -> ClientError:
    """The error for an exception raised by an HTTP library.

    `sent`: at least one byte of the request has left. `is_late`: the call's total time is over.
    """
    if isinstance(failure, UnreadableBodyError):
        # The message is this program's own, about a file of the user: it may be shown.
        return NotSentError(f"{call}: not sent: {failure}")
    causes = list(causes_of(failure))
    is_effect_unknown = sent and call.mutates and not is_upload_cut_short(call)
    effect = Effect.UNKNOWN if is_effect_unknown else Effect.NONE
    reason = explain(causes)
    error_class: type[ClientError]
    if is_late or any(is_timeout(cause) for cause in causes):
        error_class = ClientTimeoutError
        reason = f"no {'whole answer' if sent else 'connection'} in time"
    elif isinstance(failure, INCOMPLETE_ERRORS):
        error_class = IncompleteAnswerError
    elif any(isinstance(cause, _CONNECTION_ERRORS) for cause in causes):
        error_class = ClientConnectionError
    elif sent:
        # After the request has left, any other exception comes from reading the answer.
        error_class = IncompleteAnswerError
    else:
        return NotSentError(f"{call}: not sent: {reason}")
    client_error = error_class(_unanswered(call, reason, effect, sent), effect=effect)
    # A retry cannot change that a certificate is not trusted.
    client_error.transient = not any(
        isinstance(cause, ssl.SSLCertVerificationError) for cause in causes
    )
    return client_error


def aborted_call(call: ClientCall, reason: str, *, sent: bool) -> ClientError:
    """The error for a call that this program aborted, or did not send, for this reason."""
    effect = Effect.UNKNOWN if sent and call.mutates else Effect.NONE
    text = (
        _unanswered(call, f"no answer: {reason}", effect, sent)
        if sent
        else f"{call}: not sent: {reason}"
    )
    return EndedError(text, effect=effect)


def is_upload_cut_short(call: ClientCall) -> bool:
    """Whether the call has an upload whose end was not sent: no server can act on that."""
    return isinstance(call.body, MultipartBody) and not call.body.is_fully_read


def failed_status(call: ClientCall, answer: Answer) -> ClientError:
    """The error for an answer whose status is not a success."""
    status = answer.status
    parsed = answer.masked_json_or_none
    # A body that is not JSON comes from a web server in front of the API, or from another site: as
    # a plain "not found" a 404 would make a plan create everything again.
    is_of_edge = parsed is None and bool(answer.body.strip())
    is_foreign = status == http.HTTPStatus.NOT_FOUND and is_of_edge
    error_class = UnexpectedAnswerError if is_foreign else choose_error_class_for_status(status)
    # Only a 4xx of the API is certain: before any other answer an edge may have passed the request
    # on, as before a 408, which may mean that the server was too slow for it.
    is_certain = status in _NOT_PASSED_ON or (
        400 <= status < 500 and status != http.HTTPStatus.REQUEST_TIMEOUT and not is_of_edge
    )
    is_effect_unknown = not is_certain and call.mutates and not is_upload_cut_short(call)
    effect = Effect.UNKNOWN if is_effect_unknown else Effect.NONE
    if parsed is not None:
        explanation = format_server_messages(call, parse_field_errors(parsed))
    elif call.sensitive is not None or not answer.body:
        explanation = HTML_PAGE if answer.html_page_phrase else ""
    else:
        explanation = describe_body(answer)
    if is_foreign:
        explanation += "; this is not the API's own 404: check the URL of the backend"
    client_error = _answered(error_class, call, answer, explanation, effect, answer.detail)
    client_error.transient = status in TRANSIENT_STATUSES
    if isinstance(client_error, RateLimitError):
        client_error.retry_after = answer.retry_after
    return client_error


def unfollowed_redirect(call: ClientCall, answer: Answer, origin: str) -> ClientError:
    """The error for a redirect that is not followed; `origin` is its target's scheme and host."""
    effect = Effect.NONE
    if call.mutates and answer.status not in _NOT_ACTED_REDIRECTS:
        effect = Effect.UNKNOWN
    destination = answer.redactor.mask_secrets_in_text(origin) or "nowhere"
    explanation = (
        f"it leads to {destination} and was not followed, since the token goes to the "
        "backend's own URL only; if that is the backend, put it there"
    )
    detail = answer.registered_status_phrase
    return _answered(UnexpectedAnswerError, call, answer, explanation, effect, detail)


def unexpected_answer(
    call: ClientCall,
    answer: Answer,
    explanation: str,
    kind: type[ClientError] = UnexpectedAnswerError,
) -> ClientError:
    """The error for a successful status whose body is not what the API answers."""
    effect = Effect.UNKNOWN if call.mutates else Effect.NONE
    return _answered(kind, call, answer, explanation, effect, answer.detail)


def format_server_messages(call: ClientCall, errors: dict[FieldPath, tuple[str, ...]]) -> str:
    """The server's messages that may be printed, as `path: text; ...`.

    If the request carried secrets, these are only the messages about its non-sensitive fields:
    any other may quote a secret. Of the withheld ones the field's name is shown.
    """
    parts, is_withheld = [], False
    for path, texts in errors.items():
        if call.sensitive is None or (
            path and path[0] in call.body_fields and not call.sensitive(path)
        ):
            name = format_field_path(path)
            parts += [f"{name}: {text}" if name else text for text in texts]
        else:
            parts += [f"{name} was refused"] if (name := format_safe_name(path)) else []
            is_withheld = True
    if is_withheld:
        parts.append("(the server's message is withheld, because the request contained secrets)")
    return to_printable_line("; ".join(parts))


def to_printable_line(text: str) -> str:
    """The text as one line of at most 400 printable characters.

    Control characters in a server's answer must not reach a terminal.
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _MAX_LINE_LENGTH else line[: _MAX_LINE_LENGTH - 1] + "…"


def describe_body(answer: Answer) -> str:
    """A body that is not JSON as a phrase for an error: an HTML page's title, else its text."""
    text = answer.html_page_phrase or answer.masked_shortened_text
    return to_printable_line(text)


def _answered(
    kind: type[ClientError],
    call: ClientCall,
    answer: Answer,
    explanation: str,
    effect: Effect,
    detail: JsonValue,
) -> ClientError:
    text = f"{call}: {answer.status} {answer.registered_status_phrase}"
    if explanation:
        text += f": {explanation}"
    if answer.request_id:
        text += f" (request id {answer.request_id})"
    if effect is Effect.UNKNOWN:
        text += f". {MAY_HAVE_ACTED_TEXT}"
    return kind(
        text, status_code=answer.status, detail=detail, request_id=answer.request_id, effect=effect
    )


def _unanswered(call: ClientCall, reason: str, effect: Effect, sent: bool) -> str:
    text = f"{call}: {reason}."
    if effect is Effect.UNKNOWN:
        return f"{text} {MAY_HAVE_ACTED_TEXT}"
    if sent and is_upload_cut_short(call):
        return f"{text} {CUT_SHORT_TEXT}"
    return text if sent else f"{text} {NOT_ACTED_TEXT}"


def causes_of(failure: BaseException) -> Iterator[BaseException]:
    """The exception and all it wraps: libraries put a cause in `args`, `reason` or `__cause__`."""
    pending: list[Any] = [failure]
    seen_ids: set[int] = set()
    while pending:
        cause = pending.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen_ids:
            continue
        seen_ids.add(id(cause))
        yield cause
        # Not __context__: it leads to whatever the caller was handling when it called.
        pending += [*cause.args, getattr(cause, "reason", None), cause.__cause__]


_CONNECTION_ERRORS = (
    requests.ConnectionError,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    requests.exceptions.RetryError,
    urllib3.exceptions.ProtocolError,
    urllib3.exceptions.ProxyError,
    urllib3.exceptions.SSLError,
    urllib3.exceptions.DecodeError,
    urllib3.exceptions.TimeoutError,
    urllib3.exceptions.PoolError,
    http.client.HTTPException,
    ConnectionError,
)
# An answer had begun, and stopped half-way or could not be decoded.
INCOMPLETE_ERRORS = (
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    urllib3.exceptions.DecodeError,
    http.client.IncompleteRead,
)


def is_timeout(cause: BaseException) -> bool:
    """Whether an exception of a library says that something took too long."""
    if isinstance(cause, urllib3.exceptions.NewConnectionError):
        return False  # a refused connection, although its class says timeout
    timeout_classes = (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError)
    return isinstance(cause, timeout_classes)


_REASONS: tuple[tuple[Any, str], ...] = (
    ((requests.exceptions.ProxyError, urllib3.exceptions.ProxyError), "the proxy failed"),
    (INCOMPLETE_ERRORS, "the answer stopped half-way or cannot be decoded"),
    (requests.exceptions.InvalidProxyURL, "the proxy's URL is not valid"),
    ((requests.exceptions.InvalidURL, UnicodeError), "the URL is not valid"),
    (requests.exceptions.InvalidSchema, "the URL or its proxy has an unknown scheme"),
)


def is_tls(cause: BaseException) -> bool:
    """Whether an exception is of TLS: a certificate, or a peer that speaks something else."""
    return isinstance(
        cause, ssl.SSLError | urllib3.exceptions.SSLError | requests.exceptions.SSLError
    )


def explain(causes: list[BaseException]) -> str:
    """The reason as a phrase without anything of the request (libraries quote URLs)."""
    # The innermost cause comes last and is the most exact.
    for cause in reversed(causes):
        if isinstance(cause, ssl.SSLCertVerificationError):
            detail = to_printable_line(cause.verify_message)
            return f"the server's certificate is not trusted ({detail}); a CA bundle may be needed"
        if isinstance(cause, socket.gaierror):
            return "the host name cannot be resolved"
        if isinstance(cause, SpokeFirstError):
            return "the server sent something before it was asked"
        if isinstance(cause, http.client.RemoteDisconnected):
            return "the server closed the connection without an answer"
        if isinstance(cause, http.client.IncompleteRead):
            return "the answer stopped half-way"
        if isinstance(cause, ssl.SSLError):
            return "the TLS connection failed; the URL's scheme may be wrong"
        # `strerror` is a text of the system and never has the URL, which str(cause) may have.
        if isinstance(cause, OSError) and cause.errno and cause.strerror:
            return cause.strerror[:1].lower() + cause.strerror[1:]
    for error_class, reason in _REASONS:
        if any(isinstance(cause, error_class) for cause in causes):
            return reason
    if isinstance(causes[0], _CONNECTION_ERRORS):
        return "the connection failed"
    return f"the HTTP library refused it ({type(causes[0]).__name__})"
