"""What a shared log of batches must offer, so that a state can be kept in it.

A state in a bucket or in a Git repository is a log: each transaction of the store is one batch of
row changes, appended only behind the batch that its writer had read. Each process keeps a replica
of the rows in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen
from synapse_apply.stores.database import Row
from synapse_apply.stores.lock.lease import LeaseTiming
from synapse_apply.stores.write_pacer import WritePace

# The rows of each table by its name, in the columns of schema.TABLE_COLUMNS.
TableRows = Mapping[str, Sequence[Row]]


class RowChange(NamedTuple):
    """One row that a transaction wrote or deleted (`row` is None), by its primary key."""

    table: str
    key: str | int
    row: Row | None


@frozen
class Batch:
    """The changes of one transaction, which are appended together or not at all.

    `batch_id` is random, so that two equal batches are told apart. With `replaces_all` the state
    consists of the written rows alone: a state that is created or restored. `takes_lock`: the
    batch writes a lock row of a new owner; `takes_over`: it does so although the owner before had
    not given the lock back.
    """

    batch_id: str
    changes: tuple[RowChange, ...]
    replaces_all: bool = False
    takes_lock: bool = False
    takes_over: bool = False


class LogReading(NamedTuple):
    """What brings a replica to the end of the log.

    `tables` replace all rows of the replica first, where they are not None; then `batches` are
    carried out in turn. `position` is the end of the log, in a form only the log understands.
    `owner_lease_seconds` is the lease that the last owner of the lock announced, None without one.
    """

    tables: TableRows | None
    batches: tuple[Batch, ...]
    position: str
    owner_lease_seconds: float | None = None


class BatchLog(Protocol):
    """One log, used by one thread at a time. Every method raises StateError for what goes wrong."""

    @property
    def location(self) -> str:
        """The URL for messages, without credentials."""
        ...

    @property
    def lease_timing(self) -> LeaseTiming:
        """The lease, heartbeat and pauses that suit the speed of this log."""
        ...

    @property
    def write_pace(self) -> WritePace:
        """How often `append` may be called; the replica waits before it collects a batch.

        `append` itself never waits for that: writes that arrive meanwhile would not share it.
        """
        ...

    def exists(self) -> bool:
        """Whether the log has a first batch, readable or not."""
        ...

    def read_since(self, position: str) -> LogReading:
        """Read what follows a position that an earlier call returned; all of it for ""."""
        ...

    def append(self, batch: Batch, position: str) -> str | None:
        """Append behind `position` and return the new end; None if another batch follows it.

        Durable when it returns. StateError while the outcome is unknown: the caller must pass the
        same batch and position again before any other one. With "" the log must be empty.
        """
        ...

    def compact_if_due(self, position: str, read_tables: Callable[[], TableRows]) -> None:
        """Write a snapshot and drop what it replaces, where that pays; never fails for a refusal.

        `read_tables` gives all rows as of `position`, which is confirmed.
        """
        ...

    def read_older_audit_rows(self) -> Sequence[Row]:
        """Rows of the audit table that `read_since` left out, oldest first."""
        ...

    def list_warnings(self) -> tuple[Diagnostic, ...]:
        """Warnings about where the log is stored."""
        ...

    def close(self) -> None: ...
