"""Which paths the page answers, and with what: pages, lists, badges, probes, metrics and webhooks.

What reads the store is answered on threads, so that no long page keeps a probe waiting.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from synapse_apply.controller import verbs
from synapse_apply.controller.configuration.secrets import AccessSecrets
from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.page import api, lists
from synapse_apply.controller.page.answers import AnswerMaker
from synapse_apply.controller.page.lists import AuditQuery, read_audit_view
from synapse_apply.controller.page.metrics import CONTENT_TYPE, render_metrics
from synapse_apply.controller.page.overview import (
    OverviewQuery,
    choose_tone,
    read_overview,
    read_source_view_or_none,
)
from synapse_apply.controller.page.phrases import draw_badge, draw_icon
from synapse_apply.controller.page.readable_store import ReadableStore
from synapse_apply.controller.page.receiving import (
    ActionEndpoints,
    RequestReceiver,
    read_body_within_limits,
    read_own_notice,
)
from synapse_apply.controller.page.rollout_endpoints import RolloutEndpoints
from synapse_apply.controller.page.rollout_views import (
    find_membership_or_none,
    list_rollout_summaries,
    rollouts_of_revision,
)
from synapse_apply.controller.page.runs import (
    read_revision_view,
    read_run_view_or_none,
    read_target_forms,
    read_target_view_or_none,
)
from synapse_apply.controller.page.visitor import (
    Doorkeeper,
    RequestRefused,
    Visitor,
    is_equal_secret,
)
from synapse_apply.controller.ports import LoopHealth
from synapse_apply.controller.rows import TargetName
from synapse_apply.controller.settings import Source
from synapse_apply.controller.store.controller_store import ControllerStore
from synapse_apply.controller.store.store_database import StoreUnavailable
from synapse_apply.model.values import Sensitive

Forge = Literal["github", "gitlab"]
HookSecretValues = Mapping[Forge, Sensitive]
_ApiList = Callable[[ReadableStore, Mapping[str, str]], dict[str, Any]]
_PeopleList = Callable[[Visitor, ControllerLoop, Mapping[str, str], float], dict[str, Any]]


class PageApp:
    """The endpoints of the page, over one store and one loop."""

    def __init__(
        self,
        store: ControllerStore,
        loop: ControllerLoop,
        hook_secrets: HookSecretValues,
        read_usable_access_secrets: Callable[[], AccessSecrets],
        clock: Callable[[], float],
    ) -> None:
        """`store` is read on any thread. `clock` gives wall-clock seconds since the epoch."""
        self._store = store
        self._loop = loop
        self._hook_secrets = hook_secrets
        self._clock = clock
        self._doorkeeper = Doorkeeper(store, loop, read_usable_access_secrets)
        self._answers = AnswerMaker(loop, self._doorkeeper, clock)

    def build(self, own_origins: Collection[str]) -> Starlette:
        """The ASGI application, without what guards it (guard.py).

        `own_origins` are the values of `Origin` that pages of ours have.
        """
        receiver = RequestReceiver(self._doorkeeper, own_origins)
        actions = ActionEndpoints(self._loop, receiver, self._clock)
        rollouts = RolloutEndpoints(self._loop, self._doorkeeper, self._answers)
        routes = [
            Route("/", self.show_overview),
            Route("/targets/{source}/{target:path}", self.show_target),
            Route("/sources/{source:path}", self.show_source),
            Route("/runs/{run:path}", self.show_run),
            Route("/revisions/{source}/{commit:path}", self.show_revision),
            Route("/audit", self.show_audit),
            Route("/badge/{source}/{target:path}.svg", self.send_badge),
            Route("/icon.svg", self.send_icon),
            Route("/metrics", self.send_metrics),
            Route("/healthz", self.send_ok_unconditionally),
            Route("/readyz", self.send_readiness),
            Route("/api/v1/targets", self._store_list(api.list_targets_as_json)),
            Route("/api/v1/revisions", self._store_list(api.list_revisions_as_json)),
            Route("/api/v1/runs", self._store_list(api.list_runs_as_json)),
            Route("/api/v1/runs/{run}", self.send_run),
            Route("/api/v1/holds", self._visitor_list(lists.list_holds_as_json)),
            Route("/api/v1/pauses", self._visitor_list(lists.pauses_as_json)),
            Route("/api/v1/audit", self._visitor_list(lists.audit_as_json)),
            *actions.list_routes(),
            *rollouts.list_routes(),
        ]
        if "github" in self._hook_secrets:
            routes.append(Route("/hooks/github", self.take_github_hook, methods=["POST"]))
        if "gitlab" in self._hook_secrets:
            routes.append(Route("/hooks/gitlab", self.take_gitlab_hook, methods=["POST"]))
        return Starlette(
            routes=routes,
            exception_handlers={
                HTTPException: self._answers.answer_refusal,
                RequestRefused: self._answers.answer_refusal,
                StoreUnavailable: self._answers.answer_refusal,
                Exception: _answer_server_error,
            },
        )

    def show_overview(self, request: Request) -> Response:
        visitor = self._doorkeeper.admit_visitor(request)
        query = OverviewQuery.from_parameters_leniently(request.query_params)
        view = read_overview(visitor.store, query, self._loop.get_settings())
        return self._answers.render_page(
            "overview.html", visitor, section="targets", view=view, query=query
        )

    def show_target(self, request: Request) -> Response:
        visitor = self._doorkeeper.admit_visitor(request)
        name = TargetName(request.path_params["source"], request.path_params["target"])
        view = read_target_view_or_none(visitor.store, name, self._loop)
        if view is None:
            raise _build_not_found_error()
        notice = read_own_notice(verbs.OF_TARGETS, visitor, request)
        forms = read_target_forms(self._loop, visitor, name, notice, self._clock())
        membership = find_membership_or_none(visitor.store, name, self._loop.get_settings())
        return self._answers.render_page(
            "target.html", visitor, section="targets", view=view, forms=forms, membership=membership
        )

    def show_source(self, request: Request) -> Response:
        visitor = self._doorkeeper.admit_visitor(request)
        name, settings = request.path_params["source"], self._loop.get_settings()
        view = read_source_view_or_none(visitor.store, name, settings)
        rollouts = [
            row for row in list_rollout_summaries(visitor.store, settings) if row.source == name
        ]
        return self._render_found("source.html", visitor, "source", view, rollouts=rollouts)

    def show_run(self, request: Request) -> Response:
        visitor = self._doorkeeper.admit_visitor(request)
        view = read_run_view_or_none(visitor.store, request.path_params["run"], self._loop)
        return self._render_found("run.html", visitor, "targets", view)

    def show_revision(self, request: Request) -> Response:
        visitor = self._doorkeeper.admit_visitor(request)
        source, commit = request.path_params["source"], request.path_params["commit"]
        view = read_revision_view(visitor.store, source, commit, self._loop.get_settings())
        rollouts = rollouts_of_revision(visitor.store, view.revision) if view else ()
        return self._render_found("revision.html", visitor, "source", view, rollouts=rollouts)

    def show_audit(self, request: Request) -> Response:
        visitor = self._doorkeeper.admit_visitor(request)
        view = read_audit_view(
            visitor.store, AuditQuery.from_parameters_leniently(request.query_params)
        )
        return self._answers.render_page("audit.html", visitor, section="audit", view=view)

    def send_run(self, request: Request) -> Response:
        """The Run of the API."""
        store = self._doorkeeper.admit_visitor(request).store
        document = api.read_run_as_json_or_none(store, request.path_params["run"])
        if document is None:
            raise _build_not_found_error()
        return Response(api.format_safe_json(document), media_type="application/json")

    def send_badge(self, request: Request) -> Response:
        visitor = self._doorkeeper.admit_visitor(request)
        name = TargetName(request.path_params["source"], request.path_params["target"])
        return _build_svg_response(
            draw_badge(visitor.store.find_target_even_if_gone(name), str(name))
        )

    def send_icon(self, request: Request) -> Response:
        store = self._doorkeeper.admit_visitor(request).store
        return _build_svg_response(
            draw_icon(choose_tone(store.count_present_targets_in_each_state()))
        )

    def send_metrics(self, _request: Request) -> Response:
        body = render_metrics(self._store, self._loop.read_health())
        return Response(body, headers={"Content-Type": CONTENT_TYPE})

    async def send_ok_unconditionally(self, _request: Request) -> Response:
        """That this process answers, and nothing more."""
        return PlainTextResponse("ok\n")

    def send_readiness(self, _request: Request) -> Response:
        reasons = list_reasons_not_ready(self._store, self._loop.read_health())
        if not reasons:
            return PlainTextResponse("ok\n")
        text = "".join(f"{reason}\n" for reason in reasons)
        return PlainTextResponse(text, HTTPStatus.SERVICE_UNAVAILABLE)

    async def take_github_hook(self, request: Request) -> Response:
        body = await read_body_within_limits(request, MAX_BODY_SIZE)
        signature = request.headers.get("x-hub-signature-256", "")
        is_genuine = is_genuine_github_hook(body, signature, self._hook_secrets["github"])
        return self._take_push(body, is_genuine=is_genuine)

    async def take_gitlab_hook(self, request: Request) -> Response:
        token = request.headers.get("x-gitlab-token", "")
        # Before the body is read: who has no token sends us nothing.
        if not is_genuine_gitlab_hook(token, self._hook_secrets["gitlab"]):
            return self._take_push(b"", is_genuine=False)
        return self._take_push(
            await read_body_within_limits(request, MAX_BODY_SIZE), is_genuine=True
        )

    def _take_push(self, body: bytes, *, is_genuine: bool) -> Response:
        if not is_genuine:
            raise HTTPException(
                HTTPStatus.FORBIDDEN, "The signature or token is not the right one."
            )
        sources = self._loop.get_settings().sources.values()
        names = pushed_sources(body, sources)
        for name in names:
            self._loop.fetch_source_at_next_round(name)
        text = "A fetch comes soon.\n" if names else "No source has this repository.\n"
        return PlainTextResponse(text, HTTPStatus.ACCEPTED)

    def _store_list(self, list_rows: _ApiList) -> Any:
        return self._visitor_list(
            lambda visitor, _loop, parameters, _now: list_rows(visitor.store, parameters)
        )

    def _visitor_list(self, list_rows: _PeopleList) -> Any:
        def answer(request: Request) -> Response:
            visitor = self._doorkeeper.admit_visitor(request)
            try:
                document = list_rows(visitor, self._loop, request.query_params, self._clock())
            except api.BadQueryError as error:
                raise HTTPException(HTTPStatus.BAD_REQUEST, f"{error}.") from None
            return Response(api.format_safe_json(document), media_type="application/json")

        return answer

    def _render_found(
        self, template: str, visitor: Visitor, section: str, view: object, **values: Any
    ) -> Response:
        if view is None:
            raise _build_not_found_error()
        return self._answers.render_page(template, visitor, section=section, view=view, **values)


def _build_not_found_error() -> HTTPException:
    return HTTPException(HTTPStatus.NOT_FOUND, "Nothing is known by this name.")


async def _answer_server_error(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse("The page could not be made; see the log.\n", 500)


def _build_svg_response(svg: str) -> Response:
    # A badge stands in pages of other sites; an SVG of ours has no script and no style.
    headers = {"Cross-Origin-Resource-Policy": "cross-origin"}
    return Response(svg, headers=headers, media_type="image/svg+xml")


# Whether a forge's webhook is genuine, and which sources its push is about.
#
# It makes the next fetch come sooner and nothing else: a replay is harmless, a flood is one fetch.

MAX_BODY_SIZE = 2 * 1024 * 1024
_SIGNATURE_PREFIX = "sha256="


def is_genuine_github_hook(body: bytes, signature: str, secret: Sensitive) -> bool:
    """Whether `X-Hub-Signature-256` is the HMAC-SHA256 of the body, told in constant time."""
    key = str(secret.reveal()).encode()
    expected = _SIGNATURE_PREFIX + hmac.new(key, body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))


def is_genuine_gitlab_hook(token: str, secret: Sensitive) -> bool:
    """Whether `X-Gitlab-Token` is the secret, told in constant time."""
    return is_equal_secret(token, secret)


def pushed_sources(body: bytes, sources: Iterable[Source]) -> list[str]:
    """The names of the sources whose repository the body of a push names; none for an odd body.

    The bodies are GitHub's (`repository`) and GitLab's (`project`).
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return []
    paths = {_normalize(path) for path in _iter_repository_paths(document)} - {""}
    return [source.name for source in sources if _source_paths(source) & paths]


