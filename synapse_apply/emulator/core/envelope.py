"""Which envelopes API v2 puts around answers and refusals: `{data, meta}` and `{error, meta}`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from synapse_apply.emulator.core.call import EmulatorAnswer, EmulatorRequest
from synapse_apply.emulator.core.fields import ApiError, Fact, FactSource

ERROR_CODES = {
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
_WRONG_FIELDS_MESSAGE = "The request is not valid"

FACTS = (
    Fact(
        "Answers are `{data, meta: {request_id}}`; lists add `meta.pagination: {next_cursor, "
        "previous_cursor, per_page}`.",
        FactSource.OBSERVED,
    ),
    Fact(
        "With `v2_answers=plain`, objects are bare and pages are `{next, previous, results}`.",
        FactSource.DOCUMENTED,
    ),
    Fact(
        "Refusals are `{error: {code, message, details}, meta: {request_id}}`; `details` is null "
        "or names every wrong field.",
        FactSource.DOCUMENTED,
    ),
    Fact(
        "Codes: VALIDATION_ERROR, AUTHENTICATION_REQUIRED, PERMISSION_DENIED, NOT_FOUND, CONFLICT, "
        "RATE_LIMIT_EXCEEDED, INTERNAL_ERROR.",
        FactSource.OBSERVED,
    ),
    Fact(
        "METHOD_NOT_ALLOWED, PAYLOAD_TOO_LARGE and UNSUPPORTED_MEDIA_TYPE are codes too.",
        FactSource.GUESSED,
    ),
    Fact("`?dry_run=true` checks everything and changes nothing.", FactSource.DOCUMENTED),
    Fact(
        "A dry run is answered as the request would be, with `meta.dry_run: true` (a delete with "
        "204); ids in it are of nothing.",
        FactSource.GUESSED,
    ),
    Fact(
        "With `v2_dry_run_answer=fields` it is `{data: {dry_run: true, action, "
        "validated_fields}}`; `action` is create, update, delete, release or stop.",
        FactSource.DESCRIBED,
    ),
    Fact("A `dry_run` that is no boolean is 400.", FactSource.GUESSED),
)


def wrap_in_envelope(answer: EmulatorAnswer, request: EmulatorRequest) -> EmulatorAnswer:
    """The answer in its envelope; a 204, a stream, or any with `v2_answers=plain` as it is."""
    if (
        # A 204 has no body to wrap, and a stream consists of events of its own.
        answer.status == 204
        or answer.stream is not None
        or request.backend.switches.has_value("v2_answers", "plain")
    ):
        return answer
    meta: dict[str, Any] = {"request_id": request.request_id, **answer.meta}
    if request.is_dry_run and request.has_server_switch_value("v2_dry_run_answer", "object"):
        meta["dry_run"] = True
    return dataclasses.replace(answer, body={"data": answer.body, "meta": meta})


def build_error_body(error: ApiError, request_id: str) -> Any:
    """The body of a refusal on v2: `{error: {code, message, details}, meta}`."""
    message, details = _general_message(error), list(_iter_details(error))
    if message is None:
        message = details[0]["message"] if error.code else _WRONG_FIELDS_MESSAGE
    return {
        "error": {
            "code": error.code or ERROR_CODES.get(error.status, "INTERNAL_ERROR"),
            "message": message,
            "details": details or None,
        },
        "meta": {"request_id": request_id},
    }


def _general_message(error: ApiError) -> str | None:
    """The message about the request as a whole, None if there are only messages about fields."""
    texts = error.body.get("non_field_errors") or (error.body.get("detail"),)
    return texts[0]


def _iter_details(error: ApiError) -> Iterator[dict[str, Any]]:
    fields = {key: value for key, value in error.body.items() if key not in _GENERAL_KEYS}
    for name, texts in fields.items():
        for text in texts:
            yield {"field": name, "message": text, **error.details}
    if error.details and not fields:
        yield dict(error.details)
