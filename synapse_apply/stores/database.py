"""What a store needs of a database or a shared log: calls, batches, signatures, pace, lease times.

What a shared log of batches must offer, so that a state can be kept in it. A state in a bucket or
in a Git repository is a log: each transaction of the store is one batch of row changes, appended
only behind the batch that its writer had read. Each process keeps a replica of the rows in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeVar

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.ports import ignore_wait

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def read_seconds_since_boot() -> float:
    """Seconds since boot, including suspensions where the system has CLOCK_BOOTTIME (Linux)."""
    return time.clock_gettime(_BOOT_CLOCK)


@frozen
class LeaseTiming:
    """Durations of a lease, in seconds, and the clocks.

    A waiting process retries after `shortest_pause`, then up to `longest_pause`. It observes the
    owner by the monotonic clock: while it was suspended itself, it did not observe. The owner
    measures its own silence by the boot-time clock: while suspended, it did not renew.

    A call is sent at most `seconds_to_start` after its intent's time; a later run counts the age
    of the call from then. It has room for a slow write of that intent.
    """

    lease_seconds: float = 30.0
    heartbeat_seconds: float = 10.0
    seconds_to_start: float = 5.0
    shortest_pause: float = 0.05
    longest_pause: float = 1.0
    monotonic: Callable[[], float] = time.monotonic
    boottime: Callable[[], float] = read_seconds_since_boot
    sleep_for: Callable[[float], None] = time.sleep


# Seconds between two looks at whether to wait on: far below what one write of a slow store takes.
_LOOK_SECONDS = 0.005


@frozen
class WritePace:
    """How often a store may be written to; durations in seconds.

    While calls are busy with what was announced, a write waits up to `longest_deferral` for others.
    After the first `burst` writes there is at least `interval` between two, whatever waits; a burst
    of 0 knows no such limit. The default is that of a database: no wait at all.
    """

    longest_deferral: float = 0.0
    burst: int = 0
    interval: float = 0.0


class WritePacer:
    """Keeps the writes of one process to a `WritePace`. One thread at a time waits for its turn."""

    def __init__(
        self,
        pace: WritePace,
        monotonic: Callable[[], float] = time.monotonic,
        sleep_for: Callable[[float], None] = time.sleep,
    ) -> None:
        """The clock and the pause are replaced by tests."""
        self.pace = pace
        self._monotonic = monotonic
        self._sleep_for = sleep_for
        self._write_count = 0
        self._last_write_at = 0.0
        # How long all turns waited for the interval, for the report of a run.
        self.waited_seconds = 0.0

    def wait_for_turn(
        self, may_defer: Callable[[], bool], report_wait: Callable[[float], None] = ignore_wait
    ) -> None:
        """Return when the next write may begin; `may_defer` is asked again and again.

        `report_wait` gets the seconds of a wait for the interval when it begins, and 0 at its end.
        """
        started_at = self._monotonic()
        deferred_until = started_at + self.pace.longest_deferral
        while self._monotonic() < deferred_until and may_defer():
            self._sleep_for(_LOOK_SECONDS)
        if self.pace.burst and self._write_count >= self.pace.burst:
            remaining_seconds = self._last_write_at + self.pace.interval - self._monotonic()
            if remaining_seconds > 0:
                self.waited_seconds += remaining_seconds
                report_wait(remaining_seconds)
                try:
                    self._sleep_for(remaining_seconds)
                finally:
                    report_wait(0.0)

    def count_write(self) -> None:
        """Note that a write begins now, also one that waited for no turn, such as a heartbeat."""
        self._write_count += 1
        self._last_write_at = self._monotonic()


T = TypeVar("T")
Row = tuple[Any, ...]
Statement = tuple[str, tuple[Any, ...]]

# Runs one statement with `?` as the placeholder and returns its rows.
SqlRunner = Callable[[str, Sequence[Any]], list[Row]]
# Reads a backup, and gives the statements that make a copy of it the state.
BackupReview = Callable[[SqlRunner], Sequence[Statement]]


class OwnerSign(NamedTuple):
    """What tells of the lock's owner besides the lock row, as of the last read.

    `log_position` changes with each write of the owner, "" where only the row tells of it.
    `lease_seconds` is the lease that the owner announced, None where all have the same one.
    """

    log_position: str = ""
    lease_seconds: float | None = None


class Database(Protocol):
    """One database that can hold one state. Every method raises StateError for what goes wrong.

    The `work` of a transaction is run again if the connection broke and nothing was committed, so
    that it must do nothing but run statements. What stands here is right for a database of many
    machines whose commit takes no longer than a call: it has no log, and nothing is waited for.
    """

    # Path or URL for messages, without a password.
    location: str
    # Whether other machines use the same state, and so need the same state key.
    is_shared: bool = True
    # Whether what is stored is signed with the state key, and begins anew under another.
    is_signed: bool = False
    # The lease of the lock that suits the speed of this database.
    lease_timing: LeaseTiming = LeaseTiming()
    # Lets writes wait, so that more of them share one transaction.
    pacer: WritePacer = WritePacer(WritePace())

    @property
    def owner_sign(self) -> OwnerSign:
        """What the last read tells of the lock's owner besides the lock row."""
        return OwnerSign()

    @property
    def bookmark(self) -> str:
        """Where the log of the state ended when it was last read; "" for a database."""
        return ""

    def require_continuation_in_reads(self, bookmark: str) -> None:
        """Have each read raise StateError where the log does not go on from a bookmark."""
        del bookmark

    def exists(self) -> bool:
        """Whether there is a state, readable or not."""
        ...

    def create_state_or_raise_if_exists(self, statements: Sequence[Statement]) -> None:
        """Create the state with these statements, atomically; StateError if there is one."""
        ...

    def read_in_snapshot(
        self, work: Callable[[SqlRunner], T], *, requires_newest: bool = False
    ) -> T:
        """Run the work on one consistent snapshot and return its result.

        A store that is slow to ask may take one that it read a moment ago, unless the caller
        requires what is stored now.
        """
        ...

    def write_in_transaction(self, work: Callable[[SqlRunner], T]) -> T:
        """Run the work as one transaction, serialised with all other writers.

        It is durable when this returns, and rolled back if the work raises.
        """
        ...

    def hold_creation_lock(self, operation: str) -> AbstractContextManager[None]:
        """Exclude other processes while there is no state with a lock row; LockHeld if one is in.

        `operation` names the command for messages.
        """
        ...

    def write_backup(self, path: str) -> None:
        """Write a consistent copy as an SQLite file; StateError if the path exists."""
        ...

    def replace_from_backup(
        self, source: str, check_backup: BackupReview, kept_path_unless_beside_file: str | None
    ) -> str:
        """Replace the state by a copy of a backup, atomically; returns where the old one is kept.

        `check_backup` reads the backup, may raise, and returns statements to run on the copy. The
        replaced state is kept beside its file (SQLite), or at `kept_path_unless_beside_file` (other
        databases, None: not at all); "" is returned if none is kept. An existing file is never
        replaced: the name gets a number.
        """
        ...

    def list_warnings(self) -> tuple[Diagnostic, ...]:
        """Warnings about where the state is stored, such as a network file system."""
        return ()

    def close(self) -> None: ...


