"""Blocks of a plan as lines of a diff: `+` and `-` stand at the margin, `~` becomes `!`."""

from __future__ import annotations

from collections.abc import Iterator

from synapse_apply.model.frozen import frozen
from synapse_apply.views.pen import Pen

# Values are clean when they are laid out, so none of them can hold this.
_MARK = "\0"
_MARGIN = {"+": "+", "-": "-", "~": "!", "!": "!"}


@frozen
class DiffPen(Pen):
    """Marks the symbols that the layout itself writes, so that a value never passes for one."""

    color: bool = False

    def __call__(self, text: str, style: str) -> str:
        """The text, its first character marked where the style is a symbol."""
        if style not in _MARGIN:
            return text
        indent = len(text) - len(text.lstrip(" "))
        return f"{text[:indent]}{_MARK}{text[indent:]}"


def diff_lines(block: str) -> Iterator[str]:
    """The lines of what was written with a DiffPen, every marked symbol moved to the margin."""
    for line in block.split("\n"):
        head, mark, rest = line.partition(_MARK)
        if mark:
            yield f"{_MARGIN[rest[0]]}{head}{rest[1:]}".replace(_MARK, "").rstrip()
        else:
            yield line if not line or line[0] == " " else f" {line}"
