"""How an HTTP request becomes a call of an endpoint, and its answer or refusal a response."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate

from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from synapse_apply.emulator.core import v2
from synapse_apply.emulator.core.auth import TOKEN_HEADERS, authenticate
from synapse_apply.emulator.core.backend import DataSetBackend
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
    method_not_allowed,
    not_found,
    refusal,
    too_large,
)
from synapse_apply.emulator.core.languages import prefers_english, translate_error
from synapse_apply.emulator.faults.middleware import FaultMiddleware

LOOPBACK_NAMES = ("127.0.0.1", "localhost")


def build_app(
    backend: DataSetBackend, versions: Sequence[ApiVersion], *, only_loopback: bool = True
) -> ASGIApp:
    """The ASGI application. With `only_loopback` requests for other host names are refused."""
    app: ASGIApp = FaultMiddleware(_Paths(backend, versions), backend, versions)
    if only_loopback:
        # Against DNS rebinding: a web page must not reach this server by a name of its own that
        # resolves to loopback.
        app = TrustedHostMiddleware(app, allowed_hosts=list(LOOPBACK_NAMES))
    return _Outermost(app, backend, versions)


@dataclass(slots=True)
class _Outermost:
    """Gives each answer an `X-Request-ID` and a `Date`, also that to a request that crashed.

    The date is by the data set's clock, which tests may move (RFC 9110, 6.6.1). Each request waits
    for the settings' latency.
    """

    app: ASGIApp
    backend: DataSetBackend
    versions: Sequence[ApiVersion]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = scope["request_id"] = uuid.uuid4().hex
        is_answered = False

        async def send_with_headers(message: Message) -> None:
            nonlocal is_answered
            if message["type"] == "http.response.start":
                is_answered = True
                date = formatdate(self.backend.clock.now(), usegmt=True)
                message["headers"] += [
                    (b"date", date.encode()),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        try:
            if self.backend.settings.latency > 0:
                await asyncio.sleep(self.backend.settings.latency / 1000)
            await self.app(scope, receive, send_with_headers)
        except Exception:
            if not is_answered:
                version = select_version(self.versions, scope["path"])
                error = refusal(500, "A server error occurred.")
                answer = _build_refusal(self.backend, version, error, Request(scope))
                await _build_response(answer)(scope, receive, send_with_headers)
            raise  # which logs it


class _Paths:
    """Finds which path of all API versions a request is for."""

    def __init__(self, backend: DataSetBackend, versions: Sequence[ApiVersion]) -> None:
        self.backend = backend
        self.versions = versions
        # By the number of slashes: most requests are then compared with a few paths.
        self.paths: dict[int, list[tuple[re.Pattern[str], _PathApp]]] = {}
        for version in versions:
            by_path: dict[str, dict[str, Endpoint]] = {}
            for endpoint in version.endpoints:
                by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
            for path, endpoints in by_path.items():
                path_app = _PathApp(backend, version, path, endpoints)
                self._add_path(version.prefix + path, path_app)
                if version.slash_is_optional:
                    self._add_path((version.prefix + path).rstrip("/"), path_app)

    def _add_path(self, path: str, path_app: _PathApp) -> None:
        """`{name}` in a path stands for one part of it."""
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path))
        self.paths.setdefault(path.count("/"), []).append((re.compile(pattern), path_app))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        for pattern, path_app in self.paths.get(path.count("/"), ()):
            if match := pattern.fullmatch(path):
                scope["path_params"] = match.groupdict()
                await path_app(scope, receive, send)
                return
        request, version = Request(scope), select_version(self.versions, path)
        error = _find_odd_address(self.backend, version, scope) or not_found()
        answer = _build_refusal(self.backend, version, error, request)
        await _build_response(answer)(scope, receive, send)


@dataclass(slots=True)
class _PathApp:
    """The ASGI application of one path, for all its methods."""

    backend: DataSetBackend
    version: ApiVersion
    path: str
    endpoints: dict[str, Endpoint]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        received = ReceivedBody(Body({}))
        try:
            if error := _find_odd_address(self.backend, self.version, scope):
                raise error
            endpoint, tenant = self._select_endpoint(request)
            is_dry_run = self.version.is_v2 and v2.is_dry_run(
                self.backend, request.method, request.query_params.get("dry_run")
            )
            received = await _read_body_within_limit(request, self.backend)
            if self.version.is_v2 and self.backend.switches.has_value("v2_guards", "on"):
                v2.require_plain_text(received.body.values)
            call = self._build_call(request, tenant, received, is_dry_run=is_dry_run)
            answer = v2.answer_dry_run(endpoint, call) if is_dry_run else endpoint.answer(call)
            if self.version.is_v2:
                answer = v2.wrap_answer(answer, call)
        except ApiError as error:
            answer = _build_refusal(self.backend, self.version, error, request)
        except ClientDisconnect:
            return
        finally:
            # A package that is kept was moved to its place before.
            received.delete_upload_files()
        if self.version.is_logged:
            self._log_request(request, answer, received)
        await _build_response(answer)(scope, receive, send)

    def _select_endpoint(self, request: Request) -> tuple[Endpoint, str]:
        """The endpoint for the request's method, and the tenant, "" for an open endpoint.

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
            return endpoint, ""
        # Authentication comes before 405, as in Django REST framework.
        tenant = authenticate(self.backend, request.headers)
        if endpoint is None:
            raise method_not_allowed(request.method, tuple(served_endpoints))
        return endpoint, tenant

    def _build_call(
        self, request: Request, tenant: str, received: ReceivedBody, *, is_dry_run: bool
    ) -> EmulatorRequest:
        # Links in answers have the host by which the client reaches this server.
        host = request.headers.get("host")
        root_url = f"{request.scope['scheme']}://{request.url.netloc if host is None else host}"
        return EmulatorRequest(
            backend=self.backend,
            tenant=tenant,
            path=request.path_params,
            query=dict(request.query_params),
            root_url=root_url,
            url=root_url + request.scope["path"],
            body=received.body,
            uploads=received.uploads,
            request_id=request.scope["request_id"],
            headers=request.headers,
            is_dry_run=is_dry_run,
        )

    def _log_request(
        self, request: Request, answer: EmulatorAnswer, received: ReceivedBody
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
                "query": "" if is_open else _query(request.scope),
                "fields": sorted([*received.body.values, *received.uploads]),
                "has_token": any(name in request.headers for name in TOKEN_HEADERS),
                "status": answer.status,
                "request_id": request.scope["request_id"],
            },
            self.version.prefix + self.path,
        )


