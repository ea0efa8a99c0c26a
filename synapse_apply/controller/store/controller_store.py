"""The store as the page reads it and the loop writes it: what each question asks of a database."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import BoundedSemaphore, Lock, RLock
from typing import Any, TypeVar

from synapse_apply.controller.planned_rows import Binding
from synapse_apply.controller.ports import (
    ALL_AUDIT_ROWS,
    AuditFilter,
    TargetFilter,
    TargetFindings,
    TargetOrder,
    TargetPage,
)
from synapse_apply.controller.rows import (
    ApplyLog,
    ApprovalRow,
    AuditRow,
    HoldRow,
    LeaseRow,
    MessageRow,
    OwnerRow,
    PauseRow,
    ProcessRow,
    RevisionProgress,
    RevisionRow,
    RolloutRow,
    RolloutTargetRow,
    RunOutcome,
    RunRow,
    SessionRow,
    SourceRow,
    StatusRow,
    TargetCondition,
    TargetName,
    TargetRow,
    WaveRow,
)
from synapse_apply.controller.rules.judging import may_be_one_tenant
from synapse_apply.controller.store.row_table import RowTable, SqlDialect
from synapse_apply.controller.store.sqlite_database import SqliteStoreDatabase
from synapse_apply.controller.store.store_database import (
    ControllerStoreError,
    StoreConnection,
    StoreDatabase,
    StoreUnavailable,
)
from synapse_apply.controller.store.store_schema import (
    APPROVALS,
    AUDIT,
    HOLDS,
    LEASES,
    MESSAGES,
    META_APPLY,
    META_CONFIGURATION_FINDINGS,
    META_LABELS,
    OWNERS,
    PAUSES,
    PROCESSES,
    REVISIONS,
    ROLLOUT_TARGETS,
    ROLLOUTS,
    RUNS,
    SESSIONS,
    SOURCES,
    STATE_RANKS,
    STATUSES,
    TARGETS,
    WAVES,
    encode_binding,
)
from synapse_apply.controller.store.store_writer import StoreWriter
from synapse_apply.model.codec import build_coder
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.json_values import format_canonical_json

R = TypeVar("R")
T = TypeVar("T")
_THINGS_AT_ONCE = 500

_FINDINGS_CODER = build_coder(tuple[Diagnostic, ...])
_APPLY_LOG_CODER = build_coder(ApplyLog)
_ORDERS = {
    TargetOrder.CONDITION: "ORDER BY state_rank, source, target",
    TargetOrder.NAME: "ORDER BY source, target",
    TargetOrder.CHANGED: "ORDER BY changed_at DESC, source, target",
    TargetOrder.NEXT_CHECK: "ORDER BY due_at, source, target",
}
_AUDIT_ROWS_AT_ONCE = 1000
_ALL_TARGETS = 10**9
# Connections to a server are few: a page that is asked a lot waits in this process instead.
_MOST_READERS = 5
_MAX_WAIT_FOR_READER = 10.0  # seconds


class ControllerStore:
    """A store in a database; used by any number of threads.

    Writers stand in a row, also those of other processes. ControllerStoreError where it cannot be
    used: StoreUnavailable where it may answer later, StoreTooNew where this program is too old to
    write to it.

    One connection writes, and one thread at a time has it; each read takes a connection of its own
    from those that are idle, and waits where too many are in use.
    """

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database
        self._dialect = database.dialect
        self._writing, self._is_writing = RLock(), False
        self._writer: StoreConnection | None = None
        self._readers_in_use = BoundedSemaphore(_MOST_READERS)
        self._idle_readers: list[StoreConnection] = []
        self._idle_lock, self._is_closed = Lock(), False

    @property
    def is_shared(self) -> bool:
        """Whether several processes may use it at once."""
        return self._database.is_shared

    def create_or_upgrade(self) -> str:
        """See StoreDatabase; one that is not shared is made by who has the data folder."""
        return self._database.create_or_upgrade()

    def claim_for(self, controller: str) -> None:
        """Make this the store of a controller; ControllerStoreError where it is another one's.

        Replicas have one name. A store that is not shared is its data folder's, whatever the name.
        """
        if self.is_shared:
            with self.write() as writer:
                owner = writer.claim_store(controller)
            if owner != controller:
                raise ControllerStoreError.from_summary(
                    "The store belongs to another controller",
                    f"It belongs to {owner}, and this controller is {controller} "
                    "(metadata.name): each would remove the sources of the other.",
                    "Name another schema in the store's url (?schema=NAME). If you renamed the "
                    "controller, set `controller` in the table `meta` to the new name.",
                )

    def close(self) -> None:
        """Close all connections, those that are in use when their use ends.

        A later use opens a connection of its own, and closes it.
        """
        with self._writing, self._idle_lock:
            self._is_closed = True
            for connection in (*self._idle_readers, self._writer):
                if connection is not None:
                    connection.close()
            self._idle_readers, self._writer = [], None

    def write_backup(self, target: Path) -> None:
        """Copy the store as it is now to one new file, while others read and write it.

        ControllerStoreError where that is not how this store is saved.
        """
        with self._borrow_reader() as connection:
            self._database.write_backup(connection, target)

    @contextmanager
    def write(self) -> Iterator[StoreWriter]:
        """A transaction: all that is written in the block is committed at its end, or nothing.

        Another thread's `write` waits for the end of the block. StoreUnavailable there: it is
        unknown whether all or nothing of it was committed. A shared store ends a block that stands
        still for some seconds. RuntimeError for a block within another one of this thread.
        """
        with (
            self._writing,
            self._forbid_nested_writes(),
            self._database.translate_errors("Writing"),
        ):
            if self._writer is None:
                self._writer = self._database.open_connection(is_writer=True)
            connection = self._writer
            try:
                connection.begin_writing()
                yield StoreWriter(connection, self._dialect)
                connection.commit()
            except BaseException:
                connection.roll_back_if_begun()
                raise
            finally:
                if self._is_closed:
                    self.close()

    @contextmanager
    def _forbid_nested_writes(self) -> Iterator[None]:
        if self._is_writing:
            # The end of the inner one would commit the outer one's half.
            raise RuntimeError("a write of the store within another one")
        self._is_writing = True
        try:
            yield
        finally:
            self._is_writing = False

    def read_database_clock(self) -> float | None:
        """The database's clock, in seconds since the epoch; None for the clock of this machine."""
        with self._borrow_reader() as connection:
            return self._database.read_server_clock(connection)

    def extend_claims(
        self, holder: str, until: float, leader_epoch: int, names: Collection[TargetName]
    ) -> None:
        """Let a holder's claims of these targets last until a time, and its lease `leader`.

        `leader_epoch` is that lease's epoch, 0 for none. No time is made shorter. This waits for no
        other writer, and is no part of a `write`, as `put_process`.
        """
        with self._write_at_once() as writer:
            writer.extend_claims(holder, until, leader_epoch, names)

    def put_process(self, row: ProcessRow, forgotten_before: float) -> None:
        """Write that a process is there, and delete those that were last seen before a time."""
        with self._write_at_once() as writer:
            writer.put(row)
            writer.delete_processes(seen_before=forgotten_before)

    @contextmanager
    def _write_at_once(self) -> Iterator[StoreWriter]:
        """A transaction that waits for none of `write`, where others share the store.

        For rows that no other transaction judges by, on a connection that no page waits for.
        """
        if not self.is_shared:
            with self.write() as writer:
                yield writer
            return
        with self._borrow_connection("Writing") as connection:
            yield StoreWriter(connection, self._dialect)
            connection.run_queued_statements()

    def list_configured_sources(self) -> Sequence[SourceRow]:
        """Every source of the configuration, by name."""
        return self._select_rows(SOURCES, "WHERE is_removed = 0 ORDER BY name")

    def find_source(self, name: str) -> SourceRow | None:
        """A source, also one that was removed; None for an unknown one."""
        return self._select_first_or_none(SOURCES, "WHERE name = ?", [name])

    def list_target_names(self, source: str) -> Sequence[str]:
        """The names of all targets that a source has and ever had."""
        with self._borrow_reader() as connection:
            statement = "SELECT target FROM targets WHERE source = ?"
            return [name for (name,) in connection.execute(statement, [source]).fetchall()]

    def target_page(self, target_filter: TargetFilter, offset: int, limit: int) -> TargetPage:
        """Targets in the order of the filter; none that is gone."""
        where, values = targets_where(target_filter, self._dialect)
        order = _ORDERS[target_filter.order]

        def read_page(connection: StoreConnection) -> TargetPage:
            count_statement = f"SELECT COUNT(*) FROM targets {where}"  # noqa: S608 - our own SQL
            (count,) = connection.execute(count_statement, values).fetchone()
            # Names first, which an index has: only the rows of the page are read.
            names = f"SELECT source, target FROM targets {where} {order} LIMIT ? OFFSET ?"  # noqa: S608 - our own SQL
            rest = f"WHERE (source, target) IN ({names}) {order}"
            rows = read_rows(connection, TARGETS, rest, [*values, limit, offset])
            return TargetPage(rows, count)

        return self._in_read(read_page)

    def list_targets(self, target_filter: TargetFilter) -> Sequence[TargetRow]:
        """All targets that match, in the order of `target_page`."""
        return self.target_page(target_filter, 0, _ALL_TARGETS).targets

    def target_counts(
        self, source: str = "", patterns: tuple[str, ...] | None = None
    ) -> Mapping[TargetCondition, int]:
        """How many targets are in each state; of one source, or of all. See TargetFilter."""
        where, values = targets_where(TargetFilter(source, patterns=patterns), self._dialect)
        statement = (
            f"SELECT state_rank, COUNT(*) FROM targets {where}"  # noqa: S608 - our own SQL
            " GROUP BY state_rank"
        )
        counts = dict(self._in_read(lambda reader: reader.execute(statement, values).fetchall()))
        return {condition: counts.get(rank, 0) for condition, rank in STATE_RANKS.items()}

    def find_target(self, name: TargetName) -> TargetRow | None:
        """A target, None for an unknown one."""
        return self._select_first_or_none(TARGETS, "WHERE source = ? AND target = ?", name)

    def find_run(self, run_id: str) -> RunRow | None:
        """A run, None for an unknown one."""
        return self._select_first_or_none(RUNS, "WHERE id = ?", [run_id])

    def list_document_sizes(self, source: str, least: int) -> Sequence[tuple[str, TargetName, int]]:
        """Run, target and size of a source's plans and reports from a size on, oldest first."""
        size = self._dialect.document_size
        statement = (
            f"SELECT id, target, {size} FROM runs WHERE source = ? AND {size} >= ? ORDER BY id"  # noqa: S608 - our own SQL
        )
        values = [source, least]
        rows = self._in_read(lambda reader: reader.execute(statement, values).fetchall())
        return [(run, TargetName(source, target), size) for run, target, size in rows]

    def newest_runs(self, name: TargetName, limit: int) -> Sequence[RunRow]:
        """The newest runs of a target, newest first, without `plan_json` and `report_json`."""
        rest = "WHERE source = ? AND target = ? ORDER BY id DESC LIMIT ?"
        empty = {"plan_json": "''", "report_json": "''"}
        return self._select_rows(RUNS, rest, [*name, limit], empty)

    def newest_outcomes(
        self, names: Sequence[TargetName], limit: int
    ) -> Mapping[TargetName, Sequence[RunOutcome]]:
        """The outcomes of the newest runs of each target, oldest first, for spark lines."""
        statement = (
            "SELECT outcome FROM runs WHERE source = ? AND target = ? ORDER BY id DESC LIMIT ?"
        )
        outcomes = {outcome.value: outcome for outcome in RunOutcome}

        def read_outcomes(connection: StoreConnection) -> dict[TargetName, Sequence[RunOutcome]]:
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

        return self._in_read(read_outcomes)

    def newest_findings(self, target_filter: TargetFilter) -> Sequence[TargetFindings]:
        """What the newest run of each matching target found, by name."""
        where, values = targets_where(target_filter, self._dialect)
        statement = f"{SELECT_FINDINGS_OF_TARGETS} {where} ORDER BY source, target"
        rows = self._in_read(lambda reader: reader.execute(statement, values).fetchall())
        coder = build_coder(tuple[Diagnostic, ...])
        return [
            TargetFindings(TargetName(source, target), host, coder.decode(json.loads(text or "[]")))
            for source, target, host, text in rows
        ]

    def find_revision(self, source: str, commit: str) -> RevisionRow | None:
        """The newest revision of a full commit id, None for one that never was the head."""
        rest = 'WHERE source = ? AND "commit" = ? ORDER BY number DESC'
        return self._select_first_or_none(REVISIONS, rest, [source, commit])

    def newest_revisions(self, source: str, limit: int) -> Sequence[RevisionRow]:
        """The newest revisions of a source, newest first."""
        return self._select_rows(
            REVISIONS, "WHERE source = ? ORDER BY number DESC LIMIT ?", [source, limit]
        )

    def source_targets(
        self, source: str, names: Sequence[TargetName] | None = None
    ) -> Sequence[TargetRow]:
        """Every target that ever was of a source, or of `names` there, by name; also gone ones."""
        targets = [name.target for name in names or ()]
        marks = ", ".join("?" * len(targets)) or "NULL"
        within = "" if names is None else f" AND target IN ({marks})"
        return self._select_rows(
            TARGETS, f"WHERE source = ?{within} ORDER BY target", [source, *targets]
        )

    def list_targets_of_backend(
        self, backend: str, lineage: str | None = None
    ) -> Sequence[TargetRow]:
        """Targets that are bound to a backend, or mean it now, by name; also gone ones.

        Where one of both has no tenant, their url counts alone. With `lineage` only those that
        mean this state now: where tokens tell the tenants, a fleet has one url.
        """
        url, _, tenant = backend.partition(" ")
        first, of_url = (
            encode_binding(Binding(name, "")).partition('"lineage"')[0].lower()
            for name in (backend, url)
        )
        bounds = [first, f"{first}~", of_url, f"{of_url}~"]
        if not tenant:
            start = of_url.rpartition('"')[0]
            bounds[:2] = f"{start} ", f"{start}!"
        within = "(lower({0}) >= ? AND lower({0}) < ?)"
        rest = " OR ".join(
            within.format(name) for name in ("binding",) * 2 + ("found_binding",) * 2
        )
        where, values = f"WHERE ({rest})", bounds * 2
        if lineage is not None:
            # No LIKE: what is a wildcard or an escape there is one letter here.
            where += " AND replace(found_binding, ?, '') <> found_binding"
            values.append(format_canonical_json({"lineage": lineage})[1:-1])
        # Sorted here: with ORDER BY, SQLite would read the whole table. The cells are compared in
        # small letters, also the path of a url, which is another one in other letters.
        rows = self._select_rows(TARGETS, where, values)
        return [
            row
            for row in sorted(rows, key=lambda row: row.name)
            for bindings in [(row.binding, row.found_binding)]
            if any(found and may_be_one_tenant(found.backend, backend) for found in bindings)
        ]

    def list_owned(self, name: TargetName) -> Sequence[OwnerRow]:
        """The objects that a target manages."""
        return self._select_rows(OWNERS, "WHERE source = ? AND target = ?", name)

    def list_owners(self, backend: str, things: Sequence[str]) -> Sequence[OwnerRow]:
        """Which targets manage these objects of a backend's tenant, or of one that is not named.

        Many tenants of one template have objects of one name.
        """
        url, _, tenant = backend.partition(" ")
        within, values = "", [url]
        # Databases differ in the small letters of others: there the tenants of a url count alike.
        if tenant and tenant.isascii():
            within, values = " AND lower(backend) IN (?, ?)", [url, backend.lower(), url.lower()]
        found: list[OwnerRow] = []
        for start in range(0, len(things), _THINGS_AT_ONCE):
            part = things[start : start + _THINGS_AT_ONCE]
            marks = ", ".join("?" * len(part))
            found += self._select_rows(
                OWNERS, f"WHERE url = ?{within} AND thing IN ({marks})", [*values, *part]
            )
        return found

    def open_revisions(self, source: str) -> Sequence[RevisionRow]:
        """The revisions of a source whose end may still change, newest first."""
        return self._select_rows(
            REVISIONS, "WHERE source = ? AND is_final = 0 ORDER BY number DESC", [source]
        )

    def read_progress_of_revision(self, source: str, number: int) -> RevisionProgress:
        """How far the targets are that the revision of this number touched."""
        return self._in_read(lambda reader: sum_up_progress(reader, self._dialect, source, number))

    def list_commits_in_use(self, source: str) -> Sequence[str]:
        """The commits of a source that are the head or beside it, wanted, applied or rolled out.

        And the heads that targets were rolled back from.
        """
        statement = (
            "SELECT wanted_commit FROM targets WHERE source = ? UNION SELECT applied_commit FROM "
            "targets WHERE source = ? UNION SELECT head FROM sources WHERE name = ? UNION SELECT "
            "sideways FROM sources WHERE name = ? UNION "
            'SELECT "commit" FROM rollouts WHERE source = ?'
        )
        cells = self._in_read(lambda reader: reader.execute(statement, [source] * 5).fetchall())
        rolled_back = (row for row in self.list_rolled_back_targets() if row.name.source == source)
        left = {row.rollback.left_commit for row in rolled_back if row.rollback}
        return sorted(left.union(commit for (commit,) in cells if commit))

    def unsent(
        self,
    ) -> tuple[Sequence[StatusRow], Sequence[MessageRow]]:
        """Statuses and messages that are still to be sent, or never can be."""
        return self._in_read(
            lambda reader: (
                read_rows(reader, STATUSES, "WHERE sent <> wished ORDER BY try_at"),
                read_rows(reader, MESSAGES, "WHERE sent_at = 0 ORDER BY created_at"),
            )
        )

    def due_sends(
        self, now: float, status_sources: Collection[str], limit: int
    ) -> tuple[Sequence[StatusRow], Sequence[MessageRow]]:
        """Those to be sent at `now`, the oldest first; none that waits or never can be sent.

        A message waits for the earlier ones of its channel, source, target and rollout. Statuses of
        some sources alone. `limit` of each source and of each channel at most, so that what one
        receiver does not take hides nothing of another one.
        """
        is_first = IS_FIRST_MESSAGE_OF_SUBJECT.format(self._dialect.message_subject)
        names = sorted(status_sources)
        # A list of none is no SQL.
        is_of_them = f"source IN ({', '.join('?' * len(names))})" if names else "source <> source"
        oldest_statuses = _oldest_due(STATUSES, "source", f"{is_of_them} AND sent <> wished")
        oldest_messages = _oldest_due(MESSAGES, "channel", is_first)
        return self._in_read(
            lambda reader: (
                read_rows(reader, STATUSES, oldest_statuses, [*names, now, limit]),
                read_rows(reader, MESSAGES, oldest_messages, [now, limit]),
            )
        )

    def find_message(self, message_id: str) -> MessageRow | None:
        """A message, None for an unknown one."""
        return self._select_first_or_none(MESSAGES, "WHERE id = ?", [message_id])

    def newest_id(self) -> str:
        """The greatest id of a run, a message or an approval, "" for none."""
        statement = (
            "SELECT COALESCE(MAX(id), '') FROM (SELECT MAX(id) AS id FROM runs"
            " UNION SELECT MAX(id) FROM messages UNION SELECT MAX(id) FROM approvals) AS newest"
        )
        (newest,) = self._in_read(lambda reader: reader.execute(statement).fetchone())
        return str(newest)

    def find_status(self, source: str, commit: str, context: str) -> StatusRow | None:
        """The status of a commit and context, None where there is none."""
        rest = 'WHERE source = ? AND "commit" = ? AND context = ?'
        return self._select_first_or_none(STATUSES, rest, [source, commit, context])

    def list_statuses_of_commit(self, source: str, commit: str) -> Sequence[StatusRow]:
        """All statuses of a commit, by context."""
        return self._select_rows(
            STATUSES, 'WHERE source = ? AND "commit" = ? ORDER BY context', [source, commit]
        )

    def audit_rows(
        self, limit: int, audit_filter: AuditFilter = ALL_AUDIT_ROWS
    ) -> Sequence[AuditRow]:
        """The newest audit rows that match, newest first; with `after` the oldest, oldest first."""
        where, values = audit_where(audit_filter, self._dialect)
        direction = "DESC" if audit_filter.after is None else "ASC"
        return self._select_rows(
            AUDIT, f"{where} ORDER BY number {direction} LIMIT ?", [*values, limit]
        )

    def iter_audit(self) -> Iterator[AuditRow]:
        """Every audit row, oldest first, a part of them in memory at a time."""
        last_number = 0
        while rows := self._select_rows(
            AUDIT, "WHERE number > ? ORDER BY number LIMIT ?", [last_number, _AUDIT_ROWS_AT_ONCE]
        ):
            yield from rows
            last_number = rows[-1].number

    def list_holds(self, name: TargetName) -> Sequence[HoldRow]:
        """The rows of a target that wait for a person, in the plan's order."""
        return self._select_rows(HOLDS, "WHERE source = ? AND target = ? ORDER BY number", name)

    def list_approvals(self, name: TargetName) -> Sequence[ApprovalRow]:
        """The approvals of a target, newest first; also those that are used or too old."""
        return self._select_rows(
            APPROVALS, "WHERE source = ? AND target = ? ORDER BY id DESC", name
        )

    def list_pauses(self) -> Sequence[PauseRow]:
        """The pauses that people have set, also those that are over; by scope."""
        return self._select_rows(PAUSES, "ORDER BY scope")

    def find_session(self, digest: str) -> SessionRow | None:
        """A session of the page, also one that is over."""
        rows = self._select_rows(SESSIONS, "WHERE digest = ?", [digest])
        return rows[0] if rows else None

    def list_rollouts(self) -> Sequence[RolloutRow]:
        """Every rollout that has begun, also those that have ended; by name."""
        return self._select_rows(ROLLOUTS, "ORDER BY name")

    def find_rollout(self, name: str) -> RolloutRow | None:
        """A rollout with its newest revision, None for one that has not begun."""
        return self._select_first_or_none(ROLLOUTS, "WHERE name = ?", [name])

    def list_waves(self, rollout: str, number: int) -> Sequence[WaveRow]:
        """The waves of a rollout of one revision that were opened, approved or closed, in order."""
        return self._select_rows(
            WAVES, "WHERE rollout = ? AND number = ? ORDER BY wave", [rollout, number]
        )

    def list_rollout_targets(
        self, rollout: str, wave: int | None = None
    ) -> Sequence[RolloutTargetRow]:
        """The targets of a rollout, or of one wave of it, by wave and name."""
        of_wave, values = ("", []) if wave is None else ("AND wave = ?", [wave])
        rest = f"WHERE rollout = ? {of_wave} ORDER BY wave, target"
        return self._select_rows(ROLLOUT_TARGETS, rest, [rollout, *values])

    def wave_targets(self, rollout: str, wave: int) -> Sequence[TargetRow]:
        """What is known of the targets of one wave, by name; also of those that are gone."""
        names = "SELECT source, target FROM rollout_targets WHERE rollout = ? AND wave = ?"
        rest = f"WHERE (source, target) IN ({names}) ORDER BY source, target"
        return self._select_rows(TARGETS, rest, [rollout, wave])

    def find_rollout_target(self, name: TargetName) -> RolloutTargetRow | None:
        """What a target is in its rollout, None where it is in none."""
        return self._select_first_or_none(ROLLOUT_TARGETS, "WHERE source = ? AND target = ?", name)

    def find_lease(self, name: str) -> LeaseRow | None:
        """A lease, also one that is over; None for one that nobody ever had."""
        return self._select_first_or_none(LEASES, "WHERE name = ?", [name])

    def list_processes(self) -> Sequence[ProcessRow]:
        """Every process that has written itself down, by its holder name."""
        return self._select_rows(PROCESSES, "ORDER BY holder")

    def list_rolled_back_targets(self) -> Sequence[TargetRow]:
        """Targets that a person has rolled back, by name; none that is gone."""
        rest = f"WHERE is_gone = 0 AND {_IS_ROLLED_BACK} ORDER BY source, target"
        return self._select_rows(TARGETS, rest)

    def list_restoring_targets(self) -> Sequence[TargetRow]:
        """Targets of which something was restored lately, by name; none that is gone."""
        rest = "WHERE is_gone = 0 AND restored <> '[]' ORDER BY source, target"
        return self._select_rows(TARGETS, rest)

    def list_claimed_targets(self, now: float) -> Sequence[TargetRow]:
        """Targets that somebody works on at `now`, by name."""
        rest = "WHERE holder <> '' AND lease_until > ? ORDER BY source, target"
        return self._select_rows(TARGETS, rest, [now])

    def list_configuration_findings(self) -> Sequence[Diagnostic]:
        """What is wrong with controller.yaml since it was last read again; none while it is used.

        With an error among them the configuration before it is still in use.
        """
        statement = "SELECT value FROM meta WHERE key = ?"

        def read_findings(connection: StoreConnection) -> Sequence[Diagnostic]:
            cells = connection.execute(statement, [META_CONFIGURATION_FINDINGS]).fetchone()
            findings: Sequence[Diagnostic] = (
                _FINDINGS_CODER.decode(json.loads(cells[0])) if cells else ()
            )
            return findings

        return self._in_read(read_findings)

    def list_labels(self) -> Mapping[TargetName, Mapping[str, str]]:
        """The labels of the targets that the newest heads declare."""
        statement = f"SELECT key, value FROM meta WHERE key LIKE '{META_LABELS}%'"  # noqa: S608 - our own SQL
        rows = self._in_read(lambda reader: reader.execute(statement).fetchall())
        return {
            TargetName(key.removeprefix(META_LABELS), target): labels
            for key, text in rows
            for target, labels in json.loads(text).items()
        }

    def find_apply_log(self, name: TargetName) -> ApplyLog | None:
        """What the apply of a target has begun, while it runs."""
        statement, key = "SELECT value FROM meta WHERE key = ?", f"{META_APPLY}{name}"
        cells = self._in_read(lambda reader: reader.execute(statement, [key]).fetchone())
        return _APPLY_LOG_CODER.decode(json.loads(cells[0])) if cells else None

    def _select_rows(
        self,
        table: RowTable[R],
        sql_after_table: str,
        values: Sequence[object] = (),
        constants: Mapping[str, str] | None = None,
    ) -> list[R]:
        with self._borrow_reader() as connection:
            return read_rows(connection, table, sql_after_table, values, constants)

    def _select_first_or_none(
        self, table: RowTable[R], sql_after_table: str, values: Sequence[object]
    ) -> R | None:
        return next(iter(self._select_rows(table, f"{sql_after_table} LIMIT 1", values)), None)

    def _in_read(self, work: Callable[[StoreConnection], T]) -> T:
        """Run `work` in a transaction of its own, so that all it reads is of one moment."""
        with self._borrow_reader() as connection:
            connection.begin_reading()
            try:
                return work(connection)
            finally:
                connection.roll_back_if_begun()

    @contextmanager
    def _borrow_reader(self) -> Iterator[StoreConnection]:
        if not self._readers_in_use.acquire(timeout=_MAX_WAIT_FOR_READER):
            raise StoreUnavailable.from_summary(
                "The controller's store answers too slowly",
                f"{_MOST_READERS} queries to it have had no answer for some seconds.",
                "Check whether its database is overloaded.",
            )
        try:
            with self._borrow_connection("Reading") as connection:
                yield connection
        finally:
            self._readers_in_use.release()

    @contextmanager
    def _borrow_connection(self, activity: str) -> Iterator[StoreConnection]:
        with self._database.translate_errors(activity):
            with self._idle_lock:
                connection = self._idle_readers.pop() if self._idle_readers else None
            if connection is None:
                connection = self._database.open_connection(is_writer=False)
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            with self._idle_lock:
                if self._is_closed:
                    connection.close()
                else:
                    self._idle_readers.append(connection)


