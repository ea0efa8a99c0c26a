"""How one forge's API is called: the token in a header alone, and what its refusals mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from synapse_apply.controller.delivery import (
    Receiver,
    UndeliveredError,
    encode_compact_json,
    parse_json_answer,
    read_retry_after,
    read_server_time_or_none,
    reveal_header_value,
)
from synapse_apply.controller.ports import SendResult, StatusUnreadable
from synapse_apply.controller.rows import StatusRow
from synapse_apply.controller.settings import MINUTE, ForgeStatus
from synapse_apply.model.coding.json_types import JsonValue
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.remote.http_exchange import HttpAnswer
from synapse_apply.model.values import Sensitive

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MAX_WORDS = 20


class ForgeAnswer(NamedTuple):
    """A parsed answer; its own words are searched for causes, and never shown."""

    answer: HttpAnswer
    document: Any

    @property
    def status(self) -> int:
        return self.answer.status

    def mentions_any(self, *lowercase_phrases: str) -> bool:
        """Whether one of the forge's messages contains one of these phrases, in lower case."""
        return any(
            phrase in text for phrase in lowercase_phrases for text in _messages(self.document)
        )


def _messages(document: Any) -> list[str]:
    """The texts of an error, in lower case: `message` and, of GitHub, `errors[].message`."""
    if not isinstance(document, Mapping):
        return []
    errors = document.get("errors")
    nested = errors[:_MAX_WORDS] if isinstance(errors, list) else []
    candidates = [document, *(error for error in nested if isinstance(error, Mapping))]
    texts = [candidate.get("message") for candidate in candidates]
    return [text[:4000].lower() for text in texts if isinstance(text, str)]


class _RefusalWords(NamedTuple):
    """What is said of a refusal; `{forge}` and `{place}` are filled in."""

    summary: str
    detail: str
    hint: str
    is_final: bool = False


_GATEWAY = _RefusalWords(
    "{forge} failed",
    "{forge} answered {status}",
    "It is tried again by itself; see the status page of {forge}.",
)
_FORBIDDEN = _RefusalWords(
    "{forge} does not let this token set statuses",
    "{forge} answered {status} for {place}",
    "Give the token the right to write commit statuses there; a newer commit tries it again.",
    is_final=True,
)
_WORDS_BY_STATUS = {
    401: _RefusalWords(
        "{forge} does not accept the token",
        "{forge} answered 401 for {place}",
        "It may have expired: put another where commit_status.token says.",
    ),
    403: _FORBIDDEN,
    404: _RefusalWords(
        "{forge} does not know this place",
        "{forge} answered 404 for {place}: it is not there, or the token cannot see it",
        "Correct commit_status.repository and its api_url, or let the token see the repository.",
        is_final=True,
    ),
    429: _RefusalWords(
        "{forge} takes no more requests for now",
        "{forge} limits how often it is asked",
        "It is tried again by itself. A token of its own for the controller has its own limit.",
    ),
}
_REDIRECT = _RefusalWords(
    "{forge} says that the repository has moved",
    "{forge} redirects from {place}, and a token is not sent after a redirect",
    "Set commit_status.repository and api_url to where it is now.",
)
_OTHER = _RefusalWords(
    "{forge} refuses the status",
    "{forge} answered {status} for {place}",
    "Check commit_status.repository and its api_url.",
)
_FOREIGN = _RefusalWords(
    "The answer is not one of {forge}",
    "what answers for {place} did not answer as {forge} does",
    "Check commit_status.api_url: another server, or a page to log in, may answer there.",
)