# The rows of each table by its name, in the columns of schema.TABLE_COLUMNS.
TableRows = Mapping[str, Sequence[Row]]


class RowChange(NamedTuple):
    """One row that a transaction wrote or deleted (`row` is None), by its primary key.

    The primary key is the first column of each table.
    """

    table: str
    key: str | int
    row: Row | None


@frozen
class Batch:
    """The changes of one transaction, which are appended together or not at all.

    `batch_id` is random, so that two equal batches are told apart. With `replaces_all` the state
    consists of the written rows alone: a state that is created or restored. `lock_id` is that of
    the lock row after the batch, "" without one. `takes_lock`: that lock is new.
    `ends_foreign_lock`: a lock of another owner, who had not given it back, is taken over or
    removed. All other batches are written by the owner of the lock.
    """

    batch_id: str
    changes: tuple[RowChange, ...]
    replaces_all: bool = False
    lock_id: str = ""
    takes_lock: bool = False
    ends_foreign_lock: bool = False


class AppendedBatch(NamedTuple):
    """Where a batch that is part of the log ends.

    `is_last` is False if another batch follows already: the writer has lost the lock since.
    """

    position: str
    is_last: bool = True


class LogReading(NamedTuple):
    """What brings a replica to the end of the log.

    `tables` replace all rows of the replica first, where they are not None; then `batches` are
    carried out in turn. `position` is the end of the log, in a form only the log understands; ""
    for an empty log. `owner_lease_seconds` is the lease that the owner of the lock announced when
    it took it, None if nobody holds it.
    """

    tables: TableRows | None
    batches: tuple[Batch, ...]
    position: str
    owner_lease_seconds: float | None = None

    def find_row_as_far_as_read(self, table: str, key: str | int) -> Row | None:
        """The row of a primary key as of the end of this reading; None if deleted or not in it."""
        rows = (self.tables or {}).get(table, ())
        found_row = next((row for row in rows if row[0] == key), None)
        for batch in self.batches:
            found_row = None if batch.replaces_all else found_row
            for change in batch.changes:
                if (change.table, change.key) == (table, key):
                    found_row = change.row
        return found_row


