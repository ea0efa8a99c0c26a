"""One value of a YAML text changes in place; every other byte stays."""

from __future__ import annotations

import pytest

from synapse_apply.manifests.yaml.editing import Edit, apply_edits
from synapse_apply.model.errors import InputError

VERSION = ("spec", "version")
LOG = ("spec", "changelog")


def put(text: str, path: tuple[str | int, ...], value: object, **more: object) -> str:
    return apply_edits(text, "m.yaml", [Edit(path, value, **more)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ("v: 1.0.0\n", "1.1.0", "v: 1.1.0\n"),
        ("v: '1.0.0'  # why\n", "1.1.0", "v: '1.1.0'  # why\n"),
        ('v:   "1.0.0"\r\nw: 1\r\n', "1.1.0", 'v:   "1.1.0"\r\nw: 1\r\n'),
        ("v: 1.0.0", "2.0", 'v: "2.0"'),
        ("v: 1.0.0\n", "no", 'v: "no"\n'),
        ("v: 1.0.0\n", "2026-01-02", 'v: "2026-01-02"\n'),
        ("v: 1.0.0\n", "it's: so #1", 'v: "it\'s: so #1"\n'),
        ("v: 'a'\n", "it's", "v: 'it''s'\n"),
        ("v: 1\n", 2.5, "v: 2.5\n"),
        ('v: "a"\n', True, "v: true\n"),
        ("v:\nw: 1\n", "a", "v: a\nw: 1\n"),
        ("{v: 1.0.0, w: 2}", "1.1.0", "{v: 1.1.0, w: 2}"),
        ("{v: a, w: 2}", "a, b", '{v: "a, b", w: 2}'),
        ('{"v":"1.0.0"}', "1.1.0", '{"v":"1.1.0"}'),
        ("# é😀\nx: é\nv: 모델  # é\n", "새", "# é😀\nx: é\nv: 새  # é\n"),
        ("\ufeffv: 1.0.0\n", "1.1.0", "\ufeffv: 1.1.0\n"),
        ("? v\n: 1.0.0\nw: 1\n", "1.1.0", "? v\n: 1.1.0\nw: 1\n"),
        ("v: a\n  b\n  c  # three\nw: 1\n", "d", "v: d  # three\nw: 1\n"),
        ('v: "a\\\n  b"\n', "c", 'v: "c"\n'),
    ],
)
def test_a_value_keeps_its_style(before: str, value: object, after: str) -> None:
    """Quotes, comments, line ends and the mark at the start stay; quotes come where needed."""
    assert put(before, ("v",), value) == after


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ("v: |  # why\n  one\n  two\n\n# end\n", "x", "v: |-  # why\n  x\n\n# end\n"),
        ("v: >\n    a\n    b\n", "x\ny\n", "v: |\n    x\n    y\n"),
        ("v: |2\n   a\nw: 1\n", "x", "v: |-\n   x\nw: 1\n"),
        ("v: |\r\n  a\r\n", "x\n\ny", "v: |-\r\n  x\r\n\r\n  y\r\n"),
        ("v: |\n  a\n", " x", 'v: " x"\n'),
        ("v: |\n  a\n", "x\n\n", 'v: "x\\n\\n"\n'),
        ("s:\n  v: a\n", "x\ny", "s:\n  v: |-\n    x\n    y\n"),
        ("s:\n  v: a  # no\n", "x\ny", 's:\n  v: "x\\ny"  # no\n'),
        ("s: {v: a}\n", "x\ny", 's: {v: "x\\ny"}\n'),
    ],
)
def test_texts_of_several_lines(before: str, value: str, after: str) -> None:
    """A block of lines stays one, with its indentation and the comment at its head."""
    path = ("s", "v") if before.startswith("s") else ("v",)
    assert put(before, path, value) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("spec:\n  version: 1.0.0  # v\n  z: 1\n",
         "spec:\n  version: 1.0.0  # v\n  changelog: New\n  z: 1\n"),
        ("spec:\n    version: 1.0.0", "spec:\n    version: 1.0.0\n    changelog: New"),
        ("spec:\r\n  a: 1\r\n\r\n# end\r\n", "spec:\r\n  a: 1\r\n  changelog: New\r\n\r\n# end\r\n"),
        ("spec:\n  version: |\n    1.0\n\n  z: 1\n",
         "spec:\n  version: |\n    1.0\n  changelog: New\n\n  z: 1\n"),
        ("spec: {version: 1.0.0, z: 1}\n", "spec: {version: 1.0.0, changelog: New, z: 1}\n"),
        ('{"spec": {"version": "1.0.0"}}', '{"spec": {"version": "1.0.0", "changelog": "New"}}'),
        ("spec: {}\n", "spec: {changelog: New}\n"),
        ("spec:\n  'version': 1.0.0\n", "spec:\n  'version': 1.0.0\n  'changelog': New\n"),
        ("spec:\n  z:\n    - a: 1\n      b: 2\n    # about b\nend: 1\n",
         "spec:\n  z:\n    - a: 1\n      b: 2\n  changelog: New\n    # about b\nend: 1\n"),
    ],
)  # fmt: skip
def test_a_key_that_was_not_there(before: str, after: str) -> None:
    """It comes on a line of its own behind the one that is named, or last; in brackets inside."""
    assert put(before, LOG, "New", after_key="version") == after


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
