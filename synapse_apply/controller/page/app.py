"""Which paths the page answers, and with what: pages, lists, badges, probes, metrics and webhooks.

What reads the store is answered on threads, so that no long page keeps a probe waiting.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from http import HTTPStatus
from secrets import token_urlsafe
from threading import BoundedSemaphore
from typing import Any, Literal, TypeVar
from urllib.parse import urlencode, urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from synapse_apply.controller import api_types as types
from synapse_apply.controller import verbs
from synapse_apply.controller.configuration.secrets import AccessSecrets
from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.oidc import CALLBACK_PATH, Attempt, Provider, ProviderError
from synapse_apply.controller.page import (
    addresses,
    approvals,
    lists,
    overview,
    rollout_views,
    runs,
    sessions,
)
from synapse_apply.controller.page.api import BadQueryError, format_safe_json, write_document
from synapse_apply.controller.page.guard import LOGIN_PATH, LOGOUT_PATH, OIDC_PATH
from synapse_apply.controller.page.metrics import CONTENT_TYPE, render_metrics
from synapse_apply.controller.page.phrases import draw_badge, draw_icon
from synapse_apply.controller.page.readable_store import RestrictedStore
from synapse_apply.controller.page.rendering import render_page
from synapse_apply.controller.page.requests import (
    JSON_TYPE,
    MAX_BODY_SIZE,
    Document,
    Form,
    carry_out,
    carry_out_each,
    read_action,
    read_actions_on_shown_rows,
    read_body_within_limits,
    require_document_of_token,
    require_form_of_own_page,
)
from synapse_apply.controller.page.visitor import (
    API_PREFIX,
    NotLoggedIn,
    RequestRefused,
    Visitor,
    find_token_holder,
    forbidden,
    identify_person,
    is_equal_secret,
    is_harmless_name,
)
from synapse_apply.controller.ports import LoopHealth
from synapse_apply.controller.rows import TargetName
from synapse_apply.controller.rules.access import TOKEN_PREFIX, Person, list_readable_patterns
from synapse_apply.controller.settings import Access, Source
from synapse_apply.controller.store.controller_store import ControllerStore
from synapse_apply.controller.store.store_database import StoreUnavailable
from synapse_apply.controller.verbs import Subject, Verb
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.json_types import JsonDocument
from synapse_apply.model.values import Sensitive

Forge = Literal["github", "gitlab"]
HookSecretValues = Mapping[Forge, Sensitive]
T = TypeVar("T")
_Endpoint = Callable[[Request], Awaitable[Response]]
# Under which path which template shows what, and which part of the page is marked as the current.
_PAGES: Mapping[str, tuple[str, str, Callable[[Visitor], Mapping[str, Any] | None]]] = {
    "/": ("overview.html", "targets", overview.read_overview),
    "/targets/{source}/{target:path}": ("target.html", "targets", runs.read_target),
    "/sources/{source:path}": ("source.html", "source", overview.read_source),
    "/runs/{run:path}": ("run.html", "targets", runs.read_run),
    "/revisions/{source}/{commit:path}": ("revision.html", "source", runs.read_revision),
    "/approvals": ("approvals.html", "targets", approvals.read_approvals),
    "/audit": ("audit.html", "audit", overview.read_audit),
    "/rollouts": ("rollouts.html", "rollouts", rollout_views.read_rollouts),
    "/rollouts/{rollout}": ("rollout.html", "rollouts", rollout_views.read_rollout),
}
_DOCUMENTS: Mapping[str, Callable[[Visitor], JsonDocument | None]] = {
    "targets": lists.targets,
    "revisions": lists.revisions,
    "runs": lists.runs,
    "runs/{run}": lists.run,
    "holds": lists.holds,
    "pauses": lists.pauses,
    "audit": lists.audit,
    "rollouts": lists.rollouts,
    "rollouts/{rollout}": lists.rollout,
}
_NOT_FOUND = (HTTPStatus.NOT_FOUND, "Not found.")
_NOT_GENUINE = (HTTPStatus.FORBIDDEN, "The signature or token is wrong.")
_RETRY_SECONDS = 5
# Not many forms with a wrong token wait at once; a right one never waits.
_WRONG_TOKEN_SECONDS, _MOST_WRONG_TOKENS = 1.0, 20
# How long somebody may take to log in at the provider, and how many at once wait for its answer.
_PROVIDER_SECONDS, _MOST_AT_PROVIDER = 600.0, 8
_STORE_IS_AWAY = "The controller retries every few seconds. Its log shows the reason."


class PageApp:
    """The endpoints of the page, over one store and one loop; safe for many threads."""

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
        self._read_access_secrets = read_usable_access_secrets
        self._clock = clock
        self._open_pushes = 0
        self._wrong_tokens = 0
        self._at_provider = BoundedSemaphore(_MOST_AT_PROVIDER)

    def build(self, own_origins: Collection[str]) -> Starlette:
        """The ASGI application, without what guards it (guard.py).

        `own_origins` are the values of `Origin` that pages of ours have.
        """
        routes = [
            Route("/badge/{source}/{target:path}.svg", self.send_badge),
            Route("/icon.svg", self.send_icon),
            Route("/metrics", self.send_metrics),
            Route("/healthz", self.send_ok_unconditionally),
            Route("/readyz", self.send_readiness),
            Route(LOGIN_PATH, self.show_login),
            Route(LOGIN_PATH, self._login(own_origins), methods=["POST"]),
            Route(OIDC_PATH, self.begin_oidc_login),
            Route(CALLBACK_PATH, self.end_oidc_login),
            Route(LOGOUT_PATH, self._logout(own_origins), methods=["POST"]),
            *(Route(path, self._page(*page)) for path, page in _PAGES.items()),
            *(Route(f"{API_PREFIX}{path}", self._list(of)) for path, of in _DOCUMENTS.items()),
        ]
        for verb in (*verbs.OF_TARGETS, *verbs.OF_ROLLOUTS):
            page, api = "/targets/{source}/{target:path}/", API_PREFIX
            if verb.is_of_rollout:
                page, api = "/rollouts/{rollout}/", f"{API_PREFIX}rollouts/{{rollout}}/"
            form = self._form(verb, own_origins)
            routes.append(Route(f"{page}{verb.name}", form, methods=["POST"]))
            routes.append(Route(f"{api}{verb.name}", self._document(verb), methods=["POST"]))
        for verb in verbs.OF_SHOWN_ROWS:
            of_many = self._form_of_many(verb, own_origins)
            routes.append(Route(f"/approvals/{verb.name}", of_many, methods=["POST"]))
        hooks: dict[Forge, _Endpoint] = {
            "github": self.take_github_hook,
            "gitlab": self.take_gitlab_hook,
        }
        routes += [
            Route(f"/hooks/{forge}", hooks[forge], methods=["POST"]) for forge in self._hook_secrets
        ]
        refused = (HTTPException, RequestRefused, BadQueryError, StoreUnavailable)
        app = Starlette(
            routes=routes,
            exception_handlers={
                **dict.fromkeys(refused, self._answer_refusal),
                Exception: _answer_server_error,
            },
        )
        # It would lead to plain http: TLS ends before us.
        app.router.redirect_slashes = False
        return app

    def admit_visitor(self, request: Request) -> Visitor:
        """Who sends a request. RequestRefused for nobody, where the configuration has `access`."""
        settings, now = self._loop.get_settings(), self._clock()
        secrets = self._read_access_secrets()

        def find_session_holder(access: Access) -> Person | None:
            if sessions.has_basic_login(request, settings):
                name = find_token_holder(access, secrets, sessions.read_basic_token(request))
                return Person(f"{TOKEN_PREFIX}{name}") if name else None
            has_sessions = sessions.has_sessions(request, settings)
            value = sessions.read_cookie(request) if has_sessions else ""
            return sessions.find_session_holder(self._store, access, secrets, value, now)

        is_api = request.url.path.startswith(API_PREFIX)
        person = identify_person(
            settings.access,
            secrets,
            request.headers,
            find_session_holder=None if is_api else find_session_holder,
        )
        store = RestrictedStore(self._store, list_readable_patterns(settings.access, person))
        return Visitor(person, settings, store, self._store, self._loop, request, now)

    def show_login(self, request: Request) -> Response:
        """The form to log in; who has logged in is sent to the page that was asked for."""
        page = sessions.choose_page(request.query_params.get("page", ""))
        self._require_sessions(request)
        try:
            self.admit_visitor(request)
        except NotLoggedIn:
            return self._render_login(page)
        return RedirectResponse(page, HTTPStatus.SEE_OTHER)

    def _render_login(self, page: str, status: int = HTTPStatus.OK) -> Response:
        is_wrong = status != HTTPStatus.OK
        return self._render(
            "login.html", None, status=status, section="", page=page, is_wrong=is_wrong
        )

    def _require_sessions(self, request: Request) -> None:
        """Raise RequestRefused where the page has no log-in by a form."""
        if not sessions.has_sessions(request, self._loop.get_settings()):
            raise forbidden(
                "You cannot log in here",
                "Log-in requires `access` with `tokens` or `oidc`, and a `public_url` with https.",
                "Open the page at its `public_url`. At a loopback address, also through `ssh -L`, "
                "the browser asks for the token itself.",
            )

    def _login(self, own_origins: Collection[str]) -> _Endpoint:
        """Takes the form of a token: a new session, whatever the browser had before."""

        async def log_in(request: Request) -> Response:
            self._require_sessions(request)
            require_form_of_own_page(request, own_origins)
            form = Form(await read_body_within_limits(request, MAX_BODY_SIZE))
            page, token = sessions.choose_page(form.text("page")), form.text("token")
            secrets, access = self._read_access_secrets(), self._loop.get_settings().access
            name = find_token_holder(access, secrets, token) if access is not None else ""
            if not name:
                if self._wrong_tokens >= _MOST_WRONG_TOKENS:
                    raise HTTPException(
                        HTTPStatus.TOO_MANY_REQUESTS, "Too many wrong tokens. Try again later."
                    )
                self._wrong_tokens += 1
                try:
                    await asyncio.sleep(_WRONG_TOKEN_SECONDS)
                finally:
                    self._wrong_tokens -= 1
                return self._render_login(page, HTTPStatus.FORBIDDEN)
            person = Person(f"{TOKEN_PREFIX}{name}")
            return await run_in_threadpool(self._open_session, request, person, page)

        return log_in

    def _open_session(self, request: Request, person: Person, page: str) -> Response:
        """The page that was asked for, with the cookie of a new session."""
        access, secrets = self._loop.get_settings().access, self._read_access_secrets()
        made = access and sessions.make_session(access, secrets, person, self._clock())
        if not made:
            raise _not_logged_in("You are in too many groups, or `access` has changed meanwhile.")
        (value, session), old = made, sessions.read_cookie(request)
        people = self._loop.get_people_actions()
        people.log_in(person.identity, session, sessions.digest_of(old))
        response = RedirectResponse(page, HTTPStatus.SEE_OTHER)
        sessions.write_cookie(response, value)
        return response

    def begin_oidc_login(self, request: Request) -> Response:
        """Sends the browser to the provider, with a cookie that its answer has to match."""
        page = sessions.choose_page(request.query_params.get("page", ""))
        attempt, public_url = Attempt(token_urlsafe(32)), self._loop.get_settings().public_url
        address = self._ask_provider(
            request, lambda provider: provider.build_login_url(attempt, public_url)
        )
        response = RedirectResponse(address, HTTPStatus.SEE_OTHER)
        cookie = f"{attempt.secret}.{sessions.encode_text(page)}"
        sessions.write_cookie(response, cookie, sessions.ATTEMPT_COOKIE, _PROVIDER_SECONDS)
        return response

    def end_oidc_login(self, request: Request) -> Response:
        """A session for whom the provider names, in the browser that began this log-in."""
        secret, _, page = request.cookies.get(sessions.ATTEMPT_COOKIE, "").partition(".")
        attempt, answer = Attempt(secret), request.query_params
        state, expected = answer.get("state", ""), attempt.derive("state")
        if not secret or not hmac.compare_digest(state.encode(), expected.encode()):
            raise _not_logged_in(
                "This browser did not begin the log-in within the last ten minutes."
            )
        code, public_url = answer.get("code", ""), self._loop.get_settings().public_url
        if not code:
            raise _not_logged_in("The provider refused the log-in.")
        client_secret = self._read_access_secrets().oidc

        def identify(provider: Provider) -> Person:
            if client_secret is None:
                raise ProviderError("The controller has no secret for the provider.")
            return provider.identify(attempt, code, public_url, client_secret, self._clock())

        person = self._ask_provider(request, identify)
        if not is_harmless_name(person.identity.partition(":")[2]):
            raise _not_logged_in(
                "Your name at the provider contains characters that are not allowed."
            )
        response = self._open_session(
            request, person, sessions.choose_page(sessions.decode_text(page))
        )
        sessions.write_cookie(response, "", sessions.ATTEMPT_COOKIE)
        return response

    def _ask_provider(self, request: Request, ask: Callable[[Provider], T]) -> T:
        """What the provider of `access.oidc` answers; RequestRefused without an answer."""
        self._require_sessions(request)
        access = self._loop.get_settings().access
        if access is None or access.oidc is None:
            raise HTTPException(*_NOT_FOUND)
        if not self._at_provider.acquire(blocking=False):
            raise HTTPException(
                HTTPStatus.SERVICE_UNAVAILABLE, "Too many log-ins. Try again later."
            )
        try:
            return ask(Provider(access.oidc))
        except ProviderError as problem:
            raise _not_logged_in(str(problem)) from None
        finally:
            self._at_provider.release()

    def _logout(self, own_origins: Collection[str]) -> _Endpoint:
        """Ends the session of the browser that sends the form."""

        async def log_out(request: Request) -> Response:
            self._require_sessions(request)
            require_form_of_own_page(request, own_origins)
            visitor = await run_in_threadpool(self.admit_visitor, request)
            people, digest = (
                self._loop.get_people_actions(),
                sessions.digest_of(sessions.read_cookie(request)),
            )
            await run_in_threadpool(people.log_out, visitor.identity, digest)
            response = RedirectResponse(LOGIN_PATH, HTTPStatus.SEE_OTHER)
            sessions.write_cookie(response, "")
            return response

        return log_out

    def _page(
        self, template: str, section: str, read: Callable[[Visitor], Mapping[str, Any] | None]
    ) -> Callable[[Request], Response]:
        def show(request: Request) -> Response:
            visitor = self.admit_visitor(request)
            values = read(visitor)
            if values is None:
                raise HTTPException(*_NOT_FOUND)
            return self._render(template, visitor, section=section, **values)

        return show

    def _render(
        self, template: str, visitor: Visitor | None, *, status: int = HTTPStatus.OK, **values: Any
    ) -> Response:
        """A page for somebody (None: for who was not let in), who is told what they may read."""
        # Forms need the browser to say where they were: to our own address alone.
        is_person = visitor is not None and visitor.person is not None
        has_form = is_person or template == "login.html"
        referrer_policy = "same-origin" if has_form else "no-referrer"
        settings, now = self._loop.get_settings(), self._clock()
        html, content_policy = render_page(
            template, visitor, settings, now, referrer_policy=referrer_policy, **values
        )
        headers = {"Content-Security-Policy": content_policy, "Referrer-Policy": referrer_policy}
        return Response(html, status, headers, media_type="text/html")

    def _list(
        self, read: Callable[[Visitor], JsonDocument | None]
    ) -> Callable[[Request], Response]:
        def send(request: Request) -> Response:
            document = read(self.admit_visitor(request))
            if document is None:
                raise HTTPException(*_NOT_FOUND)
            return Response(format_safe_json(document), media_type=JSON_TYPE)

        return send

    def _form(self, verb: Verb, own_origins: Collection[str]) -> _Endpoint:
        """Takes a form of a page of ours."""

        async def act(request: Request) -> Response:
            named = _named_in_path(request)
            visitor = await run_in_threadpool(self.admit_visitor, request)
            if visitor.person is None:
                scope = f"the rollout {named}" if verb.is_of_rollout else str(named)
                raise visitor.right_refusal(verb.right, scope)
            require_form_of_own_page(request, own_origins)
            body = await read_body_within_limits(request, MAX_BODY_SIZE)
            action = read_action(verb, Form(body), self._clock(), named)
            planned = await run_in_threadpool(carry_out, action, visitor)
            if planned is not None:
                return self._render(
                    "rollback.html", visitor, section="targets", planned=planned, action=action,
                    plan_html=runs.render_planned_rollback(visitor, planned),
                )  # fmt: skip
            page = (
                addresses.build_rollout_path(named)
                if isinstance(named, str)
                else addresses.build_target_path(named)
            )
            return RedirectResponse(f"{page}?done={verb.name}", HTTPStatus.SEE_OTHER)

        return act

    def _form_of_many(self, verb: Verb, own_origins: Collection[str]) -> _Endpoint:
        """Takes the form of the rows of many targets."""

        async def act(request: Request) -> Response:
            visitor = await run_in_threadpool(self.admit_visitor, request)
            if visitor.person is None:
                raise visitor.right_refusal(verb.right, "any target")
            require_form_of_own_page(request, own_origins)
            body = await read_body_within_limits(request, MAX_BODY_SIZE)
            actions = read_actions_on_shown_rows(verb, Form(body))
            await run_in_threadpool(carry_out_each, actions, visitor)
            return RedirectResponse(f"/approvals?done={verb.name}", HTTPStatus.SEE_OTHER)

        return act

    def _document(self, verb: Verb) -> _Endpoint:
        """Takes a document of somebody with a token."""

        async def act(request: Request) -> Response:
            visitor, named = self.admit_visitor(request), _named_in_path(request)
            if visitor.person is None:
                scope = f"the rollout {named}" if verb.is_of_rollout else "any target"
                raise visitor.right_refusal(verb.right, scope)
            require_document_of_token(visitor)
            body = await read_body_within_limits(request, MAX_BODY_SIZE)
            action = read_action(verb, Document(verb, body), self._clock(), named)
            planned = await run_in_threadpool(carry_out, action, visitor)
            document = (
                write_document(types.RollbackPlan, planned)
                if planned is not None
                else write_document(
                    types.RolloutResult if verb.is_of_rollout else types.ActionResult,
                    action,
                    action=verb.name,
                    target=str(action.target) if verb.subject is Subject.TARGET else "",
                    rows=action.row_digests,
                    who=visitor.identity,
                )
            )
            return Response(format_safe_json(document), media_type=JSON_TYPE)

        return act

    def _answer_refusal(self, request: Request, error: Exception) -> Response:
        """The answer to a refusal, an HTTPException or a store that is away.

        A page, a Problem of the API or lines.
        """
        status, findings, headers = _split_refusal(error)
        if request.url.path.startswith(API_PREFIX):
            problem = format_safe_json(write_document(types.Problem, diagnostics=findings))
            return Response(problem, status, headers, media_type=JSON_TYPE)
        if "text/html" not in request.headers.get("accept", ""):
            lines = "".join(
                " ".join(part for part in (f"{finding.summary}.", finding.detail) if part) + "\n"
                for finding in findings
            )
            return PlainTextResponse(lines, status, headers)
        settings = self._loop.get_settings()
        if isinstance(error, NotLoggedIn) and settings.access and not settings.access.proxy:
            if sessions.has_sessions(request, settings) and request.method != "POST":
                address = f"{LOGIN_PATH}?{urlencode({'page': request.url.path})}"
                return RedirectResponse(address, HTTPStatus.SEE_OTHER)
            # A form, too: a browser sends the password unasked only below what it was asked for.
            if sessions.has_basic_login(request, settings):
                status, headers = HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": sessions.CHALLENGE}
        try:
            # A page for a visitor reads the store.
            is_store_away = isinstance(error, StoreUnavailable)
            visitor = None if is_store_away else self.admit_visitor(request)
        except (RequestRefused, StoreUnavailable):
            visitor = None
        template = "not_found.html" if status == HTTPStatus.NOT_FOUND else "refused.html"
        # The page whose form was sent.
        back = request.url.path.rpartition("/")[0] if request.method == "POST" else ""
        answer = self._render(
            template, visitor, status=status, section="", findings=findings, back=back
        )
        answer.headers.update(headers)
        return answer

    def send_badge(self, request: Request) -> Response:
        visitor = self.admit_visitor(request)
        row = visitor.store.find_target(visitor.target)
        return _build_svg_response(draw_badge(row, str(visitor.target)))

    def send_icon(self, request: Request) -> Response:
        counts = self.admit_visitor(request).store.target_counts()
        return _build_svg_response(draw_icon(overview.choose_tone(counts)))

    def send_metrics(self, _request: Request) -> Response:
        body = render_metrics(self._store, self._loop.read_health())
        return Response(body, headers={"Content-Type": CONTENT_TYPE})

    async def send_ok_unconditionally(self, _request: Request) -> Response:
        """That this process answers, and nothing more."""
        return PlainTextResponse("ok\n")

    def send_readiness(self, _request: Request) -> Response:
        health = self._loop.read_health()
        reasons = list_reasons_not_ready(self._store, health)
        # Targets are looked at all the same.
        notes = [f"the leader works alone: {health.trouble}"] if health.trouble else []
        text = "".join(f"{line}\n" for line in (*(reasons or ["ok"]), *notes))
        return PlainTextResponse(text, HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK)

    async def take_github_hook(self, request: Request) -> Response:
        """`X-Hub-Signature-256` is the HMAC-SHA256 of the body."""
        body = await self._read_push(request)
        signature = request.headers.get("x-hub-signature-256", "")
        key = str(self._hook_secrets["github"].reveal()).encode()
        expected = f"sha256={hmac.new(key, body, hashlib.sha256).hexdigest()}"
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
            raise HTTPException(*_NOT_GENUINE)
        return self._take_push(body)

    async def take_gitlab_hook(self, request: Request) -> Response:
        token = request.headers.get("x-gitlab-token", "")
        # Before the body is read: who has no token sends us nothing.
        if not is_equal_secret(token, self._hook_secrets["gitlab"]):
            raise HTTPException(*_NOT_GENUINE)
        return self._take_push(await self._read_push(request))

    async def _read_push(self, request: Request) -> bytes:
        """The body of a push: a few at a time, as whoever reaches the page may send one."""
        if self._open_pushes >= MAX_OPEN_PUSHES:
            raise HTTPException(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Too many push notifications at the same time.",
                {"Retry-After": str(_RETRY_SECONDS)},
            )
        self._open_pushes += 1
        try:
            return await read_body_within_limits(request, MAX_PUSH_SIZE)
        finally:
            self._open_pushes -= 1

    def _take_push(self, body: bytes) -> Response:
        names = pushed_sources(body, self._loop.get_settings().sources.values())
        for name in names:
            self._loop.fetch_soon(name)
        found = "The controller will fetch the repository soon.\n"
        text = found if names else "No source has this repository.\n"
        return PlainTextResponse(text, HTTPStatus.ACCEPTED)


def _named_in_path(request: Request) -> TargetName | str:
    """The target or the rollout that a path names, "" for neither."""
    named = request.path_params
    if "source" in named:
        return TargetName(named["source"], named["target"])
    return str(named.get("rollout", ""))


def _not_logged_in(detail: str) -> RequestRefused:
    return forbidden("You are not logged in", detail, f"Log in again at {LOGIN_PATH}.")


def _split_refusal(
    error: Exception,
) -> tuple[HTTPStatus, tuple[Diagnostic, ...], Mapping[str, str]]:
    match error:
        case RequestRefused():
            return error.status, error.findings, error.headers
        case BadQueryError():
            return HTTPStatus.BAD_REQUEST, (error_finding(str(error)),), {}
        case StoreUnavailable():
            # Where the database is, and why it does not answer, is for who reads the log.
            finding = error_finding(error.diagnostics[0].summary, _STORE_IS_AWAY)
            retry_later = {"Retry-After": str(_RETRY_SECONDS)}
            return HTTPStatus.SERVICE_UNAVAILABLE, (finding,), retry_later
        case HTTPException():
            finding = error_finding(error.detail.removesuffix("."))
            return HTTPStatus(error.status_code), (finding,), error.headers or {}
    raise error


async def _answer_server_error(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse("The controller could not render the page. See its log.\n", 500)


def _build_svg_response(svg: str) -> Response:
    # A badge stands in pages of other sites; an SVG of ours has no script and no style.
    headers = {"Cross-Origin-Resource-Policy": "cross-origin"}
    return Response(svg, headers=headers, media_type="image/svg+xml")


# Which sources the push of a webhook is about.
#
# It makes the next fetch come sooner and nothing else: a replay is harmless, a flood is one fetch.

MAX_PUSH_SIZE = 2 * 1024 * 1024
MAX_OPEN_PUSHES = 8


def pushed_sources(body: bytes, sources: Iterable[Source]) -> list[str]:
    """The names of the sources whose repository the body of a push names; none for an odd body.

    The bodies are GitHub's (`repository`) and GitLab's (`project`).
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return []
    named = set()
    for part, field in (("repository", "full_name"), ("project", "path_with_namespace")):
        repository = document.get(part) if isinstance(document, Mapping) else None
        if isinstance(repository, Mapping) and isinstance(repository.get(field), str):
            named.add(_normalize(repository[field]))
    names = []
    for source in sources:
        # OWNER/NAME of its repository, as its url and its status name it.
        url = source.url
        own = {_normalize(urlsplit(url).path if "://" in url else url.rpartition(":")[2])}
        if source.status:
            own.add(_normalize(source.status.repository))
        if own & (named - {""}):
            names.append(source.name)
    return names


def _normalize(path: str) -> str:
    return path.strip("/").removesuffix(".git").lower()


MAX_CLOCK_OFFSET = 60.0  # seconds; a token's signature and a window are wrong by more
_MIN_ROUND_AGE = 30.0  # seconds; short intervals leave a busy machine no time


def list_reasons_not_ready(store: ControllerStore, health: LoopHealth) -> list[str]:
    """Why the controller is not ready, a sentence each; nothing where it is."""
    reasons = []
    try:
        store.list_configured_sources()
    except Exception:  # noqa: BLE001 - whatever a store raises: it does not answer
        reasons.append("the store does not answer")
    if health.round_age is None:
        reasons.append("the loop has not made its first round")
    elif health.round_age > max(2 * health.interval, _MIN_ROUND_AGE):
        reasons.append(f"the loop made its last round {health.round_age:.0f} s ago")
    # One forge alone is not believed: its source would take the page of all others away.
    offset = abs(health.agreed_offset or 0.0)
    if offset > MAX_CLOCK_OFFSET:
        reasons.append(f"the clock differs by {offset:.0f} s from the servers' clocks")
    return reasons
