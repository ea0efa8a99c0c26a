"""How tables are laid out: aligned by terminal cells, which differ from characters in Korean."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

from synapse_apply.views.sanitize import escape_ci_commands, sanitize
from synapse_apply.views.text.cells import measure_width, pad_to_width
from synapse_apply.views.text.style import Style

_COLUMN_GAP = "  "
# A wider cell shifts only its own line; otherwise one long text would widen all lines.
MAX_COLUMN_WIDTH = 120


def render_table(
    headers: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    color: bool = False,
    right_columns: Collection[int] = (),
) -> str:
    """A table that ends with a newline: upper-case headers, then a line a row.

    `right_columns` are the columns aligned on the right. A row may be shorter than the headers.
    Nothing is cut, so that the text of a column can be copied.
    """
    header_texts = [sanitize(header).upper() for header in headers]
    body = [_sanitize_and_fit_row(row, len(header_texts)) for row in rows]
    widths = _measure_column_widths(header_texts, body)
    lines = [Style(color)(_format_row(header_texts, widths, right_columns), "bold")]
    lines += [_format_row(row, widths, right_columns) for row in body]
    return escape_ci_commands("\n".join(lines) + "\n")


def stream_table(
    headers: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    color: bool = False,
    right_columns: Collection[int] = (),
    sample_size: int = 100,
) -> Iterator[str]:
    """As `render_table`, in pieces as rows arrive; nothing at all without rows.

    The first `sample_size` rows decide the column widths; a wider cell later shifts its own
    line.
    """
    header_texts = [sanitize(header).upper() for header in headers]
    body = (_sanitize_and_fit_row(row, len(header_texts)) for row in rows)
    first_rows = list(islice(body, sample_size))
    if not first_rows:
        return
    widths = _measure_column_widths(header_texts, first_rows)
    lines = [_format_row(row, widths, right_columns) for row in first_rows]
    yield escape_ci_commands(
        "\n".join([Style(color)(_format_row(header_texts, widths, right_columns), "bold"), *lines])
        + "\n"
    )
    for row in body:
        yield escape_ci_commands(_format_row(row, widths, right_columns) + "\n")


def _sanitize_and_fit_row(row: Sequence[object], column_count: int) -> list[str]:
    texts = [sanitize("" if cell is None else cell) for cell in row]
    return [*texts, *[""] * (column_count - len(texts))][:column_count]


def _measure_column_widths(header_texts: Sequence[str], body: Sequence[Sequence[str]]) -> list[int]:
    return [
        min(max(map(measure_width, column)), MAX_COLUMN_WIDTH)
        for column in zip(header_texts, *body, strict=True)
    ]


def _format_row(row: Sequence[str], widths: Sequence[int], right_columns: Collection[int]) -> str:
    padded = (
        pad_to_width(cell, width, align_right=index in right_columns)
        for index, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return _COLUMN_GAP.join(padded).rstrip()
