"""In which style scalars and documents are written so that YAML 1.1 and 1.2 readers agree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import yaml

from synapse_apply.manifests.yaml import reader

_STRING_TAG = "tag:yaml.org,2002:str"
_PLAIN_CANDIDATE = re.compile(r"[\w./](?:.*\S)?")
_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_INDENT = "  "
# Written on one line, as people and our examples do.
_INLINE_KEYS = frozenset(("metadata", "valueFrom"))


def is_collection(value: Any) -> bool:
    """Whether a JSON value is a list or a map."""
    return isinstance(value, Mapping | list | tuple)


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
    # Other programs may read the file by YAML 1.1, where `no` is a boolean.
    yaml11_tag = _yaml11_resolver().resolve(yaml.ScalarNode, text, (True, False))
    return isinstance(core_value, str) and yaml11_tag == _STRING_TAG


@cache
def _yaml11_resolver() -> Any:
    return yaml.resolver.Resolver()


def _escape_char(char: str) -> str:
    if char in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def format_flow_value(value: Any, quote: str = "", *, flow: bool = True) -> str:
    """A JSON value on one line, lists and maps in brackets; `quote` is used for keys and texts.

    `flow` says of a scalar whether it stands inside brackets.
    """
    if isinstance(value, Mapping):
        pairs = (
            f"{format_inline_scalar(str(k), quote, flow=True)}: {format_flow_value(v, quote)}"
            for k, v in value.items()
        )
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(format_flow_value(item, quote) for item in value) + "]"
    return format_inline_scalar(value, quote, flow=flow)


def format_block_lines(
    value: Any, indent: str, *, literals: bool = False, key_quote: str = ""
) -> list[str]:
    """The indented lines of a list or map that is not empty; each list item is on one line.

    With `literals`, texts of several lines are block scalars; `key_quote` is the quote of keys.
    """
    if not isinstance(value, Mapping):
        return [f"{indent}- {format_flow_value(item, flow=False)}" for item in value]
    lines: list[str] = []
    for key, child in value.items():
        head = f"{indent}{format_inline_scalar(str(key), key_quote)}:"
        # Not every text can be a block scalar, such as one with control characters.
        literal = format_block_scalar(child, indent + _INDENT, "\n") if literals else None
        if is_collection(child) and child:
            lines += [head, *format_block_lines(child, indent + _INDENT, literals=literals)]
        elif literal and "\n" in child:
            lines += f"{head} {literal[0]}{literal[1]}".split("\n")
        else:
            lines.append(f"{head} {format_flow_value(child, flow=False)}")
    return lines


def format_schema_line(schema: str) -> str:
    """The comment line by which editors find a file's schema (yaml-language-server)."""
    return f"# yaml-language-server: $schema={schema}\n"


def format_document(document: Mapping[str, Any], schema: str = "") -> str:
    """The text of a document of JSON values, which reads back as the same values.

    `schema` is named in a first line for editors. `${` is escaped, since it would be a variable.
    """
    schema_comment = format_schema_line(schema) if schema else ""
    return schema_comment + "".join(f"{line}\n" for line in _document_lines(_escaped(document)))


def _escaped(value: Any) -> Any:
    """A value with `${` escaped in its texts; not in keys, which take no variables."""
    if isinstance(value, Mapping):
        return {key: _escaped(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_escaped(child) for child in value]
    return value.replace("${", "$${") if isinstance(value, str) else value


def _document_lines(value: Any) -> Iterator[str]:
    """The lines of a map or list; what is empty and a `valueFrom` are written on one line."""
    is_list = isinstance(value, list)
    for key, child in enumerate(value) if is_list else value.items():
        head = "-" if is_list else f"{format_inline_scalar(key)}:"
        is_inline = isinstance(child, dict) and child.keys() == {"valueFrom"}
        literal = format_block_scalar(child, _INDENT, "\n")
        if key in _INLINE_KEYS:
            yield f"{head} {format_flow_value(child)}"
        elif is_collection(child) and child and not is_inline:
            lines = _document_lines(child)
            yield f"- {next(lines)}" if is_list else head
            yield from (_INDENT + line if line else line for line in lines)
        elif literal and "\n" in child:
            yield from f"{head} {literal[0]}{literal[1]}".split("\n")
        else:
            yield f"{head} {format_flow_value(child, flow=False)}"
