"""Values written as YAML scalars that every reader, of YAML 1.1 too, takes for the same value."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

import yaml

from synapse_apply.manifests import scalars

_TEXT = "tag:yaml.org,2002:str"
_PLAIN = re.compile(r"[\w./](?:.*\S)?")
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def on_one_line(value: Any, style: str = "", *, flow: bool = False) -> str:
    """A JSON scalar in a style (`'`, `"`, "" for none), in double quotes where that cannot hold it.

    `flow`: it stands inside brackets.
    """
    if not isinstance(value, str):
        return json.dumps(value)
    if not style and _is_plain(value, flow=flow):
        return value
    if style == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    return '"' + "".join(map(_escaped, value)) + '"'


def as_literal(value: Any, indent: str, line_break: str) -> tuple[str, str] | None:
    """A text of lines as a block scalar (header, lines below it); None where it cannot be one."""
    if not isinstance(value, str) or not value or value[0] in " \t\n" or value.endswith("\n\n"):
        return None
    lines = value.removesuffix("\n").split("\n")
    if not all(line.isprintable() for line in lines):
        return None
    header = "|" if value.endswith("\n") else "|-"
    return header, "".join(line_break + (indent + line if line else "") for line in lines)


def _is_plain(text: str, *, flow: bool) -> bool:
    if not text.isprintable() or not _PLAIN.fullmatch(text):
        return False
    if ": " in text or " #" in text or text.endswith(":") or (flow and set(",[]{}:") & set(text)):
        return False
    try:
        ours = scalars.plain(text)
    except scalars.NotJson:
        return False
    older = _older_yaml().resolve(yaml.ScalarNode, text, (True, False))
    return isinstance(ours, str) and older == _TEXT


@lru_cache(maxsize=1)
def _older_yaml() -> Any:
    """YAML 1.1, by which other programs may read the same file: `no` is a boolean there."""
    return yaml.resolver.Resolver()


def _escaped(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
