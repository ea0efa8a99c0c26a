"""How links are signed, so that who may write to the store and has no key cannot forge a state."""

from __future__ import annotations

from typing import Protocol


class Signer(Protocol):
    """Signs short texts with the key of a state.

    `is_renewed`: another key took the place of the one that signed what is stored, so that it is to
    begin anew where it is replaced.
    """

    @property
    def is_renewed(self) -> bool: ...

    def sign_or_empty_without_key(self, content: str) -> str:
        """The signature of a text, in one line; "" without a key."""
        ...

    def is_genuine_or_none_if_uncheckable(self, content: str, signature: str) -> bool | None:
        """Whether a signature is genuine; None if its key, or any key, is not at hand.

        A missing signature ("") is not genuine where there is a key.
        """
        ...

    def describe_places_to_put_key(self) -> str:
        """Where a key is to be put so that it is at hand, as a part of a sentence."""
        ...


class UnsignedStateSigner:
    """A Signer without a key, for a state whose links are not signed."""

    is_renewed = False

    def sign_or_empty_without_key(self, content: str) -> str:
        """No signature."""
        del content
        return ""

    def is_genuine_or_none_if_uncheckable(self, content: str, signature: str) -> bool | None:
        """True without a signature, for there is nothing to check; else None."""
        del content
        return None if signature else True

    def describe_places_to_put_key(self) -> str:
        """No place in particular: no key is looked for."""
        return "the place where commands look for it"
