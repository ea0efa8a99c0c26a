"""What a folder of an object store must offer to a chain: make once, read, list, delete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol


class ObjectInfo(NamedTuple):
    """An object as a list shows it. `age_seconds` is by the store's own clock, if it tells."""

    name: str
    size: int
    age_seconds: float | None


class ObjectFolder(Protocol):
    """One folder of a bucket. Names are relative to it, such as `links/000000000001`.

    Names have one or two folders before the last part, such as `chain-2/links/000000000001`, and
    consist of lower-case letters, digits, `-` and `/`. One thread uses it at a time.

    Every method raises StateError where the store cannot be used at all (no such bucket, no
    permission, no connection before the deadline).
    """

    @property
    def location(self) -> str:
        """The URL for messages, without credentials."""
        ...

    def try_put_if_absent_and_tell_if_certain(self, name: str, content: bytes) -> bool:
        """Ask once to make an object only if there is none; True if the store says it did.

        False decides nothing: the answer may be lost, or be a refusal that met our own request.
        The caller reads the object to find out. The same after a StateError.
        """
        ...

    def get_or_none_if_absent(self, name: str) -> bytes | None:
        """The content of an object, None if there is none."""
        ...

    def get_objects_or_none_in_order(self, names: Sequence[str]) -> list[bytes | None]:
        """The contents of several objects in their order, fetched side by side."""
        ...

    def list_objects(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """The objects whose names begin with `prefix`, sorted by name, behind the name `after`."""
        ...

    def delete_and_count_undeleted(self, names: Sequence[str]) -> int:
        """Delete objects, as far as that is permitted; returns how many could not be deleted."""
        ...

    def close(self) -> None: ...