class SqliteControllerStore(ControllerStore):
    """The store in `controller.db` of a data folder."""

    def __init__(self, data_folder: Path) -> None:
        super().__init__(SqliteStoreDatabase(data_folder))


_WILDCARDS = frozenset("*?[")
_NAME = "source || '/' || target"


def targets_where(target_filter: TargetFilter, dialect: SqlDialect) -> tuple[str, list[Any]]:
    """WHERE and its values for the targets that a filter matches; gone ones never do."""
    conditions, values = ["is_gone = 0"], list[Any]()
    if target_filter.state is not None:
        conditions.append("state_rank = ?")
        values.append(STATE_RANKS[target_filter.state])
    if target_filter.source:
        conditions.append("source = ?")
        values.append(target_filter.source)
    if target_filter.wanted_commit:
        conditions.append("wanted_commit = ?")
        values.append(target_filter.wanted_commit)
    if target_filter.text:
        conditions.append(_contains(_NAME))
        values.append(_like_pattern(target_filter.text))
    if target_filter.names is not None:
        conditions.append(f"{_NAME} IN ({dialect.text_list})")
        values.append(json.dumps(target_filter.names))
    if target_filter.patterns is not None:
        conditions.append(_pattern_condition(_NAME, dialect))
        values.extend(_encode_patterns(target_filter.patterns, dialect))
    return f"WHERE {' AND '.join(conditions)}", values


