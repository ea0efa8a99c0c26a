"""Over random layouts: lists, maps and keys change as asked, or the edit is refused in words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from choices import choices, lists_of
from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort
from unit.manifests.test_editing_laws import KEYS, SCALARS, Written, planted, remarks, texts, values

from synapse_apply.manifests.yaml.editing import Edit, apply_edits, format_normalized_json
from synapse_apply.model.errors import InputError
from synapse_apply.model.values import ABSENT

pytestmark = pytest.mark.deep

JSON = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=3),
    max_leaves=5,
)
Path = tuple[str | int, ...]


def chosen(data: st.DataObject, part: Written) -> Path:
    """The path of a scalar, or of something around it."""
    path = data.draw(choices(*part.paths))
    return path[: data.draw(st.integers(1, len(path)))]


def asked(text: str, path: Path, value: Any, at: int) -> str | None:
    """The text after the edit; None where it is refused in words."""
    try:
        return apply_edits(text, "m.yaml", [Edit(path, value, at, allow_collections=True)])
    except InputError:
        return None


@given(texts(), st.data())
@effort(45, 1500)
def test_any_value_becomes_any_other(
    written: tuple[str, list[Written]], data: st.DataObject
) -> None:
    """Whatever stood there, a list, a map or a scalar takes its place and touches nothing else."""
    text, parts = written
    at = data.draw(st.integers(0, len(parts) - 1))
    if not parts[at].paths:
        return
    path, new = chosen(data, parts[at]), data.draw(JSON)
    made = asked(text, path, new, at)
    assert made is not None, (text, path, new)
    for n, (part, found) in enumerate(zip(parts, values(made), strict=True)):
        wanted = planted(part.value, path, new) if n == at else part.value
        assert format_normalized_json(found) == format_normalized_json(wanted)
        if n != at:
            assert json.dumps(found) == json.dumps(wanted)


@given(texts(), st.data())
@effort(45, 1500)
def test_a_key_goes_alone(written: tuple[str, list[Written]], data: st.DataObject) -> None:
    """Its neighbours stay, and so does its map where nothing is left in it."""
    text, parts = written
    at = data.draw(st.integers(0, len(parts) - 1))
    if not parts[at].paths:
        return
    path = chosen(data, parts[at])
    if isinstance(path[-1], int):
        return
    made = asked(text, path, ABSENT, at)
    assert made is not None, (text, path)
    if path in parts[at].paths:
        assert list(remarks(text)) == list(remarks(made))
    wanted = [json.loads(json.dumps(part.value)) for part in parts]
    inside = wanted[at]
    for step in path[:-1]:
        inside = inside[step]
    del inside[path[-1]]
    assert json.dumps(values(made)) == json.dumps(wanted)


@given(texts(), st.data())
@effort(45, 1500)
def test_a_change_far_inside_is_that_change_alone(
    written: tuple[str, list[Written]], data: st.DataObject
) -> None:
    """A list or a map with one other scalar in it is written as if that scalar had been named."""
    text, parts = written
    at = data.draw(st.integers(0, len(parts) - 1))
    if not parts[at].paths:
        return
    path = data.draw(choices(*parts[at].paths))
    above = path[: data.draw(st.integers(1, len(path)))]
    new = data.draw(choices("fresh", 7654321, "a: b"))
    whole: Any = planted(parts[at].value, path, new)
    for step in above:
        whole = whole[step]
    alone = apply_edits(text, "m.yaml", [Edit(path, new, at)])
    assert asked(text, above, whole, at) == alone


@st.composite
def lists(draw: st.DrawFn) -> tuple[str, list[Any], list[list[str]], bool]:
    """A list in lines or in brackets, its items, the comments of each, and whether it is lines."""
    block = draw(st.booleans())
    comma, lead = ("", "- ") if block else (",", "")
    kinds = ["scalar", "brackets", "map", "block"] if block else ["scalar", "brackets"]
    shown, items, comments = "", [], []
    for n in range(draw(st.integers(1, 6))):
        above = [f"# above {n}"] * draw(st.integers(0, 1))
        behind = [f"# behind {n}"] * draw(st.integers(0, 1))
        inside = [f"# inside {n}"] * draw(st.integers(0, 1))
        remark = "".join(f"  {one}" for one in behind)
        shown += draw(choices("", "", "\n")) + "".join(f"  {one}\n" for one in above)
        kind = draw(choices(*kinds))
        if kind == "map":
            items.append({"name": f"n{n}", "x": n, "l": [n]})
            below = "".join(f"    {one}\n" for one in inside)
            shown += f"  - name: n{n}{remark}\n{below}    x: {n}\n    l:\n    - {n}\n"
        elif kind == "block":
            items.append(f"t{n}\nu\n")
            inside = []
            shown += f"  - |{remark}\n    t{n}\n    u\n"
        else:
            inside = []
            items.append([f"b{n}", n] if kind == "brackets" else f"s{n}")
            value = f"[b{n}, {n}]" if kind == "brackets" else f"s{n}"
            shown += f"  {lead}{value}{comma}{remark}\n"
        comments.append([*above, *behind, *inside])
    left, right = ("", "") if block else (" [", "]\n")
    text = f"k: 1\nv:{left}\n{shown}{right}z: 2  # the end\n"
    return text, items, comments, block


@given(lists(), st.data(), st.sampled_from(["\n", "\r\n"]))
@effort(60, 3000)
def test_items_that_stay_keep_their_bytes(
    written: tuple[str, list[Any], list[list[str]], bool], data: st.DataObject, line_break: str
) -> None:
    """Items go, come and stay: whose values are the same have their lines and all comments."""
    text, items, comments, block = written
    stay = data.draw(st.sets(st.integers(0, len(items) - 1)))
    wanted: list[Any] = []
    for n, item in enumerate(items):
        wanted += data.draw(lists_of(st.integers(10**6, 10**7), 0, 1))
        wanted += [item] * (n in stay)
    made = asked(text.replace("\n", line_break), ("v",), wanted, 0)
    assert made is not None, (text, wanted)
    made = made.replace("\r\n", "\n")
    assert values(made) == [{"k": 1, "v": wanted, "z": 2}]
    lines = made.split("\n")
    for n in stay:
        assert [one for one in comments[n] if one not in made] == [], (text, wanted, made)
        own = [line for line in text.split("\n") if line.endswith(f"# behind {n}")]
        assert [line for line in own if block and line not in lines] == []
    assert made.endswith("z: 2  # the end\n")
