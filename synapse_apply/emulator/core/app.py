"""From HTTP to a resource's answer and back."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from email.utils import formatdate
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from synapse_apply.emulator.core.auth import TOKEN_HEADERS, authenticate
from synapse_apply.emulator.core.backend import Backend
from synapse_apply.emulator.core.body import Received, receive
from synapse_apply.emulator.core.call import Answer, ApiVersion, Call, Endpoint, version_of
from synapse_apply.emulator.core.clock import Clock
from synapse_apply.emulator.core.errors import ApiError, method_not_allowed, too_large
from synapse_apply.emulator.core.fields import Body, Field, check
from synapse_apply.emulator.core.guards import check_texts, find_odd_address
from synapse_apply.emulator.core.languages import asks_for_english, in_korean

_ACTIONS = {"POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}
_DRY_RUN = (Field("dry_run", "boolean"),)
REQUEST_ID = "X-Request-ID"
LOOPBACK_NAMES = ("127.0.0.1", "localhost")


class RequestIdMiddleware:
    """Gives every request an id and every answer that id as `X-Request-ID`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identity = uuid.uuid4().hex
        scope["request_id"] = identity

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((REQUEST_ID.lower().encode(), identity.encode()))
            await send(message)

        await self.app(scope, receive, send_with_id)


