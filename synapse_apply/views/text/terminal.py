"""How text is laid out on a terminal: colours, widths in cells, tables; the same rows as a diff."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice

from synapse_apply.model.frozen import frozen
from synapse_apply.views.sanitize import escape_ci_commands, sanitize

_ANSI_CODES = {
    "+": "32",
    "~": "33",
    "-": "31",
    "!": "1;31",
    ".": "36",
    "bold": "1",
    "dim": "2",
    "error": "1;31",
    "warning": "1;33",
    "note": "1;36",
    "done": "1;32",
}


@frozen
class Style:
    """Adds ANSI styles to texts, or leaves them as they are without colour."""

    color: bool

    def __call__(self, text: str, style_name: str) -> str:
        """The text in a style; unchanged for an unknown or empty style."""
        ansi_code = _ANSI_CODES.get(style_name) if self.color else None
        return f"\x1b[{ansi_code}m{text}\x1b[0m" if ansi_code and text else text

    def format_symbol_and_space(self, symbol: str) -> str:
        """A row's symbol in its colour, and the space after it."""
        return self(symbol, symbol) + " "


# Values are sanitized before they are laid out, so none of them can hold this character.
_SYMBOL_MARK = "\0"
_MARGIN_SYMBOLS = {"+": "+", "-": "-", "~": "!", "!": "!"}


@frozen
class DiffStyle(Style):
    """Marks the symbols that the layout writes, so that no `+` in a value is taken for one."""

    color: bool = False

    def __call__(self, text: str, style_name: str) -> str:
        """The text, with a mark before its first character where the style is a symbol."""
        if style_name not in _MARGIN_SYMBOLS:
            return text
        indent = len(text) - len(text.lstrip(" "))
        return f"{text[:indent]}{_SYMBOL_MARK}{text[indent:]}"


def margin_lines(block: str) -> Iterator[str]:
    """The lines of a block that was rendered with a DiffStyle, marked symbols moved to column 0."""
    for line in block.split("\n"):
        indent, mark, marked_text = line.partition(_SYMBOL_MARK)
        if mark:
            yield f"{_MARGIN_SYMBOLS[marked_text[0]]}{indent}{marked_text[1:]}".replace(
                _SYMBOL_MARK, ""
            ).rstrip()
        else:
            yield line if not line or line[0] == " " else f" {line}"


def measure_width(text: str) -> int:
    """The width of a sanitized text in terminal cells (Unicode TR11)."""
    if text.isascii():
        return len(text)
    return sum(map(_char_width, text))


# A text has few characters, many times; a server can send all of them.
@lru_cache(maxsize=4096)
def _char_width(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def pad_to_width(text: str, width: int, *, align_right: bool = False) -> str:
    """A sanitized text padded with spaces to a width in cells; a longer one stays as it is."""
    padding = " " * max(0, width - measure_width(text))
    return padding + text if align_right else text + padding


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
    return "".join(
        _table_pieces(headers, rows, color=color, right_columns=right_columns, sample_size=None)
    )


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
    rows = iter(rows)
    for first_row in rows:
        yield from _table_pieces(
            headers, chain([first_row], rows), color=color, right_columns=right_columns,
            sample_size=sample_size,
        )  # fmt: skip


def _table_pieces(
    headers: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    color: bool,
    right_columns: Collection[int],
    sample_size: int | None,
) -> Iterator[str]:
    header_texts = [sanitize(header).upper() for header in headers]
    missing = [""] * len(headers)
    body = (
        [*(sanitize("" if cell is None else cell) for cell in row), *missing][: len(headers)]
        for row in rows
    )
    first_rows = list(islice(body, sample_size))
    widths = [
        min(max(map(measure_width, column)), MAX_COLUMN_WIDTH)
        for column in zip(header_texts, *first_rows, strict=True)
    ]
    lines = [Style(color)(_format_row(header_texts, widths, right_columns), "bold")]
    lines += [_format_row(row, widths, right_columns) for row in first_rows]
    yield escape_ci_commands("\n".join(lines) + "\n")
    for row in body:
        yield escape_ci_commands(_format_row(row, widths, right_columns) + "\n")


def _format_row(row: Sequence[str], widths: Sequence[int], right_columns: Collection[int]) -> str:
    padded = (
        pad_to_width(cell, width, align_right=index in right_columns)
        for index, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return _COLUMN_GAP.join(padded).rstrip()
