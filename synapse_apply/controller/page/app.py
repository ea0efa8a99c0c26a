"""Which paths the page answers, and with what; it reads the store and asks the loop for its health.

What reads the store is answered on threads, so that no long page keeps a probe waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from synapse_apply.controller.page import api, hooks
from synapse_apply.controller.page.badge import draw_badge, draw_icon
from synapse_apply.controller.page.health import list_reasons_not_ready
from synapse_apply.controller.page.metrics import CONTENT_TYPE, render_metrics
from synapse_apply.controller.page.overview import OverviewQuery, choose_tone, read_overview
from synapse_apply.controller.page.rendering import PageRenderer
from synapse_apply.controller.page.runs import (
    read_revision_view_or_none,
    read_run_view_or_none,
    read_target_view_or_none,
)
from synapse_apply.controller.page.sources import read_source_view_or_none
from synapse_apply.controller.ports import RunningLoop
from synapse_apply.controller.rows import TargetName
from synapse_apply.controller.store_ports import ReadableStore
from synapse_apply.model.values import Sensitive

Forge = Literal["github", "gitlab"]
HookSecretValues = Mapping[Forge, Sensitive]
_BODY_SECONDS = 10.0
_ApiList = Callable[[ReadableStore, Mapping[str, str]], dict[str, Any]]


class PageApp:
    """The endpoints of the page, over one store and one loop."""

    def __init__(
        self,
        store: ReadableStore,
        loop: RunningLoop,
        hook_secrets: HookSecretValues,
        clock: Callable[[], float],
    ) -> None:
        """`store` is read on any thread. `clock` gives wall-clock seconds since the epoch."""
        self._store = store
        self._loop = loop
        self._hook_secrets = hook_secrets
        self._renderer = PageRenderer(clock)

    def build(self) -> Starlette:
        """The ASGI application, without what guards it (guard.py)."""
        routes = [
            Route("/", self.show_overview),
            Route("/targets/{source}/{target:path}", self.show_target),
            Route("/sources/{source:path}", self.show_source),
            Route("/runs/{run:path}", self.show_run),
            Route("/revisions/{source}/{commit:path}", self.show_revision),
            Route("/badge/{source}/{target:path}.svg", self.send_badge),
            Route("/icon.svg", self.send_icon),
            Route("/metrics", self.send_metrics),
            Route("/healthz", self.send_health),
            Route("/readyz", self.send_readiness),
            Route("/api/v1/targets", self._build_api_endpoint(api.list_targets_as_json)),
            Route("/api/v1/revisions", self._build_api_endpoint(api.list_revisions_as_json)),
            Route("/api/v1/runs", self._build_api_endpoint(api.list_runs_as_json)),
        ]
        if "github" in self._hook_secrets:
            routes.append(Route("/hooks/github", self.take_github_hook, methods=["POST"]))
        if "gitlab" in self._hook_secrets:
            routes.append(Route("/hooks/gitlab", self.take_gitlab_hook, methods=["POST"]))
        return Starlette(
            routes=routes,
            exception_handlers={HTTPException: self._answer_error, Exception: _answer_failure},
        )

    def show_overview(self, request: Request) -> Response:
        query = OverviewQuery.from_parameters(request.query_params)
        view = read_overview(self._store, query, self._loop.get_settings())
        return self._render_with_settings_and_configuration_findings(
            "overview.html", section="targets", view=view, query=query
        )

    def show_target(self, request: Request) -> Response:
        name = TargetName(request.path_params["source"], request.path_params["target"])
        view = read_target_view_or_none(self._store, name, self._loop.get_settings())
        return self._render_or_not_found("target.html", "targets", view)

    def show_source(self, request: Request) -> Response:
        view = read_source_view_or_none(
            self._store, request.path_params["source"], self._loop.get_settings()
        )
        return self._render_or_not_found("source.html", "source", view)

    def show_run(self, request: Request) -> Response:
        view = read_run_view_or_none(
            self._store, request.path_params["run"], self._loop.get_settings()
        )
        return self._render_or_not_found("run.html", "targets", view)

    def show_revision(self, request: Request) -> Response:
        source, commit = request.path_params["source"], request.path_params["commit"]
        view = read_revision_view_or_none(self._store, source, commit, self._loop.get_settings())
        return self._render_or_not_found("revision.html", "source", view)

    def send_badge(self, request: Request) -> Response:
        name = TargetName(request.path_params["source"], request.path_params["target"])
        return _send_svg(draw_badge(self._store.find_target(name), str(name)))

    def send_icon(self, _request: Request) -> Response:
        return _send_svg(draw_icon(choose_tone(self._store.count_targets_by_state())))

    def send_metrics(self, _request: Request) -> Response:
        body = render_metrics(self._store, self._loop.read_health())
        return Response(body, headers={"Content-Type": CONTENT_TYPE})

    async def send_health(self, _request: Request) -> Response:
        """That this process answers, and nothing more."""
        return PlainTextResponse("ok\n")

    def send_readiness(self, _request: Request) -> Response:
        reasons = list_reasons_not_ready(self._store, self._loop.read_health())
        if not reasons:
            return PlainTextResponse("ok\n")
        text = "".join(f"{reason}\n" for reason in reasons)
        return PlainTextResponse(text, HTTPStatus.SERVICE_UNAVAILABLE)

    async def take_github_hook(self, request: Request) -> Response:
        body = await _read_body(request)
        signature = request.headers.get("x-hub-signature-256", "")
        is_genuine = hooks.is_genuine_github_hook(body, signature, self._hook_secrets["github"])
        return self._answer_hook(body, is_genuine=is_genuine)

    async def take_gitlab_hook(self, request: Request) -> Response:
        token = request.headers.get("x-gitlab-token", "")
        # Before the body is read: who has no token sends us nothing.
        if not hooks.is_genuine_gitlab_hook(token, self._hook_secrets["gitlab"]):
            return self._answer_hook(b"", is_genuine=False)
        return self._answer_hook(await _read_body(request), is_genuine=True)

    def _answer_hook(self, body: bytes, *, is_genuine: bool) -> Response:
        if not is_genuine:
            raise HTTPException(
                HTTPStatus.FORBIDDEN, "The signature or token is not the right one."
            )
        sources = self._loop.get_settings().sources.values()
        names = hooks.find_pushed_sources(body, sources)
        for name in names:
            self._loop.poll_soon(name)
        text = "A fetch comes soon.\n" if names else "No source has this repository.\n"
        return PlainTextResponse(text, HTTPStatus.ACCEPTED)

    def _build_api_endpoint(self, list_rows: _ApiList) -> Any:
        def answer(request: Request) -> Response:
            try:
                document = list_rows(self._store, request.query_params)
            except api.BadQueryError as error:
                raise HTTPException(HTTPStatus.BAD_REQUEST, f"{error}.") from None
            return Response(api.format_json(document), media_type="application/json")

        return answer

    def _render_or_not_found(self, template: str, section: str, view: object) -> Response:
        if view is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "Nothing is known by this name.")
        return self._render_with_settings_and_configuration_findings(
            template, section=section, view=view
        )

    def _render_with_settings_and_configuration_findings(
        self, template: str, *, status: int = HTTPStatus.OK, **values: Any
    ) -> Response:
        """A page of a template, which gets `settings` and `configuration_findings` besides."""
        html = self._renderer.render(
            template,
            settings=self._loop.get_settings(),
            configuration_findings=self._store.list_configuration_findings(),
            **values,
        )
        headers = {"Content-Security-Policy": self._renderer.content_policy}
        return Response(html, status, headers, media_type="text/html")

    async def _answer_error(self, request: Request, error: Exception) -> Response:
        """The answer to an HTTPException: a page where a browser asks, else a line."""
        if not isinstance(error, HTTPException):
            raise error
        if error.status_code != HTTPStatus.NOT_FOUND or not _wants_html(request.headers):
            return PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)
        return self._render_with_settings_and_configuration_findings(
            "not_found.html", status=error.status_code, section=""
        )


async def _answer_failure(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse("The page could not be made; see the log.\n", 500)


def _wants_html(headers: Headers) -> bool:
    return "text/html" in headers.get("accept", "")


def _send_svg(svg: str) -> Response:
    # A badge stands in pages of other sites; an SVG of ours has no script and no style.
    headers = {"Cross-Origin-Resource-Policy": "cross-origin"}
    return Response(svg, headers=headers, media_type="image/svg+xml")


async def _read_body(request: Request) -> bytes:
    """The body of a request; HTTPException where it is too large, too slow or broken off."""
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > hooks.MAX_BODY_SIZE:
                    raise HTTPException(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                        f"A body has at most {hooks.MAX_BODY_SIZE:,} bytes.",
                    )
    except TimeoutError:
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "The body came too slowly.") from None
    except ClientDisconnect:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "The body broke off.") from None
    return bytes(body)
