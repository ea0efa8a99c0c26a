"""How the operations of every API version build bodies and check that an answer is usable."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, ClassVar

from synapse_apply.client import consistent_lists, failures, pagination
from synapse_apply.client.answer_shapes import ANYTHING, OBJECT, AnswerShape
from synapse_apply.client.calls import (
    ClientCall,
    IsSensitive,
    Query,
    build_encoded_path_or_raise_not_sent,
)
from synapse_apply.client.dialects.dialect import Dialect
from synapse_apply.client.errors import NotSentError
from synapse_apply.client.http import sse
from synapse_apply.client.http.answers import Answer
from synapse_apply.client.http.multipart import MultipartBody, UnreadableBodyError
from synapse_apply.client.http.transport import Transport
from synapse_apply.model.coding.json_types import (
    JsonValue,
    QueryParams,
    RemoteId,
    RequestBody,
    ServerObject,
)
from synapse_apply.model.coding.server_json import NOT_JSON

# A decision about a list (is it useful, was it the last page) by the items of one page.
PageCheck = Callable[[Sequence[ServerObject]], bool]

JSON = "application/json"
DRY_RUN = (("dry_run", "true"),)


class ApiOperations:
    """Base of the clients: sends calls in one dialect. Every method raises ClientError."""

    _dialect: ClassVar[Dialect]
    _transport: Transport

    def iterate(
        self,
        path: str,
        params: QueryParams | None = None,
        shape: AnswerShape = ANYTHING,
        is_last_page: PageCheck | None = None,
    ) -> Iterator[Any]:
        """The items of the list at `path`; each page is requested when it is needed.

        No further page is requested once `is_last_page` is true for the items of a page.
        """
        full_path = self._build_versioned_path(*path.strip("/").split("/"))
        list_query = self._build_list_query(full_path, params, shape)
        for page in pagination.iter_pages_requested_lazily(
            list_query, self._transport.limits.max_pages
        ):
            yield from page.items
            if is_last_page is not None and is_last_page(page.items):
                return

    def _build_versioned_path(self, *parts: RemoteId) -> str:
        return self._dialect.prefix + build_encoded_path_or_raise_not_sent(*parts)

    def _send(self, call: ClientCall) -> Answer:
        if call.api_version != self._dialect.api_version:
            call = replace(call, api_version=self._dialect.api_version)
        return self._transport.send(call)

    def _build_list_query(
        self, path: str, params: QueryParams | None = None, shape: AnswerShape = ANYTHING
    ) -> pagination.ListQuery:
        max_parallel = self._transport.max_parallel_calls
        return pagination.ListQuery(
            self._send, self._dialect, path, params or {}, max_parallel, shape
        )

    def _read_complete_value_list(self, path: str, params: QueryParams | None = None) -> list[Any]:
        limits = self._transport.limits
        return consistent_lists.reread_list_until_complete(
            self._build_list_query(path, params), limits.max_pages, limits.max_weight
        )

    def _read_complete_object_list(
        self, path: str, params: QueryParams | None = None, shape: AnswerShape = OBJECT
    ) -> list[ServerObject]:
        limits = self._transport.limits
        list_query = self._build_list_query(path, params, shape)
        return consistent_lists.reread_list_until_complete(
            list_query, limits.max_pages, limits.max_weight
        )

    def _read_list_in_single_pass_or_none_if_long_or_useless(
        self, path: str, shape: AnswerShape, max_pages: int, is_first_page_useful: PageCheck
    ) -> list[ServerObject] | None:
        """As `read_list_in_single_pass_or_none_if_long_or_useless`."""
        max_weight = self._transport.limits.max_weight
        list_query = self._build_list_query(path, shape=shape)
        return consistent_lists.read_list_in_single_pass_or_none_if_long_or_useless(
            list_query, max_pages, is_first_page_useful, max_weight
        )

    def _get_and_require_object(
        self,
        path: str,
        params: QueryParams | None = None,
        *,
        shape: AnswerShape = OBJECT,
        expected_id: RemoteId | None = None,
    ) -> ServerObject:
        call = ClientCall("GET", path, query=dict(params or {}), repeatable=True)
        return self._send_and_require_object(call, shape, expected_id=expected_id)

    def _send_body_and_require_object(
        self,
        method: str,
        path: str,
        data: RequestBody,
        sensitive: IsSensitive | None,
        *,
        shape: AnswerShape = OBJECT,
        query: Query = (),
        empty_ok: bool = False,
        expected_id: RemoteId | None = None,
        idempotency_key: str = "",
    ) -> ServerObject:
        """Send a JSON body with a mutating method; returns the answered object, checked.

        `expected_id` is the id that the answered object must have.
        """
        call = build_mutating_json_call(
            method,
            path,
            data,
            sensitive,
            query=query,
            empty_ok=empty_ok,
            idempotency_key=idempotency_key,
        )
        return self._send_and_require_object(call, shape, expected_id=expected_id)

    def _upload_file_and_require_object(
        self,
        path: str,
        fields: RequestBody,
        file: Any,
        sensitive: IsSensitive | None,
        *,
        shape: AnswerShape = OBJECT,
        query: Query = (),
        digest_field: str = "",
        idempotency_key: str = "",
    ) -> ServerObject:
        """POST a form with a file; returns the answered object, checked.

        `digest_field` names the form field for the file's SHA-256, "" for none.
        """
        try:
            body = MultipartBody(fields, file, digest_field=digest_field)
        except (UnreadableBodyError, TypeError, ValueError) as failure:
            raise NotSentError(
                f"POST {path}: not sent: {explain_why_data_cannot_be_sent(failure)}"
            ) from None
        field_names = (
            frozenset(fields) | {"file"} | ({digest_field} if digest_field else frozenset())
        )
        call = ClientCall(
            "POST",
            path,
            query=query,
            body=body,
            content_type=body.content_type,
            body_fields=field_names,
            mutates=True,
            sensitive=sensitive,
            idempotency_key=idempotency_key,
        )
        try:
            return self._send_and_require_object(call, shape)
        finally:
            body.close()

    def _iter_server_sent_events(
        self, path: str, max_seconds: float | None
    ) -> Iterator[ServerObject]:
        """The server-sent events at `path`, masked, for at most `max_seconds` (None: no limit)."""
        content_type = "text/event-stream"
        call = ClientCall(
            "GET", path, repeatable=True, accept=content_type, api_version=self._dialect.api_version
        )
        answers: list[Answer] = []
        try:
            with closing(self._transport.stream_body(call, answers.append, max_seconds)) as pieces:
                for event in sse.iter_server_sent_events_and_heartbeats(pieces):
                    yield self._transport.redactor.mask_secrets_in_json_value(event)
        except sse.OversizedEventError as failure:
            raise failures.build_unexpected_answer_error(call, answers[-1], str(failure)) from None

    def _send_and_require_object(
        self, call: ClientCall, shape: AnswerShape = OBJECT, *, expected_id: RemoteId | None = None
    ) -> ServerObject:
        """Send a call and return the answered object, which has this shape and `expected_id`.

        UnexpectedAnswerError for an answer that is something else.
        """
        answer = self._send(call)
        value = self._unwrap_json_or_empty_object_or_raise(call, answer)
        if not isinstance(value, dict):
            raise failures.build_unexpected_answer_error(call, answer, "an object was expected")
        # An empty object, as for an empty body, has neither fields nor an id to be checked.
        if not (value or shape.required_fields):
            return value
        if fault := self._relax_shape_if_dry_run(call, shape).describe_first_fault_or_empty(value):
            raise failures.build_unexpected_answer_error(
                call, answer, f"it is answered with {fault}"
            )
        if expected_id is not None and shape.is_object_with_other_id_and_code(value, expected_id):
            raise failures.build_unexpected_answer_error(
                call, answer, "another object than this one is answered"
            )
        return value

    def _relax_shape_if_dry_run(self, call: ClientCall, shape: AnswerShape) -> AnswerShape:
        """The shape, without its required fields for a dry run, whose answer may be short."""
        return (
            shape.without_required_fields()
            if DRY_RUN[0] in tuple(dict(call.query).items())
            else shape
        )

    def _unwrap_json_or_empty_object_or_raise(self, call: ClientCall, answer: Answer) -> JsonValue:
        """The parsed answer without its envelope, {} for an empty one that is allowed to be so.

        UnexpectedAnswerError for a body that is not JSON.
        """
        if answer.masked_json_or_none is not None:
            return self._dialect.unwrap(answer.masked_json_or_none)
        if call.empty_ok and not answer.body.strip():
            return {}
        problem = "the answer is not JSON" if answer.body.strip() else "the answer is empty"
        if answer.body.strip() and call.sensitive is None and "html" in answer.content_type:
            body_text = failures.describe_body_by_html_title_or_text(answer)
            problem += f" but {body_text}; check the URL of the backend"
        if answer.body.strip() and answer.parse_fault_or_empty:
            problem += (
                f" that can be used: {answer.parse_fault_or_empty}"
                if answer.parse_fault_or_empty != NOT_JSON
                else ""
            )
        raise failures.build_unexpected_answer_error(call, answer, problem)


# `json.dumps` would make one at each call.
_BODY_ENCODER = json.JSONEncoder(allow_nan=False)


def build_mutating_json_call(
    method: str,
    path: str,
    data: RequestBody,
    sensitive: IsSensitive | None,
    *,
    query: Query = (),
    empty_ok: bool = False,
    idempotency_key: str = "",
) -> ClientCall:
    """A mutating call with a JSON body. NotSentError for data that JSON cannot represent."""
    try:
        body = _BODY_ENCODER.encode(dict(data)).encode()
    except (TypeError, ValueError, RecursionError) as failure:
        raise NotSentError(
            f"{method} {path}: not sent: {explain_why_data_cannot_be_sent(failure)}"
        ) from None
    return ClientCall(
        method,
        path,
        query=query,
        body=body,
        content_type=JSON,
        body_fields=frozenset(map(str, data)),
        mutates=True,
        empty_ok=empty_ok,
        sensitive=sensitive,
        idempotency_key=idempotency_key,
    )


def explain_why_data_cannot_be_sent(failure: Exception) -> str:
    """Why data cannot be sent, without quoting it: a TypeError's text names types only."""
    if isinstance(failure, UnreadableBodyError):
        return str(failure)
    if isinstance(failure, TypeError):
        return f"the data cannot be written as JSON ({failure})"
    return "the data cannot be written as JSON (NaN, infinity, or a circle in it)"
