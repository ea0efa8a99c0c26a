"""How a request is refused, and how the fields of its body are read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard


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


def wrong_field(name: str, text: str) -> ApiError:
    """400 on one field: `{"field": ["..."]}`."""
    return ApiError(400, {name: [text]})


def refusal(status: int, detail: str) -> ApiError:
    """A refusal of the request as a whole: `{"detail": "..."}`."""
    # RFC 9110, 11.6.1: a 401 has this header.
    headers = {"WWW-Authenticate": "Token"} if status == 401 else None
    return ApiError(status, {"detail": detail}, headers)


def not_found(detail: str = "Not found.") -> ApiError:
    return refusal(404, detail)


def forbidden() -> ApiError:
    return refusal(403, "You do not have permission to perform this action.")


def method_not_allowed(method: str, allowed: Sequence[str]) -> ApiError:
    # RFC 9110, 15.5.6: a 405 has the header Allow.
    body = {"detail": f'Method "{method}" not allowed.'}
    return ApiError(405, body, {"Allow": ", ".join(allowed)})


def too_large(limit: int) -> ApiError:
    return refusal(413, f"The request body is larger than {limit} bytes.")


def unsupported_media(content_type: str) -> ApiError:
    return refusal(415, f'Unsupported media type "{content_type}" in request.')


def no_choice(value: object) -> str:
    """The text for a filter that has another value than its choices."""
    return f"Select a valid choice. {value} is not one of the available choices."


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
        values = dict(self.values)
        for field in fields:
            text = values.get(field.name)
            if field.type in _JSON_TEXT_TYPES and isinstance(text, str):
                with suppress(_FieldError):
                    values[field.name] = _parse_json(text)
        return Body(values)


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
            values[field.name] = _convert_field(field, body)
        except _FieldError as error:
            errors[field.name] = [str(error)]
    if errors:
        raise ApiError(400, errors)
    return values


def _convert_field(field: Field, body: Body) -> Any:
    value = body.values[field.name]
    if body.is_form:
        value = _parse_form_value(field, value)
    if value is None:
        if not field.nullable:
            raise _FieldError("This field may not be null.")
        return None
    clean = _CLEANERS.get(field.type)
    return clean(field, value) if clean else value


def with_default_values(fields: Iterable[Field], values: Mapping[str, Any]) -> FieldValues:
    """The value of each field in declared order, its default if it was not sent."""
    return {field.name: values.get(field.name, field.default) for field in fields}


def convert_all_fields(fields: Sequence[Field], body: Body) -> FieldValues:
    """The cleaned value of each field, its default if it was not sent. Raises ApiError (400)."""
    return with_default_values(fields, convert_sent_fields(fields, body))


def _parse_form_value(field: Field, value: Any) -> Any:
    if field.type == "texts":
        if isinstance(value, str):
            return _parse_json(value) if value.lstrip().startswith("[") else [value]
        return value
    if isinstance(value, list):  # of a repeated form part the last one counts
        value = value[-1]
    if field.type in ("object", "any", "percent"):
        return _parse_json(value)
    # A form has no other way to express null.
    return None if field.nullable and value == "" else value


def _parse_json(text: str) -> Any:
    try:
        value = json.loads(text)
        # A value that cannot be written again (NaN, lone surrogates) must not reach the store.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise _FieldError("Value must be valid JSON.") from None
    return value


def _clean_text(field: Field, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _FieldError("Not a valid string.")
    text = str(value).strip()
    if "\0" in text:
        raise _FieldError("Null characters are not allowed.")
    if not text and (field.required or not field.blank):
        raise _FieldError("This field may not be blank.")
    if field.pattern and not re.fullmatch(field.pattern, text):
        raise _FieldError("This value does not match the required pattern.")
    return text


def _clean_object(_field: Field, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        type_name = type(value).__name__
        raise _FieldError(f'Expected a dictionary of items but got type "{type_name}".')
    return value


def _clean_boolean(_field: Field, value: Any) -> bool:
    word = str(value).lower() if isinstance(value, str | int) else ""
    if word not in _TRUE | _FALSE:
        raise _FieldError("Must be a valid boolean.")
    return word in _TRUE


def _clean_texts(field: Field, value: Any) -> list[str]:
    if not isinstance(value, list):
        type_name = type(value).__name__
        raise _FieldError(f'Expected a list of items but got type "{type_name}".')
    clean_item = _clean_choice if field.choices else _clean_text
    return [clean_item(field, item) for item in value]


def _clean_integer(_field: Field, value: Any) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        # A longer number does not fit into an integer of a database.
        value = int(value) if len(value) < 20 else None
    if isinstance(value, bool) or not isinstance(value, int):
        raise _FieldError("A valid integer is required.")
    return value


def _clean_choice(field: Field, value: Any) -> str:
    if not isinstance(value, str) or value not in field.choices:
        value_text = value if isinstance(value, str) else json.dumps(value)
        raise _FieldError(f'"{value_text}" is not a valid choice.')
    return value


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value of JSON is a number; in Python a boolean is one, too."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _clean_percent(_field: Field, value: Any) -> Any:
    if not is_number(value) or not 0 <= value <= 100:
        raise _FieldError("Ensure this value is a number between 0 and 100.")
    return value


# Without one a value is taken as it is.
_CLEANERS: dict[FieldType, Callable[[Field, Any], Any]] = {
    "text": _clean_text,
    "object": _clean_object,
    "boolean": _clean_boolean,
    "texts": _clean_texts,
    "integer": _clean_integer,
    "choice": _clean_choice,
    "percent": _clean_percent,
}


@contextmanager
def collect_messages(problems: dict[str, Any]) -> Iterator[None]:
    """Add the messages of an ApiError in the block to `problems`, so that one 400 has them all."""
    try:
        yield
    except ApiError as error:
        problems |= error.body