NOTHING_READ = LogReading(None, (), "")


class DamagedLog(StateError):
    """The end of the log cannot be read; `reading` is what can be read before the damage.

    Not raised where the log cannot be reached, or was written by a newer version.
    """

    reading = NOTHING_READ


class BatchNotSent(StateError):
    """Nothing of a batch was sent, so that it need not be passed again."""


class BatchLog(Protocol):
    """One log, used by one thread at a time. Every method raises StateError for what goes wrong.

    A batch that takes the lock announces the lease of `lease_timing` to all who wait for it. The
    log itself never waits for its `write_pace`: the replica does before it collects a batch, since
    writes that arrive meanwhile would not share it.
    """

    # The URL for messages, without credentials.
    location: str
    write_pace: WritePace
    _timing: LeaseTiming
    _signer: Signer

    @property
    def lease_timing(self) -> LeaseTiming:
        """The lease, heartbeat and pauses that suit the speed of this log."""
        return self._timing

    @property
    def bookmark(self) -> str:
        """Where the log ended when it was last read or appended to; "" before that.

        Also "" where not all of it is signed with the key at hand: who wrote that is not known. A
        later process passes it to `require_continuation_in_reads`.
        """
        ...

    def require_continuation_in_reads(self, bookmark: str) -> None:
        """Have reads raise DamagedLog where the log does not go on from a bookmark.

        It was deleted then, set back, or written anew from an earlier place on. Only what costs
        next to nothing is looked at, so that a log that was compacted since may pass. Nothing is
        required by "", or by a text that is no bookmark.
        """
        ...

    def exists(self) -> bool:
        """Whether the log has a first batch, readable or not."""
        ...

    def read_since_position_or_anew(self, position: str) -> LogReading:
        """Read what follows a position that an earlier call returned; all of it for "".

        Any position but the last one returned may read everything anew, tables and batches.
        Signatures do not count here: warnings and refused batches tell what is forged.
        DamagedLog if what is stored is not what a log writes.
        """
        ...

    def append_or_none_if_overtaken(self, batch: Batch, position: str) -> AppendedBatch | None:
        """Append behind `position`, where the caller has read all; None if another batch is there.

        Durable when it returns. StateError while the outcome is unknown: the caller must pass the
        same batch and position again before any other one, except after BatchNotSent. With "" the
        log must be empty.
        """
        ...

    def restart_after_damage_unless_overtaken(self, batch: Batch) -> AppendedBatch | None:
        """Begin anew with this batch, which replaces all, where reads raise DamagedLog.

        Nobody can append behind the damage any more. None if another process was faster. After a
        StateError `read_since_position_or_anew` tells what became of it.
        """
        ...

    def compact_if_due(self, position: str, read_tables: Callable[[], TableRows]) -> None:
        """Write a snapshot and drop what it replaces, where that pays; never fails for a refusal.

        `read_tables` gives the rows as of `position`, which is confirmed; rows of the audit table
        that `read_since_position_or_anew` left out may be missing.
        """
        del position, read_tables

    def read_audit_rows_not_read_yet(self) -> Sequence[Row]:
        """Rows of the audit table that `read_since_position_or_anew` left out, oldest first."""
        ...

    def list_warnings(self) -> tuple[Diagnostic, ...]:
        """Warnings about where the log is stored, and about what was read of it."""
        ...

    def close(self) -> None: ...


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
