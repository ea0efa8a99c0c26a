"""The lock on a state in a database, and writing under it: nothing is written without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import RemoteError, SynapseApplyError
from synapse_apply.stores import faults, schema
from synapse_apply.stores.contents import meta_of
from synapse_apply.stores.database import Database, Row, Run
from synapse_apply.stores.group import Group
from synapse_apply.stores.holding import Holding
from synapse_apply.stores.lock import Lock, Runner
from synapse_apply.stores.notes import together

# Tells whether it changed what a read of the state gives.
Work = Callable[[Run], bool]


class Locked:
    """What a store over a Database is under its lock; SqlStore is the rest of it.

    `was_held`: it was held in this process, so the state may have changed.
    """

    def __init__(self, database: Database, runner: Runner, now: Callable[[], str]) -> None:
        self._database = database
        self._runner = runner
        self._lock = Lock(database, runner, now)
        self._holding: Holding | None = None
        self.was_held = False
        self._group = Group(self._commit, together)

    @property
    def where(self) -> str:
        """The place of this state, for messages."""
        return self._database.where

    @contextmanager
    def lock(self, operation: str, timeout: float = 0.0) -> Iterator[None]:
        """Every thread of this process may write while it is held.

        LockLost in place of an error that ends the work when the lock is lost by then: what could
        not be read or sent any more is only a consequence.
        """
        with self._locked(operation, timeout) as holding:
            try:
                yield
            except (SynapseApplyError, RemoteError):
                holding.check()
                raise

    def still_ours(self) -> bool:
        """Whether a request may be started: the lock is held and this process was not silent.

        Asks no database. What others did is noticed at the next write or sign of life.
        """
        return self._holding is not None and self._holding.ours

    def lost(self) -> bool:
        """Whether the lock that this process holds is another's by now, or may be."""
        return self._holding is not None and not self._holding.ours

    def check(self) -> None:
        if self._holding is not None:
            self._holding.check()

    def broken(self) -> bool:
        """Whether a write failed under the lock that is held, and not for what it wanted."""
        return self._group.broken

    def in_the_way(self) -> tuple[Diagnostic, ...]:
        """Who holds the lock, as a run that wants it would be told; nothing where it is free."""
        return self._lock.in_the_way()

    def unlock(self, lock_id: str) -> None:
        """Remove the lock with this id, else StateError; its holder's next write fails."""
        self._lock.remove(lock_id)

    def close(self) -> None:
        self._database.close()

    def _write(self, work: Work) -> None:
        """Do a piece of work, durably; the serial moves by one when it changed something.

        Pieces of several threads that come together share one transaction.
        """
        self._group.write(lambda run: work(run) and run(schema.ADD_TO_SERIAL, (1,)))

    def _commit(self, together: Callable[[Run], object]) -> None:
        """One transaction of the pieces that came together, by the holder of the lock."""
        holding = self._holding
        if holding is None:
            raise faults.not_locked(self.where)
        holding.check()

        def whole(run: Run) -> None:
            # Another version may have changed the format since this process looked.
            meta = self._meta(run)
            if holding.seated:
                holding.check_rows(run, *meta[schema.HOLDER])
            together(run)

        self._database.write(whole)

    def _meta(self, run: Run, where: str = "") -> Row:
        return meta_of(run, where or self.where)

    @contextmanager
    def _locked(
        self, operation: str, timeout: float = 0.0, *, repair: bool = False
    ) -> Iterator[Holding]:
        if self._holding is not None:
            raise faults.locked_here(self.where, operation)
        with self._lock.hold(operation, timeout, repair=repair) as holding:
            self._holding = holding
            self.was_held = True
            self._group.broken = False
            try:
                yield holding
            finally:
                self._holding = None

    @contextmanager
    def _locked_or_now(self, operation: str, *, repair: bool = False) -> Iterator[Holding]:
        if self._holding is not None:
            yield self._holding
        else:
            with self._locked(operation, repair=repair) as holding:
                yield holding
