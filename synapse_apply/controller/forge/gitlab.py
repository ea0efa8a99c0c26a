"""How a commit status is set and read back at GitLab (gitlab.com, and self-managed).

Sources: docs.gitlab.com, "Commits API" (commit status) and "User and IP rate limits", and how
GitLab keeps one (Ci::CreateCommitStatusService): a status that is pending or running is the same
job until it ends, and changes its state and words by a transition that must exist, else 400
"Cannot transition status"; pending to pending and running to running do not. One that has ended is
never changed: what is sent after that is a new job of that name.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from synapse_apply.controller.delivery import UndeliveredError
from synapse_apply.controller.forge.forge_api import (
    ForgeAnswer,
    ForgeApi,
    join_and_cut,
    require_commit,
    require_repository,
)
from synapse_apply.controller.ports import SendResult, StatusUnreadable
from synapse_apply.controller.rows import StatusRow, StatusState, StatusText
from synapse_apply.controller.settings import ForgeStatus
from synapse_apply.model.values import Sensitive

_PROJECT = re.compile(r"[0-9]{1,18}|[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)+")
# Longer ones are refused with 400.
_MAX_DESCRIPTION, _MAX_URL = 255, 255
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


class GitLabStatusSender:
    """A StatusSender for one project of GitLab."""

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
        project = require_repository(forge, _PROJECT, "GROUP/PROJECT, or the project's number")
        self._api = ForgeApi(forge, "GitLab", token, {}, wall_clock)
        self._path = f"/projects/{quote(project, safe='')}"
        # Without it GitLab takes the first branch that has the commit, and refuses a commit that
        # none has: one that was forced away could not be ended.
        self._ref = ref.removeprefix("refs/heads/").removeprefix("refs/tags/")

    def send(self, row: StatusRow) -> SendResult:
        """As StatusSender (`POST /projects/:id/statuses/:sha`)."""
        word = _WORDS_BY_STATE[row.wished.state]
        try:
            answer = self._post_status(row, word)
            if answer.status != 400:
                return self._result_of(row, answer, word)
            # Read what is shown: equal is done, and words change only by a state that changes.
            current = self._read_newest(row)
            if current is None or current.text.state is not row.wished.state:
                return self._api.build_result_of_refusal(answer)
            if _is_shown(row.wished, current) or current.word != "pending":
                return SendResult()
            second_answer = self._post_status(row, "running")
            if second_answer.status == 400:
                return SendResult()  # somebody else was faster; it is pending all the same
            return self._result_of(row, second_answer, "running")
        except UndeliveredError as failure:
            return failure.result
        except StatusUnreadable as failure:
            return failure.result

    def get_clock_offset_or_none(self) -> float | None:
        """As StatusSender."""
        return self._api.clock_offset

    def read_shown_text_or_wished_if_equivalent_or_none(self, row: StatusRow) -> StatusText | None:
        """As StatusSender (`GET /projects/:id/repository/commits/:sha/statuses`)."""
        current = self._read_newest(row)
        if current is None:
            return None
        return row.wished if _is_shown(row.wished, current) else current.text

    def _post_status(self, row: StatusRow, word: str) -> ForgeAnswer:
        text = _shorten(row.wished)
        body = {
            "state": word,
            "name": row.context,
            "ref": self._ref,
            "description": text.description,
        }
        if text.url:
            body["target_url"] = text.url
        return self._api.call_forge("POST", f"{self._path}/statuses/{require_commit(row)}", body)

    def _result_of(self, row: StatusRow, answer: ForgeAnswer, word: str) -> SendResult:
        document = answer.document
        if answer.status in {200, 201}:
            is_shown = (
                isinstance(document, Mapping)
                and document.get("name") == row.context
                and document.get("status") == word
            )
            return SendResult() if is_shown else self._api.foreign_answer(answer)
        # A commit that GitLab has not got yet, or whose status is just being written (409).
        is_passing = answer.status == 404 and answer.mentions_any("commit not found")
        return self._api.build_result_of_refusal(answer, is_final=False if is_passing else None)

    def _read_newest(self, row: StatusRow) -> _CurrentStatus | None:
        """The newest status of the row's name; StatusUnreadable."""
        query = f"name={quote(row.context, safe='')}&ref={quote(self._ref, safe='')}&per_page=100"
        path = f"{self._path}/repository/commits/{require_commit(row)}/statuses?{query}"
        document = self._api.read_json(path)
        if not isinstance(document, list):
            raise self._api.malformed_statuses()
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
        return _parse_status(max(statuses, key=lambda status: status["id"]), row)


def _shorten(text: StatusText) -> StatusText:
    """A text as GitLab takes it."""
    url = text.url if len(text.url) <= _MAX_URL else ""
    return StatusText(text.state, join_and_cut(text.description, _MAX_DESCRIPTION), url)


def _is_shown(wished: StatusText, current: _CurrentStatus) -> bool:
    """Whether a status shows what is wished, as far as it can.

    There is no way to change the words of a job that is running; it shows them when it ends.
    """
    if current.word == "running" and wished.state is StatusState.PENDING:
        return True
    return current.text == _shorten(wished)


def _parse_status(document: Mapping[str, Any], row: StatusRow) -> _CurrentStatus:
    word = document["status"]
    state = _STATES.get(word, StatusState.PENDING)
    # GitLab has one word for both.
    if state is StatusState.FAILURE and row.wished.state is StatusState.ERROR:
        state = StatusState.ERROR
    description, url = document.get("description"), document.get("target_url")
    text = StatusText(
        state,
        description if isinstance(description, str) else "",
        url if isinstance(url, str) else "",
    )
    return _CurrentStatus(word, text)