def audit_where(audit_filter: AuditFilter, dialect: SqlDialect) -> tuple[str, list[Any]]:
    """WHERE and its values for the audit rows that a filter matches; "" for all."""
    conditions, values = list[str](), list[Any]()
    if audit_filter.who:
        conditions.append("who = ?")
        values.append(audit_filter.who)
    if audit_filter.text:
        conditions.append(_contains("subject || ' ' || action || ' ' || detail"))
        values.append(_like_pattern(audit_filter.text))
    for comparison, number in (("<", audit_filter.before), (">", audit_filter.after)):
        if number is not None:
            conditions.append(f"number {comparison} ?")
            values.append(number)
    if audit_filter.patterns is not None:
        conditions.append(_pattern_condition("subject", dialect))
        values.extend(_encode_patterns(audit_filter.patterns, dialect))
    return f"WHERE {' AND '.join(conditions)}" if conditions else "", values


def _pattern_condition(expression: str, dialect: SqlDialect) -> str:
    """The condition that a text matches patterns.

    Its values are those of `_encode_patterns`.
    """
    matches = dialect.pattern_condition.format(expression)
    return f"({expression} IN ({dialect.text_list}) OR {matches})"


def _encode_patterns(patterns: Sequence[str], dialect: SqlDialect) -> list[str]:
    """Two values: patterns that are names, which an index may find, as JSON; and the others."""
    names = [pattern for pattern in patterns if _WILDCARDS.isdisjoint(pattern)]
    others = [pattern for pattern in patterns if not _WILDCARDS.isdisjoint(pattern)]
    return [json.dumps(names), dialect.encode_patterns(others)]


