"""A document as YAML that reads back as the same values, here and in readers of YAML 1.1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from synapse_apply.manifests.scalar_texts import as_literal, on_one_line

_STEP = "  "
# What people write on one line.
_SHORT_KEYS = frozenset(("metadata", "valueFrom"))


def schema_line(schema: str) -> str:
    """The first line by which editors find the schema of a file."""
    return f"# yaml-language-server: $schema={schema}\n"


def written(document: Mapping[str, Any], schema: str = "") -> str:
    """The document in block style, keys in the order they come, `${` escaped in its texts.

    `schema` is named in a first line that editors understand. Values are JSON.
    """
    first = schema_line(schema) if schema else ""
    return first + "".join(f"{line}\n" for line in _mapping(document))


def _mapping(value: Mapping[str, Any]) -> Iterator[str]:
    for key, below in value.items():
        yield from _entry(f"{on_one_line(key)}:", key, below)


def _entry(head: str, key: str, value: Any) -> Iterator[str]:
    """A key with what stands under it."""
    if key in _SHORT_KEYS or _is_short(value):
        yield f"{head} {_flow(value)}"
    elif isinstance(value, Mapping):
        yield head
        yield from _indented(_mapping(value))
    elif isinstance(value, list):
        yield head
        yield from _indented(_items(value))
    else:
        yield from _scalar(head, value)


def _items(values: list[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, Mapping) and not _is_short(value):
            inside = _mapping(value)
        elif isinstance(value, list) and value:
            inside = _items(value)
        else:
            yield from _scalar("-", value)
            continue
        yield f"- {next(inside)}"
        yield from _indented(inside)


def _scalar(head: str, value: Any) -> Iterator[str]:
    """A text of lines as such, anything else on one line."""
    text = _escaped(value)
    block = as_literal(text, _STEP, "\n") if isinstance(text, str) and "\n" in text else None
    if block is None:
        short = on_one_line(text) if _is_scalar(value) else _flow(value)
        yield f"{head} {short}"
    else:
        yield f"{head} {block[0]}"
        yield from block[1].split("\n")[1:]


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (_STEP + line if line else line for line in lines)


def _is_short(value: Any) -> bool:
    """Empty, or a reference to where a value comes from."""
    if isinstance(value, Mapping):
        return not value or value.keys() == {"valueFrom"}
    return isinstance(value, list) and not value


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = (f"{on_one_line(key, flow=True)}: {_flow(at)}" for key, at in value.items())
        return "{" + ", ".join(inside) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return on_one_line(_escaped(value), flow=True)


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, Mapping | list)


def _escaped(value: Any) -> Any:
    return value.replace("${", "$${") if isinstance(value, str) else value
