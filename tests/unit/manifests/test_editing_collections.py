"""Lists, maps and whole keys of a YAML text change in place; all that is not meant stays."""

from __future__ import annotations

import pytest

from synapse_apply.manifests.yaml.editing import Edit, apply_edits
from synapse_apply.model.errors import InputError
from synapse_apply.model.values import ABSENT


def put(text: str, path: tuple[str | int, ...], value: object) -> str:
    return apply_edits(text, "m.yaml", [Edit(path, value, allow_collections=True)])


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ("v: [a, b]  # two\n", ["a"], "v: [a]  # two\n"),
        ("v: [a]\n", [], "v: []\n"),
        ("v:\n  - a  # first\n  - b\n# end\n", ["a", "b", "c"],
         "v:\n  - a  # first\n  - b\n  - c\n# end\n"),
        ("v:\n- a\n# why b\n- 'b'\n- c # last\nw: 1\n", ["a", "c"], "v:\n- a\n- c # last\nw: 1\n"),
        ("v:\r\n  - a # one\r\n  - b\r\n", ["a", "x", "b"], "v:\r\n  - a # one\r\n  - x\r\n  - b\r\n"),
        ("v:\n  - a\n  - b # two\n", ["x", "b"], "v:\n  - x\n  - b # two\n"),
        ("v:\n  - a\n", ["x", {"k": [1]}], "v:\n  - x\n  - {k: [1]}\n"),
        ("v:\n  - a\n  - b\nw: 1\n", [], "v: []\nw: 1\n"),
        ("v:\n  - a\nw: 1\n", "text", "v: text\nw: 1\n"),
        ("v:\n  a: 1\nw: 1\n", {"b": {"c": [1, 2]}, "d": {}},
         "v:\n  b:\n    c:\n      - 1\n      - 2\n  d: {}\nw: 1\n"),
        ("v: {a: 1}\n", {"b": "x, y"}, 'v: {b: "x, y"}\n'),
        ("v: 1  # one\n", [1, "no"], 'v: [1, "no"]  # one\n'),
        ("v:\nw: 1\n", {"a": 1}, "v: {a: 1}\nw: 1\n"),
    ],
)  # fmt: skip
def test_a_list_or_a_map_becomes_another_one(before: str, value: object, after: str) -> None:
    """Lines of items that stay are not touched; brackets stay brackets."""
    assert put(before, ("v",), value) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a: 1\nv: 2  # gone with it\n\n# about b\nb: 3\n", "a: 1\n\n# about b\nb: 3\n"),
        ("a: 1\nv:\n  - x\n  - y\n", "a: 1\n"),
        ("{a: 1, v: 2, b: 3}", "{a: 1, b: 3}"),
        ("{v: 2, b: 3}", "{b: 3}"),
        ("{a: 1, v: [2]}", "{a: 1}"),
        ("{v: 2}", "{}"),
        ("a: 1\r\nv: |\r\n  x\r\n", "a: 1\r\n"),
        ("v: 2\n", "{}\n"),
        ("a: 1\nv: 2", "a: 1\n"),
    ],
)
def test_a_key_is_taken_out(before: str, after: str) -> None:
    """With its lines, or its part of the brackets, and nothing else."""
    assert put(before, ("v",), ABSENT) == after


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ("s:\n  a: 1  # one\nz: 1\n", {"b": {"c": 1}},
         "s:\n  a: 1  # one\n  v:\n    b:\n      c: 1\nz: 1\n"),
        ("s: {a: 1}\n", [1, {"b": "x"}], "s: {a: 1, v: [1, {b: x}]}\n"),
        ("s: {}\n", {"b": 1}, "s: {v: {b: 1}}\n"),
        ("s:\n  a: 1\n", [], "s:\n  a: 1\n  v: []\n"),
    ],
)  # fmt: skip
def test_a_new_key_may_hold_a_map_or_a_list(before: str, value: object, after: str) -> None:
    """Lines where lines are, brackets in brackets."""
    assert put(before, ("s", "v"), value) == after


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("s: &s\n  v: 1\nt: *s\n", ("s", "v"), ABSENT),
        ("l:\n  - &a {x: 1}\n  - *a\n", ("l", 0, "x"), 2),
        ("v: &a [1]\nw: *a\n", ("v",), [2]),
        ("v: [&a 1]\nw: *a\n", ("v",), [2]),
    ],
)
def test_what_would_change_more_is_refused(
    text: str, path: tuple[str | int, ...], value: object
) -> None:
    """What others share through an alias."""
    with pytest.raises(InputError, match="cannot be edited in place"):
        put(text, path, value)
