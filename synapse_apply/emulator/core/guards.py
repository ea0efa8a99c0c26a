"""What API v2 refuses before it looks at a request: odd addresses, control characters in texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from synapse_apply.emulator.core.errors import ApiError, bad_request, field_errors
from synapse_apply.emulator.core.facts import Fact, Mark

FACTS = (
    Fact(
        "With `v2_guards=on`, an id in a path with one of `? # % & \\ /` or `..`, and a query with "
        "`%25` and two hexadecimal digits, are 400.",
        Mark.DESCRIBED,
    ),
    Fact(
        "With `v2_guards=on`, control characters in any text are 400 on its field; tab and line "
        "ends pass.",
        Mark.DESCRIBED,
    ),
)

_ODD_PATH = re.compile(r"%(?:3f|23|25|26|5c|2f)|[&\\]|\.\.", re.IGNORECASE)
_ENCODED_TWICE = re.compile(r"%25[0-9a-f]{2}", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def find_odd_address(path: str, query: str) -> ApiError | None:
    """The refusal of an address, `path` as it was sent; None of one that is fine."""
    if _ODD_PATH.search(path):
        return bad_request("The path has a character that an id cannot have.")
    if _ENCODED_TWICE.search(query):
        return bad_request("The query is encoded twice.")
    return None


def check_texts(values: Mapping[str, Any]) -> None:
    """Raises ApiError (400) with every field that has a control character in a text."""
    odd = [name for name, value in values.items() if any(map(_CONTROL.search, _texts(value)))]
    if odd:
        raise field_errors({name: ["Control characters are not allowed."] for name in odd})


def _texts(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            waiting += one