def _contains(expression: str) -> str:
    """The condition that a text contains another one, whatever the case of ASCII letters is."""
    return rf"LOWER({expression}) LIKE ? ESCAPE '\'"


def lower_ascii(text: str) -> str:
    """As LOWER has it, in SQLite and of a column with COLLATE "C": ASCII letters alone."""
    return text.encode("utf-8", "replace").lower().decode()


def _like_pattern(text: str) -> str:
    escaped = lower_ascii(text).replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    return f"%{escaped}%"


# What a row of `targets` counts for in RevisionProgress.
_IS_AT_HEAD = "wanted_digest = head_digest"
_IS_ROLLED_BACK = "rollback <> 'null'"
_IS_FOR_LATER_WAVE = "(wanted_digest <> head_digest AND rollback = 'null')"
_IS_DONE = f"({_IS_AT_HEAD} AND input_digest = head_digest AND progress = 'done')"
_IS_OBSERVED = f"{_IS_DONE} AND mode = 'observe'"
# A failure at an older head says nothing of this revision.
_IS_FAILING = (
    f"({_IS_AT_HEAD} AND progress IN ('failing', 'refused') AND looked_number >= touched_number)"
)
_IS_HELD = f"({_IS_AT_HEAD} AND progress = 'held')"
_IS_WAITING = f"({_IS_AT_HEAD} AND progress = 'waiting')"
# What is told of one subject arrives in order. `{}` is SqlDialect.message_subject.
IS_FIRST_MESSAGE_OF_SUBJECT = (
    "id IN (SELECT MIN(id) FROM messages WHERE sent_at = 0 AND refusal = '' GROUP BY channel, {})"
)


