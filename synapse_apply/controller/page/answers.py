"""How answers are made: pages of templates, JSON documents, and refusals as what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from synapse_apply.controller import api_types as types
from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.page.api import format_safe_json, write_document
from synapse_apply.controller.page.rendering import PageRenderer
from synapse_apply.controller.page.visitor import API_PREFIX, Doorkeeper, RequestRefused, Visitor
from synapse_apply.controller.rows import LEADER_LEASE
from synapse_apply.controller.rules.processes import LiveProcess, list_live_processes
from synapse_apply.controller.settings import Mode
from synapse_apply.controller.store.store_database import StoreUnavailable
from synapse_apply.model.diagnostic import Diagnostic, error_finding

_RETRY_SECONDS = 5
_STORE_IS_AWAY = "It is asked again every few seconds; the log of the controller says why."


class AnswerMaker:
    """Makes the answers of all endpoints; safe for many threads."""

    def __init__(
        self, loop: ControllerLoop, doorkeeper: Doorkeeper, clock: Callable[[], float]
    ) -> None:
        """`clock` gives wall-clock seconds since the epoch."""
        self._loop = loop
        self._doorkeeper = doorkeeper
        self._renderer = PageRenderer(clock)

    def render_page(
        self, template: str, visitor: Visitor | None, *, status: int = HTTPStatus.OK, **values: Any
    ) -> Response:
        """A page for somebody (None: for who was not let in), who is told what they may read."""
        settings = self._loop.get_settings()
        rules = [rule for source in settings.sources.values() for rule in source.rules]
        # Forms need the browser to say where they were: to our own address alone.
        is_person = visitor is not None and visitor.person is not None
        referrer_policy = "same-origin" if is_person else "no-referrer"
        html = self._renderer.render_template(
            template,
            settings=settings,
            visitor=visitor,
            referrer_policy=referrer_policy,
            is_observing=all(rule.mode is Mode.OBSERVE for rule in rules),
            processes=_live_processes(visitor),
            configuration_findings=visitor.store.list_configuration_findings() if visitor else (),
            **values,
        )
        headers = {
            "Content-Security-Policy": self._renderer.content_policy,
            "Referrer-Policy": referrer_policy,
        }
        return Response(html, status, headers, media_type="text/html")

    def answer_refusal(self, request: Request, error: Exception) -> Response:
        """The answer to a refusal, an HTTPException or a store that is away.

        A page, a Problem of the API or lines.
        """
        status, findings, headers = _split_refusal(error)
        if request.url.path.startswith(API_PREFIX):
            return Response(
                format_problem_as_json(findings), status, headers, media_type="application/json"
            )
        if "text/html" not in request.headers.get("accept", ""):
            lines = "".join(
                " ".join(part for part in (f"{finding.summary}.", finding.detail) if part) + "\n"
                for finding in findings
            )
            return PlainTextResponse(lines, status, headers)
        try:
            # A page for a visitor reads the store.
            is_store_away = isinstance(error, StoreUnavailable)
            visitor = None if is_store_away else self._doorkeeper.admit_visitor(request)
        except RequestRefused:
            visitor = None
        template = "not_found.html" if status == HTTPStatus.NOT_FOUND else "refused.html"
        answer = self.render_page(
            template, visitor, status=status, section="", findings=findings,
            back=_form_path(request),
        )  # fmt: skip
        answer.headers.update(headers)
        return answer


def _live_processes(visitor: Visitor | None) -> tuple[LiveProcess, ...]:
    """The processes of the controller that somebody may know of; none where it is one alone."""
    if visitor is None:
        return ()
    store = visitor.store
    return list_live_processes(
        store.list_recorded_processes(), store.find_lease_even_if_over(LEADER_LEASE)
    )


def format_problem_as_json(findings: tuple[Diagnostic, ...]) -> str:
    """The Problem of the API that says why something was not done."""
    return format_safe_json(write_document(types.Problem, diagnostics=findings))


def _split_refusal(
    error: Exception,
) -> tuple[HTTPStatus, tuple[Diagnostic, ...], Mapping[str, str]]:
    if isinstance(error, RequestRefused):
        return error.status, error.findings, error.headers
    if isinstance(error, StoreUnavailable):
        # Where the database is, and why it does not answer, is for who reads the log.
        retry_later = {"Retry-After": str(_RETRY_SECONDS)}
        finding = error_finding(error.diagnostics[0].summary, _STORE_IS_AWAY)
        return HTTPStatus.SERVICE_UNAVAILABLE, (finding,), retry_later
    if not isinstance(error, HTTPException):
        raise error
    summary = error.detail.removesuffix(".")
    return HTTPStatus(error.status_code), (error_finding(summary),), error.headers or {}


def _form_path(request: Request) -> str:
    """The page whose form was sent; "" for another request."""
    if request.method != "POST":
        return ""
    return request.url.path.rpartition("/")[0]
