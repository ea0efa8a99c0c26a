"""How an HTTP request becomes a call of an endpoint, and its answer or refusal a response."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from email.utils import formatdate
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from synapse_apply.emulator.core.auth import TOKEN_HEADERS, authenticate
from synapse_apply.emulator.core.backend import DataSetBackend, DataSetClock
from synapse_apply.emulator.core.body import ReceivedBody, read_request_body
from synapse_apply.emulator.core.call import (
    ApiVersion,
    EmulatorAnswer,
    EmulatorRequest,
    Endpoint,
    select_version,
)
from synapse_apply.emulator.core.fields import (
    ApiError,
    Body,
    Field,
    build_too_large_error,
    convert_sent_fields,
    method_not_allowed,
)
from synapse_apply.emulator.core.guards import find_request_refusal, require_plain_text
from synapse_apply.emulator.core.languages import prefers_english, translate_error

_DRY_RUN_ACTIONS = {"POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}
_DRY_RUN_FIELDS = (Field("dry_run", "boolean"),)
REQUEST_ID_HEADER = "X-Request-ID"
LOOPBACK_NAMES = ("127.0.0.1", "localhost")


class RequestIdMiddleware:
    """Gives each request an id, which its answer has as `X-Request-ID`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((REQUEST_ID_HEADER.lower().encode(), request_id.encode()))
            await send(message)

        await self.app(scope, receive, send_with_id)


class DateMiddleware:
    """Adds the Date header by the data set's clock, which tests may move (RFC 9110, 6.6.1)."""

    def __init__(self, app: ASGIApp, clock: DataSetClock) -> None:
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
    """Delays each request by this many milliseconds."""

    def __init__(self, app: ASGIApp, milliseconds: float) -> None:
        self.app = app
        self.seconds = milliseconds / 1000

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await asyncio.sleep(self.seconds)
        await self.app(scope, receive, send)


def build_app(
    backend: DataSetBackend,
    versions: Sequence[ApiVersion],
    *,
    extra_middleware: Sequence[Middleware] = (),
    only_loopback: bool = True,
) -> ASGIApp:
    """The ASGI application; `extra_middleware` runs after the shared ones, before the routes.

    With `only_loopback` requests for other host names are refused.
    """
    middleware = list[Middleware]()
    if only_loopback:
        # Against DNS rebinding: a web page must not reach this server by a name of its own that
        # resolves to loopback.
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK_NAMES)))
    if backend.settings.latency > 0:
        middleware.append(Middleware(LatencyMiddleware, milliseconds=backend.settings.latency))

    async def answer_http_error(request: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 500)
        detail = "Not found." if status == 404 else str(getattr(error, "detail", error))
        return _build_fallback_refusal(backend, versions, request, status, detail)

    async def answer_crash(request: Request, _error: Exception) -> Response:
        return _build_fallback_refusal(backend, versions, request, 500, "A server error occurred.")

    app = Starlette(
        routes=[route for version in versions for route in _build_routes(backend, version)],
        middleware=[*middleware, *extra_middleware],
        exception_handlers={HTTPException: answer_http_error, 500: answer_crash},
    )
    # A redirect would hide that a client leaves the slash at the end out.
    app.router.redirect_slashes = False
    # Outside of Starlette's middleware, so that the answer to a crash has id and date, too.
    return RequestIdMiddleware(DateMiddleware(app, backend.clock))


