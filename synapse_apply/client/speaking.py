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
from synapse_apply.client.errors import NotSentError
from synapse_apply.client.multipart import MultipartBody, UnreadableBodyError
from synapse_apply.client.shapes import ANYTHING, OBJECT, Shape
from synapse_apply.client.transport import Transport
from synapse_apply.model.server_json import NO_JSON

Object = dict[str, Any]
Data = Mapping[str, Any]
Pk = int | str
# Whether a list is worth reading on, by the items of its first page.
IsOfUse = Callable[[Sequence[Object]], bool]

JSON = "application/json"
DRY_RUN = (("dry_run", "true"),)


class Speaking:
    """Sends calls in one dialect. Every method raises ClientError."""

    _dialect: ClassVar[Dialect]
    _transport: Transport

    def iterate(
        self,
        path: str,
        params: Data | None = None,
        shape: Shape = ANYTHING,
        is_last_page: IsOfUse | None = None,
    ) -> Iterator[Any]:
        """The items of any list of the API, page after page as they are taken.

        `is_last_page` is asked with a page's items whether no other page is wanted.
        """
        below = self._path(*path.strip("/").split("/"))
        listing = self._listing(below, params, shape)
        for page in lists.walk(listing, self._transport.limits.pages):
            yield from page.items
            if is_last_page is not None and is_last_page(page.items):
                return

    def _path(self, *parts: Pk) -> str:
        return self._dialect.prefix + path_to(*parts)

    def _send(self, call: Call) -> Answer:
        return self._transport.send(replace(call, api=self._dialect.api))

    def _listing(
        self, path: str, params: Data | None = None, shape: Shape = ANYTHING
    ) -> lists.Listing:
        width = self._transport.width
        return lists.Listing(self._send, self._dialect, path, params or {}, width, shape)

    def _all(self, path: str, params: Data | None = None) -> list[Any]:
        limits = self._transport.limits
        return readings.whole(self._listing(path, params), limits.pages, limits.weight)

    def _objects(
        self, path: str, params: Data | None = None, shape: Shape = OBJECT
    ) -> list[Object]:
        limits = self._transport.limits
        listing = self._listing(path, params, shape)
        return readings.whole(listing, limits.pages, limits.weight)

    def _glance(
        self, path: str, shape: Shape, most_pages: int, is_of_use: IsOfUse
    ) -> list[Object] | None:
        """One reading of a list, None where it is not worth it; see `readings.once`."""
        weight = self._transport.limits.weight
        listing = self._listing(path, shape=shape)
        found: list[Object] | None = readings.once(listing, most_pages, is_of_use, weight)
        return found

    def _get(
        self,
        path: str,
        params: Data | None = None,
        *,
        shape: Shape = OBJECT,
        of: Pk | None = None,
    ) -> Object:
        call = Call("GET", path, query=dict(params or {}), repeatable=True)
        return self._object(call, shape, of=of)

    def _write(
        self,
        method: str,
        path: str,
        data: Data,
        sensitive: IsSensitive | None,
        *,
        shape: Shape = OBJECT,
        query: Query = (),
        empty_ok: bool = False,
        of: Pk | None = None,
        key: str = "",
    ) -> Object:
        """A body sent to a path. `of` is the id of the object that it changes, `key` a create's."""
        call = with_json(method, path, data, sensitive, empty_ok=empty_ok)
        return self._object(replace(call, query=query, key=key), shape, of=of)

    def _upload(
        self,
        path: str,
        fields: Data,
        file: Any,
        sensitive: IsSensitive | None,
        *,
        shape: Shape = OBJECT,
        query: Query = (),
        digest: str = "",
        key: str = "",
    ) -> Object:
        """A POST of a form with a file; `digest` names the field for the file's SHA-256."""
        try:
            body = MultipartBody(fields, file, digest=digest)
        except (UnreadableBodyError, TypeError, ValueError) as failure:
            raise NotSentError(f"POST {path}: not sent: {unusable(failure)}") from None
        names = frozenset(fields) | {"file"} | ({digest} if digest else frozenset())
        call = Call(
            "POST",
            path,
            query=query,
            body=body,
            content_type=body.content_type,
            fields=names,
            mutates=True,
            sensitive=sensitive,
            key=key,
        )
        try:
            return self._object(call, shape)
        finally:
            body.close()

    def _tail(self, path: str, longest: float | None) -> Iterator[Object]:
        """The events of a stream; `longest` is a bound in seconds."""
        accepted = "text/event-stream"
        call = Call("GET", path, repeatable=True, accept=accepted, api=self._dialect.api)
        heads: list[Answer] = []
        try:
            for frame in sse.frames(self._transport.stream(call, heads.append, longest)):
                yield self._transport.redactor.mask_json(frame)
        except sse.OversizedEventError as failure:
            raise failures.unexpected(call, heads[-1], str(failure)) from None

    def _object(self, call: Call, shape: Shape = OBJECT, *, of: Pk | None = None) -> Object:
        """The object that is answered, of this shape; `of` is the id that it must have."""
        answer = self._send(call)
        value = self._value(call, answer)
        if not isinstance(value, dict):
            raise failures.unexpected(call, answer, "an object was expected")
        if not (value or shape.needed):
            return value
        if fault := self._shape(call, shape).fault_of(value):
            raise failures.unexpected(call, answer, f"it is answered with {fault}")
        if of is not None and shape.is_another(value, of):
            raise failures.unexpected(call, answer, "another object than this one is answered")
        return value

    def _shape(self, call: Call, shape: Shape) -> Shape:
        """What the answer of a call has: that of a dry run may be short."""
        return shape.lenient() if DRY_RUN[0] in tuple(dict(call.query).items()) else shape

    def _value(self, call: Call, answer: Answer) -> Any:
        if answer.parsed is not None:
            return self._dialect.unwrap(answer.parsed)
        if call.empty_ok and not answer.body.strip():
            return {}
        words = "the answer is not JSON" if answer.body.strip() else "the answer is empty"
        if answer.body.strip() and call.sensitive is None and "html" in answer.content_type:
            words += f" but {failures.described(answer)}; check the URL of the backend"
        if answer.body.strip() and answer.fault:
            words += f" that can be used: {answer.fault}" if answer.fault != NO_JSON else ""
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
