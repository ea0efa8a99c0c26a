"""How a commit status is set and read back at GitHub and GitLab, and what their refusals mean."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from synapse_apply.client.http.pacing import parse_http_date
from synapse_apply.controller.outbox import delivery
from synapse_apply.controller.ports import SendResult, StatusSender, StatusUnreadable
from synapse_apply.controller.rows import StatusRow, StatusState, StatusText
from synapse_apply.controller.settings import HOUR, MINUTE, ForgeStatus
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import replace
from synapse_apply.model.json_types import JsonValue
from synapse_apply.model.remote import HttpAnswer
from synapse_apply.model.values import Sensitive


def build_status_sender(forge: ForgeStatus, ref: str, token: Sensitive) -> StatusSender:
    """The sender for a source that follows `ref`; nothing is sent yet.

    InputError for a repository, an API URL or a token that cannot be used.
    """
    if forge.forge == "gitlab":
        return GitLabStatusSender(forge, ref, token)
    return GitHubStatusSender(forge, token)


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
        """Whether an error's texts contain one of these phrases, in lower case.

        They are `message` and, of GitHub, `errors[].message`.
        """
        if not isinstance(self.document, Mapping):
            return False
        errors = self.document.get("errors")
        nested = errors[:_MAX_WORDS] if isinstance(errors, list) else []
        candidates = [self.document, *(error for error in nested if isinstance(error, Mapping))]
        texts = [candidate.get("message") for candidate in candidates]
        told = [text[:4000].lower() for text in texts if isinstance(text, str)]
        return any(phrase in text for phrase in lowercase_phrases for text in told)


class _RefusalWords(NamedTuple):
    """What is said of a refusal; `{forge}` and `{place}` are filled in."""

    summary: str
    detail: str
    hint: str
    is_final: bool = False


_GATEWAY = _RefusalWords(
    "{forge} has an internal problem",
    "{forge} answered {status}",
    "The controller retries automatically. See the status page of {forge}.",
)
_FORBIDDEN = _RefusalWords(
    "The token may not set commit statuses on {forge}",
    "{forge} answered {status} for {place}",
    "Give the token permission to write commit statuses. The controller tries again with the next "
    "commit.",
    is_final=True,
)
_WORDS_BY_STATUS = {
    401: _RefusalWords(
        "{forge} rejects the token",
        "{forge} answered 401 for {place}",
        "The token may have expired: replace the value of `commit_status.token`.",
    ),
    403: _FORBIDDEN,
    404: _RefusalWords(
        "{forge} does not find the repository",
        "{forge} answered 404 for {place}: it does not exist, or the token cannot see it",
        "Correct `commit_status.repository` and `api_url`, or give the token access to the "
        "repository.",
        is_final=True,
    ),
    429: _RefusalWords(
        "{forge} limits the requests of the controller",
        "{forge} answered that its rate limit is exceeded",
        "The controller retries automatically. A separate token for the controller has its own "
        "limit.",
    ),
}
_REDIRECT = _RefusalWords(
    "The repository has moved on {forge}",
    "{forge} redirects from {place}, and the controller sends no token after a redirect",
    "Set `commit_status.repository` and `api_url` to the new place.",
)
_OTHER = _RefusalWords(
    "{forge} refuses the status",
    "{forge} answered {status} for {place}",
    "Check `commit_status.repository` and `api_url`.",
)
_FOREIGN = _RefusalWords(
    "The answer does not come from {forge}",
    "the server at {place} did not answer as {forge} does",
    "Check `commit_status.api_url`: another server, or a login page, may answer there.",
)


class _StatusSender:
    """A StatusSender for one repository of a forge; what it raises and returns quotes no answer."""

    _path = ""
    _max_description = 0

    def __init__(
        self,
        forge: ForgeStatus,
        forge_name: str,
        token: Sensitive,
        headers: Mapping[str, str],
        wall_clock: Callable[[], float],
    ) -> None:
        """InputError for an API URL or a token that cannot be used."""
        self._receiver = delivery.Receiver(
            forge_name, Sensitive(forge.api_url), what_is_named="The commit_status api_url"
        )
        delivery.reveal_header_value(token, f"The commit_status token for {forge_name}")
        self._token = token
        self._headers = headers
        self._names = {"forge": forge_name, "place": forge.repository}
        self._wall_clock = wall_clock
        self._clock_offset: float | None = None

    def get_clock_offset_or_none(self) -> float | None:
        """As StatusSender."""
        return self._clock_offset

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> ForgeAnswer:
        """Send one request; UndeliveredError without an answer."""
        headers = {**self._headers, "Authorization": f"Bearer {self._token.reveal()}"}
        content = b"" if body is None else delivery.encode_compact_json(body)
        answer = self._receiver.send_json_once(method, path, headers, content)
        date = parse_http_date(answer.headers.get("date"))
        if date is not None:
            self._clock_offset = self._wall_clock() - date
        return ForgeAnswer(answer, delivery.parse_json_answer(answer))

    def _post_status(self, row: StatusRow, **words: str) -> ForgeAnswer:
        text = self._shorten(row.wished)
        body = {**words, "description": text.description}
        if text.url:
            body["target_url"] = text.url
        return self._call("POST", f"{self._path}/statuses/{_require_commit(row)}", body)

    def _read_json(self, path: str) -> JsonValue:
        """The JSON value at a path, None for what is no JSON; StatusUnreadable for any failure."""
        try:
            answer = self._call("GET", path)
        except delivery.UndeliveredError as failure:
            raise StatusUnreadable(failure.result) from None
        if answer.status != 200:
            raise StatusUnreadable(self._refusal(answer))
        return answer.document

    def _shorten(self, text: StatusText) -> StatusText:
        """A text as the forge takes it: on one line, the last character `…` if it was cut."""
        line, most = " ".join(text.description.split()), self._max_description
        shown = line if len(line) <= most else line[: most - 1].rstrip() + "…"
        return StatusText(text.state, shown, text.url)

    def _refusal(self, answer: ForgeAnswer) -> SendResult:
        return self._by_status(answer)

    def _by_status(
        self, answer: ForgeAnswer, *, is_rate_limited: bool = False, is_final: bool | None = None
    ) -> SendResult:
        """What is said of an answer that is no success; `is_final` overrules the status's own."""
        # What stands before a forge may limit it in this way, too.
        is_delayed = answer.status == 403 and "retry-after" in answer.answer.headers
        status = 429 if is_rate_limited or is_delayed else answer.status
        words = _WORDS_BY_STATUS.get(status, _OTHER)
        if 300 <= status < 400:
            words = _REDIRECT
        elif status >= 500:
            words = _GATEWAY
        retry_after = delivery.read_retry_after(answer.answer, self._wall_clock, status)
        result = self._in_words(words, answer.status, retry_after)
        return result if is_final is None else SendResult(result.finding, retry_after, is_final)

    def _foreign_answer(self, status: int = 200) -> SendResult:
        """What is said of a success that does not show what was sent, or that has another form."""
        return self._in_words(_FOREIGN, status, None)

    def _in_words(self, words: _RefusalWords, status: int, retry_after: float | None) -> SendResult:
        names = {**self._names, "status": status}
        finding = error_finding(
            words.summary.format(**names), words.detail.format(**names), words.hint.format(**names)
        )
        return SendResult(finding, retry_after, words.is_final)


