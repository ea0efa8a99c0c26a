"""From what went wrong below, or what the server said, to a ClientError that tells a person."""

from __future__ import annotations

import http
import http.client
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import requests
import urllib3.exceptions

from synapse_apply.client.answers import Answer
from synapse_apply.client.calls import Call
from synapse_apply.client.connections import CutOffError, SpokeFirstError
from synapse_apply.client.errors import (
    ClientConnectionError,
    ClientError,
    ClientTimeoutError,
    EndedError,
    IncompleteAnswerError,
    NotSentError,
    RateLimitError,
    UnexpectedAnswerError,
    by_status,
)
from synapse_apply.client.multipart import MultipartBody, UnreadableBodyError
from synapse_apply.model.diagnostic import Path
from synapse_apply.model.error_body import field_errors, field_name
from synapse_apply.model.errors import Effect

# Everything the libraries below are known to raise; anything else is a bug and keeps its traceback.
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
MAY_HAVE_ACTED = "The server may have acted on it: look before it is sent again."
NOT_ACTED = "It did not reach the server."
CUT_SHORT = "Only a part of the upload was sent, so nothing was done with it."

_LONGEST = 400
TRANSIENT_STATUSES = frozenset({429, 502, 503, 504})
# These ask for the same request elsewhere, so that it was not acted on here.
_NOT_ACTED_REDIRECTS = frozenset({307, 308})


def from_exception(call: Call, failure: Exception, *, sent: bool, late: bool) -> ClientError:
    """The error for an exception of a library below.

    `sent`: bytes of the request have left. `late`: the call's total time is over.
    """
    if isinstance(failure, UnreadableBodyError):
        return NotSentError(f"{call}: not sent: {failure}")
    causes = list(_causes(failure))
    unknown = sent and call.mutates and not is_cut_short(call)
    effect = Effect.UNKNOWN if unknown else Effect.NONE
    why = _reason(causes)
    if late or any(_is_timeout(cause) for cause in causes):
        made: ClientError = ClientTimeoutError(
            _lost(call, f"no {'whole answer' if sent else 'connection'} in time", effect, sent),
            effect=effect,
        )
    elif _is_connection(causes):
        kind = IncompleteAnswerError if _is_incomplete(failure) else ClientConnectionError
        made = kind(_lost(call, why, effect, sent), effect=effect)
    elif sent:
        made = IncompleteAnswerError(_lost(call, why, effect, sent), effect=effect)
    else:
        return NotSentError(f"{call}: not sent: {why}")
    made.transient = not _is_lasting(causes)
    return made


def cut_off(call: Call, why: str, *, sent: bool) -> ClientError:
    """The error for a call that was ended, or not let out, on this side."""
    effect = Effect.UNKNOWN if sent and call.mutates else Effect.NONE
    text = _lost(call, f"no answer: {why}", effect, sent) if sent else f"{call}: not sent: {why}"
    return EndedError(text, effect=effect)


def is_cut_short(call: Call) -> bool:
    """Whether the call's body did not leave whole: no server can act on such a request."""
    return isinstance(call.body, MultipartBody) and not call.body.is_whole


def from_status(call: Call, answer: Answer) -> ClientError:
    """The error for an answer whose status is not a success."""
    status = answer.status
    parsed = answer.parsed
    foreign = status == 404 and parsed is None and bool(answer.body.strip())
    kind = UnexpectedAnswerError if foreign else by_status(status)
    # Only a 4xx says for certain that nothing was done.
    unknown = not 400 <= status < 500 and call.mutates and not is_cut_short(call)
    effect = Effect.UNKNOWN if unknown else Effect.NONE
    words = _words(call, answer)
    if foreign:
        words += "; this is not the API's own 404: check the URL of the backend"
    made = kind(
        _message(call, answer, words, effect),
        status_code=status,
        detail=answer.detail,
        request_id=answer.request_id,
        effect=effect,
    )
    made.transient = status in TRANSIENT_STATUSES
    if isinstance(made, RateLimitError):
        made.retry_after = answer.retry_after
    return made


def from_redirect(call: Call, answer: Answer, origin: str) -> ClientError:
    """The error for a redirect that is not followed; `origin` is where it leads."""
    effect = Effect.NONE
    if call.mutates and answer.status not in _NOT_ACTED_REDIRECTS:
        effect = Effect.UNKNOWN
    place = answer.redactor.mask_text(origin) or "nowhere"
    words = (
        f"it leads to {place} and was not followed, since the token goes to the "
        "backend's own URL only; if that is the backend, put it there"
    )
    return UnexpectedAnswerError(
        _message(call, answer, words, effect),
        status_code=answer.status,
        detail=answer.reason,
        request_id=answer.request_id,
        effect=effect,
    )