def _query(scope: Scope) -> str:
    return str(scope["query_string"].decode("latin-1"))


def _find_odd_address(
    backend: DataSetBackend, version: ApiVersion, scope: Scope
) -> ApiError | None:
    """The refusal of an odd path or query by `v2_guards`, None if there is none."""
    if not version.is_v2 or not backend.switches.has_value("v2_guards", "on"):
        return None
    path = scope.get("raw_path", b"").decode("latin-1").partition("?")[0]
    return v2.find_odd_address(path, _query(scope))


def _build_refusal(
    backend: DataSetBackend, version: ApiVersion, error: ApiError, request: Request
) -> EmulatorAnswer:
    """The answer for a refusal, in the API version's form and the request's language."""
    is_korean = backend.switches.has_value("texts", "korean")
    if is_korean and not prefers_english(request.headers.get("accept-language", "")):
        error = translate_error(error)
    request_id = request.scope["request_id"]
    body = v2.build_error_body(error, request_id) if version.is_v2 else error.body
    return EmulatorAnswer(body, error.status, error.headers)


async def _read_body_within_limit(request: Request, backend: DataSetBackend) -> ReceivedBody:
    if request.method in ("GET", "HEAD"):
        return ReceivedBody(Body({}))
    limit = backend.settings.max_upload
    # A size that is stated is refused before the body is read; else it is counted while reading.
    content_length = request.headers.get("content-length", "")
    if content_length.isdecimal() and int(content_length) > limit:
        raise too_large(limit)
    content_type = request.headers.get("content-type", "")
    return await read_request_body(request.stream(), content_type, backend.incoming_folder, limit)


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
