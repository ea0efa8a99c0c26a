"""The reader: values, positions of every key and item, several documents, broken ones."""

from __future__ import annotations

import gc

import pytest

from synapse_apply.manifests.yaml import reader
from synapse_apply.manifests.yaml.reader import read_documents, read_single_mapping
from synapse_apply.model.diagnostic import FieldPath, Position, find_nearest_position
from synapse_apply.model.errors import InputError

TEXT = """\
# a comment
spec:
  configuration: {bucket_name: b, keys: [a, {deep: 1}]}
  text: |
    no: key
---
second: 2
"""


def place(text: str, path: FieldPath, document: int = 0) -> tuple[int, int]:
    position = read_documents(text, "f.yaml").documents[document].positions[path]
    return position.line, position.column


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ((), (2, 1)),
        (("spec",), (2, 1)),
        (("spec", "configuration"), (3, 3)),
        (("spec", "configuration", "bucket_name"), (3, 19)),
        (("spec", "configuration", "keys", 0), (3, 42)),
        (("spec", "configuration", "keys", 1, "deep"), (3, 46)),
        (("spec", "text"), (4, 3)),
    ],
)
def test_every_key_and_item_has_its_place(path: FieldPath, where: tuple[int, int]) -> None:
    """Line and column from 1, of the key of a map and of the item of a list."""
    assert place(TEXT, path) == where


def test_a_later_document_has_the_lines_of_the_file() -> None:
    """Lines count from the beginning of the file."""
    assert place(TEXT, ("second",), 1) == (7, 1)


def test_columns_count_characters() -> None:
    """A wide character is one column, whatever bytes it takes."""
    assert place('{이름: "값", b: 1}', ("b",)) == (1, 11)


def test_all_paths_can_be_walked() -> None:
    """The table iterates over all that has a place."""
    positions = read_documents("a: {b: [1, 2]}", "f").documents[0].positions
    assert set(positions) == {(), ("a",), ("a", "b"), ("a", "b", 0), ("a", "b", 1)}
    assert len(positions) == 5


@pytest.mark.parametrize("path", [("c",), ("a", 0), ("a", "b", 2), ("a", "b", -1), ("a", "b", "0")])
def test_a_path_that_is_not_there_has_the_place_of_what_is_above(path: FieldPath) -> None:
    """Nothing is invented, and the nearest place is found."""
    positions = read_documents("a: {b: [1, 2]}", "f").documents[0].positions
    assert path not in positions
    assert find_nearest_position(positions, path) is not None


def test_empty_documents_are_left_out() -> None:
    """Separators and comments alone make no document."""
    assert [
        d.value for d in read_documents("---\n# only this\n---\n---\na: 1\n...\n", "f").documents
    ] == [{"a": 1}]


def test_aliases_are_values() -> None:
    """An alias stands for the anchor's value, and as a key for its text."""
    value = read_documents("a: &x {b: 1}\nc: *x\nd: &k key\n*k : 2\n", "f").documents[0].value
    assert value == {"a": {"b": 1}, "c": {"b": 1}, "d": "key", "key": 2}


def test_a_broken_document_does_not_hide_the_next() -> None:
    """Reading goes on at the next document, with its own lines."""
    reading = read_documents("a: 'x\n---\nb: 1\n---\nc: [\n---\nd: 2\n", "f")
    assert [d.value for d in reading.documents] == [{"b": 1}, {"d": 2}]
    assert [str(f.position) for f in reading.diagnostics] == ["f:2:1", "f:6:1"]
    assert str(reading.documents[1].position) == "f:7:1"


def test_core_tags_are_taken() -> None:
    """`!!str` is a way to quote."""
    reading = read_documents("a: !!str 1.10\nb: ! 5\n", "f")
    assert reading.documents[0].value == {"a": "1.10", "b": "5"}
    assert not reading.diagnostics


def test_line_ends_of_windows_are_line_ends() -> None:
    """CR LF counts as one."""
    assert place("a: 1\r\nb: 2\r\n", ("b",)) == (2, 1)


def test_the_source_text_of_a_number_is_known() -> None:
    """`1.10` is told as it was written, not as the number it became."""
    document = read_documents("a: {version: 1.10, b: 0x1F} # note\n", "f").documents[0]
    for key, value, written in (("version", 1.1, "1.10"), ("b", 31, "0x1F")):
        position = document.positions["a", key]
        assert document.source.scalar_text(position, value) == written


def test_the_port_for_other_layers_gives_one_mapping() -> None:
    """(mapping, positions), an empty one for an empty text."""
    value, positions = read_single_mapping("name: Yolo\n", "config.yaml")
    assert value == {"name": "Yolo"}
    assert positions["name",] == Position("config.yaml", 1, 1)
    assert read_single_mapping("# nothing\n", "config.yaml")[0] == {}


@pytest.mark.parametrize("text", ["- a\n", "a: 1\na: 2\n", "a: 1\n---\nb: 2\n", "a: [\n"])
def test_the_port_refuses_what_is_no_mapping(text: str) -> None:
    """InputError with a place."""
    with pytest.raises(InputError) as caught:
        read_single_mapping(text, "config.yaml")
    assert all(finding.position for finding in caught.value.diagnostics)


def test_the_pure_parser_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML has no libyaml, its own parser stands in."""
    import yaml

    fast = read_documents(TEXT, "f").documents
    monkeypatch.setattr(reader, "create_yaml_parser", yaml.SafeLoader)
    monkeypatch.setattr(reader, "_import_composer", lambda: None)
    slow = read_documents(TEXT, "f").documents
    assert [d.value for d in slow] == [d.value for d in fast]
    assert [dict(d.positions) for d in slow] == [dict(d.positions) for d in fast]
    broken = read_documents("a: [1\n---\nb: 2\n\tc: 3\n", "f")
    assert len(broken.diagnostics) == 2


def test_reading_gives_up_on_a_file_that_is_all_errors() -> None:
    """And says that it did."""
    reading = read_documents("a: [\n---\n" * 200, "f")
    assert reading.diagnostics[-1].summary == "Too many syntax errors"
    assert len(reading.diagnostics) < 100


def test_nothing_of_a_reading_waits_for_the_garbage_collection() -> None:
    """A project has thousands of files, and a command collects no garbage while it reads them."""
    text = "a: &x {b: [1, *x2, 2]}\nc: &x2 {}\nd: *x2\n"
    read_documents(text, "m.yaml")
    gc.collect()
    gc.disable()
    try:
        collected = []
        for _ in range(5):
            read_documents(text, "m.yaml")
            collected.append(gc.collect())
        # A thread that an earlier test left behind may end meanwhile; each reading would leave some.
        assert min(collected) == 0, collected
    finally:
        gc.enable()
