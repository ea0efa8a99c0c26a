"""What a shared log needs to sign its batches: so that who has no state key cannot forge one."""

from __future__ import annotations

from typing import Protocol


class BatchSigner(Protocol):
    """Signs texts under the state key."""

    def sign(self, content: str) -> str:
        """The signature of a text; "" without a key."""
        ...

    def check(self, content: str, signature: str) -> bool | None:
        """Whether a signature is valid for a text; None where there is no key that could tell."""
        ...
