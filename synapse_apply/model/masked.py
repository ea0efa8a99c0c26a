"""Texts of a server with a secret in them: they print masked, and are compared and sent whole."""

from __future__ import annotations

from typing import Any


class MaskedText(str):
    """A server's text with secrets masked in it; every reader of the text sees the mask.

    `original` is what the server answered. Only a comparison at a secret place, a request back to
    the same server and the link to a list's next page may use it, by `as_answered`.
    """

    __slots__ = ("original",)
    original: Any

    @classmethod
    def of(cls, shown: str, original: Any) -> MaskedText:
        """The text to show of an original, which is a text or a number."""
        made = cls(shown)
        made.original = original
        return made

    def __reduce__(self) -> Any:
        """A copy or a serialised form is the masked text alone."""
        return str, (str(self),)


def as_answered(value: Any) -> Any:
    """A JSON value with every masked text, keys included, as the server answered it."""
    if isinstance(value, MaskedText):
        return value.original
    if type(value) is dict:
        return {as_answered(key): as_answered(below) for key, below in value.items()}
    if type(value) is list:
        return [as_answered(item) for item in value]
    return value


def has_masked(value: Any) -> bool:
    """Whether a JSON value has a masked text in it, keys included."""
    if isinstance(value, dict):
        return any(has_masked(key) or has_masked(below) for key, below in value.items())
    if isinstance(value, list):
        return any(map(has_masked, value))
    return isinstance(value, MaskedText)
