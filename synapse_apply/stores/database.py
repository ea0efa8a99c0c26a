"""The seam between the store's SQL and a database; a dialect is one class that fills it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Row = tuple[Any, ...]
Statement = tuple[str, tuple[Any, ...]]

# Runs one statement with `?` as the placeholder and gives its rows.
Run = Callable[[str, Sequence[Any]], list[Row]]


class Database(Protocol):
    """Connects, isolates and keeps. Every method raises StateError in words for people."""

    @property
    def where(self) -> str:
        """The place as a person names it; without a password."""
        ...

    def exists(self) -> bool: ...
    def create(self, statements: Sequence[Statement]) -> None:
        """Make the database by these statements, wholly or not at all; it must not exist yet."""
        ...

    def reading(self) -> AbstractContextManager[Run]:
        """One consistent snapshot."""
        ...

    def writing(self) -> AbstractContextManager[Run]:
        """One transaction, durable when the block ends well and undone when it does not."""
        ...

    def lock(self, operation: str) -> AbstractContextManager[None]:
        """Keep other processes out; LockHeld names who is in. Never called while held."""
        ...

    def backup(self, to: str) -> None:
        """A consistent copy at a path that does not exist yet."""
        ...

    def replace(self, source: str, check: Callable[[Run], Sequence[Statement]]) -> None:
        """Become a copy of a backup in one step.

        `check` sees the backup, may refuse it, and gives statements to carry out on the copy.
        """
        ...

    def close(self) -> None: ...