def _require_commit(row: StatusRow) -> str:
    """The row's commit, which becomes a part of a path; ValueError for what is no object id."""
    if not _COMMIT.fullmatch(row.commit):
        raise ValueError(f"not a commit: {row.commit!r}")
    return row.commit


def _require_repository(forge: ForgeStatus, pattern: re.Pattern[str], example: str) -> str:
    """The repository, as it stands in the file; InputError if it does not have the forge's form."""
    if pattern.fullmatch(forge.repository):
        return forge.repository
    raise InputError.from_summary(
        "Invalid repository",
        f"commit_status.repository is {forge.repository[:200]!r}.",
        f"Write it as {example}.",
    )


def _text_of(document: Mapping[str, Any], state: StatusState) -> StatusText:
    """The text of a status that a forge has."""
    words = (document.get("description"), document.get("target_url"))
    return StatusText(state, *(word if isinstance(word, str) else "" for word in words))


# How a commit status is set and read back at GitHub (github.com, and Enterprise Server).
#
# Sources: docs.github.com, "REST API endpoints for commit statuses" and "Rate limits for the REST
# API". 1,000 statuses are taken for a commit and context, after that 422; a context is compared
# without regard to case; a rate limit is 403 or 429.

_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
_REPOSITORY = re.compile(r"(?!\.)[A-Za-z0-9-]+/(?!\.{1,2}$)[A-Za-z0-9._-]+")
_PAGE_SIZE, _MAX_PAGES = 100, 10


