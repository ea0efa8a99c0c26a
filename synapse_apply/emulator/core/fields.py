"""Which sources say how a field behaves, how fields are read, and how they are refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal


class ApiError(Exception):
    """A refusal: `status` and a JSON `body` in the form of API v1.

    `code` and `details` are shown by API v2 only: an error code other than that of the status, and
    further facts.
    """

    def __init__(
        self,
        status: int,
        body: dict[str, Any],
        headers: Mapping[str, str] | None = None,
        *,
        code: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.headers = dict(headers or {})
        self.code = code
        self.details = dict(details or {})


def build_error_of_fields(errors: Mapping[str, Sequence[str]]) -> ApiError:
    """400 with every wrong field: `{"field": ["..."]}`."""
    return ApiError(400, {name: list(texts) for name, texts in errors.items()})


def build_error_of_field(name: str, text: str) -> ApiError:
    return build_error_of_fields({name: [text]})


def build_bad_request_error(detail: str) -> ApiError:
    return ApiError(400, {"detail": detail})


def build_unauthorized_error(detail: str) -> ApiError:
    # RFC 9110, 11.6.1: a 401 has this header.
    return ApiError(401, {"detail": detail}, {"WWW-Authenticate": "Token"})


def build_forbidden_error(detail: str) -> ApiError:
    return ApiError(403, {"detail": detail})


def build_not_found_error(detail: str = "Not found.") -> ApiError:
    return ApiError(404, {"detail": detail})


def method_not_allowed(method: str, allowed: Sequence[str]) -> ApiError:
    return ApiError(
        # RFC 9110, 15.5.6: a 405 has the header Allow.
        405,
        {"detail": f'Method "{method}" not allowed.'},
        {"Allow": ", ".join(allowed)},
    )


def build_conflict_error(detail: str) -> ApiError:
    return ApiError(409, {"detail": detail})


def build_too_large_error(limit: int) -> ApiError:
    return ApiError(413, {"detail": f"The request body is larger than {limit} bytes."})


def unsupported_media(content_type: str) -> ApiError:
    return ApiError(415, {"detail": f'Unsupported media type "{content_type}" in request.'})


def build_unavailable_error(detail: str) -> ApiError:
    return ApiError(503, {"detail": detail})


class FactSource(StrEnum):
    """From where a behaviour is known; see SOURCE_MEANINGS."""

    DOCUMENTED = "documented"  # the API page says so; of v2, the vendor's description
    PROCEDURE = "procedure"  # the vendor's own procedure for moving plugins between servers
    MEASURED = "measured"  # a comment in the vendor's client tells what the server did
    OBSERVED = "observed"  # the vendor's own client does or expects it on the wire
    DESCRIBED = "described"  # the vendor's description of v2, its policy or its data model
    DERIVED = "derived"  # follows from one of these by how Django REST framework works
    GUESSED = "guessed"  # nobody says; the embedded backend had to choose


SOURCE_MEANINGS: dict[FactSource, str] = {
    FactSource.DOCUMENTED: "The API page says so; of v2, the vendor's description.",
    FactSource.PROCEDURE: "The vendor's own written procedure for moving plugins between servers: "
    "real calls, which makes it the strongest word there is on the platform's v1.",
    FactSource.MEASURED: "A comment in the vendor's client says what the server did when it was "
    "measured, or names the backend's own source.",
    FactSource.OBSERVED: "The vendor's own clients do it, or expect it, on the wire.",
    FactSource.DESCRIBED: "The vendor's description of v2, its policy for agents or its data model "
    "says so, also of v1.",
    FactSource.DERIVED: "It follows from a stated fact by how Django REST framework works.",
    FactSource.GUESSED: "Nobody says; switches change the guesses that matter.",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One behaviour with its source, for the page that `table` renders."""

    text: str
    source: FactSource


FieldType = Literal[
    "text", "object", "boolean", "texts", "integer", "choice", "any", "raw", "percent"
]

FieldValues = dict[str, Any]
"""Values by the name of their field, checked and converted: what may be stored."""
AnswerObject = dict[str, Any]
"""An object as an answer shows it, or some fields of one."""

_JSON_TEXT_TYPES = frozenset({"object", "texts", "any"})
# The words that Django REST framework accepts for booleans.
_TRUE = {"true", "t", "1", "yes", "y", "on"}
_FALSE = {"false", "f", "0", "no", "n", "off"}
REQUIRED_MESSAGE = "This field is required."
_NULL_MESSAGE = "This field may not be null."
_BLANK_MESSAGE = "This field may not be blank."


@dataclass(frozen=True, slots=True)
class Field:
    """The rules of one field; `default` is its value if it is not sent."""

    name: str
    type: FieldType = "text"
    required: bool = False
    blank: bool = True
    nullable: bool = False
    choices: tuple[str, ...] = ()
    pattern: str = ""
    default: Any = ""