def _iter_repository_paths(document: Any) -> Iterator[str]:
    if not isinstance(document, Mapping):
        return
    for part, field in (("repository", "full_name"), ("project", "path_with_namespace")):
        repository = document.get(part)
        if isinstance(repository, Mapping) and isinstance(repository.get(field), str):
            yield repository[field]


def _source_paths(source: Source) -> set[str]:
    """OWNER/NAME of a source's repository, as its url and its status name it."""
    path = urlsplit(source.url).path if "://" in source.url else source.url.rpartition(":")[2]
    names = {_normalize(path)}
    return names | ({_normalize(source.status.repository)} if source.status else set())


def _normalize(path: str) -> str:
    return path.strip("/").removesuffix(".git").lower()


MAX_CLOCK_OFFSET = 60.0  # seconds; a token's signature and a window are wrong by more
_MIN_ROUND_AGE = 30.0  # seconds; short intervals leave a busy machine no time


def list_reasons_not_ready(store: ControllerStore, health: LoopHealth) -> list[str]:
    """Why the controller is not ready, a sentence each; nothing where it is."""
    return [*_not_ready(store, health)]


def _not_ready(store: ControllerStore, health: LoopHealth) -> Iterator[str]:
    try:
        store.list_configured_sources()
    except Exception:  # noqa: BLE001 - whatever a store raises: it does not answer
        yield "the store does not answer"
    if health.round_age is None:
        yield "the loop has not made its first round"
    elif health.round_age > max(2 * health.interval, _MIN_ROUND_AGE):
        yield f"the loop made its last round {health.round_age:.0f} s ago"
    # One forge alone is not believed: its source would take the page of all others away.
    if health.agreed_offset is not None and abs(health.agreed_offset) > MAX_CLOCK_OFFSET:
        yield f"the clock is {abs(health.agreed_offset):.0f} s away from that of the servers"
