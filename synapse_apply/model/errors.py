"""Which exit code an error has, and which errors cross layers: of users, states and servers.

A SynapseApplyError carries diagnostics and ends a command by its exit code. A RemoteError is a call
to a backend that failed: its subclasses are by what the caller can do about it, and its `effect`
says whether it may have acted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any, Self

from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Severity

if TYPE_CHECKING:
    from synapse_apply.model.plan import Plan


class Exit:
    """Exit codes.

    When several apply, `select_exit_code` picks one by PRECEDENCE.
    """

    OK = 0
    ERROR = 1
    CHANGES = 2
    INCOMPLETE = 3
    STALE = 4
    REFUSED = 5
    LOCKED = 6
    UNKNOWN = 7
    USAGE = 64
    SIGINT = 130
    SIGTERM = 143

    # What needs a person most comes first: a script must notice a call that may have been done.
    PRECEDENCE = (UNKNOWN, SIGINT, SIGTERM, INCOMPLETE, STALE, REFUSED, LOCKED, ERROR, CHANGES, OK)

    @classmethod
    def select_exit_code(cls, *codes: int) -> int:
        """The exit code when several apply, by PRECEDENCE; ERROR for none of them."""
        return next((code for code in cls.PRECEDENCE if code in codes), cls.ERROR)


class SynapseApplyError(Exception):
    """Base of errors that end a command with a message in place of a traceback.

    `plan` is the plan that the error stops, if one was made, which reports show.
    """

    exit_code = Exit.ERROR
    plan: Plan | None = None

    def __init__(self, *diagnostics: Diagnostic) -> None:
        """The summary of the first diagnostic is the exception's text."""
        self.diagnostics = diagnostics
        super().__init__(diagnostics[0].summary if diagnostics else type(self).__name__)

    @classmethod
    def from_summary(cls, summary: str, detail: str = "", hint: str = "", **fields: Any) -> Self:
        """An error with one diagnostic; `fields` are further fields of Diagnostic."""
        return cls(Diagnostic(Severity.ERROR, summary, detail, hint, **fields))


class InputError(SynapseApplyError):
    """Manifests, project file, variables or arguments are invalid, or a plan has errors."""


class NameNotFound(InputError):
    """An InputError: no resource has this name."""


class ManifestError(InputError):
    """An InputError: a declaration or its package is not valid."""


class OptionConflict(InputError):
    """An InputError: options that exclude each other; its text is the finding's summary."""

    exit_code = Exit.USAGE


class StateError(SynapseApplyError):
    """The state is missing or damaged, or has a different backend or a newer format."""


class LockHeld(StateError):
    """A different run holds the state's lock for longer than `lock_timeout`."""

    exit_code = Exit.LOCKED


class LockLost(StateError):
    """The lock expired, or somebody took or removed the lock. The run stops."""

    exit_code = Exit.LOCKED


class NotApproved(SynapseApplyError):
    """`confirm` returned False, or you passed no plan, `confirm` or `auto_approve`."""


class Refused(SynapseApplyError):
    """A guard, a protection or a policy rule stops the command before any call."""

    exit_code = Exit.REFUSED


class Stale(SynapseApplyError):
    """A plan is out of date, not genuine, or was already applied."""

    exit_code = Exit.STALE


class OutcomeUnknown(SynapseApplyError):
    """A call may have acted, and no record can tell."""

    exit_code = Exit.UNKNOWN


class SecretUnavailable(SynapseApplyError):
    """A secret that the call needs has no value."""


class BackendError(SynapseApplyError):
    """A needed call to the backend failed; `__cause__` has the answer."""


class Effect(Enum):
    """Whether a request that failed may have changed the server."""

    NONE = "none"
    UNKNOWN = "unknown"


# A code of any other form may be a value of the request that the server quotes.
_ERROR_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


class RemoteError(Exception):
    """A call failed. `status_code` is 0 when no HTTP answer arrived.

    `detail` is the server's parsed error body (or text, or reason). It may echo what was sent, so
    whoever prints it drops the fields that are sensitive; the error's own text has no value of the
    request. `effect` says whether the server may have acted; `transient` whether the same call may
    succeed later.
    """

    transient: bool = False

    def __init__(
        self,
        message: str,
        *,
        status_code: int = 0,
        detail: Any = None,
        request_id: str | None = None,
        effect: Effect = Effect.NONE,
    ) -> None:
        """`effect` is UNKNOWN when the server may have acted although no success was seen."""
        super().__init__(message)
        self.message = message
        self.status_code = status_code
        self.detail = detail
        self.request_id = request_id
        self.effect = effect

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
        from synapse_apply.model.remote import parse_field_errors  # noqa: PLC0415 - few ask

        return parse_field_errors(self.response)


