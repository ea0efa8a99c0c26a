"""Which paths take what people ask for: forms of pages, and JSON of programs with a token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from synapse_apply.controller.page import addresses
from synapse_apply.controller.page.api import API_VERSION, format_safe_json
from synapse_apply.controller.page.entry.form_tokens import FormTokens
from synapse_apply.controller.page.entry.visitor import API_PREFIX, Visitor
from synapse_apply.controller.page.people.action_requests import (
    RIGHTS,
    ActionRequest,
    Verb,
    read_valid_form_request,
    read_valid_json_request,
)
from synapse_apply.controller.page.people.actions import carry_out_action
from synapse_apply.controller.page.people.receiving import JSON_TYPE, RequestReceiver
from synapse_apply.controller.page.phrases import format_utc
from synapse_apply.controller.ports import RunningLoop
from synapse_apply.controller.rows import TargetName


class ActionEndpoints:
    """Takes actions; each is done on a thread, and recorded by the loop."""

    def __init__(
        self,
        loop: RunningLoop,
        receiver: RequestReceiver,
        form_tokens: FormTokens,
        clock: Callable[[], float],
    ) -> None:
        """`clock` gives wall-clock seconds since the epoch."""
        self._loop = loop
        self._receiver = receiver
        self._form_tokens = form_tokens
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
            visitor, fields = await self._receiver.receive_form_of_own_page(
                request, build_form_token_purpose(name), RIGHTS[verb], str(name)
            )
            action = read_valid_form_request(verb, name, fields, self._clock())
            await self._carry_out_in_threadpool(action, visitor)
            proof = self._form_tokens.build_token(visitor.identity, notice_purpose(verb, name))
            return RedirectResponse(
                addresses.build_notice_path(name, verb.value, proof), HTTPStatus.SEE_OTHER
            )

        return act

    def _build_api_endpoint(self, verb: Verb) -> Callable[[Request], Awaitable[Response]]:
        async def act(request: Request) -> Response:
            visitor, body = await self._receiver.receive_document(
                request, RIGHTS[verb], "any target"
            )
            action = read_valid_json_request(verb, body, self._clock())
            await self._carry_out_in_threadpool(action, visitor)
            return Response(_format_result(action, visitor.identity), media_type=JSON_TYPE)

        return act

    async def _carry_out_in_threadpool(self, action: ActionRequest, visitor: Visitor) -> None:
        await run_in_threadpool(carry_out_action, action, visitor, self._loop.get_people_actions())


def build_form_token_purpose(name: TargetName) -> str:
    """What a token of the forms on a target's page is for."""
    return f"forms of {name}"


def notice_purpose(verb: Verb, name: TargetName) -> str:
    """What a token in an address is for that says what was just done."""
    return f"notice of {verb.value} {name}"


def _format_result(action: ActionRequest, who: str) -> str:
    return format_safe_json(
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
