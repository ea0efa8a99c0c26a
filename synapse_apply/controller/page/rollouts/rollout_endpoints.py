"""Which paths show rollouts, as pages and as JSON, and take what people ask of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from synapse_apply.controller.page import addresses
from synapse_apply.controller.page.answers import AnswerMaker
from synapse_apply.controller.page.api import API_VERSION, BadQueryError, format_safe_json
from synapse_apply.controller.page.entry.form_tokens import FormTokens
from synapse_apply.controller.page.entry.refusals import RequestRefused
from synapse_apply.controller.page.entry.visitor import API_PREFIX, Doorkeeper, Visitor
from synapse_apply.controller.page.people.receiving import JSON_TYPE, RequestReceiver
from synapse_apply.controller.page.rollouts.rollout_api import (
    list_rollouts_as_json,
    rollout_and_targets_json,
)
from synapse_apply.controller.page.rollouts.rollout_forms import (
    build_form_token_purpose,
    notice_purpose,
    read_rollout_forms,
)
from synapse_apply.controller.page.rollouts.rollout_requests import (
    RolloutRequest,
    RolloutVerb,
    carry_out_rollout,
    read_rollout_request,
    read_valid_rollout_form,
)
from synapse_apply.controller.page.rollouts.rollout_views import (
    RolloutView,
    list_rollout_summaries,
    read_rollout_view,
)
from synapse_apply.controller.page.rollouts.target_list import (
    TargetListQuery,
    build_target_list_page,
)
from synapse_apply.controller.ports import RunningLoop
from synapse_apply.controller.settings import Right


class RolloutEndpoints:
    """The endpoints of rollouts; what is asked of one is done on a thread."""

    def __init__(
        self,
        loop: RunningLoop,
        doorkeeper: Doorkeeper,
        receiver: RequestReceiver,
        answers: AnswerMaker,
        form_tokens: FormTokens,
    ) -> None:
        self._loop = loop
        self._doorkeeper = doorkeeper
        self._receiver = receiver
        self._answers = answers
        self._form_tokens = form_tokens

    def list_routes(self) -> list[Route]:
        actions = [
            Route(f"{prefix}rollouts/{{rollout}}/{verb.value}", build(verb), methods=["POST"])
            for prefix, build in (
                ("/", self._build_form_endpoint),
                (API_PREFIX, self._build_api_endpoint),
            )
            for verb in RolloutVerb
        ]
        return [
            Route("/rollouts", self.show_rollouts),
            Route("/rollouts/{rollout}", self.show_rollout),
            Route(f"{API_PREFIX}rollouts", self.send_rollouts),
            Route(f"{API_PREFIX}rollouts/{{rollout}}", self.send_rollout),
            *actions,
        ]

    def show_rollouts(self, request: Request) -> Response:
        visitor = self._doorkeeper.admit_visitor(request)
        summaries = list_rollout_summaries(visitor.store, self._loop.get_settings())
        return self._answers.render_page(
            "rollouts.html", visitor, section="rollouts", summaries=summaries
        )

    def show_rollout(self, request: Request) -> Response:
        visitor = self._doorkeeper.admit_visitor(request)
        view = self._read_view(visitor, request)
        parameters = request.query_params
        return self._answers.render_page(
            "rollout.html",
            visitor,
            section="rollouts",
            view=view,
            target_list=build_target_list_page(
                view, TargetListQuery.from_parameters_leniently(parameters)
            ),
            forms=read_rollout_forms(visitor, view, self._form_tokens, parameters),
        )

    def send_rollouts(self, request: Request) -> Response:
        """The RolloutList of the API."""
        visitor = self._doorkeeper.admit_visitor(request)
        document = list_rollouts_as_json(visitor.store, self._loop.get_settings())
        return Response(format_safe_json(document), media_type=JSON_TYPE)

    def send_rollout(self, request: Request) -> Response:
        """The Rollout of the API."""
        visitor = self._doorkeeper.admit_visitor(request)
        view = self._read_view(visitor, request)
        try:
            document = rollout_and_targets_json(view, request.query_params)
        except BadQueryError as error:
            raise HTTPException(HTTPStatus.BAD_REQUEST, f"{error}.") from None
        return Response(format_safe_json(document), media_type=JSON_TYPE)

    def _read_view(self, visitor: Visitor, request: Request) -> RolloutView:
        name = request.path_params["rollout"]
        view = read_rollout_view(visitor.store, name, self._loop.get_settings())
        if view is None:
            raise RequestRefused.from_words(
                HTTPStatus.NOT_FOUND,
                "Nothing is known by this name",
                f"There is no rollout {name} that you may read.",
            )
        return view

    def _build_form_endpoint(self, verb: RolloutVerb) -> Callable[[Request], Awaitable[Response]]:
        async def act(request: Request) -> Response:
            name = request.path_params["rollout"]
            visitor, fields = await self._receiver.receive_form_of_own_page(
                request, build_form_token_purpose(name), Right.APPROVE, f"the rollout {name}"
            )
            await self._carry_out_in_threadpool(
                read_valid_rollout_form(verb, name, fields), visitor
            )
            proof = self._form_tokens.build_token(visitor.identity, notice_purpose(verb, name))
            path = addresses.build_rollout_path(name, {"done": verb.value, "proof": proof})
            return RedirectResponse(path, HTTPStatus.SEE_OTHER)

        return act

    def _build_api_endpoint(self, verb: RolloutVerb) -> Callable[[Request], Awaitable[Response]]:
        async def act(request: Request) -> Response:
            name = request.path_params["rollout"]
            visitor, body = await self._receiver.receive_document(
                request, Right.APPROVE, f"the rollout {name}"
            )
            action = read_rollout_request(verb, name, body)
            await self._carry_out_in_threadpool(action, visitor)
            return Response(_format_result(action, visitor.identity), media_type=JSON_TYPE)

        return act

    async def _carry_out_in_threadpool(self, action: RolloutRequest, visitor: Visitor) -> None:
        actions = self._loop.get_rollout_actions()
        await run_in_threadpool(carry_out_rollout, action, visitor, actions)


def _format_result(action: RolloutRequest, who: str) -> str:
    return format_safe_json(
        {
            "apiVersion": API_VERSION,
            "kind": "RolloutResult",
            "action": action.verb.value,
            "rollout": action.rollout,
            "number": action.number,
            "wave": action.wave or None,
            "who": who,
        }
    )
