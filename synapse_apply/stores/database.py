"""The seam between the store's SQL and a database; a dialect is one class that fills it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from synapse_apply.model.diagnostic import Diagnostic

T = TypeVar("T")
Row = tuple[Any, ...]
Statement = tuple[str, tuple[Any, ...]]

# Runs one statement with `?` as the placeholder and gives its rows.
Run = Callable[[str, Sequence[Any]], list[Row]]


class Database(Protocol):
    """Connects, isolates and keeps. Every method raises StateError in words for people.

    Work is run again where a connection broke and it is certain that nothing of it was kept: it
    must do nothing but run statements.
    """

    @property
    def where(self) -> str:
        """The place as a person names it; without a password."""
        ...

    def exists(self) -> bool: ...
    def create(self, statements: Sequence[Statement]) -> None:
        """Make the database by these statements, wholly or not at all; it must not exist yet."""
        ...

    def read(self, work: Callable[[Run], T]) -> T:
        """Do the work on one consistent snapshot."""
        ...

    def write(self, work: Callable[[Run], T]) -> T:
        """Do the work as one transaction, alone among all writers.

        Durable when this returns, undone when the work raises.
        """
        ...

    def alone(self, operation: str) -> AbstractContextManager[None]:
        """Keep others out where there is no state whose rows could; LockHeld at once if busy."""
        ...

    def backup(self, to: str) -> None:
        """A consistent copy, as a SQLite file, at a path that does not exist yet."""
        ...

    def replace(
        self, source: str, check: Callable[[Run], Sequence[Statement]], keep: str = ""
    ) -> str:
        """Become a copy of a backup in one step; where what was here is kept, "" where it is not.

        `check` sees the backup, may refuse it, and gives statements to carry out on the copy.
        What was here is kept beside a file, else at the path `keep`, where one is given. Nothing
        that has a name already is overwritten: the next one gets a number.
        """
        ...

    def warnings(self) -> tuple[Diagnostic, ...]:
        """What is risky about this place."""
        ...

    def close(self) -> None: ...
