"""What API v2 refuses before it looks at a request: odd addresses, control characters in texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from synapse_apply.emulator.core.errors import ApiError, bad_request_error, field_errors
from synapse_apply.emulator.core.facts import Fact, FactSource

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
_ENCODED_TWICE = re.compile(r"%25[0-9a-f]{2}", re.IGNORECASE)
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def find_address_refusal(path: str, query: str) -> ApiError | None:
    """The refusal of an address, `path` as it was sent; None of one that is fine."""
    if _ODD_PATH.search(path):
        return bad_request_error("The path has a character that an id cannot have.")
    if _ENCODED_TWICE.search(query):
        return bad_request_error("The query is encoded twice.")
    return None


def require_no_control_characters(values: Mapping[str, Any]) -> None:
    """Raises ApiError (400) with every field that has a control character in a text."""
    wrong_names = [
        name
        for name, value in values.items()
        if any(map(_CONTROL_CHARACTER.search, _iter_texts(value)))
    ]
    if wrong_names:
        raise field_errors({name: ["Control characters are not allowed."] for name in wrong_names})


def _iter_texts(value: Any) -> Iterator[str]:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            pending += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            pending += item
