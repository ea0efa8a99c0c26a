"""In which style scalars and documents are written so that YAML 1.1 and 1.2 readers agree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import yaml

from synapse_apply.manifests.yaml import reader

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
        core_value = reader.parse_plain_scalar(text)
    except reader.NotJsonNumber:
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


_INDENT = "  "
# Written on one line, as people and our examples do.
_INLINE_KEYS = frozenset(("metadata", "valueFrom"))


def format_schema_line(schema: str) -> str:
    """The comment line by which editors find a file's schema (yaml-language-server)."""
    return f"# yaml-language-server: $schema={schema}\n"


def format_document(document: Mapping[str, Any], schema: str = "") -> str:
    """The text of a document of JSON values, which reads back as the same values.

    `schema` is named in a first line for editors. `${` is escaped, since it would be a variable.
    """
    schema_comment = format_schema_line(schema) if schema else ""
    return schema_comment + "".join(f"{line}\n" for line in _iter_map_lines(document))


def _iter_map_lines(value: Mapping[str, Any]) -> Iterator[str]:
    for key, child in value.items():
        yield from _iter_entry_lines(f"{format_inline_scalar(key)}:", key, child)


def _iter_entry_lines(line_head: str, key: str, value: Any) -> Iterator[str]:
    """The lines of a key and its value; `line_head` is the key with its colon."""
    if key in _INLINE_KEYS or _is_inline_value(value):
        yield f"{line_head} {_format_flow_value(value)}"
    elif isinstance(value, Mapping):
        yield line_head
        yield from _iter_indented_lines(_iter_map_lines(value))
    elif isinstance(value, list):
        yield line_head
        yield from _iter_indented_lines(_iter_list_lines(value))
    else:
        yield from _iter_scalar_lines(line_head, value)


def _iter_list_lines(values: list[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, Mapping) and not _is_inline_value(value):
            child_lines = _iter_map_lines(value)
        elif isinstance(value, list) and value:
            child_lines = _iter_list_lines(value)
        else:
            yield from _iter_scalar_lines("-", value)
            continue
        yield f"- {next(child_lines)}"
        yield from _iter_indented_lines(child_lines)


def _iter_scalar_lines(line_head: str, value: Any) -> Iterator[str]:
    """A text of several lines as a block scalar, anything else on one line."""
    text = _escape_variable_marks(value)
    block = (
        format_block_scalar(text, _INDENT, "\n") if isinstance(text, str) and "\n" in text else None
    )
    if block is None:
        inline_text = (
            format_inline_scalar(text)
            if (not isinstance(value, Mapping | list))
            else _format_flow_value(value)
        )
        yield f"{line_head} {inline_text}"
    else:
        yield f"{line_head} {block[0]}"
        yield from block[1].split("\n")[1:]


def _iter_indented_lines(lines: Iterator[str]) -> Iterator[str]:
    return (_INDENT + line if line else line for line in lines)


def _is_inline_value(value: Any) -> bool:
    """Whether a value is empty, or a `valueFrom`, which are written on one line."""
    if isinstance(value, Mapping):
        return not value or value.keys() == {"valueFrom"}
    return isinstance(value, list) and not value


def _format_flow_value(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (
            f"{format_inline_scalar(key, flow=True)}: {_format_flow_value(child)}"
            for key, child in value.items()
        )
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_format_flow_value, value)) + "]"
    return format_inline_scalar(_escape_variable_marks(value), flow=True)


def _escape_variable_marks(value: Any) -> Any:
    return value.replace("${", "$${") if isinstance(value, str) else value