class GitHubStatusSender(_StatusSender):
    """A StatusSender for one repository of GitHub."""

    _max_description = 140

    def __init__(
        self, forge: ForgeStatus, token: Sensitive, wall_clock: Callable[[], float] = time.time
    ) -> None:
        """InputError for a repository, an API URL or a token that cannot be used."""
        repository = _require_repository(forge, _REPOSITORY, "OWNER/NAME")
        super().__init__(forge, "GitHub", token, _HEADERS, wall_clock)
        self._path = f"/repos/{quote(repository)}"

    def send(self, row: StatusRow) -> SendResult:
        """As StatusSender (`POST /repos/{owner}/{repo}/statuses/{sha}`)."""
        try:
            answer = self._post_status(row, state=row.wished.state.value, context=row.context)
        except delivery.UndeliveredError as failure:
            return failure.result
        if answer.status == 201:
            current = _github_status(answer.document, row.context)
            is_shown = current is not None and current.state is row.wished.state
            return SendResult() if is_shown else self._foreign_answer(answer.status)
        return self._refusal(answer)

    def read_shown_text(self, row: StatusRow) -> StatusText | None:
        """As StatusSender (`GET /repos/{owner}/{repo}/commits/{ref}/status`).

        The combined status has the newest of each context; the plain list has all of them, of
        which a thousand can stand before ours.
        """
        base = f"{self._path}/commits/{_require_commit(row)}/status?per_page={_PAGE_SIZE}&page="
        for page in range(1, _MAX_PAGES + 1):
            document = self._read_json(f"{base}{page}")
            statuses = document.get("statuses") if isinstance(document, Mapping) else None
            if not isinstance(statuses, list):
                raise StatusUnreadable(self._foreign_answer())
            for status in statuses:
                if (text := _github_status(status, row.context)) is not None:
                    return row.wished if text == self._shorten(row.wished) else text
            if len(statuses) < _PAGE_SIZE:
                break
        return None

    def _refusal(self, answer: ForgeAnswer) -> SendResult:
        headers = answer.answer.headers
        is_used_up = headers.get("x-ratelimit-remaining", "").strip() == "0"
        if answer.status == 429 or (
            answer.status == 403 and (is_used_up or answer.mentions_any("rate limit", "abuse"))
        ):
            result = self._by_status(answer, is_rate_limited=True)
            reset_at = headers.get("x-ratelimit-reset", "").strip()
            if "retry-after" in headers or not is_used_up or not reset_at.isdigit():
                return result
            wait = float(reset_at[:12]) - self._wall_clock()
            return SendResult(result.finding, min(max(wait, MINUTE), HOUR))
        # 422 is also the answer for a commit that is not there yet.
        is_full = answer.status == 422 and answer.mentions_any("maximum number of statuses")
        return self._by_status(answer, is_final=True if is_full else None)


def _github_status(document: Any, context: str) -> StatusText | None:
    """The text of a status, None for one of another context and for what is none."""
    if not isinstance(document, Mapping):
        return None
    name, state = document.get("context"), document.get("state")
    if not isinstance(name, str) or name.lower() != context.lower():
        return None
    if not isinstance(state, str) or state not in {member.value for member in StatusState}:
        return None
    return _text_of(document, StatusState(state))


# How a commit status is set and read back at GitLab (gitlab.com, and self-managed).
#
# Sources: docs.gitlab.com, "Commits API" (commit status) and "User and IP rate limits", and how
# GitLab keeps one (Ci::CreateCommitStatusService): a status that is pending or running is the same
# job until it ends, and changes its state and words by a transition that must exist, else 400
# "Cannot transition status"; pending to pending and running to running do not. One that has ended
# is never changed: what is sent after that is a new job of that name.

_PROJECT = re.compile(r"[0-9]{1,18}|[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)+")
# Longer ones are refused with 400.
_MAX_URL = 255
_WORDS_BY_STATE = {
    StatusState.PENDING: "pending",
    StatusState.SUCCESS: "success",
    StatusState.FAILURE: "failed",
    StatusState.ERROR: "failed",
}
# All others are of jobs that have not ended.
_STATES = {
    "success": StatusState.SUCCESS,
    "failed": StatusState.FAILURE,
    **dict.fromkeys(("canceled", "canceling", "skipped"), StatusState.ERROR),
}