@dataclass(frozen=True, slots=True)
class Body:
    """A request body: values from JSON, or texts from a form (`is_form`)."""

    values: dict[str, Any]
    is_form: bool = False

    def parse_json_texts(self, fields: Iterable[Field]) -> Body:
        """The body with JSON texts in it parsed, which API v2 accepts within JSON bodies, too."""
        if self.is_form:
            return self
        packed_names = {field.name for field in fields if field.type in _JSON_TEXT_TYPES}
        parsed_values = {
            name: _parse_json_or_text(value)
            if name in packed_names and isinstance(value, str)
            else value
            for name, value in self.values.items()
        }
        return Body(parsed_values)


class _FieldError(Exception):
    """The message for one wrong field."""


def convert_sent_fields(
    fields: Iterable[Field], body: Body, *, partial: bool = False
) -> FieldValues:
    """The cleaned values of the fields that were sent; other fields are ignored.

    With `partial` required fields may be missing. Raises ApiError (400) with all wrong fields.
    """
    values: FieldValues = {}
    errors: dict[str, list[str]] = {}
    for field in fields:
        if field.name not in body.values:
            if field.required and not partial:
                errors[field.name] = [REQUIRED_MESSAGE]
            continue
        try:
            values[field.name] = _convert_field(
                field, body.values[field.name], is_form=body.is_form
            )
        except _FieldError as error:
            errors[field.name] = [str(error)]
    if errors:
        raise build_error_of_fields(errors)
    return values


def with_default_values(fields: Iterable[Field], values: Mapping[str, Any]) -> FieldValues:
    """The value of each field in declared order, its default if it was not sent."""
    return {field.name: values.get(field.name, field.default) for field in fields}


def _convert_field(field: Field, value: Any, *, is_form: bool) -> Any:
    if is_form:
        value = _parse_form_value(field, value)
    if value is None:
        if field.nullable:
            return None
        raise _FieldError(_NULL_MESSAGE)
    return _CLEANERS[field.type](field, value)


def _parse_form_value(field: Field, value: Any) -> Any:
    if field.type == "texts":
        if isinstance(value, str):
            return _parse_json_or_refuse(value) if value.lstrip().startswith("[") else [value]
        return value
    if isinstance(value, list):  # of a repeated form part the last one counts
        value = value[-1]
    if field.type in ("object", "any", "percent"):
        return _parse_json_or_refuse(value)
    # A form has no other way to express null.
    return None if field.nullable and value == "" else value


def _parse_json_or_text(text: str) -> Any:
    try:
        return _parse_json_or_refuse(text)
    except _FieldError:
        return text


def _parse_json_or_refuse(text: str) -> Any:
    try:
        value = json.loads(text)
        # A value that cannot be written again (NaN, lone surrogates) must not reach the store.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise _FieldError("Value must be valid JSON.") from None
    return value


def _convert_to_text_or_raise(field: Field, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _FieldError("Not a valid string.")
    text = str(value).strip()
    if "\0" in text:
        raise _FieldError("Null characters are not allowed.")
    if not text and (field.required or not field.blank):
        raise _FieldError(_BLANK_MESSAGE)
    if field.pattern and not re.fullmatch(field.pattern, text):
        raise _FieldError("This value does not match the required pattern.")
    return text


def _require_mapping_or_raise(_field: Field, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _FieldError(f'Expected a dictionary of items but got type "{_get_type_name(value)}".')
    return value


def _convert_boolean(_field: Field, value: Any) -> bool:
    word = str(value).lower() if isinstance(value, str | int) else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise _FieldError("Must be a valid boolean.")


def _convert_texts(field: Field, value: Any) -> list[str]:
    if not isinstance(value, list):
        raise _FieldError(f'Expected a list of items but got type "{_get_type_name(value)}".')
    clean_item = _require_choice if field.choices else _convert_to_text_or_raise
    return [clean_item(field, item) for item in value]


def _convert_integer(_field: Field, value: Any) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        # A longer number does not fit into an integer of a database.
        value = int(value) if len(value) < 20 else None
    if isinstance(value, bool) or not isinstance(value, int):
        raise _FieldError("A valid integer is required.")
    return value


def _require_choice(field: Field, value: Any) -> str:
    if not isinstance(value, str) or value not in field.choices:
        value_text = value if isinstance(value, str) else json.dumps(value)
        raise _FieldError(f'"{value_text}" is not a valid choice.')
    return value


def _require_percent_or_raise(_field: Field, value: Any) -> int | float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 100:
        raise _FieldError("Ensure this value is a number between 0 and 100.")
    number: int | float = value
    return number


def _get_type_name(value: Any) -> str:
    return type(value).__name__


def _accept_any_value(_field: Field, value: Any) -> Any:
    return value


_CLEANERS = {
    "text": _convert_to_text_or_raise,
    "object": _require_mapping_or_raise,
    "boolean": _convert_boolean,
    "texts": _convert_texts,
    "integer": _convert_integer,
    "choice": _require_choice,
    "any": _accept_any_value,
    "raw": _accept_any_value,
    "percent": _require_percent_or_raise,
}


@contextmanager
def collect_messages(problems: dict[str, Any]) -> Iterator[None]:
    """Add the messages of an ApiError in the block to `problems`, so that one 400 has them all."""
    try:
        yield
    except ApiError as error:
        problems |= error.body
