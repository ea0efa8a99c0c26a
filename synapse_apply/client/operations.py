"""How the operations of every API version build calls and check that an answer is usable.

Fields not named here are checked by the kind, if at all. A null value counts as a missing one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, nullcontext
from typing import Any, ClassVar, TypedDict

from synapse_apply.client import failures, lists
from synapse_apply.client.calls import ClientCall, IsSensitive, encode_path
from synapse_apply.client.dialects import Dialect
from synapse_apply.client.http import sse
from synapse_apply.client.http.answers import Answer
from synapse_apply.client.http.multipart import MultipartBody, UnreadableBodyError
from synapse_apply.client.http.transport import Transport
from synapse_apply.model.errors import Effect, Invalid, Unconfirmed
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.json_types import (
    JsonValue,
    PageCheck,
    QueryParams,
    RemoteId,
    RequestBody,
    ServerObject,
)
from synapse_apply.model.json_values import NOT_JSON, describe_field_names
from synapse_apply.model.remote import parse_remote_id
from synapse_apply.model.secrets.secret_marks import MaskedText

_Names = tuple[str, ...]


# All answers pass here before anything uses them: ids that are none, or an object without what its
# kind needs, are an error with the request id. After a 2xx to a mutation the effect is then
# unknown.
@frozen
class AnswerShape:
    """What one kind of object must look like; every attribute is a tuple of field names.

    `required_fields` have a value that is not null, `id_fields` an id (`parse_remote_id`),
    `owner_fields` an id or an object with an `id`, `text_fields` a string, `bool_fields` a
    boolean. The first of `identity_fields` that is present names the object that was answered.
    """

    required_fields: _Names = ()
    id_fields: _Names = ()
    owner_fields: _Names = ()
    text_fields: _Names = ()
    bool_fields: _Names = ()
    identity_fields: _Names = ("id",)

    def find_fault(self, value: Mapping[str, Any]) -> str:
        """What is wrong with an object, as a phrase for an error message; "" if nothing is."""
        for name in self.required_fields:
            if value.get(name) is None:
                return f"an object without {name} ({describe_field_names(value)})"
        for name in (*self.id_fields, *self.owner_fields):
            field_value = value.get(name)
            if isinstance(field_value, Mapping) and name in self.owner_fields:
                field_value = field_value.get("id")
            reason = ""
            # A masked id is not the server's any more: a URL of it would reach another object.
            if isinstance(field_value, MaskedText):
                reason = "the answer repeats a secret that was sent"
            elif field_value is not None:
                try:
                    parse_remote_id(field_value)
                except ValueError as problem:
                    reason = str(problem)
            if reason:
                return f"an object whose {name} cannot be used: {reason}"
        for names, expected_type, type_text in (
            (self.text_fields, str, "a string"),
            (self.bool_fields, bool, "a truth"),
        ):
            for name in names:
                field_value = value.get(name)
                if field_value is not None and not isinstance(field_value, expected_type):
                    return f"an object whose {name} is not {type_text}"
        return ""

    def is_another(self, value: Mapping[str, Any], requested_id: int | str) -> bool:
        """Whether an answered object is another one than the one requested by this id or code."""
        object_id = next(
            (value[name] for name in self.identity_fields if value.get(name) is not None),
            requested_id,
        )
        requested_text = str(requested_id).casefold()
        if str(object_id).casefold() == requested_text:
            return False
        # Some servers accept a code in the path in place of an id and answer with the numeric id:
        # then the object is the requested one if it has that code.
        code = value.get("code")
        return (
            requested_text.isdecimal()
            or not isinstance(code, str)
            or code.casefold() != requested_text
        )


class Sending(TypedDict, total=False):
    """How a call that changes the server is sent.

    `sensitive` tells which paths of the body hold secrets: messages of the server about them are
    left out of an error's text. A server that supports `idempotency_key` answers a second create
    with the first object.
    """

    sensitive: IsSensitive | None
    idempotency_key: str


class Trying(Sending, total=False):
    """As `Sending`; with `dry_run` the server checks the call and changes nothing."""

    dry_run: bool


# Compared by identity (`is`): OBJECT is any JSON object, ANYTHING need not be an object at all.
OBJECT, ANYTHING = AnswerShape(), AnswerShape()
# A started run is answered with `job_id`, a job that is read with `id` (API page, "Jobs").
JOB = AnswerShape(id_fields=("id", "job_id"), identity_fields=("id", "job_id"))


JSON = "application/json"
DRY_RUN = (("dry_run", "true"),)
# `json.dumps` would make one at each call.
_BODY_ENCODER = json.JSONEncoder(allow_nan=False)


# A server that does not know `dry_run` carries the call out. So to a client that cannot change the
# server an answer must state that it was a dry run; one that does not is an error with unknown
# effect, although its status is a success. For the same reason a dry run is a mutation all the
# same: it is never repeated, and a lost answer is unknown.
class ApiOperations:
    """Base of the clients: sends calls in one dialect. Every method raises RemoteError.

    With `is_dry_run` it cannot change the server: a mutating call is sent with `dry_run=true`, or
    not at all where the API version has no dry run.
    """

    _dialect: ClassVar[Dialect]
    # What the objects of each list must look like, by its name in the path.
    _shapes: ClassVar[Mapping[str, AnswerShape]]
    _transport: Transport
    is_dry_run = False

    def list_plugins_once(
        self, max_pages: int, is_first_page_useful: PageCheck
    ) -> list[ServerObject] | None:
        """All plugins of a single reading of the list, which may have missed some.

        None for more than `max_pages` pages, or if `is_first_page_useful` is false for the first.
        """
        return self._list_once("plugins", max_pages, is_first_page_useful)

    def get_plugin(self, pk: RemoteId) -> ServerObject:
        """The plugin as the server answers it: `id`, `name`, and fields of its own.

        v2 has no look-up by code.
        """
        return self._get("plugins", pk)

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
        list_query = self._list_query(*path.strip("/").split("/"), params=params, shape=shape)
        for page in lists.iter_pages(list_query, self._transport.limits.max_pages):
            yield from page.items
            if is_last_page is not None and is_last_page(page.items):
                return

    def tail_job_console_logs(
        self, pk: RemoteId, *, max_seconds: float | None = None
    ) -> Iterator[ServerObject]:
        """The events of a running job's log as they arrive, until the stream ends.

        Each has a `type`: `connected`, `log` (with `data`), `complete` or `error` (with `message`)
        as the server sends them, or `heartbeat`. The stream lasts at most `max_seconds`. It cannot
        be resumed: a second stream does not tell where it begins. RemoteError if it breaks off or
        is silent for too long; a v1 server without streams answers 404 or 405, a v2 server has an
        `error` event for an unknown job.
        """
        call = ClientCall(
            "GET",
            self._path("jobs", pk, "tail_console_logs"),
            repeatable=True,
            accept="text/event-stream",
            api_version=self._dialect.api_version,
        )
        return self._stream_events(call, max_seconds)

    def _stream_events(self, call: ClientCall, max_seconds: float | None) -> Iterator[ServerObject]:
        heads: list[Answer] = []
        try:
            with closing(self._transport.stream_body(call, heads.append, max_seconds)) as pieces:
                for event in sse.iter_server_sent_events_and_heartbeats(pieces):
                    yield self._transport.redactor.mask_json(event)
        except sse.OversizedEventError as failure:
            raise failures.unexpected_answer(heads[-1], str(failure)) from None

    def _path(self, *parts: RemoteId) -> str:
        return self._dialect.prefix + encode_path(*parts)

    def _send(self, call: ClientCall) -> Answer:
        """The answer to a call, as a dry run if this client cannot act; a sent file is closed."""
        with closing(call.body) if isinstance(call.body, MultipartBody) else nullcontext():
            is_asked = call.mutates and DRY_RUN[0] in dict(call.query).items()
            is_dry_run = self.is_dry_run and call.mutates
            version = self._dialect.api_version
            if (is_dry_run or is_asked) and not self._dialect.has_dry_run:
                raise Invalid(f"{call}: not sent: API {version} has no dry run")
            if is_dry_run and not is_asked:
                call = replace(call, query={**dict(call.query), **dict(DRY_RUN)})
            if call.api_version != version:
                call = replace(call, api_version=version)
            answer = self._transport.send(call)
        # A delete is answered without a body, so that it cannot state anything.
        is_silent = call.empty_ok and not answer.body.strip()
        if is_dry_run and not is_silent and not says_dry_run(answer.masked_json_or_none):
            raise Unconfirmed(
                f"{call}: {answer.status}: the answer does not say that it was a dry run",
                status_code=answer.status,
                request_id=answer.request_id,
                effect=Effect.UNKNOWN,
            )
        return answer

    def _ask(
        self, call: ClientCall, shape: AnswerShape = OBJECT, expected_id: RemoteId | None = None
    ) -> ServerObject:
        """Send a call and return the answered object, which has this shape and `expected_id`.

        UnexpectedAnswer for an answer that is something else.
        """
        answer = self._send(call)
        value = self._unwrap(answer)
        if not isinstance(value, dict):
            raise failures.unexpected_answer(answer, "expected an object")
        # An empty object, as for an empty body, has neither fields nor an id to be checked.
        if not (value or shape.required_fields):
            return value
        # The answer to a dry run may be short.
        if (self.is_dry_run and call.mutates) or DRY_RUN[0] in dict(call.query).items():
            shape = replace(shape, required_fields=())
        if fault := shape.find_fault(value):
            raise failures.unexpected_answer(answer, f"the answer is {fault}")
        if expected_id is not None and shape.is_another(value, expected_id):
            problem = "the answer is another object"
            raise failures.unexpected_answer(answer, problem)
        return value

    def _get(self, kind: str, pk: RemoteId, params: QueryParams | None = None) -> ServerObject:
        """The object with this id."""
        call = ClientCall("GET", self._path(kind, pk), query=dict(params or {}), repeatable=True)
        return self._ask(call, self._shapes[kind], pk)

    def _change(
        self, method: str, kind: str, *parts: RemoteId, data: RequestBody | None = None, **how: Any
    ) -> ServerObject:
        """The object that a change answers, the one of `parts`; see `_mutation` and `_ask`."""
        call = self._mutation(method, kind, *parts, data=data, **how)
        return self._ask(call, self._shapes[kind], parts[0] if parts else None)

    def _mutation(
        self,
        method: str,
        *parts: RemoteId,
        data: RequestBody | None = None,
        file: Any = None,
        may_have_file: bool = False,
        digest_field: str = "",
        dry_run: bool = False,
        sensitive: IsSensitive | None = None,
        idempotency_key: str = "",
        empty_ok: bool = False,
    ) -> ClientCall:
        """A call that changes the server, with data as JSON, or with a file as a form.

        With `may_have_file` the file may be in the data, too. `digest_field` names the form's field
        for the file's SHA-256, "" for none. Invalid for data that JSON cannot represent, or a
        file that cannot be read.
        """
        path = self._path(*parts)
        if may_have_file and data is not None:
            file = data.get("file") if file is None else file
            data = {key: value for key, value in data.items() if key != "file"}
        content_type, names = JSON, frozenset(map(str, data or ()))
        body: bytes | MultipartBody | None = None
        try:
            if file is not None:
                body = MultipartBody(data or {}, file, digest_field=digest_field)
                content_type, names = body.content_type, names | {"file", digest_field or "file"}
            elif data is not None:
                body = _BODY_ENCODER.encode(dict(data)).encode()
        except (UnreadableBodyError, TypeError, ValueError, RecursionError) as failure:
            reason = str(failure)
            if not isinstance(failure, UnreadableBodyError):
                # A TypeError's text names types only; others may quote the data.
                is_type = isinstance(failure, TypeError)
                known = failure if is_type else "NaN, infinity, or a circle in it"
                reason = f"the data cannot be written as JSON ({known})"
            raise Invalid(f"{method} {path}: not sent: {reason}") from None
        return ClientCall(
            method,
            path,
            query=DRY_RUN if dry_run else (),
            body=body,
            content_type=content_type,
            body_fields=names,
            mutates=True,
            empty_ok=empty_ok,
            sensitive=sensitive,
            idempotency_key=idempotency_key,
        )

    def _list_query(
        self, *parts: RemoteId, params: QueryParams | None, shape: AnswerShape
    ) -> lists.ListQuery:
        max_parallel = self._transport.max_parallel_calls
        return lists.ListQuery(
            self._send, self._dialect, self._path(*parts), params or {}, max_parallel, shape
        )

    def _list(self, kind: str, *parts: RemoteId, params: QueryParams | None = None) -> list[Any]:
        """All items of a list, of all pages, proved to be complete."""
        shape = ANYTHING if parts else self._shapes[kind]
        limits = self._transport.limits
        list_query = self._list_query(kind, *parts, params=params, shape=shape)
        return lists.reread_list_until_complete(list_query, limits.max_pages, limits.max_weight)

    def _list_once(
        self, kind: str, max_pages: int, is_first_page_useful: PageCheck
    ) -> list[ServerObject] | None:
        list_query = self._list_query(kind, params=None, shape=self._shapes[kind])
        max_weight = self._transport.limits.max_weight
        return lists.read_list_once(list_query, max_pages, is_first_page_useful, max_weight)

    def _unwrap(self, answer: Answer) -> JsonValue:
        """The parsed answer without its envelope, {} for an empty one that is allowed to be so.

        UnexpectedAnswer for a body that is not JSON.
        """
        if answer.masked_json_or_none is not None:
            return self._dialect.unwrap(answer.masked_json_or_none)
        if not answer.body.strip():
            if answer.call.empty_ok:
                return {}
            raise failures.unexpected_answer(answer, "the answer is empty")
        problem = "the answer is not JSON"
        if answer.call.sensitive is None and "html" in answer.content_type:
            problem += f" but {failures.describe_body(answer)}; check the URL of the backend"
        if answer.parse_fault_or_empty and answer.parse_fault_or_empty != NOT_JSON:
            problem += f" that can be used: {answer.parse_fault_or_empty}"
        raise failures.unexpected_answer(answer, problem)


def says_dry_run(answer: Any) -> bool:
    """Whether a parsed answer has `dry_run: true`: at its top, in `meta` or in `data`."""
    if not isinstance(answer, Mapping):
        return False
    candidates = (answer, answer.get("meta"), answer.get("data"))
    return any(
        isinstance(candidate, Mapping) and candidate.get("dry_run") is True
        for candidate in candidates
    )
