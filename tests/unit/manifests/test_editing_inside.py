"""Lists and maps change from within: what stays the same keeps its bytes, its comments too."""

from __future__ import annotations

import time

import pytest

from synapse_apply.manifests.yaml.editing import Edit, apply_edits
from synapse_apply.model.errors import InputError
from synapse_apply.model.values import ABSENT

CLASSES = """\
v:
- car      # id 0, do not reorder
# people are labelled twice
- 'person'   # id 1
- bus      # id 2
w: 1
"""
STEPS = """\
v:
  - name: a  # the first
    run: |   # keep in sync with ops/run.sh
      echo a
      echo b
    retries: 1  # see INC-42
    # timeout: 5
  # b waits for a
  - name: b
    needs: [a]   # in order
  - {name: c}  # short
"""
A = {"name": "a", "run": "echo a\necho b\n", "retries": 1}
B, C = {"name": "b", "needs": ["a"]}, {"name": "c"}
BRACKETS = """\
v: [
  car,   # id 0
  # people are labelled twice
  person, # id 1
  "bus"     # id 2
]
"""


def put(text: str, path: tuple[str | int, ...], value: object) -> str:
    return apply_edits(text, "m.yaml", [Edit(path, value, allow_collections=True)])


def changed(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("text", "value", "pairs"),
    [
        (CLASSES, ["cars", "person", "buses"], [("car ", "cars "), ("bus ", "buses ")]),
        (CLASSES, ["car", "people", "bus"], [("'person'", "'people'")]),
        (CLASSES, ["car", "bus"], [("# people are labelled twice\n- 'person'   # id 1\n", "")]),
        (CLASSES, ["person", "bus"], [("- car      # id 0, do not reorder\n", "")]),
        (CLASSES, ["car", "person", "tram", "bus"], [("- bus", "- tram\n- bus")]),
        (CLASSES, ["x", "car", "person", "bus"], [("- car", "- x\n- car")]),
        (STEPS, [{**A, "retries": 2}, B, C], [("retries: 1", "retries: 2")]),
        (STEPS, [{**A, "retries": 1.0, "x": None}, B, {"name": "d"}], [("{name: c}", "{name: d}")]),
        (STEPS, [A, {**B, "needs": ["a", "c"]}, C], [("needs: [a]", "needs: [a, c]")]),
        (STEPS, [A, {"needs": ["a"]}, C], [("- name: b\n    needs", "- needs")]),
        (STEPS, [A, C], [("  # b waits for a\n  - name: b\n    needs: [a]   # in order\n", "")]),
        (STEPS, [{**A, "run": 5}, B, C],
         [("|   # keep in sync with ops/run.sh\n      echo a\n      echo b\n",
           "5   # keep in sync with ops/run.sh\n")]),
        (STEPS, [A, {"name": "n", "run": "x\ny\n", "l": [1]}, B, C],
         [("  # b waits",
           "  - name: n\n    run: |\n      x\n      y\n    l:\n      - 1\n  # b waits")]),
        (STEPS, [A, B, "text"], [("{name: c}", "text")]),
        (STEPS, [A, "text", C], [("name: b\n    needs: [a]   # in order\n", "text\n")]),
        (BRACKETS, ["cars", "person", "no"], [("car,", "cars,"), ('"bus"', '"no"')]),
        (BRACKETS, ["car", "bus"], [("  # people are labelled twice\n  person, # id 1\n", "")]),
        (BRACKETS, ["car", "person"], [("person,", "person"), ('  "bus"     # id 2\n', "")]),
        (BRACKETS, ["car", "x", "person", "bus", "y"],
         [("# id 0\n", "# id 0\n  x,\n"), ('"bus"  ', '"bus",  '), ("# id 2\n", "# id 2\n  y\n")]),
    ],
)  # fmt: skip
def test_only_what_differs_is_written(
    text: str, value: object, pairs: list[tuple[str, str]]
) -> None:
    """Items and keys are edited one by one; what goes takes its comments along, and no others."""
    assert put(text, ("v",), value) == changed(text, *pairs)
    windows = put(text.replace("\n", "\r\n"), ("v",), value)
    assert windows == changed(text, *pairs).replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ("v: [\n  a, # one\n  b  # two\n]\n", [], "v: []\n"),
        ("v: [\n  # all\n  a, # one\n  b  # two\n]\n", [], "v: [\n  # all\n]\n"),
        ("v: {a: 1, # one\n    b: 2} # end\n", {"b": 2}, "v: {\n    b: 2} # end\n"),
        ("v: {a: 1, # one\n    b: 2} # end\n", {"c": 3}, "v: {c: 3 # one\n    } # end\n"),
        ('v: {"a": [1, 2]}\n', {"a": [1], "b": {"c": "d"}}, 'v: {"a": [1], "b": {"c": "d"}}\n'),
        ("v: {a, b: 1}\n", {"a": 5, "b": 1}, "v: {a: 5, b: 1}\n"),
        ("v: [a: 1, b]\n", [{"a": 2}, "b"], "v: [{a: 2}, b]\n"),
        ("v:\n  - - a\n    # about b\n    - b # two\n  - c\n", [["b"], "c"],
         "v:\n  -\n    # about b\n    - b # two\n  - c\n"),
        ("v:\n  - - a\n    - b # two\n  - c\n", [["x", "a", "b"], "c"],
         "v:\n  - - x\n    - a\n    - b # two\n  - c\n"),
        ("v:\n  -   a: 1 # one\n      b: 2\n", [{"a": 1, "b": 2}, {"c": 3, "d": 4}],
         "v:\n  -   a: 1 # one\n      b: 2\n  -   c: 3\n      d: 4\n"),
        ('v:\n  - "a"\n  - "b"\n', ["a", "b", "c"], 'v:\n  - "a"\n  - "b"\n  - "c"\n'),
        ("v:\n  -\n  - # two\n    k: 1\n", [5, {"k": 2}], "v:\n  - 5\n  - # two\n    k: 2\n"),
        ("v:\n  - &a x # one\n  - y # two\n", ["x", "z"], "v:\n  - &a x # one\n  - z # two\n"),
        ("v:\n- a # one\n- |+\n  x\n\nw: 1\n", ["a", "x\n\n", "c"],
         "v:\n- a # one\n- |+\n  x\n\n- c\nw: 1\n"),
        ("v:\n  - a: 1\n    b: 2 # two\n  - c\n", [["l"], "c"], "v:\n  - - l\n  - c\n"),
        ("v:\n  - a: 1 # one\n", [{}], "v:\n  - {} # one\n"),
    ],
)  # fmt: skip
def test_other_layouts(before: str, value: object, after: str) -> None:
    """Brackets over several lines, lists in lists, pairs without brackets, wide indentation."""
    assert put(before, ("v",), value) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("s:\n  v: 1\nz: 1\n", "s: {}\nz: 1\n"),
        ("s:  # all of it\n  v: 1  # gone with it\nz: 1\n", "s: {}  # all of it\nz: 1\n"),
        ("s:\n  # tuned by hand\n  v: 1\n\n  # w: 2\nz: 1\n",
         "s: {}\n  # tuned by hand\n\n  # w: 2\nz: 1\n"),
        ("s:\r\n  v:\r\n    - 1\r\n", "s: {}\r\n"),
        ("s: &s\n  v: 1\n", "s: &s {}\n"),
        ("s:\n  v: 1", "s: {}\n"),
        ("s: {v: 1}  # flow\n", "s: {}  # flow\n"),
    ],
)  # fmt: skip
def test_the_last_key_of_a_map(before: str, after: str) -> None:
    """Its map stays, empty; comments on lines of their own stay where they are."""
    assert put(before, ("s", "v"), ABSENT) == after


