"""What a shared log of batches must offer, so that a state can be kept in it.

A state in a bucket or in a Git repository is a log: each transaction of the store is one batch of
row changes, appended only behind the batch that its writer had read. Each process keeps a replica
of the rows in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.stores.database import Row
from synapse_apply.stores.lock.lease_timing import LeaseTiming
from synapse_apply.stores.write_pacer import WritePace

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


class DamagedLog(StateError):
    """The end of the log cannot be read; `reading` is what can be read before the damage.

    Not raised where the log cannot be reached, or was written by a newer version.
    """

    reading = LogReading(None, (), "")


class BatchNotSent(StateError):
    """Nothing of a batch was sent, so that it need not be passed again."""


class BatchLog(Protocol):
    """One log, used by one thread at a time. Every method raises StateError for what goes wrong."""

    @property
    def location(self) -> str:
        """The URL for messages, without credentials."""
        ...

    @property
    def lease_timing(self) -> LeaseTiming:
        """The lease, heartbeat and pauses that suit the speed of this log.

        A batch that takes the lock announces this lease to all who wait for it.
        """
        ...

    @property
    def write_pace(self) -> WritePace:
        """How often a batch may be appended; the replica waits before it collects one.

        The log itself never waits for that: writes that arrive meanwhile would not share it.
        """
        ...

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
        ...

    def read_audit_rows_not_read_yet(self) -> Sequence[Row]:
        """Rows of the audit table that `read_since_position_or_anew` left out, oldest first."""
        ...

    def list_warnings(self) -> tuple[Diagnostic, ...]:
        """Warnings about where the log is stored, and about what was read of it."""
        ...

    def close(self) -> None: ...
