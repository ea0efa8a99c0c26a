"""How an HTTP request becomes a call of an endpoint, and its answer or refusal a response."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Sequence
from email.utils import formatdate
from typing import NamedTuple

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


class _Path(NamedTuple):
    """One path of an API version, with its endpoints by method."""

    version: ApiVersion
    path: str
    endpoints: dict[str, Endpoint]


class EmulatorApp:
    """The ASGI application. With `only_loopback` requests for other host names are refused.

    Gives each answer an `X-Request-ID` and a `Date`, also that to a request that crashed. The date
    is by the data set's clock, which tests may move (RFC 9110, 6.6.1). Each request waits for the
    settings' latency.
    """

    def __init__(
        self, backend: DataSetBackend, versions: Sequence[ApiVersion], *, only_loopback: bool = True
    ) -> None:
        self.backend = backend
        self.versions = versions
        # By the number of slashes: most requests are then compared with a few paths.
        self.paths: dict[int, list[tuple[re.Pattern[str], _Path]]] = {}
        for version in versions:
            by_path: dict[str, dict[str, Endpoint]] = {}
            for endpoint in version.endpoints:
                by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
            for path, endpoints in by_path.items():
                full_path = version.prefix + path
                spellings = [full_path]
                if version.slash_is_optional:
                    spellings.append(full_path.rstrip("/"))
                for spelling in spellings:
                    # `{name}` in a path stands for one part of it.
                    pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(spelling))
                    entry = (re.compile(pattern), _Path(version, path, endpoints))
                    self.paths.setdefault(spelling.count("/"), []).append(entry)
        self.inner: ASGIApp = FaultMiddleware(self._serve_path, backend, versions)
        if only_loopback:
            # Against DNS rebinding: a web page must not reach this server by a name of its own that
            # resolves to loopback.
            self.inner = TrustedHostMiddleware(self.inner, allowed_hosts=list(LOOPBACK_NAMES))

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
            await self.inner(scope, receive, send_with_headers)
        except Exception:
            if not is_answered:
                version = select_version(self.versions, scope["path"])
                error = refusal(500, "A server error occurred.")
                answer = self._refuse(version, error, Request(scope))
                await _build_response(answer)(scope, receive, send_with_headers)
            raise  # which logs it

    async def _serve_path(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request by the path of all API versions that it is for."""
        path = scope["path"]
        for pattern, served in self.paths.get(path.count("/"), ()):
            if match := pattern.fullmatch(path):
                scope["path_params"] = match.groupdict()
                answer = await self._answer(served, Request(scope, receive))
                break
        else:
            request, version = Request(scope), select_version(self.versions, path)
            error = self._find_odd_address(version, scope) or not_found()
            answer = self._refuse(version, error, request)
        if answer is not None:
            await _build_response(answer)(scope, receive, send)

    async def _answer(self, served: _Path, request: Request) -> EmulatorAnswer | None:
        """The answer of a path; None where the client is gone."""
        received, version = ReceivedBody(Body({})), served.version
        try:
            if error := self._find_odd_address(version, request.scope):
                raise error
            endpoint, tenant = self._select_endpoint(served, request)
            is_dry_run = version.is_v2 and v2.is_dry_run(
                self.backend, request.method, request.query_params.get("dry_run")
            )
            received = await self._read_body(request)
            if version.is_v2 and self.backend.switches.has_value("v2_guards", "on"):
                v2.require_plain_text(received.body.values)
            # Links in answers have the host by which the client reaches this server.
            host = request.headers.get("host")
            root_url = f"{request.scope['scheme']}://{request.url.netloc if host is None else host}"
            call = EmulatorRequest(
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
            answer = v2.answer_dry_run(endpoint, call) if is_dry_run else endpoint.answer(call)
            if version.is_v2:
                answer = v2.wrap_answer(answer, call)
        except ApiError as error:
            answer = self._refuse(version, error, request)
        except ClientDisconnect:
            return None
        finally:
            # A package that is kept was moved to its place before.
            received.delete_upload_files()
        if version.is_logged:
            self._log(served, request, answer, received)
        return answer

    def _select_endpoint(self, served: _Path, request: Request) -> tuple[Endpoint, str]:
        """The endpoint for the request's method, and the tenant, "" for an open endpoint.

        Raises ApiError: 401 or 403, then 405.
        """
        # uvicorn leaves the body of an answer to HEAD out.
        method = "GET" if request.method == "HEAD" else request.method
        endpoints = {
            name: endpoint
            for name, endpoint in served.endpoints.items()
            if endpoint.switch is None or self.backend.switches.has_value(*endpoint.switch)
        }
        endpoint = endpoints.get(method)
        if endpoint is not None and endpoint.is_open:
            return endpoint, ""
        # Authentication comes before 405, as in Django REST framework.
        tenant = authenticate(self.backend, request.headers)
        if endpoint is None:
            raise method_not_allowed(request.method, tuple(endpoints))
        return endpoint, tenant

    async def _read_body(self, request: Request) -> ReceivedBody:
        if request.method in ("GET", "HEAD"):
            return ReceivedBody(Body({}))
        limit, folder = self.backend.settings.max_upload, self.backend.incoming_folder
        # A size that is stated is refused before the body is read; else it is counted while
        # reading.
        content_length = request.headers.get("content-length", "")
        if content_length.isdecimal() and int(content_length) > limit:
            raise too_large(limit)
        content_type = request.headers.get("content-type", "")
        return await read_request_body(request.stream(), content_type, folder, limit)

    def _find_odd_address(self, version: ApiVersion, scope: Scope) -> ApiError | None:
        """The refusal of an odd path or query by `v2_guards`, None if there is none."""
        if not version.is_v2 or not self.backend.switches.has_value("v2_guards", "on"):
            return None
        path = scope.get("raw_path", b"").decode("latin-1").partition("?")[0]
        return v2.find_odd_address(path, scope["query_string"].decode("latin-1"))

    def _refuse(self, version: ApiVersion, error: ApiError, request: Request) -> EmulatorAnswer:
        """The answer for a refusal, in the API version's form and the request's language."""
        is_korean = self.backend.switches.has_value("texts", "korean")
        if is_korean and not prefers_english(request.headers.get("accept-language", "")):
            error = translate_error(error)
        request_id = request.scope["request_id"]
        body = v2.build_error_body(error, request_id) if version.is_v2 else error.body
        return EmulatorAnswer(body, error.status, error.headers)

    def _log(
        self, served: _Path, request: Request, answer: EmulatorAnswer, received: ReceivedBody
    ) -> None:
        path_params = dict(request.path_params)
        if "token" in path_params:
            # The path is logged, and an agent's token is a credential.
            path_params["token"] = "..."  # noqa: S105 - that of an agent, never shown
        endpoint = served.endpoints.get(request.method)
        is_open = endpoint is not None and endpoint.is_open
        route = served.version.prefix + served.path
        entry = {
            "method": request.method,
            "path": route.format(**path_params),
            # The query of a signed URL is a credential.
            "query": "" if is_open else request.scope["query_string"].decode("latin-1"),
            "fields": sorted([*received.body.values, *received.uploads]),
            "has_token": any(name in request.headers for name in TOKEN_HEADERS),
            "status": answer.status,
            "request_id": request.scope["request_id"],
        }
        self.backend.request_log.add(entry, route)


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
