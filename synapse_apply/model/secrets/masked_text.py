"""Texts of a server with a secret in them: they print masked, and are compared and sent whole."""

from __future__ import annotations

from typing import Any


# The original is kept for three readers alone: a comparison at a secret place, a request back to
# that server, and the link to a next page. An id that is masked is no id: a call that answered one
# is unknown.
class MaskedText(str):
    """A server's text with secrets masked in it; every reader of the text sees the mask.

    `original` is what the server answered. Only a comparison at a secret place, a request back to
    the same server and the link to a list's next page may use it, by `unmask_value`.
    """

    __slots__ = ("original",)
    original: Any

    @classmethod
    def from_original(cls, masked: str, original: Any) -> MaskedText:
        """The text to show of an original, which is a text or a number."""
        result = cls(masked)
        result.original = original
        return result

    def __reduce__(self) -> Any:
        """A copy or a serialised form is the masked text alone."""
        return str, (str(self),)


def unmask_value(value: Any) -> Any:
    """A JSON value with every masked text, keys included, as the server answered it."""
    if isinstance(value, MaskedText):
        return value.original
    if type(value) is dict:
        return {unmask_value(key): unmask_value(inner) for key, inner in value.items()}
    if type(value) is list:
        return [unmask_value(item) for item in value]
    return value


def contains_masked_text(value: Any) -> bool:
    """Whether a JSON value has a masked text in it, keys included."""
    if isinstance(value, dict):
        return any(
            contains_masked_text(key) or contains_masked_text(inner) for key, inner in value.items()
        )
    if isinstance(value, list):
        return any(map(contains_masked_text, value))
    return isinstance(value, MaskedText)
