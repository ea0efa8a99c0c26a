"""Tables for terminals, aligned by cells, so that Korean names do not push columns about."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

from synapse_apply.views.cells import cells, pad
from synapse_apply.views.pen import Pen
from synapse_apply.views.safety import clean, disarm

_GAP = "  "
# A cell that is wider pushes its own line: no text may make a thousand others as long as itself.
WIDEST = 120


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
    heads = [clean(header).upper() for header in headers]
    body = [_cells(row, len(heads)) for row in rows]
    widths = _widths(heads, body)
    lines = [Pen(color)(_line(heads, widths, right), "bold")]
    lines += [_line(row, widths, right) for row in body]
    return disarm("\n".join(lines) + "\n")


def stream_table(
    headers: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    color: bool = False,
    right: Collection[int] = (),
    ahead: int = 100,
) -> Iterator[str]:
    """The same in pieces, for rows that are still to come: nothing at all when there are none.

    The first `ahead` rows decide how wide columns are; a wider cell later pushes its own line.
    """
    heads = [clean(header).upper() for header in headers]
    body = (_cells(row, len(heads)) for row in rows)
    first = list(islice(body, ahead))
    if not first:
        return
    widths = _widths(heads, first)
    lines = [_line(row, widths, right) for row in first]
    yield disarm("\n".join([Pen(color)(_line(heads, widths, right), "bold"), *lines]) + "\n")
    for row in body:
        yield disarm(_line(row, widths, right) + "\n")


def _cells(row: Sequence[object], count: int) -> list[str]:
    texts = [clean("" if cell is None else cell) for cell in row]
    return [*texts, *[""] * (count - len(texts))][:count]


def _widths(heads: Sequence[str], body: Sequence[Sequence[str]]) -> list[int]:
    return [min(max(map(cells, column)), WIDEST) for column in zip(heads, *body, strict=True)]


def _line(row: Sequence[str], widths: Sequence[int], right: Collection[int]) -> str:
    padded = (
        pad(cell, width, right=at in right)
        for at, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return _GAP.join(padded).rstrip()
