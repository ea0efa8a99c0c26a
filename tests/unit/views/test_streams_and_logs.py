"""Tables whose rows are still to come, and lines of logs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from synapse_apply.model.remote import LogLine
from synapse_apply.views.text.record import format_log_line
from synapse_apply.views.text.terminal import render_table, stream_table

ROWS = [("1", "탐지"), ("2", "yolo"), ("300", "x")]


def test_a_stream_reads_as_the_table_does() -> None:
    """While its first rows are as wide as the others."""
    assert "".join(stream_table(("id", "name"), ROWS)) == render_table(("id", "name"), ROWS)


def test_rows_are_taken_when_they_are_shown() -> None:
    """Not one more than is needed for the widths."""
    taken = []

    def rows() -> Iterator[tuple[str, str]]:
        for row in ROWS:
            taken.append(row)
            yield row

    pieces = stream_table(("id", "name"), rows(), sample_size=1)
    assert next(pieces) == "ID  NAME\n1   탐지\n"
    assert len(taken) == 1
    assert next(pieces) == "2   yolo\n"
    assert next(pieces) == "300  x\n"


def test_no_rows_are_no_table() -> None:
    """Not even its head."""
    assert list(stream_table(("id",), [])) == []


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (LogLine("m", "t", "info"), "[t] info: m\n"),
        (LogLine("m"), "m\n"),
        (LogLine("m", level="error"), "error: m\n"),
        (LogLine("\tin\x1b[2J"), "    in\\u001b[2J\n"),
        (LogLine("::error::x"), "\\::error::x\n"),
        (LogLine("##[group]x"), "#\\#[group]x\n"),
        (LogLine("a\u202eb", "t\n", "in\rfo"), "[t\\n] in\\rfo: a\\u202eb\n"),
    ],
)
def test_a_line_of_a_log(line: LogLine, text: str) -> None:
    """As the API page prints it; nothing in it steers a terminal or a build."""
    assert format_log_line(line, color=False) == text
