"""Widths in terminal cells: Hangul, kana and ideographs take two, combining marks none."""

from __future__ import annotations

import unicodedata


def cells(text: str) -> int:
    """How many cells of a terminal a clean text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_cell, text))


def _cell(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def pad(text: str, width: int, *, right: bool = False) -> str:
    """A clean text filled with spaces to a width in cells; a longer one stays as it is."""
    space = " " * max(0, width - cells(text))
    return space + text if right else text + space
