"""Whose forms and documents are taken: forms of our own pages, documents of who has a token."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple

from starlette.requests import Request

from synapse_apply.controller.page.entry.form_tokens import FormTokens
from synapse_apply.controller.page.entry.own_origin import require_own_origin
from synapse_apply.controller.page.entry.refusals import RequestRefused
from synapse_apply.controller.page.entry.visitor import Doorkeeper, Visitor, build_right_refusal
from synapse_apply.controller.page.people.action_requests import MAX_BODY_SIZE, parse_form_fields
from synapse_apply.controller.page.people.bodies import read_body_within_limits, require_media_type
from synapse_apply.controller.rules.access import TOKEN_PREFIX
from synapse_apply.controller.settings import Right

FORM_TYPE, JSON_TYPE = "application/x-www-form-urlencoded", "application/json"


class ReceivedForm(NamedTuple):
    """A form that a page of ours made for its sender."""

    visitor: Visitor
    fields: Mapping[str, Sequence[str]]


class ReceivedDocument(NamedTuple):
    """The body of a request of somebody with a token."""

    visitor: Visitor
    body: bytes


class RequestReceiver:
    """Takes what people send. Its methods raise RequestRefused and HTTPException."""

    def __init__(
        self, doorkeeper: Doorkeeper, form_tokens: FormTokens, own_origins: Collection[str]
    ) -> None:
        self._doorkeeper = doorkeeper
        self._form_tokens = form_tokens
        self._own_origins = own_origins

    async def receive_form_of_own_page(
        self, request: Request, purpose: str, right: Right, scope: str
    ) -> ReceivedForm:
        """A form with a token for this purpose; `right` and `scope` are named in a refusal."""
        visitor = self._doorkeeper.admit_visitor(request)
        if visitor.person is None:
            raise build_right_refusal(right, scope, visitor)
        require_own_origin(request.headers, self._own_origins)
        require_media_type(request, FORM_TYPE)
        fields = parse_form_fields(await read_body_within_limits(request, MAX_BODY_SIZE))
        token = next(iter(fields.get("token", ())), "")
        self._form_tokens.require_valid(token, visitor.identity, purpose)
        return ReceivedForm(visitor, fields)

    async def receive_document(
        self, request: Request, right: Right, scope: str
    ) -> ReceivedDocument:
        """The body, not parsed yet, of somebody with a token; `right` and `scope` as for a form."""
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
        return ReceivedDocument(visitor, await read_body_within_limits(request, MAX_BODY_SIZE))