def _build_routes(backend: DataSetBackend, version: ApiVersion) -> list[Route]:
    """One route for each path of an API version, with all its methods."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in version.endpoints:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    routes = []
    for path, endpoints in by_path.items():
        # One route for all methods of a path, so that authentication comes before a 405.
        path_app = _PathApp(backend, version, path, endpoints)
        routes.append(Route(version.prefix + path, path_app))
        if version.slash_is_optional:
            routes.append(Route(version.prefix + path.rstrip("/"), path_app))
    return routes


class _AuthenticatedEndpoint(NamedTuple):
    endpoint: Endpoint
    tenant: str  # "" for an open endpoint


class _PathApp:
    """The ASGI application of one path, for all its methods."""

    def __init__(
        self,
        backend: DataSetBackend,
        version: ApiVersion,
        path: str,
        endpoints: dict[str, Endpoint],
    ) -> None:
        self.backend = backend
        self.version = version
        self.path = path
        self.endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        received_body = ReceivedBody(Body({}))
        try:
            if (address_error := _guard_request(self.backend, self.version, request)) is not None:
                raise address_error
            endpoint, tenant = self._select_endpoint(request)
            is_dry_run = self._is_dry_run(request)
            received_body = await _read_body_within_limit(request, self.backend)
            if self.version.is_guarded and self.backend.switches.has_value("v2_guards", "on"):
                require_plain_text(received_body.body.values)
            emulator_request = _build_emulator_request(
                request, self.backend, tenant, received_body, is_dry_run=is_dry_run
            )
            answer = self.version.wrap_answer(
                _respond_or_dry_run(endpoint, emulator_request), emulator_request
            )
        except ApiError as error:
            answer = _build_refusal(self.backend, self.version, error, request)
        except ClientDisconnect:
            return
        finally:
            # A package that is kept was moved to its place before.
            received_body.delete_upload_files()
        if self.version.is_logged:
            self._log_request(request, answer, received_body)
        await _build_response(answer)(scope, receive, send)

    def _select_endpoint(self, request: Request) -> _AuthenticatedEndpoint:
        """The endpoint for the request's method, and the tenant.

        Raises ApiError: 401 or 403, then 405.
        """
        # uvicorn leaves the body of an answer to HEAD out.
        method = "GET" if request.method == "HEAD" else request.method
        served_endpoints = {
            name: endpoint
            for name, endpoint in self.endpoints.items()
            if endpoint.switch is None or self.backend.switches.has_value(*endpoint.switch)
        }
        endpoint = served_endpoints.get(method)
        if endpoint is not None and endpoint.is_open:
            return _AuthenticatedEndpoint(endpoint, "")
        # Authentication comes before 405, as in Django REST framework.
        tenant = authenticate(self.backend, request.headers)
        if endpoint is None:
            raise method_not_allowed(request.method, tuple(served_endpoints))
        return _AuthenticatedEndpoint(endpoint, tenant)

    def _is_dry_run(self, request: Request) -> bool:
        """Whether `?dry_run=` is true and known here. Raises ApiError (400) for no boolean."""
        parameter_text = request.query_params.get("dry_run")
        if (
            parameter_text is None
            or not self.version.supports_dry_run
            or request.method in ("GET", "HEAD")
        ):
            return False
        if self.backend.switches.has_value("v2_dry_run", "unknown"):
            return False
        return bool(
            convert_sent_fields(_DRY_RUN_FIELDS, Body({"dry_run": parameter_text}))["dry_run"]
        )

    def _log_request(
        self, request: Request, answer: EmulatorAnswer, received_body: ReceivedBody
    ) -> None:
        path_params = dict(request.path_params)
        if "token" in path_params:
            # The path is logged, and an agent's token is a credential.
            path_params["token"] = "..."  # noqa: S105 - that of an agent, never shown
        endpoint = self.endpoints.get(request.method)
        is_open = endpoint is not None and endpoint.is_open
        self.backend.request_log.add(
            {
                "method": request.method,
                "path": self.version.prefix + self.path.format(**path_params),
                # The query of a signed URL is a credential.
                "query": "" if is_open else request.url.query,
                "fields": sorted([*received_body.body.values, *received_body.uploads]),
                "has_token": any(name in request.headers for name in TOKEN_HEADERS),
                "status": answer.status,
                "request_id": request.scope["request_id"],
            },
            self.version.prefix + self.path,
        )


def _respond_or_dry_run(endpoint: Endpoint, request: EmulatorRequest) -> EmulatorAnswer:
    """Call the endpoint; in a dry run, undo its writes and answer as `v2_dry_run_answer` says."""
    if not request.is_dry_run:
        return endpoint.respond(request)
    with request.backend.store.transaction(roll_back=True):
        answer = endpoint.respond(request)
    is_dry_run_answer = isinstance(answer.body, dict) and "dry_run" in answer.body
    if is_dry_run_answer or request.has_server_switch_value("v2_dry_run_answer", "object"):
        return answer
    summary = {
        "dry_run": True,
        "action": endpoint.dry_run_action or _DRY_RUN_ACTIONS[endpoint.method],
        "validated_fields": sorted([*request.body.values, *request.uploads]),
    }
    return EmulatorAnswer(summary)


def _guard_request(
    backend: DataSetBackend, version: ApiVersion, request: Request
) -> ApiError | None:
    """The refusal of an odd path or query by `core.guards`, None if there is none."""
    if not version.is_guarded or not backend.switches.has_value("v2_guards", "on"):
        return None
    path = request.scope.get("raw_path", b"").decode("latin-1").partition("?")[0]
    return find_request_refusal(path, request.url.query)


def _build_refusal(
    backend: DataSetBackend, version: ApiVersion, error: ApiError, request: Request
) -> EmulatorAnswer:
    """The answer for a refusal, in the API version's form and the request's language."""
    is_korean = backend.switches.has_value("texts", "korean")
    if is_korean and not prefers_english(request.headers.get("accept-language", "")):
        error = translate_error(error)
    body = version.build_error_body(error, request.scope["request_id"])
    return EmulatorAnswer(body, error.status, error.headers)


async def _read_body_within_limit(request: Request, backend: DataSetBackend) -> ReceivedBody:
    if request.method in ("GET", "HEAD"):
        return ReceivedBody(Body({}))
    limit = backend.settings.max_upload
    # A size that is stated is refused before the body is read; else it is counted while reading.
    content_length = request.headers.get("content-length", "")
    if content_length.isdecimal() and int(content_length) > limit:
        raise build_too_large_error(limit)
    content_type = request.headers.get("content-type", "")
    return await read_request_body(
        _iter_body_chunks(request), content_type, backend.incoming_folder, limit
    )


async def _iter_body_chunks(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        # Starlette ends the stream with an empty chunk.
        if chunk:
            yield chunk


def _build_emulator_request(
    request: Request,
    backend: DataSetBackend,
    tenant: str,
    received_body: ReceivedBody,
    *,
    is_dry_run: bool,
) -> EmulatorRequest:
    # Links in answers have the host by which the client reaches this server.
    root_url = f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}"
    return EmulatorRequest(
        backend=backend,
        tenant=tenant,
        path=request.path_params,
        query=dict(request.query_params),
        root_url=root_url,
        url=root_url + request.url.path,
        body=received_body.body,
        uploads=received_body.uploads,
        request_id=request.scope["request_id"],
        headers=request.headers,
        is_dry_run=is_dry_run,
    )


def _build_response(answer: EmulatorAnswer) -> Response:
    if answer.file is not None:
        return FileResponse(answer.file, answer.status, dict(answer.headers))
    if answer.stream is not None:
        # A proxy must not hold back or repeat events.
        headers = {"Cache-Control": "no-cache", **answer.headers}
        return StreamingResponse(answer.stream, answer.status, headers, "text/event-stream")
    # A 204 has no content, and so no Content-Type (RFC 9110, 15.3.5).
    if answer.status == 204:
        return Response(status_code=204, headers=dict(answer.headers))
    # As Django REST framework writes JSON: compact, and not restricted to ASCII.
    text = json.dumps(answer.body, ensure_ascii=False, separators=(",", ":"))
    return Response(text, answer.status, dict(answer.headers), "application/json")


def _build_fallback_refusal(
    backend: DataSetBackend,
    versions: Sequence[ApiVersion],
    request: Request,
    status: int,
    detail: str,
) -> Response:
    """The response where no endpoint answers (404, 405, 500), in the form of its API version."""
    version = select_version(versions, request.url.path)
    if status == 404 and (address_error := _guard_request(backend, version, request)) is not None:
        return _build_response(_build_refusal(backend, version, address_error, request))
    return _build_response(
        _build_refusal(backend, version, ApiError(status, {"detail": detail}), request)
    )
