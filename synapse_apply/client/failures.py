"""Which RemoteError an exception, a status or an unusable answer becomes, and its message.

The message never quotes a value of the request. `effect` is UNKNOWN wherever the server may have
acted on a mutating call.
"""

from __future__ import annotations

import http
import http.client
import socket
import ssl
from typing import Any

import requests
import urllib3.exceptions

from synapse_apply.client.calls import ClientCall
from synapse_apply.client.http.answers import Answer
from synapse_apply.client.http.connections import CutOffError, SpokeFirstError
from synapse_apply.client.http.multipart import UnreadableBodyError
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.errors import (
    CallEnded,
    Conflict,
    Effect,
    Forbidden,
    Invalid,
    NotFound,
    RateLimited,
    RemoteError,
    RemoteTimeout,
    ServerFault,
    Unauthorized,
    UnexpectedAnswer,
    Unreachable,
)
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
MAY_HAVE_ACTED_TEXT = "The server may have acted on the call: check before you send it again."
NOT_ACTED_TEXT = "The call did not reach the server."
CUT_SHORT_TEXT = "Only a part of the upload was sent, so the server did not act on it."

_MAX_LINE_LENGTH = 400
_KINDS_BY_STATUS: dict[int, type[RemoteError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    408: RemoteTimeout,
    409: Conflict,
    429: RateLimited,
}
TRANSIENT_STATUSES = frozenset({429, 502, 503, 504})
# 307 and 308 ask for the same request elsewhere (RFC 9110, 15.4.8 and 15.4.9): this server did not
# act on it. After a 301, 302 or 303 it may have.
_NOT_ACTED_REDIRECTS = frozenset({307, 308})
# What an edge answers before it passes a request on: it lets in nobody unknown, nothing too large,
# and no more at once.
_NOT_PASSED_ON = frozenset({401, 407, 413, 429})

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
_INCOMPLETE_ERRORS = (
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    urllib3.exceptions.DecodeError,
    http.client.IncompleteRead,
)
_TIMEOUT_ERRORS = (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError)
# A certificate, or a peer that speaks something else.
_TLS_ERRORS = (ssl.SSLError, urllib3.exceptions.SSLError, requests.exceptions.SSLError)

_Reasons = tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...]
# Of each cause, the innermost first; a certificate and a text of the system come between them.
_REASONS_OF_CAUSES: _Reasons = (
    (socket.gaierror, "the host name cannot be resolved"),
    (SpokeFirstError, "the server sent data before the request"),
    (http.client.RemoteDisconnected, "the server closed the connection without an answer"),
    (http.client.IncompleteRead, "the answer was cut off"),
    (ssl.SSLError, "the TLS connection failed; the URL's scheme may be wrong"),
)
# Of all causes together.
_REASONS: _Reasons = (
    ((requests.exceptions.ProxyError, urllib3.exceptions.ProxyError), "the proxy failed"),
    (_INCOMPLETE_ERRORS, "the answer was cut off or cannot be decoded"),
    (requests.exceptions.InvalidProxyURL, "the proxy's URL is not valid"),
    ((requests.exceptions.InvalidURL, UnicodeError), "the URL is not valid"),
    (requests.exceptions.InvalidSchema, "the URL or its proxy has an unknown scheme"),
)


class Breakage:
    """Why an attempt broke off, by the exception of a library and all that this wraps."""

    def __init__(self, failure: Exception, *, is_late: bool = False) -> None:
        """`is_late`: the request's total time is over."""
        self._failure = failure
        self._causes: list[BaseException] = []
        # Libraries put a cause in `args`, `reason` or `__cause__`. Not __context__: it leads to
        # whatever the caller was handling when it called.
        pending: list[Any] = [failure]
        while pending:
            cause = pending.pop(0)
            if isinstance(cause, BaseException) and not any(cause is one for one in self._causes):
                self._causes.append(cause)
                pending += [*cause.args, getattr(cause, "reason", None), cause.__cause__]
        self.is_incomplete = isinstance(failure, _INCOMPLETE_ERRORS)
        self.is_tls = self.has(*_TLS_ERRORS)
        # A retry cannot change that a certificate is not trusted.
        self.is_untrusted = self.has(ssl.SSLCertVerificationError)
        # A refused connection is none, although its class says timeout.
        refused = urllib3.exceptions.NewConnectionError
        self.is_timeout = is_late or any(
            isinstance(cause, _TIMEOUT_ERRORS) and not isinstance(cause, refused)
            for cause in self._causes
        )

    def has(self, *kinds: type[BaseException]) -> bool:
        """Whether one of the causes is of one of these classes."""
        return any(isinstance(cause, kinds) for cause in self._causes)

    @property
    def reason(self) -> str:
        """The reason as a phrase without anything of the request (libraries quote URLs)."""
        # The innermost cause comes last and is the most exact.
        for cause in reversed(self._causes):
            if isinstance(cause, ssl.SSLCertVerificationError):
                detail = to_printable_line(cause.verify_message)
                return (
                    f"the server's certificate is not trusted ({detail}); a CA bundle may be needed"
                )
            for kinds, reason in _REASONS_OF_CAUSES:
                if isinstance(cause, kinds):
                    return reason
            # `strerror` is a text of the system and never has the URL, which str(cause) may have.
            if isinstance(cause, OSError) and cause.errno and cause.strerror:
                return cause.strerror[:1].lower() + cause.strerror[1:]
        for kinds, reason in _REASONS:
            if any(isinstance(cause, kinds) for cause in self._causes):
                return reason
        if isinstance(self._failure, _CONNECTION_ERRORS):
            return "the connection failed"
        return f"the HTTP library refused the call ({type(self._failure).__name__})"

    def error(self, call: ClientCall, *, sent: bool) -> RemoteError:
        """The error of the call; `sent`: at least one byte of the request has left."""
        if isinstance(self._failure, UnreadableBodyError):
            # The message is this program's own, about a file of the user: it may be shown.
            return Invalid(f"{call}: not sent: {self._failure}")
        reason = self.reason
        kind: type[RemoteError] = Unreachable
        if self.is_timeout:
            kind = RemoteTimeout
            reason = f"no {'complete answer' if sent else 'connection'} in time"
        # After the request has left, any other exception comes from reading the answer.
        elif not (sent or self.is_incomplete or self.has(*_CONNECTION_ERRORS)):
            return Invalid(f"{call}: not sent: {reason}")
        error = _unanswered(
            kind, call, reason, may_have_acted=sent and not call.is_cut_short, sent=sent
        )
        error.transient = not self.is_untrusted
        return error


