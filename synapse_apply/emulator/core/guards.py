"""Which requests API v2 refuses at once: odd paths and queries, control characters in texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from synapse_apply.emulator.core.fields import (
    ApiError,
    Fact,
    FactSource,
    build_bad_request_error,
    build_error_of_fields,
)

FACTS = (
    Fact(
        "With `v2_guards=on`, an id in a path with one of `? # % & \\ /` or `..`, and a query with "
        "`%25` and two hexadecimal digits, are 400.",
        FactSource.DESCRIBED,
    ),
    Fact(
        "With `v2_guards=on`, control characters in any text are 400 on its field; tab and line "
        "ends pass.",
        FactSource.DESCRIBED,
    ),
)

_ODD_PATH = re.compile(r"%(?:3f|23|25|26|5c|2f)|[&\\]|\.\.", re.IGNORECASE)
# `%25` decodes to `%`: with two hexadecimal digits behind it that is another escape.
_ENCODED_TWICE = re.compile(r"%25[0-9a-f]{2}", re.IGNORECASE)
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def find_request_refusal(path: str, query: str) -> ApiError | None:
    """The refusal (400) of a path as it was sent, or of a query; None if both are fine."""
    if _ODD_PATH.search(path):
        return build_bad_request_error("The path has a character that an id cannot have.")
    if _ENCODED_TWICE.search(query):
        return build_bad_request_error("The query is encoded twice.")
    return None


def require_plain_text(values: Mapping[str, Any]) -> None:
    """Raises ApiError (400) with all fields that have a control character in a text."""
    wrong_names = [
        name
        for name, value in values.items()
        if any(map(_CONTROL_CHARACTER.search, _iter_texts(value)))
    ]
    if wrong_names:
        raise build_error_of_fields(
            {name: ["Control characters are not allowed."] for name in wrong_names}
        )


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
