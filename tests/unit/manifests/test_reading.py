"""The reader: values, positions of every key and item, several documents, broken ones."""

from __future__ import annotations

import subprocess
import sys

import pytest

from synapse_apply.manifests.yaml import reader
from synapse_apply.manifests.yaml.reader import read_documents, read_single_mapping
from synapse_apply.model.diagnostic import FieldPath, find_nearest_position
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


def test_line_ends_of_windows_are_line_ends() -> None:
    """CR LF counts as one."""
    assert place("a: 1\r\nb: 2\r\n", ("b",)) == (2, 1)


def test_the_source_text_of_a_number_is_known() -> None:
    """`1.10` is told as it was written, not as the number it became."""
    document = read_documents("a: {version: 1.10, b: 0x1F} # note\n", "f").documents[0]
    for key, value, written in (("version", 1.1, "1.10"), ("b", 31, "0x1F")):
        position = document.positions["a", key]
        assert document.source.scalar_text(position, value) == written


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
    monkeypatch.setattr(reader, "_plain_composer", lambda: None)
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


# A process of its own: threads that other tests left behind make garbage, too.
COUNT_GARBAGE = """
import gc
from synapse_apply.manifests.yaml.reader import read_documents
text = "a: &x {b: [1, *x2, 2]}\\nc: &x2 {}\\nd: *x2\\n"
read_documents(text, "m.yaml")
gc.collect()
gc.disable()
read_documents(text, "m.yaml")
print(gc.collect())
"""


def test_nothing_of_a_reading_waits_for_the_garbage_collection() -> None:
    """A project has thousands of files, and a command collects no garbage while it reads them."""
    counted = subprocess.run([sys.executable, "-c", COUNT_GARBAGE], check=True, capture_output=True)
    assert counted.stdout == b"0\n"