def _oldest_due(table: RowTable[R], receiver: str, condition: str) -> str:
    """What selects the rows that are due, the oldest first, and some of each receiver at most.

    After the values of `condition` come the time and that number.
    """
    key = ", ".join(f'"{column}"' for column in table.key)
    order = f"ORDER BY try_at, {key}"
    ranked = (
        f"SELECT {key}, ROW_NUMBER() OVER (PARTITION BY {receiver} {order}) AS place"  # noqa: S608
        f" FROM {table.name} WHERE {condition} AND refusal = '' AND try_at <= ?"
    )
    return f"WHERE ({key}) IN (SELECT {key} FROM ({ranked}) AS ranked WHERE place <= ?) {order}"  # noqa: S608


SELECT_FINDINGS_OF_TARGETS = (
    "SELECT source, target, backend_host,"
    " (SELECT findings FROM runs WHERE runs.id = targets.last_run) FROM targets"
)
# The index runs_applied has these runs. `{}` is SqlDialect.call_count.
_SUM_APPLIED_ROWS = (
    "SELECT COALESCE(SUM({}), 0) FROM runs WHERE verb = 'apply' AND source = ?"
    ' AND "commit" = (SELECT "commit" FROM revisions WHERE source = ? AND number = ?)'
)


def read_rows(
    connection: StoreConnection,
    table: RowTable[R],
    sql_after_table: str,
    values: Sequence[object] = (),
    constants: Mapping[str, str] | None = None,
) -> list[R]:
    statement = table.build_select_statement(sql_after_table, constants)
    return [table.decode_row(cells) for cells in connection.execute(statement, values)]


