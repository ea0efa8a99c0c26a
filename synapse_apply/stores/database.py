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
SqlRunner = Callable[[str, Sequence[Any]], list[Row]]


class Database(Protocol):
    """Connects, isolates and keeps. Every method raises StateError in words for people.

    Work is run again where a connection broke and it is certain that nothing of it was kept: it
    must do nothing but run statements.
    """

    @property
    def location(self) -> str:
        """The place as a person names it; without a password."""
        ...

    def exists(self) -> bool: ...
    def create_database(self, statements: Sequence[Statement]) -> None:
        """Make the database by these statements, wholly or not at all; it must not exist yet."""
        ...

    def read_in_snapshot(self, work: Callable[[SqlRunner], T]) -> T:
        """Do the work on one consistent snapshot."""
        ...

    def write_in_transaction(self, work: Callable[[SqlRunner], T]) -> T:
        """Do the work as one transaction, alone among all writers.

        Durable when this returns, undone when the work raises.
        """
        ...

    def hold_creation_lock(self, operation: str) -> AbstractContextManager[None]:
        """Keep others out where there is no state whose rows could; LockHeld at once if busy."""
        ...

    def write_backup(self, path: str) -> None:
        """A consistent copy, as a SQLite file, at a path that does not exist yet."""
        ...

    def replace_from_backup(
        self,
        source: str,
        check_backup: Callable[[SqlRunner], Sequence[Statement]],
        kept_path: str = "",
    ) -> str:
        """Become a copy of a backup in one step; where what was here is kept, "" where it is not.

        `check_backup` sees the backup, may refuse it, and gives statements to carry out on the
        copy. What was here is kept beside a file, else at the path `kept_path`, where one is given.
        Nothing that has a name already is overwritten: the next one gets a number.
        """
        ...

    def list_warnings(self) -> tuple[Diagnostic, ...]:
        """What is risky about this place."""
        ...

    def close(self) -> None: ...
