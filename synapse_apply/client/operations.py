"""What the operations of every API version share: bodies, answers, whole lists."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from synapse_apply.client import consistent_lists, failures, pagination
from synapse_apply.client.answer_shapes import ANYTHING, OBJECT, AnswerShape
from synapse_apply.client.calls import ClientCall, IsSensitive, Query, build_path
from synapse_apply.client.dialects.dialect import Dialect
from synapse_apply.client.errors import NotSentError
from synapse_apply.client.http import sse
from synapse_apply.client.http.answers import Answer
from synapse_apply.client.http.multipart import MultipartBody, UnreadableBodyError
from synapse_apply.client.http.transport import Transport
from synapse_apply.model.coding.server_json import NOT_JSON

Object = dict[str, Any]
Data = Mapping[str, Any]
Pk = int | str
# Whether a list is worth reading on, by the items of its first page.
PageCheck = Callable[[Sequence[Object]], bool]

JSON = "application/json"
DRY_RUN = (("dry_run", "true"),)


class ApiOperations:
    """Sends calls in one dialect. Every method raises ClientError."""

    _dialect: ClassVar[Dialect]
    _transport: Transport

    def iterate(
        self,
        path: str,
        params: Data | None = None,
        shape: AnswerShape = ANYTHING,
        is_last_page: PageCheck | None = None,
    ) -> Iterator[Any]:
        """The items of any list of the API, page after page as they are taken.

        `is_last_page` is asked with a page's items whether no other page is wanted.
        """
        full_path = self._build_path(*path.strip("/").split("/"))
        list_query = self._build_list_query(full_path, params, shape)
        for page in pagination.iter_pages(list_query, self._transport.limits.max_pages):
            yield from page.items
            if is_last_page is not None and is_last_page(page.items):
                return

    def _build_path(self, *parts: Pk) -> str:
        return self._dialect.prefix + build_path(*parts)

    def _send(self, call: ClientCall) -> Answer:
        return self._transport.send(replace(call, api_version=self._dialect.api_version))

    def _build_list_query(
        self, path: str, params: Data | None = None, shape: AnswerShape = ANYTHING
    ) -> pagination.ListQuery:
        max_parallel = self._transport.max_parallel_calls
        return pagination.ListQuery(
            self._send, self._dialect, path, params or {}, max_parallel, shape
        )

    def _list_values(self, path: str, params: Data | None = None) -> list[Any]:
        limits = self._transport.limits
        return consistent_lists.read_complete_list(
            self._build_list_query(path, params), limits.max_pages, limits.max_weight
        )

    def _list_objects(
        self, path: str, params: Data | None = None, shape: AnswerShape = OBJECT
    ) -> list[Object]:
        limits = self._transport.limits
        list_query = self._build_list_query(path, params, shape)
        return consistent_lists.read_complete_list(list_query, limits.max_pages, limits.max_weight)

    def _list_partially(
        self, path: str, shape: AnswerShape, max_pages: int, is_useful: PageCheck
    ) -> list[Object] | None:
        """One reading of a list, None where it is not worth it; see `readings.once`."""
        max_weight = self._transport.limits.max_weight
        list_query = self._build_list_query(path, shape=shape)
        items: list[Object] | None = consistent_lists.read_list_once(
            list_query, max_pages, is_useful, max_weight
        )
        return items

    def _get_object(
        self,
        path: str,
        params: Data | None = None,
        *,
        shape: AnswerShape = OBJECT,
        expected_id: Pk | None = None,
    ) -> Object:
        call = ClientCall("GET", path, query=dict(params or {}), repeatable=True)
        return self._send_for_object(call, shape, expected_id=expected_id)

    def _write_object(
        self,
        method: str,
        path: str,
        data: Data,
        sensitive: IsSensitive | None,
        *,
        shape: AnswerShape = OBJECT,
        query: Query = (),
        empty_ok: bool = False,
        expected_id: Pk | None = None,
        idempotency_key: str = "",
    ) -> Object:
        """A body sent to a path.

        `expected_id` is the id of the object that it changes, `idempotency_key` a create's.
        """
        call = build_json_call(method, path, data, sensitive, empty_ok=empty_ok)
        return self._send_for_object(
            replace(call, query=query, idempotency_key=idempotency_key),
            shape,
            expected_id=expected_id,
        )

    def _upload_file(
        self,
        path: str,
        fields: Data,
        file: Any,
        sensitive: IsSensitive | None,
        *,
        shape: AnswerShape = OBJECT,
        query: Query = (),
        digest_field: str = "",
        idempotency_key: str = "",
    ) -> Object:
        """A POST of a form with a file; `digest_field` names the field for the file's SHA-256."""
        try:
            body = MultipartBody(fields, file, digest_field=digest_field)
        except (UnreadableBodyError, TypeError, ValueError) as failure:
            raise NotSentError(f"POST {path}: not sent: {explain_unusable_data(failure)}") from None
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
            return self._send_for_object(call, shape)
        finally:
            body.close()

    def _stream_events(self, path: str, max_seconds: float | None) -> Iterator[Object]:
        """The events of a stream; `max_seconds` is a bound in seconds."""
        content_type = "text/event-stream"
        call = ClientCall(
            "GET", path, repeatable=True, accept=content_type, api_version=self._dialect.api_version
        )
        answers: list[Answer] = []
        try:
            for event in sse.iter_events(
                self._transport.stream_body(call, answers.append, max_seconds)
            ):
                yield self._transport.redactor.mask_json(event)
        except sse.OversizedEventError as failure:
            raise failures.build_unexpected_answer_error(call, answers[-1], str(failure)) from None

    def _send_for_object(
        self, call: ClientCall, shape: AnswerShape = OBJECT, *, expected_id: Pk | None = None
    ) -> Object:
        """The object that is answered, of this shape; `expected_id` is the id that it must have."""
        answer = self._send(call)
        value = self._unwrap_answer(call, answer)
        if not isinstance(value, dict):
            raise failures.build_unexpected_answer_error(call, answer, "an object was expected")
        if not (value or shape.required_fields):
            return value
        if fault := self._relax_shape_of_dry_run(call, shape).describe_first_fault(value):
            raise failures.build_unexpected_answer_error(
                call, answer, f"it is answered with {fault}"
            )
        if expected_id is not None and shape.is_other_object(value, expected_id):
            raise failures.build_unexpected_answer_error(
                call, answer, "another object than this one is answered"
            )
        return value

    def _relax_shape_of_dry_run(self, call: ClientCall, shape: AnswerShape) -> AnswerShape:
        """What the answer of a call has: that of a dry run may be short."""
        return (
            shape.without_required_fields()
            if DRY_RUN[0] in tuple(dict(call.query).items())
            else shape
        )

    def _unwrap_answer(self, call: ClientCall, answer: Answer) -> Any:
        if answer.parsed is not None:
            return self._dialect.unwrap(answer.parsed)
        if call.empty_ok and not answer.body.strip():
            return {}
        problem = "the answer is not JSON" if answer.body.strip() else "the answer is empty"
        if answer.body.strip() and call.sensitive is None and "html" in answer.content_type:
            problem += (
                f" but {failures.describe_non_json_body(answer)}; check the URL of the backend"
            )
        if answer.body.strip() and answer.parse_fault:
            problem += (
                f" that can be used: {answer.parse_fault}" if answer.parse_fault != NOT_JSON else ""
            )
        raise failures.build_unexpected_answer_error(call, answer, problem)


def build_json_call(
    method: str,
    path: str,
    data: Data,
    sensitive: IsSensitive | None,
    *,
    empty_ok: bool = False,
) -> ClientCall:
    """A call that changes the server, its body JSON. NotSentError for data that is none."""
    try:
        body = json.dumps(dict(data), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as failure:
        raise NotSentError(f"{method} {path}: not sent: {explain_unusable_data(failure)}") from None
    return ClientCall(
        method,
        path,
        body=body,
        content_type=JSON,
        body_fields=frozenset(map(str, data)),
        mutates=True,
        empty_ok=empty_ok,
        sensitive=sensitive,
    )


def explain_unusable_data(failure: Exception) -> str:
    """Why, without the value: only a TypeError's text is known to name types alone."""
    if isinstance(failure, UnreadableBodyError):
        return str(failure)
    if isinstance(failure, TypeError):
        return f"the data cannot be written as JSON ({failure})"
    return "the data cannot be written as JSON (NaN, infinity, or a circle in it)"
