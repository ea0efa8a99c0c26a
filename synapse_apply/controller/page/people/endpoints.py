"""Which paths take what people ask for: forms of pages, and JSON of programs with a token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from synapse_apply.controller.page import addresses
from synapse_apply.controller.page.api import API_VERSION, format_json
from synapse_apply.controller.page.entry.form_tokens import FormTokens
from synapse_apply.controller.page.entry.own_origin import require_own_origin
from synapse_apply.controller.page.entry.refusals import RequestRefused
from synapse_apply.controller.page.entry.visitor import (
    API_PREFIX,
    Doorkeeper,
    Visitor,
    build_right_refusal,
)
from synapse_apply.controller.page.people.action_requests import (
    MAX_BODY_SIZE,
    RIGHTS,
    ActionRequest,
    Verb,
    parse_form,
    read_form_request,
    read_json_request,
)
from synapse_apply.controller.page.people.actions import carry_out
from synapse_apply.controller.page.people.bodies import read_body, require_media_type
from synapse_apply.controller.page.phrases import format_utc
from synapse_apply.controller.ports import RunningLoop
from synapse_apply.controller.rows import TargetName
from synapse_apply.controller.rules.access import TOKEN_PREFIX

_FORM_TYPE, _JSON_TYPE = "application/x-www-form-urlencoded", "application/json"


class ActionEndpoints:
    """Takes actions; each is done on a thread, and recorded by the loop."""

    def __init__(
        self,
        loop: RunningLoop,
        doorkeeper: Doorkeeper,
        form_tokens: FormTokens,
        own_origins: Collection[str],
        clock: Callable[[], float],
    ) -> None:
        """`clock` gives wall-clock seconds since the epoch."""
        self._loop = loop
        self._doorkeeper = doorkeeper
        self._form_tokens = form_tokens
        self._own_origins = own_origins
        self._clock = clock

    def list_routes(self) -> list[Route]:
        forms = [
            Route(
                f"/targets/{{source}}/{{target:path}}/{verb.value}",
                self._build_form_endpoint(verb), methods=["POST"],
            )
            for verb in Verb
        ]  # fmt: skip
        calls = [
            Route(f"{API_PREFIX}{verb.value}", self._build_api_endpoint(verb), methods=["POST"])
            for verb in Verb
        ]
        return [*forms, *calls]

    def _build_form_endpoint(self, verb: Verb) -> Callable[[Request], Awaitable[Response]]:
        async def act(request: Request) -> Response:
            name = TargetName(request.path_params["source"], request.path_params["target"])
            visitor = self._doorkeeper.admit(request)
            if visitor.person is None:
                raise build_right_refusal(RIGHTS[verb], str(name), visitor)
            require_own_origin(request.headers, self._own_origins)
            require_media_type(request, _FORM_TYPE)
            fields = parse_form(await read_body(request, MAX_BODY_SIZE))
            token = next(iter(fields.get("token", ())), "")
            self._form_tokens.require_valid(token, visitor.identity, build_form_purpose(name))
            action = read_form_request(verb, name, fields, self._clock())
            await self._carry_out(action, visitor)
            proof = self._form_tokens.build_token(
                visitor.identity, build_notice_purpose(verb, name)
            )
            return RedirectResponse(
                addresses.build_notice_path(name, verb.value, proof), HTTPStatus.SEE_OTHER
            )

        return act

    def _build_api_endpoint(self, verb: Verb) -> Callable[[Request], Awaitable[Response]]:
        async def act(request: Request) -> Response:
            visitor = self._doorkeeper.admit(request)
            if visitor.person is None:
                raise build_right_refusal(RIGHTS[verb], "any target", visitor)
            # A browser sends what its proxy needs by itself, whoever asks it to.
            if not visitor.identity.startswith(TOKEN_PREFIX):
                raise RequestRefused.from_words(
                    HTTPStatus.FORBIDDEN,
                    "Only for tokens",
                    "People whom the proxy has logged in use the forms of the pages.",
                    "Send one of `access.tokens` as `Authorization: Bearer TOKEN`.",
                )
            require_media_type(request, _JSON_TYPE)
            body = await read_body(request, MAX_BODY_SIZE)
            action = read_json_request(verb, body, self._clock())
            await self._carry_out(action, visitor)
            return Response(_format_result(action, visitor.identity), media_type=_JSON_TYPE)

        return act

    async def _carry_out(self, action: ActionRequest, visitor: Visitor) -> None:
        await run_in_threadpool(carry_out, action, visitor, self._loop.get_people_actions())


def build_form_purpose(name: TargetName) -> str:
    """What a token of the forms on a target's page is for."""
    return f"forms of {name}"


def build_notice_purpose(verb: Verb, name: TargetName) -> str:
    """What a token in an address is for that says what was just done."""
    return f"notice of {verb.value} {name}"


def _format_result(action: ActionRequest, who: str) -> str:
    return format_json(
        {
            "apiVersion": API_VERSION,
            "kind": "ActionResult",
            "action": action.verb.value,
            "target": str(action.name) if action.name else None,
            "scope": action.scope or None,
            "rows": list(action.row_digests),
            "who": who,
            "until": format_utc(action.until) if action.until else None,
        }
    )