class Unreachable(RemoteError):
    """No connection, or it broke before a whole answer arrived."""


class RemoteTimeout(RemoteError):
    """No answer within the deadline."""


class UnexpectedAnswer(RemoteError):
    """What answered does not speak this API (HTML, a redirect, a foreign shape), or not here."""


class TooLarge(UnexpectedAnswer):
    """An answer, or a list, is larger than is read; the message quotes nothing of the server."""


class Unauthorized(RemoteError):
    """401: the credentials are missing or wrong."""


# What is read next would fail in the same way: these end a search, others are of one object.
FINAL_READ_ERRORS = (Unauthorized, Unreachable)


class Forbidden(RemoteError):
    """403: the credentials are not allowed to do this."""


class NotFound(RemoteError):
    """404: no such object, or not visible to these credentials."""


class Conflict(RemoteError):
    """409: it exists already, or its state forbids the call."""


class Invalid(RemoteError):
    """Another 4xx, or nothing was sent: the request must change before it can succeed."""


class RateLimited(RemoteError):
    """429: not acted on; `retry_after` is in seconds when the server said so."""

    retry_after: float | None = None


class ServerFault(RemoteError):
    """5xx: the server failed; a mutating call may have been acted on."""


class Unconfirmed(UnexpectedAnswer):
    """A success that does not say it was the dry run that was asked for: it may have been done."""


class CallEnded(RemoteError):
    """This side ended the call before its answer, or did not let it out."""


def describe_failure(failure: RemoteError) -> str:
    """The message of a failed call, without request id and effect, which a finding shows apart."""
    text = f"{failure}".replace(f" (request id {failure.request_id})", "")
    # The exception's own text ends with this sentence where the effect is unknown.
    return text.partition(" The server may have acted")[0].rstrip(".") + "."


_ADVICE_BY_STATUS = {
    0: "Check the target's url and the network, then {again}.",
    400: "Correct the manifest, then {again}.",
    403: "This token does not have permission: check token and tenant, or ask the tenant's owner.",
    404: "The object does not exist, or this token cannot see it: check the id, url, token and "
    "tenant.",
    409: "The object already exists, or its state forbids the call: check the object in Synapse "
    "first.",
    413: "The package is too large for this backend.",
    422: "Correct the manifest, then {again}.",
    429: "The backend limits requests: {again} later, or with a lower --parallelism.",
}
_TOKEN_ADVICE = Text(
    "The token is missing or wrong: ", Command("doctor"), " shows where it comes from."
)


FOREIGN_ANSWER_ADVICE = (
    "Check the target's url: a different server or a proxy may answer there. If the url is right, "
    "report this answer to the backend's operator."
)


def has_odd_success(failure: RemoteError) -> bool:
    """Whether the status is a success, and the answer is not what the API describes."""
    return 200 <= failure.status_code < 300


def advise_on_failure(failure: RemoteError, retry_phrase: str, default_advice: str) -> str:
    """A hint what to do about a failed call; `retry_phrase` is the command's words for a retry."""
    # The user or an interrupt ended it, so nothing is wrong with the network.
    if isinstance(failure, CallEnded):
        return default_advice
    if failure.status_code == 401:
        return _TOKEN_ADVICE
    return _ADVICE_BY_STATUS.get(failure.status_code, default_advice).format(again=retry_phrase)


def build_remote_finding(failure: RemoteError) -> Diagnostic:
    """A failed call as a finding: status and request id alone. An error body may echo a secret."""
    status = failure.status_code
    status_text = f"The backend answered {status}." if status else ""
    advice = advise_on_failure(failure, "run the command again", "Run the command again.")
    if has_odd_success(failure):
        status_text = f"The backend answered {status}, but the answer does not match the API."
        if isinstance(failure, TooLarge):
            status_text = f"{failure}."
        advice = FOREIGN_ANSWER_ADVICE
    return Diagnostic(
        Severity.ERROR,
        "A call to the backend failed",
        # Without a status it is our own message, which quotes nothing of the server.
        status_text or f"{failure}.".replace("..", "."),
        advice,
        request_id=failure.request_id,
    )


@contextmanager
def advising(advice: str) -> Iterator[None]:
    """Add `advice` as a note to an interruption of the block: what the user has to know of it."""
    try:
        yield
    except Exception:
        raise
    except BaseException as interruption:
        interruption.add_note(advice)
        raise
