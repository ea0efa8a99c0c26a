"""A state store in the memory of the test process, with the rules of the real ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import RLock
from typing import Any
from uuid import uuid4

from support.core import (
    NO_PROGRESS,
    NO_SHARED_IDS,
    STATE_FORMAT,
    Address,
    AuditEntry,
    BackendIdentity,
    BackupCheck,
    CallSlotLoad,
    Diagnostic,
    Intent,
    IntentState,
    ProgressFloor,
    ProjectAndKeyIds,
    Record,
    RecordFinisher,
    Renames,
    State,
    StateHeader,
    StateProgress,
    accept_any_backup,
    codec,
    ignore_wait,
    iter_records_changed_by_renames,
    return_no_progress,
    return_renamed_record_unchanged,
)

from synapse_apply.stores import schema, state_messages
from synapse_apply.stores.snapshot import StateSnapshot, list_shared_id_rows, select_shared_ids

MEMORY_LOCATION = "memory"

# What must not stand under two addresses: kind, API version, remote id.
RemoteKey = tuple[str, str, str]


@dataclass
class StoredRows:
    """What a database would hold; values are the same texts, so that nothing else gets in."""

    lineage: str
    binding: BackendIdentity
    serial: int = 0
    records: dict[Address, str] = field(default_factory=dict)
    remote_keys: dict[Address, RemoteKey] = field(default_factory=dict)
    addresses_by_remote_key: dict[RemoteKey, Address] = field(default_factory=dict)
    intents: dict[str, str] = field(default_factory=dict)
    plans: dict[str, str] = field(default_factory=dict)
    audit: list[str] = field(default_factory=list)


class MemoryStore:
    """A StateStore (model/ports.py) that ends with its process."""

    def __init__(self) -> None:
        """No state yet: `create_state` makes one."""
        self._rows: StoredRows | None = None
        self._lock_id = ""
        self._is_locked = False
        self._rows_lock = RLock()

    @property
    def where(self) -> str:
        """The place of this state, for messages."""
        return MEMORY_LOCATION

    is_slow = False
    waited_seconds = 0.0
    lease_seconds = 30.0
    seconds_to_start = 5.0

    @property
    def is_shared(self) -> bool:
        return False

    bookmark = ""

    def require_continuation_in_reads(self, bookmark: str) -> None:
        """There is no log."""

    def exists(self) -> bool:
        return self._rows is not None

    def defer_writes_while_busy(
        self, call_load: CallSlotLoad, report_wait: Callable[[float], None] = ignore_wait
    ) -> AbstractContextManager[None]:
        """Nothing waits: a write takes no time."""
        del call_load, report_wait
        return nullcontext()

    def list_warnings(self) -> tuple[Diagnostic, ...]:
        """Nobody keeps this one."""
        return ()

    def create_state(
        self,
        binding: BackendIdentity,
        lineage: str,
        floor: StateProgress = NO_PROGRESS,
        shared_ids: ProjectAndKeyIds = NO_SHARED_IDS,
    ) -> None:
        self.create_from_snapshot(
            StateSnapshot(
                State(lineage, floor.with_next_serial_if_known().serial, binding),
                plans=list_shared_id_rows(shared_ids),
            )
        )

    def read_project_and_key_ids(self) -> ProjectAndKeyIds:
        return select_shared_ids(self._require_rows().plans)

    def read_header(self, *, requires_newest: bool = False) -> StateHeader:
        del requires_newest
        rows = self._require_rows()
        return StateHeader(rows.binding, rows.lineage, self.read_progress())

    def read_backend_identity(self) -> BackendIdentity:
        return self._require_rows().binding

    def read_lineage(self) -> str:
        return self._require_rows().lineage

    def read_serial(self) -> int:
        return self._require_rows().serial

    def read_progress(self) -> StateProgress:
        """Its lock is never counted: nobody else can hold it."""
        return StateProgress(self.read_serial(), 0)

    def read_state(self) -> State:
        with self._rows_lock:
            rows = self._require_rows()
            return State(
                lineage=rows.lineage,
                serial=rows.serial,
                binding=rows.binding,
                records=_decode_records(rows),
                open_intents=tuple(_decode_intents(rows)),
            )

    def find_record(self, address: Address) -> Record | None:
        text = self._require_rows().records.get(address)
        return None if text is None else schema.decode_record(text, MEMORY_LOCATION, str(address))

    @contextmanager
    def lock(self, operation: str, timeout: float = 0.0) -> Iterator[None]:
        """Nobody else can hold it: there is nothing to wait for."""
        with self._rows_lock:
            if self._is_locked:
                raise state_messages.build_locked_here_error(MEMORY_LOCATION, operation)
            self._is_locked, self._lock_id = True, str(uuid4())
        try:
            yield
        finally:
            self._is_locked, self._lock_id = False, ""

    def holds_lock(self) -> bool:
        return bool(self._lock_id)

    def list_lock_held_findings_unless_owner_ended(self) -> tuple[Diagnostic, ...]:
        """Nothing: only this process can hold it."""
        return ()

    def has_failed_write(self) -> bool:
        """Memory takes everything."""
        return False

    def is_lock_lost(self) -> bool:
        return self._is_locked and not self._lock_id

    def require_lock_not_lost(self) -> None:
        if self.is_lock_lost():
            raise state_messages.build_lock_taken_error(MEMORY_LOCATION, "")

    def unlock(self, lock_id: str) -> None:
        with self._rows_lock:
            if not self._lock_id or lock_id != self._lock_id:
                raise state_messages.build_wrong_lock_id_error(MEMORY_LOCATION, lock_id, None)
            self._lock_id = ""

    def append_audit_entries(self, *entries: AuditEntry) -> None:
        entry_texts = [schema.encode_audit_entry(entry, MEMORY_LOCATION) for entry in entries]
        with self._open_rows_for_writing() as rows:
            rows.audit.extend(entry_texts)

    def open_intent_and_use_up_its_approvals(self, intent: Intent) -> None:
        with self._open_rows_for_writing() as rows:
            if intent.id in rows.intents:
                raise state_messages.duplicate_intent(intent)
            _use_approvals(rows, intent.approvals)
            rows.intents[intent.id] = schema.encode_intent(intent, MEMORY_LOCATION)
            rows.serial += 1

    def close_ended_intent(
        self,
        ended_intent: Intent,
        record_or_none_to_remove_if_done: Record | None,
        entry: AuditEntry,
    ) -> None:
        if ended_intent.state is IntentState.OPEN:
            raise ValueError("settling an intent says how it ended")
        with self._open_rows_for_writing() as rows:
            if ended_intent.id not in rows.intents:
                raise state_messages.build_no_open_intent_error(ended_intent)
            text = schema.encode_audit_entry(entry, MEMORY_LOCATION)
            if record_or_none_to_remove_if_done is not None:
                _store_changed_records(rows, [record_or_none_to_remove_if_done])
            elif ended_intent.state is IntentState.DONE:
                _remove_record(rows, ended_intent.address)
            if ended_intent.state in {IntentState.FAILED, IntentState.ABSENT}:
                _give_approvals_back(rows, ended_intent.approvals)
            del rows.intents[ended_intent.id]
            rows.audit.append(text)
            rows.serial += 1

    def write_records(self, *records: Record, uses_up: Sequence[str] = ()) -> None:
        with self._open_rows_for_writing() as rows:
            _require_unused_approvals(rows, uses_up)
            rows.serial += _store_changed_records(rows, records)
            _use_approvals(rows, uses_up)

    def remove_records(self, *addresses: Address, uses_up: Sequence[str] = ()) -> None:
        with self._open_rows_for_writing() as rows:
            _use_approvals(rows, uses_up)
            removals = [_remove_record(rows, address) for address in addresses]
            rows.serial += any(removals)

    def use_approvals_up_or_raise_if_used(self, *approval_ids: str) -> None:
        with self._open_rows_for_writing() as rows:
            _use_approvals(rows, approval_ids)

    def list_used_approvals(self, approval_ids: Sequence[str]) -> tuple[str, ...]:
        plans = self._require_rows().plans
        return tuple(each for each in dict.fromkeys(approval_ids) if f"approval:{each}" in plans)

    def rename_addresses(
        self, renames: Renames, finish: RecordFinisher = return_renamed_record_unchanged
    ) -> None:
        with self._open_rows_for_writing() as rows:
            for old, new in renames.items():
                if old not in rows.records:
                    raise state_messages.unknown_address(old, MEMORY_LOCATION)
                if new in rows.records:
                    raise state_messages.build_address_taken_error(new, MEMORY_LOCATION)
            for intent in _decode_intents(rows):
                if intent.address in renames:
                    raise state_messages.build_open_call_error(intent.address, intent.verb)
            renamed_records = list(
                iter_records_changed_by_renames(_decode_records(rows).values(), renames, finish)
            )
            for old in renames:
                _remove_record(rows, old)
            rows.serial += _store_changed_records(rows, renamed_records)

    def replace_backend_identity(self, binding: BackendIdentity) -> None:
        with self._open_rows_for_writing() as rows:
            rows.serial += rows.binding != binding
            rows.binding = binding

    def replace_project_and_key_ids(self, shared_ids: ProjectAndKeyIds) -> None:
        with self._open_rows_for_writing() as rows:
            for row_id in schema.SHARED_ROWS:
                rows.plans.pop(row_id, None)
            rows.plans.update(list_shared_id_rows(shared_ids))

    def list_audit_entries_newest_first(self, limit: int = 1000) -> list[AuditEntry]:
        newest = self._require_rows().audit[::-1][:limit]
        return [schema.decode_audit_entry(text, MEMORY_LOCATION, "audit") for text in newest]

    def mark_plan_applied(self, plan_id: str) -> None:
        """Use up a saved plan; StateError when it was used before. The serial stays."""
        with self._open_rows_for_writing() as rows:
            if plan_id in rows.plans:
                raise state_messages.plan_already_applied(plan_id)
            rows.plans[plan_id] = ""

    def was_plan_applied(self, plan_id: str) -> bool:
        return plan_id in self._require_rows().plans

    def read_snapshot(self) -> StateSnapshot:
        with self._rows_lock:
            rows = self._require_rows()
            audit = tuple(
                schema.decode_audit_entry(text, MEMORY_LOCATION, "audit") for text in rows.audit
            )
            return StateSnapshot(self.read_state(), tuple(sorted(rows.plans.items())), audit)

    def create_from_snapshot(self, state_snapshot: StateSnapshot) -> None:
        with self._rows_lock:
            if self._rows is not None:
                raise state_messages.build_existing_state_error(MEMORY_LOCATION)
            self._rows = _build_rows(state_snapshot)

    def write_backup(self, path: str) -> None:
        data = {
            "synapse_apply_state": STATE_FORMAT,
            "state": codec.state_to_json(self.read_state()),
            "plans": sorted(self._require_rows().plans.items()),
            "audit": [json.loads(text) for text in self._require_rows().audit],
        }
        try:
            with Path(path).open("x", encoding="utf-8") as file:
                json.dump(data, file)
        except FileExistsError:
            raise state_messages.build_backup_exists_error(path) from None

    def restore_backup_and_return_kept_path_or_empty(
        self,
        source: str,
        check_backup: BackupCheck = accept_any_backup,
        kept_path_unless_beside_file: str | None = None,
        find_floor: ProgressFloor = return_no_progress,
    ) -> str:
        """Nothing is kept: memory has no place for it."""
        del kept_path_unless_beside_file
        rows = _read_backup_rows(source)
        check_backup(rows.binding, rows.lineage)
        with self._rows_lock:
            serial = self._rows.serial if self._rows else 0
            min_serial = max(serial, rows.serial, find_floor(rows.lineage).serial)
            self._rows = replace(rows, serial=min_serial + 1)
        return ""

    def close(self) -> None:
        """Nothing to let go of: the state stays for the next use."""

    def _require_rows(self) -> StoredRows:
        if self._rows is None:
            raise state_messages.build_missing_state_error(MEMORY_LOCATION)
        return self._rows

    @contextmanager
    def _open_rows_for_writing(self) -> Iterator[StoredRows]:
        """Rows to change; who writes checks everything before changing anything."""
        if not self._is_locked:
            raise state_messages.build_not_locked_error(MEMORY_LOCATION)
        self.require_lock_not_lost()
        with self._rows_lock:
            yield self._require_rows()


def _decode_records(rows: StoredRows) -> dict[Address, Record]:
    return {
        address: schema.decode_record(text, MEMORY_LOCATION, str(address))
        for address, text in sorted(rows.records.items())
    }


def _decode_intents(rows: StoredRows) -> list[Intent]:
    return [
        schema.decode_intent(text, MEMORY_LOCATION, intent_id)
        for intent_id, text in rows.intents.items()
    ]


def _store_changed_records(rows: StoredRows, records: Iterable[Record]) -> bool:
    records_by_address = {record.address: record for record in records}
    texts_by_address = {
        address: schema.encode_record(record, MEMORY_LOCATION)
        for address, record in records_by_address.items()
    }
    changed_texts = {
        record_address: text
        for record_address, text in texts_by_address.items()
        if rows.records.get(record_address) != text
    }
    claimed_keys: dict[RemoteKey, Address] = {}
    for address in changed_texts:
        remote_key = (
            address.kind,
            records_by_address[address].api,
            records_by_address[address].remote_id,
        )
        owner_address = rows.addresses_by_remote_key.get(remote_key)
        other_address = claimed_keys.get(remote_key) or (
            owner_address if owner_address not in changed_texts else None
        )
        if other_address is not None:
            raise state_messages.duplicate_remote_id(
                records_by_address[address], str(other_address)
            )
        claimed_keys[remote_key] = address
    for address in changed_texts:
        _remove_record(rows, address)
    rows.records.update(changed_texts)
    rows.addresses_by_remote_key.update(claimed_keys)
    rows.remote_keys.update({address: remote_key for remote_key, address in claimed_keys.items()})
    return bool(changed_texts)


def _remove_record(rows: StoredRows, address: Address) -> bool:
    remote_key = rows.remote_keys.pop(address, None)
    if remote_key is not None:
        del rows.addresses_by_remote_key[remote_key]
    return rows.records.pop(address, None) is not None


def _read_backup_rows(source: str) -> StoredRows:
    data = _read_json_object(source)
    format_number = data.get("synapse_apply_state")
    if not isinstance(format_number, int):
        raise state_messages.build_not_a_backup_error(source, "was not written by synapse-apply")
    if format_number > STATE_FORMAT:
        raise state_messages.build_newer_format_error(source, format_number)
    try:
        state = codec.state_from_json(data.get("state"))
        audit = tuple(
            codec.audit_entry_from_json(entry_json) for entry_json in data.get("audit", ())
        )
    except ValueError as problem:
        raise state_messages.build_damaged_state_error(source, str(problem)) from None
    return _build_rows(
        StateSnapshot(state, tuple((name, text) for name, text in data.get("plans", ())), audit)
    )


def _build_rows(state_snapshot: StateSnapshot) -> StoredRows:
    state = state_snapshot.state
    rows = StoredRows(state.lineage, state.binding, state.serial, plans=dict(state_snapshot.plans))
    rows.intents.update(
        (intent.id, schema.encode_intent(intent, MEMORY_LOCATION)) for intent in state.open_intents
    )
    rows.audit.extend(
        schema.encode_audit_entry(entry, MEMORY_LOCATION) for entry in state_snapshot.audit
    )
    _store_changed_records(rows, state.records.values())
    return rows


def _read_json_object(source: str) -> dict[str, Any]:
    try:
        data = json.loads(Path(source).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise state_messages.build_not_a_backup_error(source, "does not exist") from None
    except (OSError, ValueError):
        raise state_messages.build_not_a_backup_error(source, "cannot be read as JSON") from None
    return data if isinstance(data, dict) else {}


def _require_unused_approvals(rows: StoredRows, approval_ids: Sequence[str]) -> None:
    used_ids = [each for each in approval_ids if f"approval:{each}" in rows.plans]
    if used_ids:
        raise state_messages.build_approval_used_error(used_ids)


def _use_approvals(rows: StoredRows, approval_ids: Sequence[str]) -> None:
    _require_unused_approvals(rows, approval_ids)
    rows.plans.update({f"approval:{each}": "" for each in approval_ids})


def _give_approvals_back(rows: StoredRows, approval_ids: Sequence[str]) -> None:
    for each in approval_ids:
        rows.plans.pop(f"approval:{each}", None)
