"""Over random layouts, comments, quotes and line ends: only the value that is meant changes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from choices import choices, lists_of
from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort

from synapse_apply.manifests.yaml.editing import Edit, apply_edits
from synapse_apply.manifests.yaml.reader import read_documents
from synapse_apply.manifests.yaml.writing import format_block_scalar, format_inline_scalar

pytestmark = pytest.mark.deep

WORDS = st.text("ab1.-_ #:'\"\\é모😀,{}[]&*!|>%@`~?=", max_size=12)
TEXTS = st.one_of(
    WORDS,
    st.sampled_from(["1.0.0", "1.10", "no", "null", "~", "1e3", "0x1F", "2026-01-02", "${var.x}"]),
    st.text(max_size=6).filter(lambda text: all(not "\ud800" <= c <= "\udfff" for c in text)),
    st.lists(WORDS, min_size=2, max_size=3).map("\n".join),
)
SCALARS = st.one_of(TEXTS, st.integers(), st.booleans(), st.none(), st.floats(-1e9, 1e9))
KEYS = st.sampled_from(["a", "b", "spec", "version", "x y", "no", "1", "모델", "-"])
REMARKS = st.sampled_from(["", "", "  # why: this", " # 'quoted\" é"])
BETWEEN = st.sampled_from(["", "", "", "\n", "# remark: it\n", "\n@# remark\n\n", "#\n"])


@dataclass
class Written:
    """A text as somebody wrote it, and the paths of the scalars in it."""

    text: str
    value: Any
    paths: list[tuple[str | int, ...]] = field(default_factory=list)


@cache
@st.composite
def scalars(draw: st.DrawFn, indent: int, *, flow: bool) -> tuple[str, Any]:
    """A scalar in one of its styles, and its value."""
    value = draw(SCALARS)
    style = draw(choices("", "'", '"', "|"))
    if style == "|" and not flow:
        literal = format_block_scalar(value, " " * (indent + draw(choices(1, 2, 4))), "\n")
        if literal:
            return literal[0] + draw(REMARKS) + literal[1], value
    return format_inline_scalar(value, style.replace("|", ""), flow=flow), value


@cache
@st.composite
def flows(draw: st.DrawFn, depth: int) -> Written:
    """A map or a list in brackets."""
    names = draw(lists_of(KEYS, 0, 3, unique=True))
    is_map = draw(st.booleans())
    parts, paths = [], []
    value: dict[Any, Any] = {}
    for at, name in enumerate(names):
        key: str | int = name if is_map else at
        if depth and draw(st.booleans()):
            inside = draw(flows(depth - 1))
            text, value[key] = inside.text, inside.value
            paths += [(key, *path) for path in inside.paths]
        else:
            text, value[key] = draw(scalars(0, flow=True))
            paths.append((key,))
        parts.append(f"{format_inline_scalar(name, flow=True)}: {text}" if is_map else text)
    gap = draw(choices(", ", " , ", ",\n     "))
    left, right = ("{", "}") if is_map else ("[", "]")
    return Written(left + gap.join(parts) + right, value if is_map else [*value.values()], paths)


@cache
@st.composite
def blocks(draw: st.DrawFn, indent: int = 0, depth: int = 2) -> Written:
    """A block mapping or a block sequence, each line of it indented."""
    is_map = indent == 0 or draw(st.booleans())
    names = draw(lists_of(KEYS, 1, 4, unique=True))
    lines, paths = "", []
    value: dict[Any, Any] = {}
    for at, name in enumerate(names):
        key: str | int = name if is_map else at
        lead = " " * indent + (f"{format_inline_scalar(name)}:" if is_map else "-")
        lines += draw(BETWEEN).replace("@", " " * indent)
        kind = draw(choices("scalar", "scalar", "flow", "block"))
        if kind == "block" and depth:
            step = draw(choices(1, 2, 4))
            inside = draw(blocks(indent + step, depth - 1))
            lines += f"{lead}{draw(REMARKS)}\n{inside.text}"
        elif kind == "flow":
            inside = draw(flows(1))
            text = inside.text.replace("\n", "\n" + " " * indent)
            lines += f"{lead} {text}{draw(REMARKS)}\n"
        else:
            text, found = draw(scalars(indent, flow=False))
            remark = "" if text[:1] in {"|", ">"} else draw(REMARKS)
            inside = Written(text, found, [()])
            lines += f"{lead} {text}{remark}\n"
        value[key] = inside.value
        paths += [(key, *path) for path in inside.paths]
    return Written(lines, value if is_map else [*value.values()], paths)


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, list[Written]]:
    """A whole file: one to three documents, any line end, with or without the last one."""
    parts = draw(lists_of(blocks(), 1, 3))
    text = draw(choices("", "---\n", "# head\n")) + "---\n".join(p.text for p in parts)
    if draw(st.booleans()) and "|" not in text:  # where the last line end is no part of a value
        text = text.rstrip("\n")
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return text, parts


def planted(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    copy = json.loads(json.dumps(value))
    at = copy
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = new
    return copy


def values(text: str) -> list[Any]:
    reading = read_documents(text, "m.yaml")
    assert reading.diagnostics == (), (text, reading.diagnostics)
    return [document.value for document in reading.documents]


def remarks(text: str) -> Iterator[str]:
    """Lines that are comments alone, which no value can hold here."""
    return (line for line in re.split(r"\r?\n", text) if re.match(r"\s*# remark", line))


@given(texts(), st.data())
@effort(45, 1500)
def test_one_value_changes_and_nothing_else(
    written: tuple[str, list[Written]], data: st.DataObject
) -> None:
    """What was meant is there, all else is as it was, and the text around it is byte for byte."""
    text, parts = written
    at = data.draw(st.integers(0, len(parts) - 1))
    if not parts[at].paths:
        return
    path = data.draw(choices(*parts[at].paths))
    new = data.draw(SCALARS)
    before = values(text)
    assert before == [part.value for part in parts]
    made = apply_edits(text, "m.yaml", [Edit(path, new, at)])
    assert json.dumps(values(made)) == json.dumps(
        [planted(v, path, new) if n == at else v for n, v in enumerate(before)]
    )
    assert set(remarks(text)) <= set(remarks(made))
    old = planted_value(parts[at].value, path)
    back = apply_edits(made, "m.yaml", [Edit(path, old, at)])
    common = len(_common(text, back)) + len(_common(text[::-1], back[::-1]))
    assert len(text) - common <= len(_longest(old)), (text, made, back)


def planted_value(value: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        value = value[part]
    return value


def _common(one: str, other: str) -> str:
    count = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return one[: min(len(one), len(other)) if count is None else count]


def _longest(value: Any) -> str:
    """The longest way in which these tests write a value."""
    literal = format_block_scalar(value, " " * 20, "\r\n") or ("", "")
    return max(format_inline_scalar(value, '"'), "".join(literal) + " " * 20, key=len)


@given(texts(), st.data())
@effort(30, 1500)
def test_a_value_that_is_there_already_changes_no_byte(
    written: tuple[str, list[Written]], data: st.DataObject
) -> None:
    """As it is written by hand, so it stays, whatever its style."""
    text, parts = written
    at = data.draw(st.integers(0, len(parts) - 1))
    if not parts[at].paths:
        return
    path = data.draw(choices(*parts[at].paths))
    assert (
        apply_edits(text, "m.yaml", [Edit(path, planted_value(parts[at].value, path), at)]) == text
    )


@given(texts(), st.data())
@effort(45, 1500)
def test_a_new_key_adds_to_the_text_and_takes_nothing(
    written: tuple[str, list[Written]], data: st.DataObject
) -> None:
    """All that was there before is there still, in its order, with the new pair in between."""
    text, parts = written
    at = data.draw(st.integers(0, len(parts) - 1))
    value, after = data.draw(SCALARS), data.draw(KEYS)
    made = apply_edits(text, "m.yaml", [Edit(("new",), value, at, after)])
    found = values(made)
    assert found[at].pop("new") == value or value != value  # noqa: PLR0124 - NaN
    assert json.dumps(found) == json.dumps([part.value for part in parts])
    start = len(_common(text, made))
    assert made.endswith(text[start:])
