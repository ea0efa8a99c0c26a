"""Tables for terminals, aligned by cells, so that Korean names do not push columns about."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from synapse_apply.views.cells import cells, pad
from synapse_apply.views.pen import Pen
from synapse_apply.views.safety import clean, disarm

_GAP = "  "


def render_table(
    headers: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    color: bool = False,
    right: Collection[int] = (),
) -> str:
    """A table that ends with a newline: upper-case headers, then a line a row.

    `right` are the columns aligned on the right. A row may be shorter than the headers. Nothing is
    cut, so that what stands in a column can be copied.
    """
    pen = Pen(color)
    heads = [clean(header).upper() for header in headers]
    body = [[clean("" if cell is None else cell) for cell in row] for row in rows]
    body = [[*row, *[""] * (len(heads) - len(row))][: len(heads)] for row in body]
    widths = [max(map(cells, column)) for column in zip(heads, *body, strict=True)]
    lines = [pen(_line(heads, widths, right), "bold")]
    lines += [_line(row, widths, right) for row in body]
    return disarm("\n".join(lines) + "\n")


def _line(row: Sequence[str], widths: Sequence[int], right: Collection[int]) -> str:
    padded = (
        pad(cell, width, right=at in right)
        for at, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return _GAP.join(padded).rstrip()
