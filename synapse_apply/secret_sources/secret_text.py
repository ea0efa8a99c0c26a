"""What a usable value of a secret is, in each of its formats.

No error raised here contains a value. None is raised while an error that contains one is being
handled (a decoder's has the refused text): Python would chain it as the context.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, NoReturn

from synapse_apply.model.coding.json_types import JsonObject
from synapse_apply.model.values import Sensitive
from synapse_apply.secret_sources.source import UNUSABLE, raise_unavailable


def parse_secret_or_raise_unusable(text: str, format_name: str, source_name: str) -> Sensitive:
    """The value of a text in its format (text or json); SecretUnavailable for an empty one."""
    if not text.strip():
        raise_unavailable(
            UNUSABLE,
            f"{source_name} is empty",
            "An empty secret is almost always a mistake; leave the field out if it is meant.",
        )
    if format_name == "text":
        return Sensitive(text)
    if format_name != "json":
        raise_unavailable(
            UNUSABLE,
            f"{source_name}: format {format_name!r} is not known",
            "The formats are text and json.",
        )
    value, problem = parse_json_with_problem(text)
    if problem:
        raise_unavailable(
            UNUSABLE,
            f"{source_name} is not valid JSON{problem}",
            "The content is not shown, since it is secret. "
            "Check it with a JSON parser, or leave out format: json.",
        )
    if value is None or value == "":
        raise_unavailable(
            UNUSABLE, f"{source_name} holds an empty JSON value", "Write the secret into it."
        )
    return Sensitive(value)


class ParsedJson(NamedTuple):
    """A value, or why there is none: `problem` begins with a blank and never quotes the text."""

    value: Any
    problem: str = ""


def parse_json_with_problem(text: str) -> ParsedJson:
    """Parse strict JSON (no NaN, no duplicate keys) of a text that must not be quoted."""
    try:
        return ParsedJson(
            json.loads(
                text,
                parse_constant=_refuse_nan_or_infinity,
                object_pairs_hook=_build_object_or_raise_for_duplicates,
            )
        )
    except json.JSONDecodeError as problem:
        return ParsedJson(None, f" (line {problem.lineno}, column {problem.colno})")
    except _DuplicateKey:
        return ParsedJson(None, " (a key stands twice)")
    except (ValueError, RecursionError):
        return ParsedJson(None, " (a number is out of range, or it nests too deeply)")


class _DuplicateKey(ValueError):
    pass


def _build_object_or_raise_for_duplicates(pairs: list[tuple[str, Any]]) -> JsonObject:
    result = dict(pairs)
    # Parsers choose differently between duplicate keys, so that a server could read another value.
    if len(result) != len(pairs):
        raise _DuplicateKey
    return result


def _refuse_nan_or_infinity(_name: str) -> NoReturn:
    raise ValueError


def is_encodable_as_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8."""
    try:
        # Bytes of the environment that are not UTF-8 appear as lone surrogates (PEP 383).
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
