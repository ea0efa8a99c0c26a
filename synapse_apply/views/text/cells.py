"""How many terminal cells a text takes: East Asian wide characters two, combining marks none."""

from __future__ import annotations

import unicodedata
from functools import lru_cache


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
