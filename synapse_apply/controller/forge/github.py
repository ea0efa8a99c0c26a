"""How a commit status is set and read back at GitHub (github.com, and Enterprise Server).

Sources: docs.github.com, "REST API endpoints for commit statuses" and "Rate limits for the REST
API". 1,000 statuses are taken for a commit and context, after that 422; a context is compared
without regard to case; a rate limit is 403 or 429.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from synapse_apply.controller.delivery import UndeliveredError
from synapse_apply.controller.forge.forge_api import (
    ForgeAnswer,
    ForgeApi,
    join_and_cut,
    require_commit,
    require_repository,
)
from synapse_apply.controller.ports import SendResult
from synapse_apply.controller.rows import StatusRow, StatusState, StatusText
from synapse_apply.controller.settings import HOUR, MINUTE, ForgeStatus
from synapse_apply.model.values import Sensitive

_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
_REPOSITORY = re.compile(r"(?!\.)[A-Za-z0-9-]+/(?!\.{1,2}$)[A-Za-z0-9._-]+")
_MAX_DESCRIPTION = 140
_PAGE_SIZE, _MAX_PAGES = 100, 10


class GitHubStatusSender:
    """A StatusSender for one repository of GitHub."""

    def __init__(
        self, forge: ForgeStatus, token: Sensitive, wall_clock: Callable[[], float] = time.time
    ) -> None:
        """InputError for a repository, an API URL or a token that cannot be used."""
        repository = require_repository(forge, _REPOSITORY, "OWNER/NAME")
        self._api = ForgeApi(forge, "GitHub", token, _HEADERS, wall_clock)
        self._path = f"/repos/{quote(repository)}"

    def send(self, row: StatusRow) -> SendResult:
        """As StatusSender (`POST /repos/{owner}/{repo}/statuses/{sha}`)."""
        text = _shorten_for_github(row.wished)
        body = {"state": text.state.value, "context": row.context, "description": text.description}
        if text.url:
            body["target_url"] = text.url
        try:
            answer = self._api.call_forge(
                "POST", f"{self._path}/statuses/{require_commit(row)}", body
            )
        except UndeliveredError as failure:
            return failure.result
        if answer.status == 201:
            current = _parse_status(answer.document, row.context)
            is_shown = current is not None and current.state is row.wished.state
            return SendResult() if is_shown else self._api.foreign_answer(answer)
        return self._build_result_of_refusal(answer)

    def get_clock_offset_or_none(self) -> float | None:
        """As StatusSender."""
        return self._api.clock_offset

    def read_shown_text_or_wished_if_equivalent_or_none(self, row: StatusRow) -> StatusText | None:
        """As StatusSender (`GET /repos/{owner}/{repo}/commits/{ref}/status`).

        The combined status has the newest of each context; the plain list has all of them, of
        which a thousand can stand before ours.
        """
        base = f"{self._path}/commits/{require_commit(row)}/status?per_page={_PAGE_SIZE}&page="
        for page in range(1, _MAX_PAGES + 1):
            document = self._api.read_json(f"{base}{page}", self._build_result_of_refusal)
            statuses = document.get("statuses") if isinstance(document, Mapping) else None
            if not isinstance(statuses, list):
                raise self._api.malformed_statuses()
            for text in _texts_of_context(statuses, row.context):
                return row.wished if text == _shorten_for_github(row.wished) else text
            if len(statuses) < _PAGE_SIZE:
                break
        return None

    def _build_result_of_refusal(self, answer: ForgeAnswer) -> SendResult:
        headers = answer.answer.headers
        is_used_up = headers.get("x-ratelimit-remaining", "").strip() == "0"
        if answer.status == 429 or (
            answer.status == 403 and (is_used_up or answer.mentions_any("rate limit", "abuse"))
        ):
            result = self._api.build_result_of_refusal(answer, is_rate_limited=True)
            reset_at = headers.get("x-ratelimit-reset", "").strip()
            if "retry-after" in headers or not is_used_up or not reset_at.isdigit():
                return result
            wait = float(reset_at[:12]) - self._api.wall_clock()
            return SendResult(result.finding, min(max(wait, MINUTE), HOUR))
        # 422 is also the answer for a commit that is not there yet.
        is_full = answer.status == 422 and answer.mentions_any("maximum number of statuses")
        return self._api.build_result_of_refusal(answer, is_final=True if is_full else None)


def _shorten_for_github(text: StatusText) -> StatusText:
    """A text as GitHub takes it."""
    return StatusText(text.state, join_and_cut(text.description, _MAX_DESCRIPTION), text.url)


def _texts_of_context(statuses: list[Any], context: str) -> Iterator[StatusText]:
    for status in statuses:
        if (text := _parse_status(status, context)) is not None:
            yield text


def _parse_status(document: Any, context: str) -> StatusText | None:
    """The text of a status, None for one of another context and for what is none."""
    if not isinstance(document, Mapping):
        return None
    name, state = document.get("context"), document.get("state")
    if not isinstance(name, str) or name.lower() != context.lower():
        return None
    if not isinstance(state, str) or state not in {member.value for member in StatusState}:
        return None
    description, url = document.get("description"), document.get("target_url")
    return StatusText(
        StatusState(state),
        description if isinstance(description, str) else "",
        url if isinstance(url, str) else "",
    )
