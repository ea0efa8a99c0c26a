"""Texts that libyaml composes as a whole mean what the builder of documents makes of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from fuzz.yaml_mutations import mutated_text
from hypothesis import given, settings
from hypothesis import strategies as st

from synapse_apply.manifests.yaml import reader
from synapse_apply.manifests.yaml.reader import ReadResult, compose_plain_documents, read_documents

EXAMPLES = 3000 if os.environ.get("SYNAPSE_APPLY_TEST_DEEP") else 60
ROOT = Path(__file__).resolve().parents[3]
MANIFESTS = sorted({*ROOT.glob("examples/**/*.yaml"), *ROOT.glob("tests/frozen/**/*.yaml")})
PLAIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: yolo, labels: {team: "vision", "null": no}}
spec:
  name: 값 이름
  version: "1.0"
  count: 12
  ratio: -0.5
  none: ~
  empty:
  list:
  - a
  - {b: [1, true, null]}
  - - nested
  text: |
    several
    lines
---
---
# nothing
--- plain words
"""
PIECES = st.sampled_from(
    [
        *"\t\n\r {}[]:-?,'\"|>#%é값\x85\u2028", "---\n", "null", "true", "1.10", "0x1F", "1e999",
        "- ", ": ", "? ", "<<: ", "a: ", "a: 1\n", "  b: c\n", '"q": ', "{}", "[]", "&a ", "*a",
        "!!str ", "! ", "%YAML 1.2\n", "\ufeff", "...\n",
    ]
)  # fmt: skip


@contextmanager
def built_alone() -> Iterator[None]:
    """No text counts as plain."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "compose_plain_documents", lambda _text, _first_line: None)
        yield


def as_built(data: bytes | str) -> ReadResult:
    with built_alone():
        return read_documents(data, "f")


def require_same(data: bytes | str) -> None:
    """The values, their types and all positions are the same, and so are the findings."""
    composed, built = read_documents(data, "f"), as_built(data)
    assert composed.diagnostics == built.diagnostics
    assert [repr(each.value) for each in composed.documents] == [
        repr(each.value) for each in built.documents
    ]
    assert [each.position_tree for each in composed.documents] == [
        each.position_tree for each in built.documents
    ]


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_manifest_reads_the_same(file: Path) -> None:
    """Each file that users start from."""
    require_same(file.read_bytes())


def test_a_usual_text_is_plain() -> None:
    """Else the quick way is none."""
    assert compose_plain_documents(PLAIN, 0) is not None
    require_same(PLAIN)
    require_same(PLAIN.replace("\n", "\r\n"))


@pytest.mark.parametrize(
    "text",
    [
        "a: &x 1\nb: *x\n",
        '{"a":&x 1, "b":*x}',
        "a: !!str 1\n",
        "a: ! 1\n",
        "a: 1\na: 2\n",
        "1: a\n",
        "<<: {a: b}\n",
        "? {a: b}\n: c\n",
        "a: 1e999\n",
        "a: " + "9" * 1200,
        "a: [",
        "a: 1\n---\nb: [\n---\nc: 1\n",
        "[" * 60 + "]" * 60,
        "- " * 80 + "x",
        "- " * 20 + "x",
    ],
)
def test_what_is_not_plain_reads_the_same(text: str) -> None:
    """What there is something to say of is left to the builder."""
    require_same(text)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "-\t", "{? "])
@pytest.mark.parametrize("before", ["", "a: b\n---\n", "a: b\r---\r", "a: 값\u2028---\u2028"])
def test_what_is_very_deep_is_never_composed(opening: str, before: str) -> None:
    """A level of the composer is a call in C, and nothing would bound them."""
    text = before + opening * 100_000
    assert compose_plain_documents(text, 0) is None
    require_same(text)


@given(st.lists(PIECES, max_size=40).map("".join))
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_text_reads_the_same(text: str) -> None:
    """Whatever stands in it."""
    require_same(text)


@given(st.integers(0, 2**32))
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_changed_manifest_reads_the_same(seed: int) -> None:
    """Whatever was done to one."""
    random = Random(seed)
    require_same(mutated_text(PLAIN, [PLAIN], random))
