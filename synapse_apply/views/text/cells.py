"""How many terminal cells a text takes: East Asian wide characters two, combining marks none."""

from __future__ import annotations

import unicodedata


class _CellWidths(dict[str, int]):
    """The width of each character in cells, looked up when it is met first."""

    def __missing__(self, char: str) -> int:
        if unicodedata.category(char) in {"Mn", "Me", "Cf"}:
            width = 0
        else:
            width = 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1
        self[char] = width
        return width


_CELL_WIDTHS = _CellWidths()


def measure_width_in_terminal_cells(text: str) -> int:
    """The width of a sanitized text in terminal cells (Unicode TR11)."""
    if text.isascii():
        return len(text)
    return sum(map(_CELL_WIDTHS.__getitem__, text))


def pad_to_width(text: str, width: int, *, align_right: bool = False) -> str:
    """A sanitized text padded with spaces to a width in cells; a longer one stays as it is."""
    padding = " " * max(0, width - measure_width_in_terminal_cells(text))
    return padding + text if align_right else text + padding