class DateMiddleware:
    """Dates every answer by the data set's clock, which tests may move (RFC 9110, 6.6.1)."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self.app = app
        self.clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_date(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = formatdate(self.clock.now(), usegmt=True)
                message["headers"].append((b"date", date.encode()))
            await send(message)

        await self.app(scope, receive, send_with_date)


class LatencyMiddleware:
    """Answers nothing before `milliseconds` have passed."""

    def __init__(self, app: ASGIApp, milliseconds: float) -> None:
        self.app = app
        self.seconds = milliseconds / 1000

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await asyncio.sleep(self.seconds)
        await self.app(scope, receive, send)


def build_app(
    backend: Backend,
    versions: Sequence[ApiVersion],
    *,
    more_middleware: Sequence[Middleware] = (),
    only_loopback: bool = True,
) -> ASGIApp:
    """The ASGI application. `more_middleware` stands between the shared ones and the routes."""
    middleware = list[Middleware]()
    if only_loopback:
        # A page in a browser must not reach this server by a name that resolves to loopback.
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK_NAMES)))
    if backend.settings.latency > 0:
        middleware.append(Middleware(LatencyMiddleware, milliseconds=backend.settings.latency))

    async def answer_http_error(request: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 500)
        detail = "Not found." if status == 404 else str(getattr(error, "detail", error))
        return _refuse_outside(backend, versions, request, status, detail)

    async def answer_crash(request: Request, _error: Exception) -> Response:
        return _refuse_outside(backend, versions, request, 500, "A server error occurred.")

    app = Starlette(
        routes=[route for version in versions for route in _routes(backend, version)],
        middleware=[*middleware, *more_middleware],
        exception_handlers={HTTPException: answer_http_error, 500: answer_crash},
    )
    app.router.redirect_slashes = False
    # Around the whole, not among its middleware: an answer to a crash has its id and date too.
    return RequestIdMiddleware(DateMiddleware(app, backend.clock))


def _routes(backend: Backend, version: ApiVersion) -> list[Route]:
    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in version.endpoints:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    routes = []
    for path, endpoints in by_path.items():
        path_app = _PathApp(backend, version, path, endpoints)
        routes.append(Route(version.prefix + path, path_app))
        if version.slash_is_optional:
            routes.append(Route(version.prefix + path.rstrip("/"), path_app))
    return routes


class _PathApp:
    """All methods of one path."""

    def __init__(
        self, backend: Backend, version: ApiVersion, path: str, endpoints: dict[str, Endpoint]
    ) -> None:
        self.backend = backend
        self.version = version
        self.path = path
        self.endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        received = Received(Body({}))
        try:
            if (odd := _odd_address(self.backend, self.version, request)) is not None:
                raise odd
            endpoint, tenant = self._admit(request)
            is_rehearsal = self._is_rehearsal(request)
            received = await _read(request, self.backend)
            if self.version.is_guarded and self.backend.switches.is_on("v2_guards", "on"):
                check_texts(received.body.values)
            call = _call(request, self.backend, tenant, received, is_rehearsal=is_rehearsal)
            answer = self.version.write(_answered(endpoint, call), call)
        except ApiError as error:
            answer = _refused(self.backend, self.version, error, request)
        except ClientDisconnect:
            return
        finally:
            received.discard()
        if self.version.is_logged:
            self._log(request, answer, received)
        await _response(answer)(scope, receive, send)

    def _admit(self, request: Request) -> tuple[Endpoint, str]:
        method = "GET" if request.method == "HEAD" else request.method
        served = {
            name: endpoint
            for name, endpoint in self.endpoints.items()
            if endpoint.switch is None or self.backend.switches.is_on(*endpoint.switch)
        }
        endpoint = served.get(method)
        if endpoint is not None and endpoint.is_open:
            return endpoint, ""
        # As Django REST framework does: who asks comes before what is asked.
        tenant = authenticate(self.backend, request.headers)
        if endpoint is None:
            raise method_not_allowed(request.method, tuple(served))
        return endpoint, tenant

    def _is_rehearsal(self, request: Request) -> bool:
        asked = request.query_params.get("dry_run")
        if asked is None or not self.version.rehearses or request.method in ("GET", "HEAD"):
            return False
        if self.backend.switches.is_on("v2_dry_run", "unknown"):
            return False
        return bool(check(_DRY_RUN, Body({"dry_run": asked}))["dry_run"])

    def _log(self, request: Request, answer: Answer, received: Received) -> None:
        shown = dict(request.path_params)
        if "token" in shown:
            shown["token"] = "..."  # noqa: S105 - that of an agent, never shown
        served = self.endpoints.get(request.method)
        is_open = served is not None and served.is_open
        self.backend.requests.add(
            {
                "method": request.method,
                "path": self.version.prefix + self.path.format(**shown),
                # That of a signed URL is as good as a token.
                "query": "" if is_open else request.url.query,
                "fields": sorted([*received.body.values, *received.uploads]),
                "has_token": any(name in request.headers for name in TOKEN_HEADERS),
                "status": answer.status,
                "request_id": request.scope["request_id"],
            },
            self.version.prefix + self.path,
        )


def _answered(endpoint: Endpoint, call: Call) -> Answer:
    if not call.is_rehearsal:
        return endpoint.respond(call)
    with call.backend.store.transaction(undone=True):
        answer = endpoint.respond(call)
    tells_itself = isinstance(answer.body, dict) and "dry_run" in answer.body
    if tells_itself or call.has("v2_dry_run_answer", "object"):
        return answer
    said = {
        "dry_run": True,
        "action": endpoint.action or _ACTIONS[endpoint.method],
        "validated_fields": sorted([*call.body.values, *call.uploads]),
    }
    return Answer(said)


def _odd_address(backend: Backend, version: ApiVersion, request: Request) -> ApiError | None:
    if not version.is_guarded or not backend.switches.is_on("v2_guards", "on"):
        return None
    path = request.scope.get("raw_path", b"").decode("latin-1").partition("?")[0]
    return find_odd_address(path, request.url.query)


def _refused(backend: Backend, version: ApiVersion, error: ApiError, request: Request) -> Answer:
    is_korean = backend.switches.is_on("texts", "korean")
    if is_korean and not asks_for_english(request.headers.get("accept-language", "")):
        error = in_korean(error)
    body = version.refuse(error, request.scope["request_id"])
    return Answer(body, error.status, error.headers)


async def _read(request: Request, backend: Backend) -> Received:
    if request.method in ("GET", "HEAD"):
        return Received(Body({}))
    limit = backend.settings.max_upload
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large(limit)
    content_type = request.headers.get("content-type", "")
    return await receive(_chunks(request), content_type, backend.incoming, limit)


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        if chunk:
            yield chunk


def _call(
    request: Request, backend: Backend, tenant: str, received: Received, *, is_rehearsal: bool
) -> Call:
    root = f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}"
    return Call(
        backend=backend,
        tenant=tenant,
        path=request.path_params,
        query=dict(request.query_params),
        root=root,
        url=root + request.url.path,
        body=received.body,
        uploads=received.uploads,
        request_id=request.scope["request_id"],
        headers=request.headers,
        is_rehearsal=is_rehearsal,
    )


def _response(answer: Answer) -> Response:
    if answer.file is not None:
        return FileResponse(answer.file, answer.status, dict(answer.headers))
    if answer.stream is not None:
        headers = {"Cache-Control": "no-cache", **answer.headers}
        return StreamingResponse(answer.stream, answer.status, headers, "text/event-stream")
    if answer.status == 204:
        return Response(status_code=204, headers=dict(answer.headers))
    return _json(answer.status, answer.body, dict(answer.headers))


def _json(status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(text, status, headers, "application/json")


def _refuse_outside(
    backend: Backend, versions: Sequence[ApiVersion], request: Request, status: int, detail: str
) -> Response:
    """What no endpoint answers, in the form of the API version the path belongs to."""
    version = version_of(versions, request.url.path)
    if status == 404 and (odd := _odd_address(backend, version, request)) is not None:
        return _response(_refused(backend, version, odd, request))
    return _response(_refused(backend, version, ApiError(status, {"detail": detail}), request))
