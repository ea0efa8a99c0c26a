"""Which colours text has; without colour not one escape sequence is written."""

from __future__ import annotations

from synapse_apply.model.frozen import frozen

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