def aborted_call(call: ClientCall, reason: str, *, sent: bool) -> RemoteError:
    """The error for a call that this program aborted, or did not send, for this reason."""
    if not sent:
        return CallEnded(f"{call}: not sent: {reason}")
    return _unanswered(CallEnded, call, f"no answer: {reason}", may_have_acted=True, sent=True)


def _kind_of_status(status: int) -> type[RemoteError]:
    """UnexpectedAnswer below 400."""
    if status in _KINDS_BY_STATUS:
        return _KINDS_BY_STATUS[status]
    if status >= 500:
        return ServerFault
    return Invalid if status >= 400 else UnexpectedAnswer


def failed_status(answer: Answer) -> RemoteError:
    """The error for an answer whose status is not a success."""
    call, status, parsed = answer.call, answer.status, answer.masked_json_or_none
    # A body that is not JSON comes from a web server in front of the API, or from another site: as
    # a plain "not found" a 404 would make a plan create everything again.
    is_of_edge = parsed is None and bool(answer.body.strip())
    is_foreign = status == http.HTTPStatus.NOT_FOUND and is_of_edge
    # Only a 4xx of the API is certain: before any other answer an edge may have passed the request
    # on, as before a 408, which may mean that the server was too slow for it.
    is_certain = status in _NOT_PASSED_ON or (
        400 <= status < 500 and status != http.HTTPStatus.REQUEST_TIMEOUT and not is_of_edge
    )
    if parsed is not None:
        explanation = format_server_messages(call, parse_field_errors(parsed))
    elif call.sensitive is not None or not answer.body:
        explanation = HTML_PAGE if answer.html_page_phrase else ""
    else:
        explanation = describe_body(answer)
    if is_foreign:
        explanation += "; the API itself did not send this 404: check the URL of the backend"
    error = _answered(
        UnexpectedAnswer if is_foreign else _kind_of_status(status),
        answer,
        explanation,
        may_have_acted=not is_certain and not call.is_cut_short,
    )
    error.transient = status in TRANSIENT_STATUSES
    if isinstance(error, RateLimited):
        error.retry_after = answer.retry_after
    return error


def unfollowed_redirect(answer: Answer, origin: str) -> RemoteError:
    """The error for a redirect that is not followed; `origin` is its target's scheme and host."""
    destination = answer.redactor.mask_secrets_in_text(origin) or "nowhere"
    explanation = (
        f"the redirect to {destination} was not followed, because the token is sent only to the "
        f"backend's own URL. If {destination} is the backend, set that URL in the target"
    )
    may_have_acted = answer.status not in _NOT_ACTED_REDIRECTS
    error = _answered(UnexpectedAnswer, answer, explanation, may_have_acted=may_have_acted)
    error.detail = answer.registered_status_phrase
    return error


def unexpected_answer(
    answer: Answer, explanation: str, kind: type[RemoteError] = UnexpectedAnswer
) -> RemoteError:
    """The error for a successful status whose body is not what the API answers."""
    return _answered(kind, answer, explanation, may_have_acted=True)


def _answered(
    kind: type[RemoteError], answer: Answer, explanation: str, *, may_have_acted: bool
) -> RemoteError:
    text = f"{answer.call}: {answer.status} {answer.registered_status_phrase}"
    if explanation:
        text += f": {explanation}"
    if answer.request_id:
        text += f" (request id {answer.request_id})"
    effect = Effect.NONE
    if may_have_acted and answer.call.mutates:
        effect = Effect.UNKNOWN
        text += f". {MAY_HAVE_ACTED_TEXT}"
    return kind(
        text,
        status_code=answer.status,
        detail=answer.detail,
        request_id=answer.request_id,
        effect=effect,
    )


def _unanswered(
    kind: type[RemoteError], call: ClientCall, reason: str, *, may_have_acted: bool, sent: bool
) -> RemoteError:
    if may_have_acted and call.mutates:
        return kind(f"{call}: {reason}. {MAY_HAVE_ACTED_TEXT}", effect=Effect.UNKNOWN)
    if sent and call.is_cut_short:
        return kind(f"{call}: {reason}. {CUT_SHORT_TEXT}")
    return kind(f"{call}: {reason}." if sent else f"{call}: {reason}. {NOT_ACTED_TEXT}")


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
