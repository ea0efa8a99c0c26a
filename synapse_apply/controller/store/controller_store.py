"""The store as the page reads it and the loop writes it: what each question asks of SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, RLock
from typing import TypeVar

from synapse_apply.controller.fleet_rows import LeaseRow, ProcessRow
from synapse_apply.controller.rollout_rows import RolloutRow, RolloutTargetRow, WaveRow
from synapse_apply.controller.rows import (
    ApprovalRow,
    AuditRow,
    HoldRow,
    MessageRow,
    PauseRow,
    RevisionProgress,
    RevisionRow,
    RunOutcome,
    RunRow,
    SourceRow,
    StatusRow,
    TargetCondition,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.store import store_errors
from synapse_apply.controller.store.conditions import (
    build_audit_condition,
    build_target_condition,
)
from synapse_apply.controller.store.progress import read_rows, sum_up_progress
from synapse_apply.controller.store.row_table import RowTable
from synapse_apply.controller.store.store_file import (
    FILE_NAME,
    create_store_file_if_missing,
    open_store_connection,
    upgrade_store_file_if_older,
    write_store_backup,
)
from synapse_apply.controller.store.store_schema import (
    APPROVALS,
    AUDIT,
    HOLDS,
    LEASES,
    MESSAGES,
    META_CONFIGURATION_FINDINGS,
    PAUSES,
    PROCESSES,
    REVISIONS,
    ROLLOUT_TARGETS,
    ROLLOUTS,
    RUNS,
    SOURCES,
    STATE_RANKS,
    STATUSES,
    TARGETS,
    WAVES,
)
from synapse_apply.controller.store.store_writer import SqliteStoreWriter
from synapse_apply.controller.store_ports import (
    ALL_AUDIT_ROWS,
    AuditFilter,
    TargetFilter,
    TargetPage,
)
from synapse_apply.model.coding.json_shapes import build_coder
from synapse_apply.model.diagnostic import Diagnostic

R = TypeVar("R")
T = TypeVar("T")

_FINDINGS_CODER = build_coder(tuple[Diagnostic, ...])
_BY_STATE = "ORDER BY state_rank, source, target"
_AUDIT_ROWS_AT_ONCE = 1000


class SqliteControllerStore:
    """A WritableStore in `controller.db` of a data folder; used by any number of threads.

    One connection writes, and one thread at a time has it; each read takes a connection of its own
    from those that are idle.
    """

    def __init__(self, data_folder: Path) -> None:
        self._path = data_folder / FILE_NAME
        self._writing = RLock()
        self._writer: sqlite3.Connection | None = None
        self._idle_readers: list[sqlite3.Connection] = []
        self._idle_lock = Lock()

    def create_or_upgrade(self) -> None:
        """Make an empty store if there is none, and bring one of an older format to this one.

        Only for the process that has the data folder.
        """
        create_store_file_if_missing(self._path)
        upgrade_store_file_if_older(self._path)

    def close(self) -> None:
        """Close all connections; later use opens new ones."""
        with self._writing, self._idle_lock:
            for connection in (*self._idle_readers, self._writer):
                if connection is not None:
                    connection.close()
            self._idle_readers, self._writer = [], None

    def write_backup(self, target: Path) -> None:
        """Copy the store as it is now to one new file, while others read and write it."""
        with self._borrow_reader() as connection:
            write_store_backup(connection, target)

    @contextmanager
    def write(self) -> Iterator[SqliteStoreWriter]:
        """See WritableStore. Another thread's `write` waits for the end of the block."""
        with self._writing, store_errors.translate_store_errors(self._path, "Writing"):
            if self._writer is None:
                self._writer = open_store_connection(self._path, is_writer=True)
            connection = self._writer
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield SqliteStoreWriter(connection)
                connection.execute("COMMIT")
            except BaseException:
                # If the disk was full, SQLite has rolled back already.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @property
    def is_shared(self) -> bool:
        return False

    def read_database_clock_or_none(self) -> float | None:
        return None

    def renew_leases(self, holder: str, until: float, leader_epoch: int) -> None:
        with self.write() as writer:
            writer.renew_leases(holder, until, leader_epoch)

    def list_sources(self) -> Sequence[SourceRow]:
        return self._select(SOURCES, "WHERE is_removed = 0 ORDER BY name")

    def find_source(self, name: str) -> SourceRow | None:
        return self._select_first_or_none(SOURCES, "WHERE name = ?", [name])

    def list_targets(self, target_filter: TargetFilter, offset: int, limit: int) -> TargetPage:
        where, values = build_target_condition(target_filter)

        def read_page(connection: sqlite3.Connection) -> TargetPage:
            count_statement = f"SELECT COUNT(*) FROM targets {where}"  # noqa: S608 - our own SQL
            (count,) = connection.execute(count_statement, values).fetchone()
            # Names first, which an index has: only the rows of the page are read.
            names = f"SELECT source, target FROM targets {where} {_BY_STATE} LIMIT ? OFFSET ?"  # noqa: S608 - our own SQL
            rest = f"WHERE (source, target) IN ({names}) {_BY_STATE}"
            rows = read_rows(connection, TARGETS, rest, [*values, limit, offset])
            return TargetPage(rows, count)

        return self._read(read_page)

    def count_targets_by_state(
        self, source: str = "", patterns: tuple[str, ...] | None = None
    ) -> Mapping[TargetCondition, int]:
        where, values = build_target_condition(TargetFilter(source, patterns=patterns))
        statement = (
            f"SELECT state_rank, COUNT(*) FROM targets {where}"  # noqa: S608 - our own SQL
            " GROUP BY state_rank"
        )
        counts = dict(self._read(lambda reader: reader.execute(statement, values).fetchall()))
        return {condition: counts.get(rank, 0) for condition, rank in STATE_RANKS.items()}

    def find_target(self, name: TargetName) -> TargetRow | None:
        return self._select_first_or_none(TARGETS, "WHERE source = ? AND target = ?", name)

    def find_run(self, run_id: str) -> RunRow | None:
        return self._select_first_or_none(RUNS, "WHERE id = ?", [run_id])

    def list_runs(self, name: TargetName, limit: int) -> Sequence[RunRow]:
        rest = "WHERE source = ? AND target = ? ORDER BY id DESC LIMIT ?"
        empty = {"plan_json": "''", "report_json": "''"}
        return self._select(RUNS, rest, [*name, limit], empty)

    def list_outcomes(
        self, names: Sequence[TargetName], limit: int
    ) -> Mapping[TargetName, Sequence[RunOutcome]]:
        statement = (
            "SELECT outcome FROM runs WHERE source = ? AND target = ? ORDER BY id DESC LIMIT ?"
        )
        outcomes = {outcome.value: outcome for outcome in RunOutcome}

        def read_outcomes(
            connection: sqlite3.Connection,
        ) -> dict[TargetName, Sequence[RunOutcome]]:
            return {
                name: [
                    outcomes[value]
                    for (value,) in reversed(
                        connection.execute(statement, [*name, limit]).fetchall()
                    )
                    if value in outcomes
                ]
                for name in names
            }

        return self._read(read_outcomes)

    def find_revision(self, source: str, commit: str) -> RevisionRow | None:
        rest = 'WHERE source = ? AND "commit" = ? ORDER BY number DESC'
        return self._select_first_or_none(REVISIONS, rest, [source, commit])

    def list_revisions(self, source: str, limit: int) -> Sequence[RevisionRow]:
        return self._select(
            REVISIONS, "WHERE source = ? ORDER BY number DESC LIMIT ?", [source, limit]
        )

    def list_targets_of_source(self, source: str) -> Sequence[TargetRow]:
        return self._select(TARGETS, "WHERE source = ? ORDER BY target", [source])

    def list_open_revisions(self, source: str) -> Sequence[RevisionRow]:
        return self._select(
            REVISIONS, "WHERE source = ? AND is_final = 0 ORDER BY number DESC", [source]
        )

    def read_progress(self, source: str, number: int) -> RevisionProgress:
        return self._read(lambda reader: sum_up_progress(reader, source, number))

    def list_commits_in_use(self, source: str) -> Sequence[str]:
        statement = (
            "SELECT wanted_commit FROM targets WHERE source = ?1 UNION "
            "SELECT applied_commit FROM targets WHERE source = ?1 UNION "
            "SELECT head FROM sources WHERE name = ?1 UNION "
            "SELECT sideways FROM sources WHERE name = ?1"
        )
        cells = self._read(lambda reader: reader.execute(statement, [source]).fetchall())
        return [commit for (commit,) in cells if commit]

    def list_unsent(self) -> tuple[Sequence[StatusRow], Sequence[MessageRow]]:
        return self._read(
            lambda reader: (
                read_rows(reader, STATUSES, "WHERE sent <> wished ORDER BY try_at"),
                read_rows(reader, MESSAGES, "WHERE sent_at = 0 ORDER BY created_at"),
            )
        )

    def list_due_sends(
        self, now: float, limit: int
    ) -> tuple[Sequence[StatusRow], Sequence[MessageRow]]:
        due = "AND refusal = '' AND try_at <= ? ORDER BY try_at LIMIT ?"
        return self._read(
            lambda reader: (
                read_rows(reader, STATUSES, f"WHERE sent <> wished {due}", [now, limit]),
                read_rows(reader, MESSAGES, f"WHERE sent_at = 0 {due}", [now, limit]),
            )
        )

    def find_message(self, message_id: str) -> MessageRow | None:
        return self._select_first_or_none(MESSAGES, "WHERE id = ?", [message_id])

    def find_newest_run_id_or_empty(self) -> str:
        statement = (
            "SELECT MAX(COALESCE((SELECT MAX(id) FROM runs), ''),"
            " COALESCE((SELECT MAX(id) FROM messages), ''),"
            " COALESCE((SELECT MAX(id) FROM approvals), ''))"
        )
        (newest,) = self._read(lambda reader: reader.execute(statement).fetchone())
        return str(newest)

    def find_status(self, source: str, commit: str, context: str) -> StatusRow | None:
        rest = 'WHERE source = ? AND "commit" = ? AND context = ?'
        return self._select_first_or_none(STATUSES, rest, [source, commit, context])

    def list_statuses_of_commit(self, source: str, commit: str) -> Sequence[StatusRow]:
        return self._select(
            STATUSES, 'WHERE source = ? AND "commit" = ? ORDER BY context', [source, commit]
        )

    def list_audit(
        self, limit: int, audit_filter: AuditFilter = ALL_AUDIT_ROWS
    ) -> Sequence[AuditRow]:
        where, values = build_audit_condition(audit_filter)
        direction = "DESC" if audit_filter.after is None else "ASC"
        return self._select(AUDIT, f"{where} ORDER BY number {direction} LIMIT ?", [*values, limit])

    def iter_audit_rows(self) -> Iterator[AuditRow]:
        last_number = 0
        while rows := self._select(
            AUDIT, "WHERE number > ? ORDER BY number LIMIT ?", [last_number, _AUDIT_ROWS_AT_ONCE]
        ):
            yield from rows
            last_number = rows[-1].number

    def list_holds(self, name: TargetName) -> Sequence[HoldRow]:
        return self._select(HOLDS, "WHERE source = ? AND target = ? ORDER BY number", name)

    def list_approvals(self, name: TargetName) -> Sequence[ApprovalRow]:
        return self._select(APPROVALS, "WHERE source = ? AND target = ? ORDER BY id DESC", name)

    def list_pauses(self) -> Sequence[PauseRow]:
        return self._select(PAUSES, "ORDER BY scope")

    def list_rollouts(self) -> Sequence[RolloutRow]:
        return self._select(ROLLOUTS, "ORDER BY name")

    def find_rollout(self, name: str) -> RolloutRow | None:
        return self._select_first_or_none(ROLLOUTS, "WHERE name = ?", [name])

    def list_waves(self, rollout: str, number: int) -> Sequence[WaveRow]:
        return self._select(
            WAVES, "WHERE rollout = ? AND number = ? ORDER BY wave", [rollout, number]
        )

    def list_rollout_targets(
        self, rollout: str, wave: int | None = None
    ) -> Sequence[RolloutTargetRow]:
        rest = "WHERE rollout = ? AND (? OR wave = ?) ORDER BY wave, target"
        return self._select(ROLLOUT_TARGETS, rest, [rollout, int(wave is None), wave or 0])

    def find_rollout_target(self, name: TargetName) -> RolloutTargetRow | None:
        return self._select_first_or_none(ROLLOUT_TARGETS, "WHERE source = ? AND target = ?", name)

    def find_lease(self, name: str) -> LeaseRow | None:
        return self._select_first_or_none(LEASES, "WHERE name = ?", [name])

    def list_processes(self) -> Sequence[ProcessRow]:
        return self._select(PROCESSES, "ORDER BY holder")

    def list_claimed_targets(self, now: float) -> Sequence[TargetRow]:
        rest = "WHERE holder <> '' AND lease_until > ? ORDER BY source, target"
        return self._select(TARGETS, rest, [now])

    def list_configuration_findings(self) -> Sequence[Diagnostic]:
        statement = "SELECT value FROM meta WHERE key = ?"

        def read_findings(connection: sqlite3.Connection) -> Sequence[Diagnostic]:
            cells = connection.execute(statement, [META_CONFIGURATION_FINDINGS]).fetchone()
            findings: Sequence[Diagnostic] = (
                _FINDINGS_CODER.decode(json.loads(cells[0])) if cells else ()
            )
            return findings

        return self._read(read_findings)

    def _select(
        self,
        table: RowTable[R],
        rest: str,
        values: Sequence[object] = (),
        constants: Mapping[str, str] | None = None,
    ) -> list[R]:
        return self._read(lambda reader: read_rows(reader, table, rest, values, constants))

    def _select_first_or_none(
        self, table: RowTable[R], rest: str, values: Sequence[object]
    ) -> R | None:
        return next(iter(self._select(table, f"{rest} LIMIT 1", values)), None)

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction of its own, so that all it reads is of one moment."""
        with self._borrow_reader() as connection:
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def _borrow_reader(self) -> Iterator[sqlite3.Connection]:
        with store_errors.translate_store_errors(self._path, "Reading"):
            with self._idle_lock:
                connection = self._idle_readers.pop() if self._idle_readers else None
            if connection is None:
                connection = open_store_connection(self._path, is_writer=False)
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            with self._idle_lock:
                self._idle_readers.append(connection)
