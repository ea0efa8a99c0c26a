"""In which style a scalar is written so that YAML 1.1 and 1.2 readers read the same value."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

import yaml

from synapse_apply.manifests.yaml import read_scalars

_STRING_TAG = "tag:yaml.org,2002:str"
_PLAIN_CANDIDATE = re.compile(r"[\w./](?:.*\S)?")
_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def format_inline_scalar(value: Any, style: str = "", *, flow: bool = False) -> str:
    """A scalar in a style (`'`, `"`, "" for plain), or in double quotes where that cannot hold it.

    `flow` says that it stands inside brackets, where plain text may hold fewer characters.
    """
    if not isinstance(value, str):
        return json.dumps(value)
    if not style and _can_be_plain(value, flow=flow):
        return value
    if style == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    return '"' + "".join(map(_escape_char, value)) + '"'


def format_block_scalar(value: Any, indent: str, line_break: str) -> tuple[str, str] | None:
    """Header and lines of a text as a block scalar; None for what cannot be one."""
    if not isinstance(value, str) or not value or value[0] in " \t\n" or value.endswith("\n\n"):
        return None
    lines = value.removesuffix("\n").split("\n")
    if not all(line.isprintable() for line in lines):
        return None
    header = "|" if value.endswith("\n") else "|-"
    return header, "".join(line_break + (indent + line if line else "") for line in lines)


def _can_be_plain(text: str, *, flow: bool) -> bool:
    if not text.isprintable() or not _PLAIN_CANDIDATE.fullmatch(text):
        return False
    if ": " in text or " #" in text or text.endswith(":") or (flow and set(",[]{}:") & set(text)):
        return False
    try:
        core_value = read_scalars.parse_plain_scalar(text)
    except read_scalars.NotJsonNumber:
        return False
    yaml11_tag = _build_yaml11_resolver().resolve(yaml.ScalarNode, text, (True, False))
    return isinstance(core_value, str) and yaml11_tag == _STRING_TAG


@lru_cache(maxsize=1)
def _build_yaml11_resolver() -> Any:
    """A resolver of YAML 1.1, in which other programs may read the file.

    `no` is a boolean there.
    """
    return yaml.resolver.Resolver()


def _escape_char(char: str) -> str:
    if char in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
