"""What API v2 does with every request: what it refuses at once, dry runs, and envelopes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from synapse_apply.emulator.core.backend import DataSetBackend
from synapse_apply.emulator.core.call import EmulatorAnswer, EmulatorRequest, Endpoint
from synapse_apply.emulator.core.fields import (
    AnswerObject,
    ApiError,
    Body,
    Field,
    convert_sent_fields,
    refusal,
)
from synapse_apply.emulator.core.store import Kind

_ODD_PATH = re.compile(r"%(?:3f|23|25|26|5c|2f)|[&\\]|\.\.", re.IGNORECASE)
# `%25` decodes to `%`: with two hexadecimal digits behind it that is another escape.
_ENCODED_TWICE = re.compile(r"%25[0-9a-f]{2}", re.IGNORECASE)
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_DRY_RUN_ACTIONS = {"POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}
_DRY_RUN_FIELDS = (Field("dry_run", "boolean"),)
_ERROR_CODES = {
    400: "VALIDATION_ERROR",
    401: "AUTHENTICATION_REQUIRED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    422: "UNPROCESSABLE_ENTITY",
    429: "RATE_LIMIT_EXCEEDED",
}
_GENERAL_KEYS = ("detail", "non_field_errors")


def find_odd_address(path: str, query: str) -> ApiError | None:
    """The refusal (400) of a path as it was sent, or of a query; None if both are fine."""
    if _ODD_PATH.search(path):
        return refusal(400, "The path has a character that an id cannot have.")
    if _ENCODED_TWICE.search(query):
        return refusal(400, "The query is encoded twice.")
    return None


def require_plain_text(values: Mapping[str, Any]) -> None:
    """Raises ApiError (400) with all fields that have a control character in a text."""
    problems = {
        name: ["Control characters are not allowed."]
        for name, value in values.items()
        if any(map(_CONTROL_CHARACTER.search, _iter_texts(value)))
    }
    if problems:
        raise ApiError(400, problems)


def _iter_texts(value: Any) -> Iterator[str]:
    """All texts in a value, keys included; without recursion, since nesting may be deep."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            pending += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            pending += item


def is_dry_run(backend: DataSetBackend, method: str, text: str | None) -> bool:
    """Whether `?dry_run=` is true and known here. Raises ApiError (400) for no boolean."""
    if text is None or method in ("GET", "HEAD"):
        return False
    if backend.switches.has_value("v2_dry_run", "unknown"):
        return False
    return bool(convert_sent_fields(_DRY_RUN_FIELDS, Body({"dry_run": text}))["dry_run"])


def hide_existing_object(request: EmulatorRequest, kind: Kind, key: str) -> None:
    """In a blind dry run, delete the object with a key; the rollback at the end restores it."""
    if request.is_dry_run and request.has("v2_dry_run", "blind"):
        row = request.store.find_by_key_of_any_tenant(kind, key)
        if row is not None:
            request.store.delete(kind, row.id)


def answer_dry_run(endpoint: Endpoint, request: EmulatorRequest) -> EmulatorAnswer:
    """Call the endpoint, undo its writes, and answer as `v2_dry_run_answer` says."""
    with request.store.transaction(roll_back=True):
        answer = endpoint.answer(request)
    is_dry_run_answer = isinstance(answer.body, dict) and "dry_run" in answer.body
    if is_dry_run_answer or request.has("v2_dry_run_answer", "object"):
        return answer
    summary = {
        "dry_run": True,
        "action": endpoint.dry_run_action or _DRY_RUN_ACTIONS[endpoint.method],
        "validated_fields": sorted([*request.body.values, *request.uploads]),
    }
    return EmulatorAnswer(summary)


def wrap_answer(answer: EmulatorAnswer, request: EmulatorRequest) -> EmulatorAnswer:
    """The answer in its envelope; a 204, a stream, or any with `v2_answers=plain` as it is."""
    # A 204 has no body to wrap, and a stream consists of events of its own.
    if answer.status == 204 or answer.stream is not None or request.has("v2_answers", "plain"):
        return answer
    meta: dict[str, Any] = {"request_id": request.request_id, **answer.meta}
    if request.is_dry_run and request.has("v2_dry_run_answer", "object"):
        meta["dry_run"] = True
    return dataclasses.replace(answer, body={"data": answer.body, "meta": meta})


def build_error_body(error: ApiError, request_id: str) -> AnswerObject:
    """The body of a refusal on v2: `{error: {code, message, details}, meta}`."""
    # The message about the request as a whole; None if there are only messages about fields.
    message = (error.body.get("non_field_errors") or (error.body.get("detail"),))[0]
    fields = {key: value for key, value in error.body.items() if key not in _GENERAL_KEYS}
    details = [
        {"field": name, "message": text, **error.details}
        for name, texts in fields.items()
        for text in texts
    ]
    if error.details and not fields:
        details = [error.details]
    if message is None:
        message = details[0]["message"] if error.code else "The request is not valid"
    return {
        "error": {
            "code": error.code or _ERROR_CODES.get(error.status, "INTERNAL_ERROR"),
            "message": message,
            "details": details or None,
        },
        "meta": {"request_id": request_id},
    }