def sum_up_progress(
    connection: StoreConnection, dialect: SqlDialect, source: str, number: int
) -> RevisionProgress:
    touched = "FROM targets WHERE source = ? AND touched_number = ? AND is_gone = 0"
    counts = ", ".join(
        f"COUNT(*) FILTER (WHERE {condition})"
        for condition in (
            *("1 = 1", _IS_DONE, _IS_FAILING, _IS_HELD, _IS_WAITING),
            *(f"{_IS_DONE} AND mode <> 'observe'", _IS_FOR_LATER_WAVE, _IS_ROLLED_BACK),
        )
    )
    sums = ", ".join(
        f"COALESCE(SUM(CASE WHEN {_IS_OBSERVED} THEN {column} END), 0)"
        for column in ("change_count", "refused_count")
    )
    statement = f"SELECT {counts}, {sums} {touched}"
    cells = connection.execute(statement, [source, number]).fetchone()
    touched_count, done_count, failing_count, held_count, waiting_count, *rest = map(int, cells)
    applied_count, later_wave_count, rolled_back_count, change_count, refused_count = rest
    (applied_row_count,) = connection.execute(
        _SUM_APPLIED_ROWS.format(dialect.call_count), [source, source, number]
    ).fetchone()

    def first_target_names(condition: str) -> tuple[str, ...]:
        names_statement = f"SELECT target {touched} AND {condition} ORDER BY target LIMIT 3"
        names = connection.execute(names_statement, [source, number])
        return tuple(name for (name,) in names)

    return RevisionProgress(
        touched_count=touched_count,
        done_count=done_count,
        failing_count=failing_count,
        failing_names=first_target_names(_IS_FAILING) if failing_count else (),
        change_count=change_count,
        refused_count=refused_count,
        held_count=held_count,
        held_names=first_target_names(_IS_HELD) if held_count else (),
        waiting_count=waiting_count,
        waiting_names=first_target_names(_IS_WAITING) if waiting_count else (),
        applied_count=applied_count,
        applied_row_count=int(applied_row_count),
        later_wave_count=later_wave_count,
        rolled_back_count=rolled_back_count,
        rolled_back_names=first_target_names(_IS_ROLLED_BACK) if rolled_back_count else (),
    )
