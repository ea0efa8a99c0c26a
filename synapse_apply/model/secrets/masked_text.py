"""How a server's text with a secret in it is masked, and who may use the original."""

from __future__ import annotations

from typing import Any

from synapse_apply.model.coding.json_types import JsonValue


# The original is kept for three readers alone: a comparison at a secret place, a request back to
# that server, and the link to a next page. An id that is masked is no id: a call that answered one
# is unknown.
class MaskedText(str):
    """A server's text with secrets masked; as a str it is the masked text.

    `original` is what the server answered. Only a comparison at a secret field, a request to
    the same server and the link to a list's next page may use it, through `unmask_value`.
    """

    __slots__ = ("original",)
    original: Any

    @classmethod
    def from_original(cls, masked: str, original: Any) -> MaskedText:
        """A masked text with its original, which is a text or a number."""
        result = cls(masked)
        result.original = original
        return result

    def __reduce__(self) -> Any:
        """Copies and pickles are the masked text alone, without the original."""
        return str, (str(self),)


def unmask_value(value: Any) -> JsonValue:
    """A JSON value with every masked text, in keys as well, replaced by its original."""
    if isinstance(value, MaskedText):
        return value.original
    if type(value) is dict:
        return {unmask_value(key): unmask_value(inner) for key, inner in value.items()}
    if type(value) is list:
        return [unmask_value(item) for item in value]
    return value


def contains_masked_text(value: Any) -> bool:
    """Whether a JSON value contains a masked text, also as a key."""
    if isinstance(value, dict):
        return any(
            contains_masked_text(key) or contains_masked_text(inner) for key, inner in value.items()
        )
    if isinstance(value, list):
        return any(map(contains_masked_text, value))
    return isinstance(value, MaskedText)