def unexpected(call: Call, answer: Answer, words: str) -> ClientError:
    """The error for a success whose body is not what the API answers."""
    effect = Effect.UNKNOWN if call.mutates else Effect.NONE
    return UnexpectedAnswerError(
        _message(call, answer, words, effect),
        status_code=answer.status,
        detail=answer.detail,
        request_id=answer.request_id,
        effect=effect,
    )


def readable(call: Call, errors: dict[Path, tuple[str, ...]]) -> str:
    """The texts that may be printed, as `path: text; ...`.

    When the request carried secrets, only texts about known fields that hold none: words about
    the whole request, or under a name nobody knows, may quote any of it (design section 5). Of
    other fields the name is shown.
    """
    shown, withheld = [], False
    for path, texts in errors.items():
        if call.sensitive is None or (path and path[0] in call.fields and not call.sensitive(path)):
            name = ".".join(map(str, path))
            shown += [f"{name}: {text}" if name else text for text in texts]
        else:
            shown += [f"{name} was refused"] if (name := field_name(path)) else []
            withheld = True
    if withheld:
        shown.append("(words of the server are withheld, since the request carried secrets)")
    return shortened("; ".join(shown))


def shortened(text: str) -> str:
    """One printable line: control characters of a server must not reach a terminal."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _words(call: Call, answer: Answer) -> str:
    if answer.parsed is not None:
        return readable(call, field_errors(answer.parsed))
    if call.sensitive is not None or not answer.body:
        return ""
    return described(answer)


def described(answer: Answer) -> str:
    """What a body that is not JSON seems to be."""
    text = answer.text
    if "html" in answer.content_type or re.match(r"\s*<(!doctype|html)", text, re.IGNORECASE):
        title = re.search(r"<title[^>]*>(.*?)</title", text, re.IGNORECASE | re.DOTALL)
        return "an HTML page" + (f' "{shortened(title[1])[:80]}"' if title else "")
    return shortened(text)


def _message(call: Call, answer: Answer, words: str, effect: Effect) -> str:
    text = f"{call}: {answer.status} {answer.reason}"
    if words:
        text += f": {words}"
    if answer.request_id:
        text += f" (request id {answer.request_id})"
    return f"{text}. {MAY_HAVE_ACTED}" if effect is Effect.UNKNOWN else text


def _lost(call: Call, why: str, effect: Effect, sent: bool) -> str:
    text = f"{call}: {why}."
    if effect is Effect.UNKNOWN:
        return f"{text} {MAY_HAVE_ACTED}"
    if sent and is_cut_short(call):
        return f"{text} {CUT_SHORT}"
    return text if sent else f"{text} {NOT_ACTED}"


def _causes(failure: BaseException) -> Iterator[BaseException]:
    """The exception and all it wraps: the libraries put the cause in args, reason or the chain."""
    waiting: list[Any] = [failure]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        # Not __context__: it leads to whatever the caller was handling when it called.
        waiting += [*one.args, getattr(one, "reason", None), one.__cause__]


_CONNECTION = (
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
_INCOMPLETE = (
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    urllib3.exceptions.DecodeError,
    http.client.IncompleteRead,
)


def _is_timeout(cause: BaseException) -> bool:
    if isinstance(cause, urllib3.exceptions.NewConnectionError):
        return False  # a refused connection, although its class says timeout
    kinds = (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError)
    return isinstance(cause, kinds)


def _is_connection(causes: list[BaseException]) -> bool:
    return any(isinstance(cause, _CONNECTION) for cause in causes)


def _is_incomplete(failure: Exception) -> bool:
    return isinstance(failure, _INCOMPLETE)


def _is_lasting(causes: list[BaseException]) -> bool:
    """A certificate that is not trusted will not be trusted in a second either."""
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes)


def _reason(causes: list[BaseException]) -> str:
    """Why, in words that hold nothing of the request (the libraries' own texts quote URLs)."""
    for cause in reversed(causes):
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = shortened(cause.verify_message)
            return f"the server's certificate is not trusted ({why}); a CA bundle may be needed"
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
        if isinstance(cause, OSError) and cause.errno and cause.strerror:
            return cause.strerror[:1].lower() + cause.strerror[1:]
    return _reason_by_kind(*causes)


def _reason_by_kind(*causes: BaseException) -> str:
    kinds: tuple[tuple[Any, str], ...] = (
        ((requests.exceptions.ProxyError, urllib3.exceptions.ProxyError), "the proxy failed"),
        (_INCOMPLETE, "the answer stopped half-way or cannot be decoded"),
        (requests.exceptions.InvalidProxyURL, "the proxy's URL is not valid"),
        ((requests.exceptions.InvalidURL, UnicodeError), "the URL is not valid"),
        (requests.exceptions.InvalidSchema, "the URL or its proxy has an unknown scheme"),
    )
    for kind, words in kinds:
        if any(isinstance(cause, kind) for cause in causes):
            return words
    if isinstance(causes[0], _CONNECTION):
        return "the connection failed"
    return f"the HTTP library refused it ({type(causes[0]).__name__})"
