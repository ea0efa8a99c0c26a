"""Which exception class each failure of a call is.

Every class is also one of the model's, which callers outside of the client catch: they decide by
NotFound, Conflict or `effect`, and know no HTTP library.

ClientError               every failure of a call
  NotSentError            refused on this side: nothing left this machine
  EndedError              ended on this side, before its answer or before it left
  ClientConnectionError   no connection, or it broke
    IncompleteAnswerError   the answer stopped half-way or cannot be decoded
  ClientTimeoutError      no whole answer in time
  UnexpectedAnswerError   an answer that is not the API's: HTML, a redirect, a foreign shape
    UnconfirmedError        a success that does not say it was the dry run that was asked for
  AuthenticationError 401, AuthorizationError 403, NotFoundError 404, ConflictError 409,
  RateLimitError 429, ValidationError for every other 4xx, ServerError 5xx
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from synapse_apply.model import errors
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.remote import parse_field_errors

# A code of any other form may be a value of the request that the server quotes.
_ERROR_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


class ClientError(errors.RemoteError):
    """A call failed (API page, "Error Handling").

    `status_code` is 0 if no HTTP answer arrived; `effect` says whether the server may have acted;
    `transient` whether the same call may succeed later. The error's text never has a value of the
    request in it; `detail` and `response` may, if the server quotes it.
    """

    transient: bool = False

    @property
    def response(self) -> Any:
        """The server's error body as parsed (text when it is not JSON); None without an answer."""
        return self.detail if self.status_code else None

    @property
    def code(self) -> str:
        """The server's error code (API v2: CONFLICT, INVALID_STATE, ...); "" if it has none."""
        error_object = self.response.get("error") if isinstance(self.response, Mapping) else None
        error_code = error_object.get("code") if isinstance(error_object, Mapping) else None
        return (
            error_code if isinstance(error_code, str) and _ERROR_CODE.fullmatch(error_code) else ""
        )

    def field_errors(self) -> dict[FieldPath, tuple[str, ...]]:
        """The server's messages by the path of their field; () is the whole request."""
        return parse_field_errors(self.response)


class NotSentError(ClientError, errors.Invalid):
    """The request cannot be sent as it is: a path, a body or a file that is not usable."""


class EndedError(ClientError, errors.CallEnded):
    """The client was hung up, or may not send any more."""


class ClientConnectionError(ClientError, errors.Unreachable):
    """No connection, or it broke before a whole answer arrived."""


class IncompleteAnswerError(ClientConnectionError):
    """The answer stopped half-way or cannot be decoded."""


class ClientTimeoutError(ClientError, errors.RemoteTimeout):
    """No whole answer within the connect, read or total time."""


class UnexpectedAnswerError(ClientError):
    """What answered does not speak this API, or not at this URL."""


class TooLargeError(UnexpectedAnswerError, errors.TooLarge):
    """An answer, or all pages of a list, are larger than is read."""


class UnconfirmedError(UnexpectedAnswerError, errors.Unconfirmed):
    """A dry run was asked for, and the answer does not say that it was one."""


class AuthenticationError(ClientError, errors.Unauthorized):
    """401: the token is missing or wrong."""


class AuthorizationError(ClientError, errors.Forbidden):
    """403: the token may not do this."""


class NotFoundError(ClientError, errors.NotFound):
    """404: no such object, or not visible to this token."""


class ConflictError(ClientError, errors.Conflict):
    """409: it exists already, or its state forbids the call."""


class ValidationError(ClientError, errors.Invalid):
    """4xx of any other kind: the request must change before it can succeed."""


class RateLimitError(ClientError, errors.RateLimited):
    """429: not acted on; `retry_after` in seconds when the server said so."""


class ServerError(ClientError, errors.ServerFault):
    """5xx: the server failed."""


_CLASS_BY_STATUS: dict[int, type[ClientError]] = {
    401: AuthenticationError,
    403: AuthorizationError,
    404: NotFoundError,
    408: ClientTimeoutError,
    409: ConflictError,
    429: RateLimitError,
}


def choose_error_class_for_status(status: int) -> type[ClientError]:
    """The exception class for an HTTP status; UnexpectedAnswerError below 400."""
    if status in _CLASS_BY_STATUS:
        return _CLASS_BY_STATUS[status]
    if status >= 500:
        return ServerError
    return ValidationError if status >= 400 else UnexpectedAnswerError
