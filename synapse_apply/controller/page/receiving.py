"""Which paths take what people ask for, whose forms and documents are taken, what is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from synapse_apply.controller import api_types as types
from synapse_apply.controller import verbs
from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.page.addresses import build_rollout_path, build_target_path
from synapse_apply.controller.page.api import format_safe_json, write_document
from synapse_apply.controller.page.guard import DEFAULT_PORTS
from synapse_apply.controller.page.requests import (
    MAX_BODY_SIZE,
    Action,
    Document,
    Form,
    carry_out,
    read_action,
)
from synapse_apply.controller.page.visitor import (
    API_PREFIX,
    Doorkeeper,
    RequestRefused,
    Visitor,
    build_right_refusal,
)
from synapse_apply.controller.rows import TargetName
from synapse_apply.controller.rules.access import TOKEN_PREFIX
from synapse_apply.controller.settings import Right
from synapse_apply.controller.verbs import Subject, Verb


class ActionEndpoints:
    """Takes what people ask for; each is done on a thread, and recorded by the loop."""

    def __init__(
        self, loop: ControllerLoop, receiver: RequestReceiver, clock: Callable[[], float]
    ) -> None:
        """`clock` gives wall-clock seconds since the epoch."""
        self._loop = loop
        self._receiver = receiver
        self._clock = clock

    def list_routes(self) -> list[Route]:
        routes = []
        for verb in (*verbs.OF_TARGETS, *verbs.OF_ROLLOUTS):
            page, api = "/targets/{source}/{target:path}/", API_PREFIX
            if verb.is_of_rollout:
                page, api = "/rollouts/{rollout}/", f"{API_PREFIX}rollouts/{{rollout}}/"
            routes += [
                Route(f"{page}{verb.name}", self._build_form_endpoint(verb), methods=["POST"]),
                Route(f"{api}{verb.name}", self._build_api_endpoint(verb), methods=["POST"]),
            ]
        return routes

    def _build_form_endpoint(self, verb: Verb) -> Callable[[Request], Awaitable[Response]]:
        async def act(request: Request) -> Response:
            named = _named_in_path(request)
            visitor, body = await self._receiver.receive_form_of_own_page(
                request, verb.right, f"the rollout {named}" if verb.is_of_rollout else str(named)
            )
            await self._carry_out(read_action(verb, Form(body), self._clock(), named), visitor)
            page = build_rollout_path(named) if isinstance(named, str) else build_target_path(named)
            return RedirectResponse(f"{page}?done={verb.name}", HTTPStatus.SEE_OTHER)

        return act

    def _build_api_endpoint(self, verb: Verb) -> Callable[[Request], Awaitable[Response]]:
        async def act(request: Request) -> Response:
            named = _named_in_path(request)
            visitor, body = await self._receiver.receive_document(
                request, verb.right, f"the rollout {named}" if verb.is_of_rollout else "any target"
            )
            action = read_action(verb, Document(verb, body), self._clock(), named)
            await self._carry_out(action, visitor)
            document = write_document(
                types.RolloutResult if verb.is_of_rollout else types.ActionResult,
                action,
                action=verb.name,
                target=str(action.target) if verb.subject is Subject.TARGET else "",
                rows=action.row_digests,
                who=visitor.identity,
            )
            return Response(format_safe_json(document), media_type=JSON_TYPE)

        return act

    async def _carry_out(self, action: Action, visitor: Visitor) -> None:
        await run_in_threadpool(carry_out, action, visitor, self._loop)


def _named_in_path(request: Request) -> TargetName | str:
    """The target or the rollout that a path names, "" for neither."""
    named = request.path_params
    if "source" in named:
        return TargetName(named["source"], named["target"])
    return str(named.get("rollout", ""))


FORM_TYPE, JSON_TYPE = "application/x-www-form-urlencoded", "application/json"


class Received(NamedTuple):
    """The body of a request, not parsed yet, and who sends it."""

    visitor: Visitor
    body: bytes


class RequestReceiver:
    """Takes what people send. Its methods raise RequestRefused and HTTPException."""

    def __init__(self, doorkeeper: Doorkeeper, own_origins: Collection[str]) -> None:
        self._doorkeeper = doorkeeper
        self._own_origins = own_origins

    async def receive_form_of_own_page(
        self, request: Request, right: Right, scope: str
    ) -> Received:
        """A form that its browser sends from a page of ours; a refusal names right and scope."""
        visitor = self._doorkeeper.admit_visitor(request)
        if visitor.person is None:
            raise build_right_refusal(right, scope, visitor)
        require_own_origin(request.headers, self._own_origins)
        require_media_type(request, FORM_TYPE)
        return Received(visitor, await read_body_within_limits(request, MAX_BODY_SIZE))

    async def receive_document(self, request: Request, right: Right, scope: str) -> Received:
        """The document of somebody with a token; `right` and `scope` as for a form."""
        visitor = self._doorkeeper.admit_visitor(request)
        if visitor.person is None:
            raise build_right_refusal(right, scope, visitor)
        # A browser sends what its proxy needs by itself, whoever asks it to.
        if not visitor.identity.startswith(TOKEN_PREFIX):
            raise RequestRefused.from_words(
                HTTPStatus.FORBIDDEN,
                "Only for tokens",
                "People whom the proxy has logged in use the forms of the pages.",
                "Send one of `access.tokens` as `Authorization: Bearer TOKEN`.",
            )
        require_media_type(request, JSON_TYPE)
        return Received(visitor, await read_body_within_limits(request, MAX_BODY_SIZE))


_BODY_SECONDS = 10.0


async def read_body_within_limits(request: Request, max_size: int) -> bytes:
    """The body of a request; HTTPException where it is too large, too slow or broken off."""
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_size:
                    raise HTTPException(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                        f"A body has at most {max_size:,} bytes.",
                    )
    except TimeoutError:
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "The body came too slowly.") from None
    except ClientDisconnect:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "The body broke off.") from None
    return bytes(body)


def require_media_type(request: Request, expected: str) -> None:
    """Raise HTTPException unless the body is said to be of one media type."""
    values = request.headers.getlist("content-type")
    media_type = values[0].partition(";")[0].strip().lower() if len(values) == 1 else ""
    if media_type != expected:
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The body has to be {expected}.")


def list_own_origins(own_hosts: Collection[str], public_url: str) -> frozenset[str]:
    """The values of `Origin` that pages of ours have; `own_hosts` are reached without TLS."""
    origins = {f"http://{host}" for host in own_hosts}
    parts = urlsplit(public_url)
    if not parts.hostname:
        return frozenset(origins)
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    # Browsers leave out the port of the scheme.
    port = f":{parts.port}" if parts.port not in {None, DEFAULT_PORTS.get(parts.scheme)} else ""
    return frozenset(origins | {f"{parts.scheme}://{name}{port}"})


def require_own_origin(headers: Headers, own_origins: Collection[str]) -> None:
    """Raise RequestRefused unless the browser says that a page of ours sends the request.

    Browsers say it in `Sec-Fetch-Site` (over TLS and loopback) and in `Origin`; no page can change
    either. Of the two, what is there has to say so. A request with neither is of no browser, or of
    one that is too old; `Origin: null` is of no page of ours, which let their address be named.
    """
    origins = headers.getlist("origin")
    has_own_origin = len(origins) == 1 and origins[0].lower() in own_origins
    is_ours = (
        is_from_own_page(headers) and (has_own_origin or not origins)
        if "sec-fetch-site" in headers
        else has_own_origin
    )
    if not is_ours:
        raise RequestRefused.from_words(
            HTTPStatus.FORBIDDEN,
            "Not sent by a page of this controller",
            "The browser does not say that the form was on one of its pages. Nothing was done.",
            "Open the controller's page at its `public_url`, and send the form from there.",
        )


def is_from_own_page(headers: Headers) -> bool:
    """Whether the browser says in `Sec-Fetch-Site` that it comes from a page of ours."""
    return headers.getlist("sec-fetch-site") == ["same-origin"]


def read_own_notice(asked: Sequence[Verb], visitor: Visitor, request: Request) -> str:
    """What its reader has just done by a form, as `done` of the address names it; "" for nothing.

    Nothing either where it is not the redirect of a form: an address from elsewhere proves nothing.
    """
    done = request.query_params.get("done")
    if not visitor.identity or not is_from_own_page(request.headers):
        return ""
    return next((verb.notice for verb in asked if verb.name == done), "")
