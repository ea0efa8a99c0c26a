"""How a value is written in block or flow style, and how it replaces an unrelated value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from synapse_apply.manifests.yaml.slots import (
    Cut,
    ValueSlot,
    header_comment,
    is_first_in_line,
    list_entries,
    locate_content_start,
    locate_line_start,
    locate_previous_line_end,
    locate_properties_end,
)
from synapse_apply.manifests.yaml.spans import (
    LINE_BREAK,
    SourceNode,
    count_before_in_line,
    locate_line_end,
    locate_value_end,
)
from synapse_apply.manifests.yaml.write_scalars import format_block_scalar, format_inline_scalar


def is_collection(value: Any) -> bool:
    """Whether a JSON value is a list or a map."""
    return isinstance(value, Mapping | list | tuple)


def format_flow_value(value: Any, quote: str = "") -> str:
    """A JSON value on one line, lists and maps in brackets; `quote` is used for keys and texts."""
    if isinstance(value, Mapping):
        pairs = (
            f"{format_inline_scalar(str(k), quote, flow=True)}: {format_flow_value(v, quote)}"
            for k, v in value.items()
        )
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(format_flow_value(item, quote) for item in value) + "]"
    return format_inline_scalar(value, quote, flow=True)


def format_block_lines(
    value: Any, indent: str, *, allow_literals: bool = False, key_quote: str = ""
) -> list[str]:
    """The indented lines of a list or map that is not empty; each list item is on one line.

    With `allow_literals`, texts of several lines are block scalars; `key_quote` is the quote
    of keys.
    """
    if not isinstance(value, Mapping):
        return [f"{indent}- {_format_inline_value(item)}" for item in value]
    lines: list[str] = []
    for key, child in value.items():
        line_head = f"{indent}{format_inline_scalar(str(key), key_quote)}:"
        # Not every text can be a block scalar, such as one with control characters.
        literal = format_block_scalar(child, indent + "  ", "\n") if allow_literals else None
        if is_collection(child) and child:
            lines += [
                line_head,
                *format_block_lines(child, indent + "  ", allow_literals=allow_literals),
            ]
        elif literal and "\n" in child:
            lines += "".join((line_head, " ", *literal)).split("\n")
        else:
            lines.append(f"{line_head} {_format_inline_value(child)}")
    return lines


def _format_inline_value(value: Any) -> str:
    return format_flow_value(value) if is_collection(value) else format_inline_scalar(value)


def build_scalar_cut(
    text: str, slot: ValueSlot, value: Any, line_break: str, *, allow_literals: bool
) -> Cut:
    """The cut that replaces a scalar, in the style of the old one where that can hold the new one.

    With `allow_literals`, a text of several lines becomes a block scalar where one is possible.
    """
    node = slot.node
    end = locate_value_end(text, node)
    comment = header_comment(text, node)
    becomes_multiline = isinstance(value, str) and "\n" in value and "\n" not in (node.value or "")
    is_block_scalar = node.style in {"|", ">"}
    # A block scalar needs the rest of its line, so nothing may stand behind the old value.
    can_be_literal = is_block_scalar or (
        becomes_multiline and not slot.flow and not text[end : locate_line_end(text, end)].strip()
    )
    if allow_literals and not slot.flow and can_be_literal:
        literal = format_block_scalar(value, _block_scalar_indent(text, slot), line_break)
        if literal:
            prefix = _missing_separator(text, slot)
            return node.start, end, prefix + literal[0] + comment + literal[1]
    # The value is on one line now, where a block style is not possible.
    style = "" if is_block_scalar else node.style
    scalar_text = format_inline_scalar(value, style, flow=slot.flow)
    return (node.start, end, _missing_separator(text, slot) + scalar_text + comment)


def _missing_separator(text: str, slot: ValueSlot) -> str:
    """The colon or blank that is missing before a value where there was none; mostly ""."""
    if not slot.has_indicator:
        return ": "
    start = slot.node.start
    # An empty value: the new one must not join the colon or the dash.
    return " " if start == slot.node.end and text[start - 1 : start] in {":", "-"} else ""


def _block_scalar_indent(text: str, slot: ValueSlot) -> str:
    """The indentation of a block scalar's lines, else two columns more than its key's."""
    node = slot.node
    for line in LINE_BREAK.split(text[node.start : node.end])[1:]:
        if line.strip() and node.style in {"|", ">"}:
            return line[: len(line) - len(line.lstrip(" "))]
    return " " * (slot.base_column + 2)


def list_replacing_cuts(
    text: str,
    slot: ValueSlot,
    value: Any,
    line_break: str,
    *,
    allow_block: bool,
    allow_literals: bool = True,
) -> tuple[Cut, ...]:
    """The cuts, all to be applied at once, that replace a value of which nothing stays.

    With `allow_block`, a list or map may be written on lines of its own where the old one is;
    `allow_literals` counts for scalars alone.
    """
    node = slot.node
    if slot.is_block_collection:
        allow_block = allow_block and is_collection(value) and bool(value)
        return tuple(_iter_block_cuts(text, slot, value, line_break if allow_block else ""))
    if is_collection(value) or is_collection(slot.value):
        value_text = (
            format_flow_value(value)
            if slot.flow or is_collection(value)
            else format_inline_scalar(value)
        )
        cut = (
            node.start,
            locate_value_end(text, node),
            _missing_separator(text, slot) + value_text + header_comment(text, node),
        )
        return (cut,)
    return (build_scalar_cut(text, slot, value, line_break, allow_literals=allow_literals),)


def _iter_block_cuts(text: str, slot: ValueSlot, value: Any, line_break: str) -> Iterator[Cut]:
    """Cuts that replace the lines of a block list or map, by lines or by a value on one line."""
    start, last = locate_content_start(text, slot.node), locate_value_end(text, slot.node)
    is_on_own_line = is_first_in_line(text, start)
    if line_break:
        width = count_before_in_line(text, start)
        width = (
            max(width, slot.base_column + 2)
            if is_on_own_line and isinstance(value, Mapping)
            else width
        )
        block_text = line_break.join(
            format_block_lines(value, " " * width, allow_literals=line_break == "\n")
        )
        if is_on_own_line:
            yield locate_line_start(text, start), locate_line_end(text, last), block_text
        else:
            end = locate_line_end(text, last)
            yield (
                start,
                last if locate_line_end(text, start) == end else end,
                block_text.lstrip(" "),
            )
        return
    value_text = _format_inline_value(value)
    # The value moves up to the line of its key, and the old lines go.
    if is_on_own_line and slot.base_column >= 0:
        value_offset = locate_value_slot(text, slot)
        yield value_offset, value_offset, f" {value_text}"
        yield (
            locate_previous_line_end(text, locate_line_start(text, start)),
            locate_line_end(text, last),
            "",
        )
        return
    # A comment on the line of a dash belongs to that item, and stays behind the new value.
    end, first_entry_end = locate_line_end(text, start), list_entries(text, slot)[0].end
    if end == locate_line_end(text, last):
        yield start, last, value_text
    else:
        trailing_comment = text[first_entry_end:end].rstrip() if first_entry_end <= end else ""
        yield start, locate_line_end(text, last), value_text + trailing_comment


def locate_value_slot(text: str, slot: ValueSlot) -> int:
    """Where a value can be written behind its key or dash, and behind its anchor or tag."""
    return locate_properties_end(text, slot.node) if slot.node.properties else slot.value_offset


def find_common_quote(nodes: list[SourceNode]) -> str:
    """The quote in which all of these scalars are written; "" where they differ or have none."""
    styles = {node.style for node in nodes if node.is_scalar}
    (style,) = styles if len(styles) == 1 else ("",)
    return style if style in {"'", '"'} else ""
