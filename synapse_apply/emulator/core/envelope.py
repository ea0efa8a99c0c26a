"""What API v2 puts around answers and refusals: `{data, meta}` and `{error, meta}`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from synapse_apply.emulator.core.call import Answer, Call
from synapse_apply.emulator.core.errors import ApiError
from synapse_apply.emulator.core.facts import Fact, Mark

CODES = {
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
_GENERAL = ("detail", "non_field_errors")
_WRONG_FIELDS = "The request is not valid"

FACTS = (
    Fact(
        "Answers are `{data, meta: {request_id}}`; lists add `meta.pagination: {next_cursor, "
        "previous_cursor, per_page}`.",
        Mark.OBSERVED,
    ),
    Fact(
        "With `v2_answers=plain`, objects are bare and pages are `{next, previous, results}`.",
        Mark.DOCUMENTED,
    ),
    Fact(
        "Refusals are `{error: {code, message, details}, meta: {request_id}}`; `details` is null "
        "or names every wrong field.",
        Mark.DOCUMENTED,
    ),
    Fact(
        "Codes: VALIDATION_ERROR, AUTHENTICATION_REQUIRED, PERMISSION_DENIED, NOT_FOUND, CONFLICT, "
        "RATE_LIMIT_EXCEEDED, INTERNAL_ERROR.",
        Mark.OBSERVED,
    ),
    Fact(
        "METHOD_NOT_ALLOWED, PAYLOAD_TOO_LARGE and UNSUPPORTED_MEDIA_TYPE are codes too.",
        Mark.GUESSED,
    ),
    Fact("`?dry_run=true` checks everything and changes nothing.", Mark.DOCUMENTED),
    Fact(
        "A dry run is answered as the request would be, with `meta.dry_run: true` (a delete with "
        "204); ids in it are of nothing.",
        Mark.GUESSED,
    ),
    Fact(
        "With `v2_dry_run_answer=fields` it is `{data: {dry_run: true, action, "
        "validated_fields}}`; `action` is create, update, delete, release or stop.",
        Mark.DESCRIBED,
    ),
    Fact("A `dry_run` that is no boolean is 400.", Mark.GUESSED),
)


def write(answer: Answer, call: Call) -> Answer:
    """The answer inside its envelope."""
    if (
        answer.status == 204
        or answer.stream is not None
        or call.backend.switches.is_on("v2_answers", "plain")
    ):
        return answer
    meta: dict[str, Any] = {"request_id": call.request_id, **answer.meta}
    if call.is_rehearsal and call.has("v2_dry_run_answer", "object"):
        meta["dry_run"] = True
    return dataclasses.replace(answer, body={"data": answer.body, "meta": meta})


def refuse(error: ApiError, request_id: str) -> Any:
    """The body of a refusal, made from the form that API v1 gives it."""
    general, details = _general(error), list(_details(error))
    if general is None:
        general = details[0]["message"] if error.code else _WRONG_FIELDS
    return {
        "error": {
            "code": error.code or CODES.get(error.status, "INTERNAL_ERROR"),
            "message": general,
            "details": details or None,
        },
        "meta": {"request_id": request_id},
    }


def _general(error: ApiError) -> str | None:
    """What is said of the request as a whole."""
    texts = error.body.get("non_field_errors") or (error.body.get("detail"),)
    return texts[0]


def _details(error: ApiError) -> Iterator[dict[str, Any]]:
    fields = {key: value for key, value in error.body.items() if key not in _GENERAL}
    for name, texts in fields.items():
        for text in texts:
            yield {"field": name, "message": text, **error.facts}
    if error.facts and not fields:
        yield dict(error.facts)
