"""Which SQL statements each operation of a state store is, and which rules it keeps.

A write is allowed only under the lock of the state, which is checked in the same transaction. Every
public write is one piece of work of a `WriteBatch` (lock/write_batch.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from synapse_apply.model import ports, project
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import RemoteError, StateError, SynapseApplyError
from synapse_apply.model.state import (
    MAX_ACTING,
    NO_PROGRESS,
    NO_SHARED_IDS,
    STATE_FORMAT,
    AuditEntry,
    BackendIdentity,
    Intent,
    IntentState,
    ProjectAndKeyIds,
    Record,
    State,
    StateHeader,
    StateProgress,
)
from synapse_apply.stores import call_notes, schema, snapshot
from synapse_apply.stores.call_notes import CallNote, write_notes
from synapse_apply.stores.database import DamagedLog, Database, Row, SqlRunner, Statement, T
from synapse_apply.stores.lock.lease_lock import Lease, LeaseLock, LockRunner
from synapse_apply.stores.lock.lock_owner import LockOwner
from synapse_apply.stores.lock.write_batch import WriteBatch
from synapse_apply.stores.snapshot import (
    StateHistory,
    StateRows,
    StateSnapshot,
    require_known_format,
)
from synapse_apply.stores.state_messages import duplicate_remote_id, fault, open_call


def utc_now() -> str:
    """The current time in RFC 3339 form, in UTC with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


# Returns whether it changed what `read_state` gives, and so the serial; None is no such change.
ChangingWork = Callable[[SqlRunner], bool | None]


