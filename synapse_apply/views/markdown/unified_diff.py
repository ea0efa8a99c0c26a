"""How a rendered block becomes a unified diff: `+` and `-` in column 0, `~` as `!`."""

from __future__ import annotations

from collections.abc import Iterator

from synapse_apply.model.frozen import frozen
from synapse_apply.views.text.style import Style

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
