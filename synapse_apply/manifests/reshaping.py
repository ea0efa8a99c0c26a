"""Texts in which a list, a map or a whole key of a YAML text is another one.

They are candidates: who edits reads each again and takes the first that says what was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from synapse_apply.manifests.scalar_texts import on_one_line
from synapse_apply.manifests.spans import BREAK, Node, column, last_offset, line_end


def is_collection(value: Any) -> bool:
    """Whether a JSON value is a list or a map."""
    return isinstance(value, Mapping | list | tuple)


def in_brackets(value: Any) -> str:
    """A JSON value on one line, lists and maps in brackets."""
    if isinstance(value, Mapping):
        pairs = (f"{on_one_line(str(k), flow=True)}: {in_brackets(v)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(in_brackets, value)) + "]"
    return on_one_line(value, flow=True)


def as_lines(value: Any, indent: str) -> list[str]:
    """A list or a map with something in it as lines, each with its indentation; items in one."""
    if not isinstance(value, Mapping):
        return [f"{indent}- {_item(one)}" for one in value]
    lines: list[str] = []
    for key, below in value.items():
        name = f"{indent}{on_one_line(str(key))}:"
        if is_collection(below) and below:
            lines += [name, *as_lines(below, indent + "  ")]
        else:
            lines.append(f"{name} {_item(below)}")
    return lines


def _item(value: Any) -> str:
    return in_brackets(value) if is_collection(value) else on_one_line(value)


def replaced(text: str, parent: Node, key: str | int, value: Any, line_break: str) -> Iterator[str]:
    """Texts with another value at a key or an item, where the old or the new one is no scalar."""
    node = parent.get(key)
    if node is None:
        return
    end = last_offset(text, node)
    in_block = not (parent.flow or node.flow or node.is_scalar)
    if in_block and is_collection(value) and value:
        if not node.is_map and not isinstance(value, Mapping):
            yield from _other_items(text, node, list(value), line_break)
        lines = as_lines(value, " " * column(text, node.start))
        yield text[: node.start] + line_break.join(lines).lstrip(" ") + text[end:]
    start = node.start
    if in_block:
        yield from _behind_the_key(text, parent, node, in_brackets(value))
        return
    gap = " " if text[:start].endswith(":") else ""
    yield text[:start] + gap + in_brackets(value) + text[end:]


def _behind_the_key(text: str, parent: Node, node: Node, value: str) -> Iterator[str]:
    """Texts with a value on the line of its key or dash, where lines below held one.

    A comment behind the key stays there.
    """
    end = last_offset(text, node)
    for name, below in parent.pairs:
        if below is node:
            colon = text.find(":", name.end) + 1
            yield f"{text[:colon]} {value}{text[colon : node.start].rstrip()}{text[end:]}"
    yield text[: node.start] + value + text[end:]
    before = [last_offset(text, item) for item in parent.items if item.start < node.start]
    for dash in range(node.start - 1, max(before, default=parent.start) - 1, -1):
        if text[dash] == "-":
            between = text[dash + 1 : node.start].rstrip()
            yield f"{text[: dash + 1]} {value}{between}{text[end:]}"


def _other_items(text: str, node: Node, new: Sequence[Any], line_break: str) -> Iterator[str]:
    """Lines of a block list that differ, written anew; those before and after them stay."""
    old = [_plain(text, item) for item in node.items]
    wanted = [_item(one) for one in new]
    most = min(len(old), len(wanted))
    head = next((n for n in range(most) if old[n] != wanted[n]), most)
    tail = next((n for n in range(most - head) if old[-1 - n] != wanted[-1 - n]), most - head)
    lines = [
        f"{' ' * column(text, node.start)}- {one}" for one in wanted[head : len(wanted) - tail]
    ]
    gone = node.items[head : len(old) - tail]
    if gone:
        start, end = _line(text, gone[0].start), line_end(text, last_offset(text, gone[-1]))
        if not lines:
            yield text[:start] + text[_next_line(text, end) :]
        yield text[:start] + line_break.join(lines) + text[end:]
    elif head:
        end = line_end(text, last_offset(text, node.items[head - 1]))
        yield text[:end] + "".join(line_break + line for line in lines) + text[end:]


def _plain(text: str, item: Node) -> str:
    """An item as it would be written anew, as far as that can be told of how it is written."""
    if item.is_scalar and item.style in {"'", '"'}:
        return on_one_line(item.value)
    return text[item.start : last_offset(text, item)]


def removed(text: str, parent: Node, key: str | int) -> Iterator[str]:
    """Texts without a key of a map: its lines, or its part of the brackets."""
    at = next((n for n, (name, _) in enumerate(parent.pairs) if name.value == key), None)
    if at is None:
        return
    name, value = parent.pairs[at]
    end = last_offset(text, value)
    if not parent.flow:
        yield text[: _line(text, name.start)] + text[_next_line(text, line_end(text, end)) :]
    elif at + 1 < len(parent.pairs):
        yield text[: name.start] + text[parent.pairs[at + 1][0].start :]
    else:
        start = last_offset(text, parent.pairs[at - 1][1]) if at else name.start
        yield text[:start] + text[end:]


def _line(text: str, offset: int) -> int:
    """Where the line around an offset begins."""
    return offset - column(text, offset)


def _next_line(text: str, end: int) -> int:
    found = BREAK.match(text, end)
    return found.end() if found else end
