"""A YAML text changes in place; every other byte stays."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from synapse_apply.manifests.yaml.editing import Edit, apply_edits
from synapse_apply.model.errors import InputError
from synapse_apply.model.values import ABSENT

CASES = yaml.safe_load(
    (Path(__file__).parents[2] / "cases" / "editing.yaml").read_text(encoding="utf-8")
)
ROWS = [
    pytest.param(group, row, id=f"{group['title'][:40]} {number}")
    for group in CASES["groups"]
    for number, row in enumerate(group["rows"])
]
VERSION = ("spec", "version")
LOG = ("spec", "changelog")


def put(text: str, path: tuple[str | int, ...], value: object, **more: object) -> str:
    return apply_edits(text, "m.yaml", [Edit(path, value, **more)])  # type: ignore[arg-type]


def put_inside(text: str, path: tuple[str | int, ...], value: object) -> str:
    """As `drift --write`, which may change lists and maps, too."""
    return put(text, path, value, allow_collections=True)


@pytest.mark.parametrize(("group", "row"), ROWS)
def test_a_value_changes_in_place(group: dict[str, Any], row: list[Any]) -> None:
    """A row is the text before, the value, and the text after; without a value it is taken out."""
    before, *value, after = row
    choices = {
        "after_key": group.get("after_key", ""),
        "allow_collections": group.get("collections", False),
    }
    wanted = ABSENT if group.get("removes") else value[0]
    assert put(before, tuple(group["path"]), wanted, **choices) == after


@pytest.mark.parametrize("case", CASES["inside"])
def test_only_what_differs_is_written(case: dict[str, Any]) -> None:
    """Below `v`; what changes of the text stands in it once. Line ends stay, too."""
    text = after = CASES["texts"][case["text"]]
    for old, new in case["changes"].items():
        assert after.count(old) == 1, old
        after = after.replace(old, new)
    assert put_inside(text, ("v",), case["value"]) == after
    windows = put_inside(text.replace("\n", "\r\n"), ("v",), case["value"])
    assert windows == after.replace("\n", "\r\n")


def test_of_several_documents_one_is_edited() -> None:
    """Empty documents do not count, and the others stay as they are."""
    text = "---\n# nothing\n---\na: 1\n---\na: 1  # two\n...\n"
    assert put(text, ("a",), 2, document=1) == text.replace("a: 1  #", "a: 2  #")


def test_items_of_lists() -> None:
    """A number in a path is an item's place."""
    assert put("a:\n  - x: 1\n  - x: 1\n", ("a", 1, "x"), 2) == "a:\n  - x: 1\n  - x: 2\n"


def test_several_edits_at_once() -> None:
    """They are made one after the other; the second sees the first."""
    text = "spec:\n  version: 1.0.0\n"
    edits = [Edit(VERSION, "1.1.0"), Edit(LOG, "New", after_key="version")]
    assert apply_edits(text, "m.yaml", edits) == "spec:\n  version: 1.1.0\n  changelog: New\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("spec:\n  version: &v 1.0.0\n", "has an anchor or a tag (&v)"),
        ("spec:\n  version: !!str 1.0.0\n", "has an anchor or a tag"),
        ("v: &v 1.0.0\nspec:\n  version: *v\n", "is the alias *v"),
        ("common: &c {version: 1.0.0}\nspec: *c\n", "is the alias *c"),
        ("spec: &c {version: 1.0.0}\nother: *c\n", "would also change other values"),
        ("spec:\n  version: [1]\n", "the value there is a list or a mapping"),
        ("spec:\n", "it has no parent in the file"),
        ("spec: 5\n", "it has no parent in the file"),
        ("other: 5\n", "it has no parent in the file"),
        ("spec: [1]\n", "it has no parent in the file"),
    ],
)
def test_what_cannot_be_edited(text: str, words: str) -> None:
    """It is refused with the reason and the place, and a way out."""
    with pytest.raises(InputError) as caught:
        put(text, VERSION, "1.1.0")
    (found,) = caught.value.diagnostics
    assert words in found.detail
    assert found.detail.startswith("`spec.version`: ")
    assert found.position
    assert found.position.file == "m.yaml"
    assert "manually" in found.hint


def test_a_text_with_errors_is_not_edited() -> None:
    """What the reader says of it is told instead."""
    with pytest.raises(InputError, match="Duplicate key"):
        put("a: 1\na: 2\n", ("a",), 3)


def test_keys_of_maps_that_become_others() -> None:
    """Whole maps change key by key, whatever the order of what is asked for."""
    text = "m: # head\n  a: 1  # one\n  # about b\n  b:\n    c: [x]  # list\n    d: 2\n"
    wanted = {"n": "x\ny\n", "b": {"d": 2, "c": ["x", "y"]}, "a": 1}
    after = "m: # head\n  a: 1  # one\n  # about b\n  b:\n    c: [x, y]  # list\n    d: 2\n"
    assert put_inside(text, ("m",), wanted) == after + "  n: |\n    x\n    y\n"
    assert put_inside(text, ("m",), {"c": 1}) == "m: # head\n  c: 1\n  # about b\n"
    assert put_inside(text, ("m",), {"b": {"d": 2, "c": ["x"]}, "a": 1}) == text


def test_an_item_is_known_by_what_it_says() -> None:
    """Where one item went and the next one changed, each keeps its own comments or takes them."""
    text = "v:\n- name: a # first\n  n: 1\n- name: b # second\n  n: 1\n- name: c # third\n"
    found = put_inside(text, ("v",), [{"name": "b", "n": 2}, {"name": "c"}, {"name": "d", "n": 1}])
    assert found == "v:\n- name: b # second\n  n: 2\n- name: c # third\n- name: d\n  n: 1\n"


def test_a_comment_is_told_before_it_is_lost() -> None:
    """What can only be written anew as a whole is not, where a comment stands in it."""
    text = "v:\n  - &a {x: 1}  # one\n  - *a\n"
    with pytest.raises(InputError) as caught:
        put_inside(text, ("v",), [{"x": 2}, {"x": 1}])
    (found,) = caught.value.diagnostics
    assert found.detail == "`v`: its comment `# one` would be lost."
    assert found.hint == "Edit the file manually."
    assert put_inside(text.replace("  # one", ""), ("v",), [{"x": 2}, {"x": 1}])


def test_a_long_list() -> None:
    """Thousands of items are no matter of minutes, and each keeps its comment."""
    text = "v:\n" + "".join(f"- v{n % 900}  # {n}\n" for n in range(3000))
    items = [f"v{n % 900}" for n in range(3000)]
    wanted = [*(one + "x" if n % 7 == 0 else one for n, one in enumerate(items)), "new"]
    begun = time.process_time()
    made = put_inside(text, ("v",), wanted)
    assert time.process_time() - begun < 60
    assert made.count("#") == 3000


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
        put_inside(text, path, value)
