"""One holding of a lock, kept alive by a thread until it is given back or lost.

The rows are the authority: a write looks in its own transaction whether the holding is still the
one that they name. The clock comes before: a process that was suspended stops by itself, also
where nobody has taken its place yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from threading import Event, Thread

from synapse_apply.model.errors import LockLost, StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.stores import faults, schema
from synapse_apply.stores.boot_clock import boottime
from synapse_apply.stores.database import Database, Run, Statement
from synapse_apply.stores.holder import Holder


@frozen
class Timing:
    """How long a lease lasts, and the clocks; all in seconds.

    Who waits for a lock looks after `shortest_pause` and then less and less often. A lease is
    watched by the monotonic clock, since a watcher that was suspended has not watched, and kept
    by the boot-time clock, since a holder that was suspended has not held.
    """

    lease: float = 30.0
    beat: float = 10.0
    shortest_pause: float = 0.05
    longest_pause: float = 1.0
    monotonic: Callable[[], float] = time.monotonic
    boottime: Callable[[], float] = boottime
    pause: Callable[[float], None] = time.sleep


class Holding:
    """A lock that this process holds. While there is no state yet it is `unseated`: no rows."""

    def __init__(self, database: Database, timing: Timing, holder: Holder) -> None:
        """Not kept alive before `seat`."""
        self.holder = holder
        self.seated = False
        self._database = database
        self._timing = timing
        self._heard_at = 0.0
        self._lost: LockLost | None = None
        self._ended = Event()
        self._thread: Thread | None = None

    @property
    def ours(self) -> bool:
        """Whether work may go on, as far as can be told without asking the database."""
        return self._lost is None and not self._too_late()

    def check(self) -> None:
        """LockLost where this process was silent for a lease or has lost the lock before."""
        if self._lost is None and self._too_late():
            silent = self._timing.boottime() - self._heard_at
            self._lost = faults.lost_by_silence(self._database.where, silent, self._timing.lease)
        if self._lost is not None:
            raise LockLost(*self._lost.diagnostics)

    def check_rows(self, run: Run, owner: str | None, token: int | None) -> None:
        """LockLost where the rows, read in the transaction that is to write, name another."""
        if (owner, token) == (self.holder.owner, self.holder.token):
            return
        other = next((str(Holder.from_row(row)) for row in run(schema.GET_LOCK, ())), "")
        self._lost = faults.lost_to(self._database.where, other)
        raise self._lost

    def entry(self, fence: int) -> tuple[Holder, list[Statement]]:
        """The holder as it is to be written into a new state, and the statements that do it.

        `fence` is the greatest token the new state knows. Rows that come anew count on: a counter
        that went back could look as if it had stood still.
        """
        token = self.holder.token if self.seated else fence + 1
        holder = replace(self.holder, token=token, counter=self.holder.counter + 1)
        return holder, [
            (schema.SET_FENCE, (max(fence, token),)),
            (schema.DROP_LOCK, ()),
            (schema.ADD_LOCK, holder.to_row()),
        ]

    def seat(self, holder: Holder, written_at: float) -> None:
        """The rows name this holding since `written_at` (boot time) or a little later."""
        self.holder = holder
        self.seated = True
        self._heard_at = written_at
        if self._thread is None:
            self._thread = Thread(target=self._keep_alive, name="lease", daemon=True)
            self._thread.start()

    def give_back(self) -> None:
        """Whoever comes next need not wait; a holding that was lost leaves the other's alone."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self.seated:
            # What cannot be given back now runs out by itself.
            with suppress(StateError):
                self._database.write(lambda run: run(schema.GIVE_BACK, (self.holder.owner,)))

    def _too_late(self) -> bool:
        silent = self._timing.boottime() - self._heard_at
        return self.seated and silent >= self._timing.lease

    def _keep_alive(self) -> None:
        wait = self._timing.beat
        while not self._ended.wait(wait):
            try:
                self._beat()
                wait = self._timing.beat
            except LockLost:
                return
            except StateError:
                # The database may be back before the lease is over.
                wait = self._timing.beat / 4

    def _beat(self) -> None:
        self.check()
        sent_at = self._timing.boottime()
        counter = self._database.write(self._renew)
        self.check()  # an answer after the lease does not bring back what has ended
        self.holder = replace(self.holder, counter=counter)
        self._heard_at = sent_at

    def _renew(self, run: Run) -> int:
        found = [Holder.from_row(row) for row in run(schema.GET_LOCK, ())]
        owner, token = (found[0].owner, found[0].token) if found else (None, None)
        self.check_rows(run, owner, token)
        run(schema.BEAT, (self.holder.owner,))
        return found[0].counter + 1