class _CurrentStatus(NamedTuple):
    """A status as GitLab has it: its own word for the state, and what it means here."""

    word: str
    text: StatusText


class GitLabStatusSender(_StatusSender):
    """A StatusSender for one project of GitLab."""

    _max_description = 255

    def __init__(
        self,
        forge: ForgeStatus,
        ref: str,
        token: Sensitive,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`ref` is the branch or tag that is followed, with or without refs/heads/ before it.

        InputError for a project, an API URL or a token that cannot be used.
        """
        project = _require_repository(forge, _PROJECT, "GROUP/PROJECT, or the project's number")
        super().__init__(forge, "GitLab", token, {}, wall_clock)
        self._path = f"/projects/{quote(project, safe='')}"
        # Without it GitLab takes the first branch that has the commit, and refuses a commit that
        # none has: one that was forced away could not be ended.
        self._ref = ref.removeprefix("refs/heads/").removeprefix("refs/tags/")

    def send(self, row: StatusRow) -> SendResult:
        """As StatusSender (`POST /projects/:id/statuses/:sha`)."""
        try:
            answer, result = self._send(row, _WORDS_BY_STATE[row.wished.state])
            if answer.status != 400:
                return result
            # Read what is shown: equal is done, and words change only by a state that changes.
            current = self._read_newest(row)
            if current is None or current.text.state is not row.wished.state:
                return result
            if self._is_shown(row.wished, current) or current.word != "pending":
                return SendResult()
            answer, result = self._send(row, "running")
            # Else somebody else was faster; it is pending all the same.
            return result if answer.status != 400 else SendResult()
        except (delivery.UndeliveredError, StatusUnreadable) as failure:
            return failure.result

    def read_shown_text(self, row: StatusRow) -> StatusText | None:
        """As StatusSender (`GET /projects/:id/repository/commits/:sha/statuses`)."""
        current = self._read_newest(row)
        if current is None:
            return None
        return row.wished if self._is_shown(row.wished, current) else current.text

    def _send(self, row: StatusRow, word: str) -> tuple[ForgeAnswer, SendResult]:
        answer = self._post_status(row, state=word, name=row.context, ref=self._ref)
        document = answer.document
        if answer.status not in {200, 201}:
            # A commit that GitLab has not got yet, or whose status is just being written (409).
            is_passing = answer.status == 404 and answer.mentions_any("commit not found")
            return answer, self._by_status(answer, is_final=False if is_passing else None)
        is_shown = (
            isinstance(document, Mapping)
            and document.get("name") == row.context
            and document.get("status") == word
        )
        return answer, SendResult() if is_shown else self._foreign_answer(answer.status)

    def _read_newest(self, row: StatusRow) -> _CurrentStatus | None:
        """The newest status of the row's name; StatusUnreadable."""
        query = f"name={quote(row.context, safe='')}&ref={quote(self._ref, safe='')}&per_page=100"
        path = f"{self._path}/repository/commits/{_require_commit(row)}/statuses?{query}"
        document = self._read_json(path)
        if not isinstance(document, list):
            raise StatusUnreadable(self._foreign_answer())
        statuses = [
            status
            for status in document
            if (
                isinstance(status, Mapping)
                and status.get("name") == row.context
                and isinstance(status.get("status"), str)
                and type(status.get("id")) is int
            )
        ]
        if not statuses:
            return None
        newest = max(statuses, key=lambda status: status["id"])
        state = _STATES.get(newest["status"], StatusState.PENDING)
        # GitLab has one word for both.
        if state is StatusState.FAILURE and row.wished.state is StatusState.ERROR:
            state = StatusState.ERROR
        return _CurrentStatus(newest["status"], _text_of(newest, state))

    def _shorten(self, text: StatusText) -> StatusText:
        return super()._shorten(text if len(text.url) <= _MAX_URL else replace(text, url=""))

    def _is_shown(self, wished: StatusText, current: _CurrentStatus) -> bool:
        """Whether a status shows what is wished, as far as it can.

        There is no way to change the words of a job that is running; it shows them when it ends.
        """
        if current.word == "running" and wished.state is StatusState.PENDING:
            return True
        return current.text == self._shorten(wished)
