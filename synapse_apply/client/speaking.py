"""What the operations of every API version share: bodies, answers, whole lists."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from synapse_apply.client import failures, lists, readings, sse
from synapse_apply.client.answers import Answer
from synapse_apply.client.calls import Call, IsSensitive, Query, path_to
from synapse_apply.client.dialects.dialect import Dialect
from synapse_apply.client.errors import NotSentError, UnexpectedAnswerError
from synapse_apply.client.multipart import MultipartBody, UnreadableBodyError
from synapse_apply.client.transport import Transport

Object = dict[str, Any]
Data = Mapping[str, Any]
Pk = int | str
# Whether a list is worth reading on, by the items of its first page.
IsOfUse = Callable[[Sequence[Object]], bool]

JSON = "application/json"


class Speaking:
    """Sends calls in one dialect. Every method raises ClientError."""

    _dialect: ClassVar[Dialect]
    _transport: Transport

    def iterate(self, path: str, params: Data | None = None) -> Iterator[Any]:
        """The items of any list of the API, page after page as they are taken."""
        below = self._path(*path.strip("/").split("/"))
        for page in lists.walk(self._listing(below, params), self._transport.limits.pages):
            yield from page.items

    def _path(self, *parts: Pk) -> str:
        return self._dialect.prefix + path_to(*parts)

    def _send(self, call: Call) -> Answer:
        return self._transport.send(replace(call, api=self._dialect.api))

    def _listing(self, path: str, params: Data | None = None) -> lists.Listing:
        width = self._transport.width
        return lists.Listing(self._send, self._dialect, path, params or {}, width)

    def _all(self, path: str, params: Data | None = None) -> list[Any]:
        limits = self._transport.limits
        return readings.whole(self._listing(path, params), limits.pages, limits.weight)

    def _objects(self, path: str, params: Data | None = None) -> list[Object]:
        items = self._all(path, params)
        if not all(isinstance(item, dict) for item in items):
            raise UnexpectedAnswerError(f"GET {path}: the list holds items that are no objects")
        return items

    def _glance(self, path: str, most_pages: int, is_of_use: IsOfUse) -> list[Object] | None:
        """One reading of a list, None where it is not worth it; see `readings.once`."""
        weight = self._transport.limits.weight
        found = readings.once(self._listing(path), most_pages, is_of_use, weight)
        return found if found is None else [item for item in found if isinstance(item, dict)]

    def _get(self, path: str, params: Data | None = None) -> Object:
        return self._object(Call("GET", path, query=dict(params or {}), repeatable=True))

    def _write(
        self,
        method: str,
        path: str,
        data: Data,
        sensitive: IsSensitive | None,
        *,
        query: Query = (),
        empty_ok: bool = False,
    ) -> Object:
        call = with_json(method, path, data, sensitive, empty_ok=empty_ok)
        return self._object(replace(call, query=query))

    def _upload(
        self,
        path: str,
        fields: Data,
        file: Any,
        sensitive: IsSensitive | None,
        *,
        query: Query = (),
        digest: str = "",
    ) -> Object:
        """A POST of a form with a file; `digest` names the field for the file's SHA-256."""
        try:
            body = MultipartBody(fields, file, digest=digest)
        except (UnreadableBodyError, TypeError, ValueError) as failure:
            raise NotSentError(f"POST {path}: not sent: {unusable(failure)}") from None
        names = frozenset(fields) | {"file"} | ({digest} if digest else frozenset())
        try:
            return self._object(
                Call(
                    "POST",
                    path,
                    query=query,
                    body=body,
                    content_type=body.content_type,
                    fields=names,
                    mutates=True,
                    sensitive=sensitive,
                )
            )
        finally:
            body.close()

    def _tail(self, path: str, longest: float | None) -> Iterator[Object]:
        """The events of a stream; `longest` is a bound in seconds."""
        accepted = "text/event-stream"
        call = Call("GET", path, repeatable=True, accept=accepted, api=self._dialect.api)
        try:
            for frame in sse.frames(self._transport.stream(call, longest)):
                yield self._transport.redactor.mask_json(frame)
        except sse.OversizedEventError as failure:
            raise UnexpectedAnswerError(f"{call}: {failure}") from None

    def _object(self, call: Call) -> Object:
        answer = self._send(call)
        value = self._value(call, answer)
        if not isinstance(value, dict):
            raise failures.unexpected(call, answer, "an object was expected")
        return value

    def _value(self, call: Call, answer: Answer) -> Any:
        if answer.parsed is not None:
            return self._dialect.unwrap(answer.parsed)
        if call.empty_ok and not answer.body.strip():
            return {}
        words = "the answer is empty" if not answer.body.strip() else "the answer is not JSON"
        if answer.body.strip() and call.sensitive is None and "html" in answer.content_type:
            words += f" but {failures.described(answer)}; check the URL of the backend"
        raise failures.unexpected(call, answer, words)


def with_json(
    method: str,
    path: str,
    data: Data,
    sensitive: IsSensitive | None,
    *,
    empty_ok: bool = False,
) -> Call:
    """A call that changes the server, its body JSON. NotSentError for data that is none."""
    try:
        body = json.dumps(dict(data), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as failure:
        raise NotSentError(f"{method} {path}: not sent: {unusable(failure)}") from None
    return Call(
        method,
        path,
        body=body,
        content_type=JSON,
        fields=frozenset(map(str, data)),
        mutates=True,
        empty_ok=empty_ok,
        sensitive=sensitive,
    )


def unusable(failure: Exception) -> str:
    """Why, without the value: only a TypeError's text is known to name types alone."""
    if isinstance(failure, UnreadableBodyError):
        return str(failure)
    if isinstance(failure, TypeError):
        return f"the data cannot be written as JSON ({failure})"
    return "the data cannot be written as JSON (NaN, infinity, or a circle in it)"
