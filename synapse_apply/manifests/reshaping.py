"""Values as lines or in brackets, and cuts that put one in the place of quite another value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from synapse_apply.manifests.scalar_texts import as_literal, on_one_line
from synapse_apply.manifests.slots import (
    Cut,
    Slot,
    alone,
    content,
    entries,
    head_remark,
    line_before,
    line_start,
    properties_end,
)
from synapse_apply.manifests.spans import BREAK, Node, column, last_offset, line_end


def is_collection(value: Any) -> bool:
    """Whether a JSON value is a list or a map."""
    return isinstance(value, Mapping | list | tuple)


def in_brackets(value: Any, quote: str = "") -> str:
    """A JSON value on one line, lists and maps in brackets; `quote` for keys and texts."""
    if isinstance(value, Mapping):
        pairs = (
            f"{on_one_line(str(k), quote, flow=True)}: {in_brackets(v, quote)}"
            for k, v in value.items()
        )
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(in_brackets(one, quote) for one in value) + "]"
    return on_one_line(value, quote, flow=True)


def as_lines(value: Any, indent: str, *, literals: bool = False, name: str = "") -> list[str]:
    """A list or a map with something in it as lines, each with its indentation; items in one.

    `literals`: texts of several lines below a key are block scalars; `name` is the quote of keys.
    """
    if not isinstance(value, Mapping):
        return [f"{indent}- {_on_a_line(one)}" for one in value]
    lines: list[str] = []
    for key, below in value.items():
        head = f"{indent}{on_one_line(str(key), name)}:"
        literal = as_literal(below, indent + "  ", "\n") if literals else None
        if is_collection(below) and below:
            lines += [head, *as_lines(below, indent + "  ", literals=literals)]
        elif literal and "\n" in below:
            lines += "".join((head, " ", *literal)).split("\n")
        else:
            lines.append(f"{head} {_on_a_line(below)}")
    return lines


def _on_a_line(value: Any) -> str:
    return in_brackets(value) if is_collection(value) else on_one_line(value)


def scalar_instead(
    text: str, slot: Slot, value: Any, line_break: str, *, literals: bool
) -> Iterator[Cut]:
    """Cuts that put a scalar in the place of another one, in its style where that can hold it.

    `literals`: a text of several lines becomes a block scalar, where one can stand.
    """
    node = slot.node
    end = last_offset(text, node)
    remark = head_remark(text, node)
    many = isinstance(value, str) and "\n" in value and "\n" not in (node.value or "")
    block = node.style in {"|", ">"}
    fits = block or (many and not slot.flow and not text[end : line_end(text, end)].strip())
    if literals and not slot.flow and fits:
        literal = as_literal(value, _indent(text, slot), line_break)
        if literal:
            yield node.start, end, _gap(text, slot) + literal[0] + remark + literal[1]
            return
    style = "" if block else node.style
    shown = on_one_line(value, style, flow=slot.flow)
    yield node.start, end, _gap(text, slot) + shown + remark


def _gap(text: str, slot: Slot) -> str:
    """What has to stand between a key or a dash and a value where there was none."""
    if not slot.named:
        return ": "
    start = slot.node.start
    return " " if start == slot.node.end and text[start - 1 : start] in {":", "-"} else ""


def _indent(text: str, slot: Slot) -> str:
    """The indentation of a block scalar's lines: those it has, else two more than its key."""
    node = slot.node
    for line in BREAK.split(text[node.start : node.end])[1:]:
        if line.strip() and node.style in {"|", ">"}:
            return line[: len(line) - len(line.lstrip(" "))]
    return " " * (slot.base + 2)


def instead(
    text: str, slot: Slot, value: Any, line_break: str, *, lines: bool, literals: bool = True
) -> Iterator[Cut]:
    """Cuts that put a value in the place of one that nothing is kept of.

    `lines`: a list or a map may have lines of its own where there are lines now.
    """
    node = slot.node
    if slot.in_lines:
        lines = lines and is_collection(value) and bool(value)
        yield from _for_lines(text, slot, value, line_break if lines else "")
    elif is_collection(value) or is_collection(slot.value):
        shown = in_brackets(value) if slot.flow or is_collection(value) else on_one_line(value)
        yield (
            node.start,
            last_offset(text, node),
            _gap(text, slot) + shown + head_remark(text, node),
        )
    else:
        yield from scalar_instead(text, slot, value, line_break, literals=literals)


def _for_lines(text: str, slot: Slot, value: Any, line_break: str) -> Iterator[Cut]:
    """Cuts for lines of a list or a map: others, or a value behind the key or dash above them."""
    start, last = content(text, slot.node), last_offset(text, slot.node)
    apart = alone(text, start)
    if line_break:
        width = column(text, start)
        width = max(width, slot.base + 2) if apart and isinstance(value, Mapping) else width
        made = line_break.join(as_lines(value, " " * width, literals=line_break == "\n"))
        if apart:
            yield line_start(text, start), line_end(text, last), made
        else:
            end = line_end(text, last)
            yield start, last if line_end(text, start) == end else end, made.lstrip(" ")
        return
    shown = _on_a_line(value)
    if apart and slot.base >= 0:
        behind = start_behind(text, slot)
        yield behind, behind, f" {shown}"
        yield line_before(text, line_start(text, start)), line_end(text, last), ""
        return
    # The comment on the line of a dash is the item's.
    end, first = line_end(text, start), entries(text, slot)[0].last
    if end == line_end(text, last):
        yield start, last, shown
    else:
        kept = text[first:end].rstrip() if first <= end else ""
        yield start, line_end(text, last), shown + kept


def start_behind(text: str, slot: Slot) -> int:
    """Where a value can stand behind the key or dash of lines that hold one, and its anchor."""
    return properties_end(text, slot.node) if slot.node.mark else slot.behind


def quotes(nodes: list[Node]) -> str:
    """The quote that all of these scalars are written in; "" where they are not."""
    styles = {node.style for node in nodes if node.is_scalar}
    (style,) = styles if len(styles) == 1 else ("",)
    return style if style in {"'", '"'} else ""
