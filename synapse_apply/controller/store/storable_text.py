"""Which texts both databases can hold."""

from __future__ import annotations

_NUL_SIGN = "\N{SYMBOL FOR NULL}"


def make_storable(text: str) -> str:
    """A text without NUL, which PostgreSQL cannot hold, and without surrogates, which none can.

    Others are given back as they are.
    """
    if text.isprintable():
        return text
    return text.replace("\0", _NUL_SIGN).encode("utf-8", "replace").decode()