def test_keys_of_maps_that_become_others() -> None:
    """Whole maps change key by key, whatever the order of what is asked for."""
    text = "m: # head\n  a: 1  # one\n  # about b\n  b:\n    c: [x]  # list\n    d: 2\n"
    wanted = {"n": "x\ny\n", "b": {"d": 2, "c": ["x", "y"]}, "a": 1}
    after = "m: # head\n  a: 1  # one\n  # about b\n  b:\n    c: [x, y]  # list\n    d: 2\n"
    assert put(text, ("m",), wanted) == after + "  n: |\n    x\n    y\n"
    assert put(text, ("m",), {"c": 1}) == "m: # head\n  c: 1\n  # about b\n"
    assert put(text, ("m",), {"b": {"d": 2, "c": ["x"]}, "a": 1}) == text


def test_an_item_is_known_by_what_it_says() -> None:
    """Where one item went and the next one changed, each keeps its own comments or takes them."""
    text = "v:\n- name: a # first\n  n: 1\n- name: b # second\n  n: 1\n- name: c # third\n"
    found = put(text, ("v",), [{"name": "b", "n": 2}, {"name": "c"}, {"name": "d", "n": 1}])
    assert found == "v:\n- name: b # second\n  n: 2\n- name: c # third\n- name: d\n  n: 1\n"


def test_a_comment_is_told_before_it_is_lost() -> None:
    """What can only be written anew as a whole is not, where a comment stands in it."""
    text = "v:\n  - &a {x: 1}  # one\n  - *a\n"
    with pytest.raises(InputError) as caught:
        put(text, ("v",), [{"x": 2}, {"x": 1}])
    (found,) = caught.value.diagnostics
    assert found.detail == "`v`: its comment `# one` would be lost."
    assert found.hint == "Edit the file manually."
    assert put(text.replace("  # one", ""), ("v",), [{"x": 2}, {"x": 1}])


def test_a_long_list() -> None:
    """Thousands of items are no matter of minutes, and each keeps its comment."""
    text = "v:\n" + "".join(f"- v{n % 900}  # {n}\n" for n in range(3000))
    items = [f"v{n % 900}" for n in range(3000)]
    wanted = [*(one + "x" if n % 7 == 0 else one for n, one in enumerate(items)), "new"]
    begun = time.process_time()
    made = put(text, ("v",), wanted)
    assert time.process_time() - begun < 60
    assert made.count("#") == 3000