class SqlStore:
    """One state over any Database; StateStore (model/ports.py) says what an apply needs of it.

    Every write needs the lock, and is durable when the call returns. Raises StateError for a
    missing, foreign, damaged or newer state and for a failed write. `was_locked_here`: this process
    has held the lock, so that it may have changed the state.
    """

    def __init__(
        self,
        database: Database,
        tool_version: str = "",
        now: Callable[[], str] = utc_now,
        runner: LockRunner | None = None,
    ) -> None:
        """Opens nothing: the database is opened at its first use."""
        runner = runner or LockRunner()
        self._database = database
        self._runner = runner
        self._timing = runner.timing or database.lease_timing
        # Path or URL of this state for messages, without a password.
        self.where = database.location
        self.is_shared = database.is_shared
        # Whether what is stored is signed with the state key, and begins anew under another.
        self.is_signed = database.is_signed
        # A call is sent at most so long after the time of its intents.
        self.seconds_to_start = self._timing.seconds_to_start
        # After so long without a sign of life another process may take the lock.
        self.lease_seconds = self._timing.lease_seconds
        # Whether a write takes longer than most calls, so that many are announced together.
        self.is_slow = database.pacer.pace.longest_deferral > 0
        self._lock = LeaseLock(database, runner, now)
        self._lease: Lease | None = None
        self.was_locked_here = False
        self._read_format = STATE_FORMAT
        self._write_batch = WriteBatch(
            self._commit_batch, write_notes, database.pacer.wait_for_turn
        )
        self._tool_version = tool_version
        self._now = now

    @contextmanager
    def lock(self, operation: str, timeout: float = 0.0, *, repair: bool = False) -> Iterator[None]:
        """Hold the lock during the block, in which every thread of this process may write.

        With `repair` also that of a state that is missing or damaged, for a restore. LockHeld if it
        is not free within `timeout` seconds. If the lock is lost when the block raises, LockLost
        replaces that error, which is only a consequence.
        """
        with self._acquire_and_hold_lock(operation, timeout, repair=repair) as lease:
            try:
                yield
            except (SynapseApplyError, RemoteError):
                lease.require_not_lost()
                raise

    def holds_lock(self) -> bool:
        """Whether a request may be started: the lock is held and its lease has not expired.

        Judged without a query: a lock that was removed is noticed at the next write or renewal.
        """
        return self._lease is not None and self._lease.is_valid

    def is_lock_lost(self) -> bool:
        """Whether this process took the lock and its lease has expired or was taken over."""
        return self._lease is not None and not self._lease.is_valid

    def require_lock_not_lost(self) -> None:
        """LockLost if `is_lock_lost`; nothing without a lock that was taken."""
        if self._lease is not None:
            self._lease.require_not_lost()

    def has_failed_write(self) -> bool:
        """Whether a transaction failed under the present lock for another reason than its input."""
        return self._write_batch.has_failed_write

    @property
    def waited_seconds(self) -> float:
        """How long writes have waited so far, to spare the host of the state."""
        return self._database.pacer.waited_seconds

    @contextmanager
    def defer_writes_while_busy(
        self,
        call_load: ports.CallSlotLoad,
        report_wait: Callable[[float], None] = ports.ignore_wait,
    ) -> Iterator[None]:
        """Let writes of a slow store wait for others in the block, while calls are busy.

        `report_wait` gets the seconds of each wait for the pace of the store, and 0 at its end.
        """
        self._write_batch.call_load, self._write_batch.report_wait = call_load, report_wait
        try:
            yield
        finally:
            self._write_batch.call_load, self._write_batch.report_wait = None, ports.ignore_wait

    def list_lock_held_findings_unless_owner_ended(self) -> tuple[Diagnostic, ...]:
        """The findings a run would get that wants the lock now; () if it could take it at once."""
        return self._lock.list_lock_held_findings_unless_owner_ended()

    def wait_out_lock_owner(self) -> bool:
        """Whether the lock is free or its owner lost: silent for a lease, which this waits for."""
        return self._lock.wait_out_owner()

    def remove_lock_even_if_in_use(self, lock_id: str) -> None:
        """Remove the lock with this id; StateError for another one. Its owner's writes fail."""
        self._lock.remove_lock_with_id(lock_id)

    def close(self) -> None:
        self._database.close()

    def list_warnings(self) -> tuple[Diagnostic, ...]:
        """Warnings about where this state is stored, and of a format that the next write ends."""
        warnings = self._database.list_warnings()
        if self._read_format < STATE_FORMAT:
            warnings += (
                warning_finding(
                    "The state has the format of an earlier version of synapse-apply",
                    f"{self.where} has format {self._read_format}. The first write by this "
                    f"version changes it to format {STATE_FORMAT}, which earlier versions "
                    "refuse.",
                    Text(
                        "To be able to go back, make a backup first: ",
                        Command("state backup FILE"),
                        ".",
                    ),
                ),
            )
        return warnings

    @property
    def is_verified(self) -> bool:
        """Whether what was read last is signed with the key at hand; True where nothing is."""
        return not self.is_signed or bool(self.bookmark)

    def exists(self) -> bool:
        """Whether a state exists in this store."""
        return self._database.exists()

    def create_state(
        self,
        binding: BackendIdentity,
        lineage: str,
        floor: StateProgress = NO_PROGRESS,
        shared_ids: ProjectAndKeyIds = NO_SHARED_IDS,
    ) -> None:
        """Create an empty state; takes the lock for the moment if it is not held.

        Serial and fence begin above those of `floor`: a state of this lineage may have existed.
        """
        first_progress = floor.with_next_serial_if_known()
        self.create_from_snapshot(
            StateSnapshot(
                State(lineage, first_progress.serial, binding),
                plans=snapshot.list_shared_id_rows(shared_ids),
                fence=first_progress.fence,
            )
        )

    def read_header(self, *, requires_newest: bool = False) -> StateHeader:
        """Identity, lineage and progress; `requires_newest` as for Database.read_in_snapshot."""
        return snapshot.header_of(
            self._database.read_in_snapshot(self._known_meta, requires_newest=requires_newest)
        )

    def read_backend_identity(self) -> BackendIdentity:
        return self.read_header().identity

    def read_lineage(self) -> str:
        return self.read_header().lineage

    def read_serial(self) -> int:
        return self.read_header().progress.serial

    def read_progress(self) -> StateProgress:
        return self.read_header().progress

    @property
    def bookmark(self) -> str:
        """Where the log ended when it was last read, "" for a store that is no log.

        Whoever remembers it can tell whether the log was deleted, set back or forked since.
        """
        return self._database.bookmark

    def require_continuation_in_reads(self, bookmark: str) -> None:
        """Have each read raise StateError where the log does not go on from a bookmark."""
        self._database.require_continuation_in_reads(bookmark)

    def read_state(self) -> State:
        return snapshot.decode_state(
            self._database.read_in_snapshot(self._read_state_rows), self.where
        )

    def find_record(self, address: Address) -> Record | None:
        rows = self._read(schema.GET_RECORD, str(address))
        return schema.decode(Record, rows[0][0], self.where, str(address)) if rows else None

    def append_audit_entries(self, *entries: AuditEntry) -> None:
        audit_rows = [
            (entry.at, entry.address, schema.encode(entry, self.where)) for entry in entries
        ]

        def insert_entries(run: SqlRunner) -> None:
            for audit_row in audit_rows:
                run(schema.ADD_AUDIT, audit_row)

        if audit_rows:
            self._write_counted(insert_entries)

    def open_intent_and_use_up_its_approvals(self, intent: Intent) -> None:
        self._write_batch.write_durably(
            CallNote(
                intent,
                intent_text=schema.encode(intent, self.where),
                opened_at=self._now() if intent.approvals else "",
            )
        )

    def rewrite_intent(self, intent: Intent) -> None:
        """Store an open intent anew."""
        row = (schema.encode(intent, self.where), intent.id)
        self._write_counted(lambda run: run(schema.SET_INTENT, row) is not None)

    def keep_forgotten_call(self, call: Intent) -> None:
        """Store a call that has ended, and whose record goes, unless it is stored already.

        Of an object the newest are kept, as many as its record would have.
        """
        address = str(call.address)
        row = (call.id, address, schema.encode(call, self.where))

        def insert_once(run: SqlRunner) -> bool:
            if run(schema.GET_INTENT, row[:1]):
                return False
            run(schema.ADD_INTENT, row)
            known = [
                schema.decode(Intent, text, self.where, address)
                for (text,) in run(schema.GET_INTENTS_OF_ADDRESS, (address,))
            ]
            ended = [
                one.id
                for one in known
                if one.state is not IntentState.OPEN
                and (one.api, one.remote_id) == (call.api, call.remote_id)
            ]
            for oldest in ended[:-MAX_ACTING]:
                run(schema.append_in_clause(schema.DROP_INTENTS, 1), (oldest,))
            return True

        self._write_counted(insert_once)

    def close_ended_intent(
        self,
        ended_intent: Intent,
        record_or_none_to_remove_if_done: Record | None,
        entry: AuditEntry,
    ) -> None:
        """Close an open intent, store or drop its record, and append the audit entry.

        A record of None drops the stored one if the intent is DONE. StateError if the intent is
        not open in the state; ValueError if `ended_intent.state` is OPEN.
        """
        if ended_intent.state is IntentState.OPEN:
            raise ValueError("settling an intent must say how it ended")
        record = record_or_none_to_remove_if_done
        self._write_batch.write_durably(
            CallNote(
                ended_intent,
                record=record,
                record_row=() if record is None else self._build_record_row(record),
                drops_record=record is None and ended_intent.state is IntentState.DONE,
                audit_row=(entry.at, entry.address, schema.encode(entry, self.where)),
            )
        )

    def write_records(self, *records: Record, uses_up: Sequence[str] = ()) -> None:
        records_by_address = {record.address: record for record in records}
        rows = [(record, self._build_record_row(record)) for record in records_by_address.values()]

        def write_rows(run: SqlRunner) -> bool:
            self._use_approvals(run, uses_up)
            return self._write_changed(run, rows)

        self._write_counted(write_rows)

    def remove_records(self, *addresses: Address, uses_up: Sequence[str] = ()) -> None:
        """Delete the records at these addresses; one that is not recorded is ignored."""

        def delete_recorded(run: SqlRunner) -> bool:
            self._use_approvals(run, uses_up)
            stored = [(text,) for text in map(str, addresses) if run(schema.GET_RECORD, (text,))]
            for address_cells in stored:
                run(schema.DROP_RECORD, address_cells)
            return bool(stored)

        self._write_counted(delete_recorded)

    def rename_addresses(
        self,
        renames: project.Renames,
        finish: project.RecordFinisher = project.return_renamed_record_unchanged,
    ) -> None:
        """Rename records, and the addresses in the dependencies of all records.

        StateError, with nothing renamed, for an unknown old address, a taken new one, or an open
        call on an old one.
        """

        def rename_records(run: SqlRunner) -> bool:
            for old, new in renames.items():
                if not run(schema.GET_RECORD, (str(old),)):
                    raise fault("unknown address", self.where, address=old)
                if run(schema.GET_RECORD, (str(new),)):
                    forget = Command("state rm", new)
                    raise fault("address taken", self.where, address=new, forget=forget)
                for (text,) in run(schema.GET_INTENTS_OF_ADDRESS, (str(old),)):
                    intent = schema.decode(Intent, text, self.where, str(old))
                    if intent.state is IntentState.OPEN:
                        raise open_call(old, intent.verb)
            # All records, since any of them may depend on a renamed address.
            records = [
                schema.decode(Record, text, self.where, record_address)
                for record_address, text in run(schema.ALL_RECORDS, ())
            ]
            for old in renames:
                run(schema.DROP_RECORD, (str(old),))
            renamed_records = project.iter_records_changed_by_renames(records, renames, finish)
            return self._write_changed(
                run, [(record, self._build_record_row(record)) for record in renamed_records]
            )

        self._write_counted(rename_records)

    def replace_backend_identity(self, binding: BackendIdentity) -> None:
        def update_identity(run: SqlRunner) -> bool:
            if snapshot.header_of(self._known_meta(run)).identity == binding:
                return False
            run(schema.SET_IDENTITY, (binding.url, binding.tenant, binding.data_set))
            return True

        self._write_counted(update_identity)

    def read_project_and_key_ids(self) -> ProjectAndKeyIds:
        return self._read_known(snapshot.read_project_and_key_ids)

    def replace_project_and_key_ids(self, shared_ids: ProjectAndKeyIds) -> None:
        def replace_id_rows(run: SqlRunner) -> None:
            if snapshot.read_project_and_key_ids(run) == shared_ids:
                return
            for row_id in schema.SHARED_ROWS:
                run(schema.DROP_PLAN, (row_id,))
            for row in snapshot.list_shared_id_rows(shared_ids):
                run(schema.ADD_PLAN, row)

        self._write_counted(replace_id_rows)

    def list_audit_entries_newest_first(self, limit: int = 1000) -> list[AuditEntry]:
        rows = self._read(schema.NEWEST_AUDIT, limit)
        return [schema.decode(AuditEntry, text, self.where, "audit") for (text,) in rows]

    def mark_plan_applied(self, plan_id: str) -> None:
        """Mark a saved plan as used; StateError if it was before. Does not change the serial."""

        def insert_plan(run: SqlRunner) -> None:
            if run(schema.GET_PLAN, (plan_id,)):
                raise fault("plan used", id=plan_id)
            run(schema.ADD_PLAN, (plan_id, self._now()))

        self._write_counted(insert_plan)

    def was_plan_applied(self, plan_id: str) -> bool:
        return bool(self._read(schema.GET_PLAN, plan_id))

    def use_approvals_up_or_raise_if_used(self, *approval_ids: str) -> None:
        """Use approvals up; StateError, with none used, where one was used up before."""
        self._write_counted(lambda run: self._use_approvals(run, approval_ids))

    def list_used_approvals(self, approval_ids: Sequence[str]) -> tuple[str, ...]:
        return self._read_known(
            partial(call_notes.read_used_approval_ids, approval_ids=approval_ids)
        )

    def write_backup(self, path: str) -> None:
        """Write a copy of the state as an SQLite file; needs no lock. StateError if it exists."""
        with suppress(DamagedLog):  # of which the database writes what can be read, and says so
            self.read_serial()  # raises for a state that is missing or newer than this version
        self._database.write_backup(path)

    def restore_backup_and_return_kept_path_or_empty(
        self,
        source: str,
        check_backup: ports.BackupCheck = ports.accept_any_backup,
        kept_path_unless_beside_file: str | None = None,
        find_floor: ports.ProgressFloor = ports.return_no_progress,
    ) -> str:
        """Replace the state by a backup; returns where the old one is kept, "" if nowhere.

        Takes the lock for the moment if it is not held. The new serial is greater than that of
        the old state, of the backup, and of what `find_floor` gives for its lineage, so that no
        saved plan of an earlier time matches by accident.
        """

        def build_adjustments(run: SqlRunner) -> list[Statement]:
            header = snapshot.header_of(self._known_meta(run, source))
            check_backup(header.identity, header.lineage)
            seen_progress = find_floor(header.lineage)
            progress = header.progress.join_maximum(seen_progress).join_maximum(old_progress)
            lock_owners.append(lease.next_owner(progress.fence))
            return [
                (schema.SET_SERIAL, (progress.serial + 1,)),
                *lock_owners[-1].statements(progress.fence),
            ]

        # The last one counts: the check may run again if the connection breaks.
        lock_owners: list[LockOwner] = []
        with self._hold_lock("state restore", repair=True) as lease:
            lease.require_not_lost()
            old_progress = self._read_progress()
            written_at = self._timing.boottime()
            saved_path = self._database.replace_from_backup(
                source, build_adjustments, kept_path_unless_beside_file
            )
            lease.start_renewal(lock_owners[-1], written_at)
        return saved_path

    def read_snapshot(self) -> StateSnapshot:
        """The state with its history, read in one transaction."""

        def read_rows_and_history(run: SqlRunner) -> tuple[StateRows, StateHistory]:
            return self._read_state_rows(run), snapshot.read_history(run, self.where)

        rows, history = self._database.read_in_snapshot(read_rows_and_history)
        state = snapshot.decode_state(rows, self.where)
        return StateSnapshot(state, *history, int(rows.meta_row[schema.FENCE_INDEX]))

    def create_from_snapshot(self, state_snapshot: StateSnapshot) -> None:
        """Create a state with these contents; StateError if there is one already."""
        if self.exists():
            raise fault("exists", self.where)
        state = state_snapshot.state
        identity_cells = (state.binding.url, state.binding.tenant, state.binding.data_set)
        start_cells = (1, STATE_FORMAT, state.lineage, 0)
        meta_row = (*start_cells, *identity_cells, self._now(), self._tool_version, 0)
        with self._hold_lock("state init") as lease:
            lock_owner = lease.next_owner(state_snapshot.fence)
            statements = [
                *schema.CREATE_TABLES,
                (schema.ADD_META, meta_row),
                *snapshot.build_filling_statements(state_snapshot, self.where),
                *lock_owner.statements(state_snapshot.fence),
            ]
            written_at = self._timing.boottime()
            self._database.create_state_or_raise_if_exists(statements)
            lease.start_renewal(lock_owner, written_at)

    def _write_counted(self, work: ChangingWork) -> None:
        """Run the work in a transaction; adds one to the serial if the work returns True.

        Works of several threads at the same time share one transaction.
        """
        self._write_batch.write_durably(lambda run: work(run) and run(schema.ADD_TO_SERIAL, (1,)))

    def _commit_batch(self, run_batch: Callable[[SqlRunner], object]) -> None:
        """Run a batch in one transaction; StateError without the lock, LockLost if it was lost."""
        lease = self._lease
        if lease is None:
            raise fault("not locked", self.where)
        lease.require_not_lost()

        def run_batch_under_lock(run: SqlRunner) -> None:
            # A newer version may have changed the format since this process read it.
            meta_row = self._known_meta(run)
            if lease.is_stored:
                lease.require_own_row(run, *meta_row[schema.OWNER_SLICE])
            # From now on an older version, which would drop what it does not know, is refused.
            if meta_row[0] < STATE_FORMAT:
                run(schema.SET_FORMAT, (STATE_FORMAT,))
            run_batch(run)

        # The time before the write: a lease must not be believed longer than others see it.
        written_at, sign_before = self._timing.boottime(), self._database.owner_sign
        self._database.write_in_transaction(run_batch_under_lock)
        # A write to a shared log is a sign of life, too; it spares the heartbeat one commit.
        if self._database.owner_sign != sign_before:
            lease.record_renewal(written_at)

    def _known_meta(self, run: SqlRunner, location: str = "") -> Row:
        meta_row = require_known_format(run, location or self.where)
        if not location:
            self._read_format = int(meta_row[0])
        return meta_row

    @contextmanager
    def _acquire_and_hold_lock(
        self, operation: str, timeout: float = 0.0, *, repair: bool = False
    ) -> Iterator[Lease]:
        """Take the lock for the block; StateError if this store holds it already."""
        if self._lease is not None:
            raise fault("locked here", self.where, operation=operation)
        with ExitStack() as stack:
            lease = self._lock.acquire(operation, timeout, stack, repair=repair)
            self._lease = lease
            self.was_locked_here = True
            self._write_batch.has_failed_write = False
            try:
                yield lease
            finally:
                self._lease = None

    @contextmanager
    def _hold_lock(self, operation: str, *, repair: bool = False) -> Iterator[Lease]:
        """The lease that is held, else the lock is taken for the block."""
        with ExitStack() as stack:
            yield self._lease or stack.enter_context(
                self._acquire_and_hold_lock(operation, repair=repair)
            )

    def _read_known(self, work: Callable[[SqlRunner], T]) -> T:
        """Run a work on a snapshot of a state whose format is known."""

        def read_after_meta(run: SqlRunner) -> T:
            self._known_meta(run)
            return work(run)

        return self._database.read_in_snapshot(read_after_meta)

    def _read(self, statement: str, *values: object) -> list[Row]:
        return self._read_known(lambda run: run(statement, values))

    def _read_state_rows(self, run: SqlRunner) -> StateRows:
        return StateRows(
            self._known_meta(run), run(schema.ALL_RECORDS, ()), run(schema.ALL_INTENTS, ())
        )

    def _use_approvals(self, run: SqlRunner, approval_ids: Sequence[str]) -> None:
        call_notes.use_approvals_up(run, approval_ids, self._now())

    def _build_record_row(self, record: Record) -> tuple[Any, ...]:
        address = record.address
        text = schema.encode(record, self.where)
        return (str(address), address.kind, record.api, record.remote_id, text)

    def _write_changed(self, run: SqlRunner, rows: list[tuple[Record, tuple[Any, ...]]]) -> bool:
        """Write the rows whose text differs from the stored one; whether there were any.

        StateError for a remote id that another address has.
        """
        changed_rows = [
            (record, row)
            for record, row in rows
            if run(schema.GET_RECORD, (row[0],)) != [(row[-1],)]
        ]
        # All old rows are deleted first: two records may exchange their ids, which are unique.
        for _, row in changed_rows:
            run(schema.DROP_RECORD, (row[0],))
        for record, row in changed_rows:
            for (other_address,) in run(schema.FIND_REMOTE, row[1:4]):
                raise duplicate_remote_id(record, other_address)
            run(schema.ADD_RECORD, row)
        return bool(changed_rows)

    def _read_progress(self) -> StateProgress:
        """The progress, of a damaged log that before the damage; NO_PROGRESS where nothing tells.

        A state that is damaged or missing is a reason to restore. What comes in its place must
        count as the newest to whoever has read it.
        """
        try:
            return self.read_progress()
        except DamagedLog as damage:
            meta_row = damage.reading.find_row_as_far_as_read("meta", 1)
        except StateError:
            return NO_PROGRESS
        if meta_row is None:
            return NO_PROGRESS
        cells = dict(zip(schema.TABLE_COLUMNS["meta"], meta_row, strict=True))
        return StateProgress(int(cells["serial"]), int(cells["fence"]))
