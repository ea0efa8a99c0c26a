"""Which ids of server objects are accepted, in answers, manifests, states and commands.

An id becomes a segment of a URL, a key in the state and a word in commands that are printed for
people to copy. So it has to be short, without characters that have a meaning in any of these.
"""

from __future__ import annotations

import re
from typing import Any

from synapse_apply.model.coding.text_forms import TextForm

REMOTE_ID_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._~:@+=-]{0,127}")
REMOTE_ID_RULE = (
    "1 to 128 characters of A-Z, a-z, 0-9 and `. _ ~ : @ + = -`, the first a letter, a digit or `_`"
)
REMOTE_ID_FORM = TextForm(REMOTE_ID_PATTERN, f"an id: {REMOTE_ID_RULE}")
_MAX_BITS = 425  # 128 decimal digits


def has_remote_id_form(text: str) -> bool:
    """Whether a text is accepted as the id of a server object."""
    return REMOTE_ID_PATTERN.fullmatch(text) is not None


def parse_remote_id(value: Any) -> str:
    """The id in a JSON value as text; raises ValueError, whose text does not quote the value."""
    # A tuple of types: `int | str` would be made anew for each of thousands of ids.
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"an id is a text or an integer, not {_describe_json_type(value)}")  # noqa: TRY004
    if isinstance(value, int):
        if value < 0 or value.bit_length() > _MAX_BITS:
            raise ValueError("an id is no negative number and has at most 128 digits")
    elif not has_remote_id_form(value):
        raise ValueError(f"an id has {REMOTE_ID_RULE}")
    return str(value)


def _describe_json_type(value: Any) -> str:
    names = {bool: "a truth", float: "a fraction", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