class ForgeApi:
    """Calls one repository of a forge; what it raises and returns quotes no answer."""

    def __init__(
        self,
        forge: ForgeStatus,
        forge_name: str,
        token: Sensitive,
        headers: Mapping[str, str],
        wall_clock: Callable[[], float],
    ) -> None:
        """InputError for an API URL or a token that cannot be used."""
        self._receiver = Receiver(
            forge_name, Sensitive(forge.api_url), what_is_named="The api_url of commit_status"
        )
        reveal_header_value(token, f"The token of commit_status for {forge_name}")
        self._token = token
        self._headers = headers
        self._names = {"forge": forge_name, "place": forge.repository}
        self.wall_clock = wall_clock
        self.clock_offset: float | None = None

    def call_forge(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> ForgeAnswer:
        """Send one request; UndeliveredError without an answer."""
        headers = {**self._headers, "Authorization": f"Bearer {self._token.reveal()}"}
        content = b"" if body is None else encode_compact_json(body)
        answer = self._receiver.send_json_once(method, path, headers, content)
        date = read_server_time_or_none(answer)
        if date is not None:
            self.clock_offset = self.wall_clock() - date
        return ForgeAnswer(answer, parse_json_answer(answer))

    def read_json(
        self, path: str, build_refusal: Callable[[ForgeAnswer], SendResult] | None = None
    ) -> JsonValue:
        """The JSON value at a path, None for what is no JSON; StatusUnreadable for any failure.

        `build_refusal` says what an answer that is no success means, None: as the method does.
        """
        try:
            answer = self.call_forge("GET", path)
        except UndeliveredError as failure:
            raise StatusUnreadable(failure.result) from None
        if answer.status != 200:
            raise StatusUnreadable((build_refusal or self.build_result_of_refusal)(answer))
        return answer.document

    def build_result_of_refusal(
        self, answer: ForgeAnswer, *, is_rate_limited: bool = False, is_final: bool | None = None
    ) -> SendResult:
        """What is said of an answer that is no success; `is_final` overrules the status's own."""
        # What stands before a forge may limit it in this way, too.
        is_delayed = answer.status == 403 and "retry-after" in answer.answer.headers
        status = 429 if is_rate_limited or is_delayed else answer.status
        words = _OTHER
        if status in _WORDS_BY_STATUS:
            words = _WORDS_BY_STATUS[status]
        elif 300 <= status < 400:
            words = _REDIRECT
        elif status >= 500:
            words = _GATEWAY
        retry_after = read_retry_after(answer.answer, self.wall_clock)
        if status == 429 and retry_after is None:
            retry_after = MINUTE
        result = self._build_result_in_words(words, answer.status, retry_after)
        return result if is_final is None else SendResult(result.finding, retry_after, is_final)

    def foreign_answer(self, answer: ForgeAnswer) -> SendResult:
        """What is said of a success that does not show what was sent."""
        return self._build_result_in_words(_FOREIGN, answer.status, None)

    def malformed_statuses(self) -> StatusUnreadable:
        """The error for a list of statuses that does not have its form."""
        return StatusUnreadable(self._build_result_in_words(_FOREIGN, 200, None))

    def _build_result_in_words(
        self, words: _RefusalWords, status: int, retry_after: float | None
    ) -> SendResult:
        names = {**self._names, "status": status}
        finding = error_finding(
            words.summary.format(**names), words.detail.format(**names), words.hint.format(**names)
        )
        return SendResult(finding, retry_after, words.is_final)


def require_commit(row: StatusRow) -> str:
    """The row's commit, which becomes a part of a path; ValueError for what is no object id."""
    if not _COMMIT.fullmatch(row.commit):
        raise ValueError(f"not a commit: {row.commit!r}")
    return row.commit


def require_repository(forge: ForgeStatus, pattern: re.Pattern[str], example: str) -> str:
    """The repository, as it stands in the file; InputError if it does not have the forge's form."""
    if pattern.fullmatch(forge.repository):
        return forge.repository
    raise InputError.from_summary(
        "A repository cannot be used",
        f"commit_status.repository is {forge.repository[:200]!r}.",
        f"Write it as {example}.",
    )


def join_and_cut(text: str, max_length: int) -> str:
    """A text on one line with at most this many characters, the last one `…` if it was cut."""
    line = " ".join(text.split())
    return line if len(line) <= max_length else line[: max_length - 1].rstrip() + "…"
