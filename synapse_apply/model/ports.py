"""Which protocols planning and applying use: API, store, secrets, packages, clock, executor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, FieldPath
from synapse_apply.model.job import Job
from synapse_apply.model.project import RecordFinisher, Renames, return_renamed_record_unchanged
from synapse_apply.model.state import (
    NO_PROGRESS,
    NO_SHARED_IDS,
    AuditEntry,
    BackendIdentity,
    Intent,
    ProjectAndKeyIds,
    Record,
    State,
    StateHeader,
    StateProgress,
)
from synapse_apply.model.values import Mac, SecretRef, Sensitive

# Raises StateError where a backup with this identity and lineage must not be restored.
BackupCheck = Callable[[BackendIdentity, str], None]


# The greatest progress at which a state of this lineage was seen.
ProgressFloor = Callable[[str], StateProgress]


def return_no_progress(_lineage: str) -> StateProgress:
    """A ProgressFloor that knows of no state."""
    return NO_PROGRESS


def accept_any_backup(_binding: BackendIdentity, _lineage: str) -> None:
    """A BackupCheck that accepts every backup."""


class CallPermit(Protocol):
    """Says whether calls that change something may begin; what has begun ends and is recorded."""

    def explain_missing_or_empty(self) -> str:
        """Why none may begin, as a phrase ("the window has closed"); "" while calls may.

        Called from many threads, before each call and more often. May wait for some seconds. After
        a reason it is not asked again.
        """
        ...


class CallSlotLoad(Protocol):
    """How busy the slots for calls to the backend are."""

    @property
    def holds_slot(self) -> bool:
        """Whether the calling thread holds a slot."""
        ...

    @property
    def has_backlog(self) -> bool:
        """Whether all slots are in use and enough pieces wait for one to keep them so."""
        ...


def ignore_wait(seconds: float) -> None:
    """Do nothing about a wait for the pace of a store."""
    del seconds


class StateStore(Protocol):
    """One state. Every write needs the lock, and is durable when the call returns.

    Raises StateError for a missing, foreign, damaged or newer state and for a failed write.
    """

    @property
    def is_shared(self) -> bool:
        """Whether other machines use the same state, and so need the same state key."""
        ...

    @property
    def where(self) -> str:
        """Path or URL of this state for messages, without a password."""
        ...

    @property
    def bookmark(self) -> str:
        """Where the log ended when it was last read, "" for a store that is no log.

        Whoever remembers it can tell whether the log was deleted, set back or forked since.
        """
        ...

    def require_continuation_in_reads(self, bookmark: str) -> None:
        """Have each read raise StateError where the log does not go on from a bookmark."""
        ...

    def exists(self) -> bool:
        """Whether a state exists in this store."""
        ...

    def create_state(
        self,
        binding: BackendIdentity,
        lineage: str,
        floor: StateProgress = NO_PROGRESS,
        shared_ids: ProjectAndKeyIds = NO_SHARED_IDS,
    ) -> None:
        """Create an empty state; raises StateError where one exists.

        Its serial is 0, or greater than that of `floor`, the known progress of this lineage.
        """
        ...

    def read_header(self, *, requires_newest: bool = False) -> StateHeader:
        """Identity, lineage and progress; `requires_newest` as for Database.read_in_snapshot."""
        ...

    def read_backend_identity(self) -> BackendIdentity: ...
    def read_lineage(self) -> str: ...
    def read_serial(self) -> int: ...
    def read_progress(self) -> StateProgress: ...
    def read_state(self) -> State:
        """The whole state, as one consistent snapshot."""
        ...

    def find_record(self, address: Address) -> Record | None:
        """The current record of an address; None without one."""
        ...

    def lock(self, operation: str, timeout: float = 0.0) -> AbstractContextManager[None]:
        """Hold the lock in a `with` block; raises LockHeld if it is taken for `timeout` seconds.

        An owner that does not renew it for the lease time loses it; writes then raise LockLost.
        """
        ...

    def holds_lock(self) -> bool:
        """Whether the lock is held and not lost, so that a request may be sent; reads nothing."""
        ...

    def is_lock_lost(self) -> bool:
        """Whether this process has taken the lock and lost it since.

        If so, it may send nothing.
        """
        ...

    def require_lock_not_lost(self) -> None:
        """Raise LockLost, as a write would, where `is_lock_lost`."""
        ...

    @property
    def seconds_to_start(self) -> float:
        """A call is sent at most so long after the time of its intents."""
        ...

    @property
    def is_slow(self) -> bool:
        """Whether a write takes longer than most calls, so that many are announced together."""
        ...

    def defer_writes_while_busy(
        self, call_load: CallSlotLoad, report_wait: Callable[[float], None] = ignore_wait
    ) -> AbstractContextManager[None]:
        """In a `with` block, let writes of a slow store wait so that they share a batch.

        `report_wait` gets the seconds of each wait for the pace of the store, and 0 at its end.
        """
        ...

    def list_lock_held_findings_unless_owner_ended(self) -> tuple[Diagnostic, ...]:
        """Findings that name who holds the lock; none where it is free or its owner has ended."""
        ...

    def has_failed_write(self) -> bool:
        """Whether a write failed under this lock, so that further calls could not be recorded."""
        ...

    def remove_lock_even_if_in_use(self, lock_id: str) -> None:
        """Remove the lock with this id, whose owner is gone; raises StateError for another id."""
        ...

    def list_warnings(self) -> tuple[Diagnostic, ...]:
        """Warnings about risks of where this state is stored."""
        ...

    def append_audit_entries(self, *entries: AuditEntry) -> None:
        """Add audit entries of changes without an intent, in one transaction."""
        ...

    def open_intent_and_use_up_its_approvals(self, intent: Intent) -> None:
        """Store an intent, before its call is sent, and use its `approvals` up; atomic.

        StateError, with nothing stored, where one of them was used up before.
        """
        ...

    def close_ended_intent(
        self,
        ended_intent: Intent,
        record_or_none_to_remove_if_done: Record | None,
        entry: AuditEntry,
    ) -> None:
        """Close an intent with its `state`, write its record, and add an audit entry; atomic.

        With state DONE and no record, the address's record is removed, as after a delete. With
        another state and no record, nothing of the record changes. With state FAILED or ABSENT the
        intent's `approvals` are given back.
        """
        ...

    def write_records(self, *records: Record, uses_up: Sequence[str] = ()) -> None:
        """Write records in one transaction; the serial grows only if something differs.

        `uses_up` are ids of approvals, as those of an intent.
        """
        ...

    def remove_records(self, *addresses: Address, uses_up: Sequence[str] = ()) -> None: ...
    def use_approvals_up_or_raise_if_used(self, *approval_ids: str) -> None:
        """Use approvals up; StateError, with none used, where one was used up before."""
        ...

    def list_used_approvals(self, approval_ids: Sequence[str]) -> tuple[str, ...]:
        """Those of these ids that are used up, in their order."""
        ...

    def rename_addresses(
        self, renames: Renames, finish: RecordFinisher = return_renamed_record_unchanged
    ) -> None:
        """Rename addresses and references to them, all or none; `finish` completes each record.

        Raises StateError where an old one is unknown or has an open call, or a new one is taken.
        """
        ...

    def replace_backend_identity(self, binding: BackendIdentity) -> None: ...
    def read_project_and_key_ids(self) -> ProjectAndKeyIds:
        """The project and the state key that a shared state is bound to."""
        ...

    def replace_project_and_key_ids(self, shared_ids: ProjectAndKeyIds) -> None: ...
    def mark_plan_applied(self, plan_id: str) -> None:
        """Remember that a saved plan was applied, so that it is used only once."""
        ...

    def was_plan_applied(self, plan_id: str) -> bool: ...
    def list_audit_entries_newest_first(self, limit: int = 1000) -> list[AuditEntry]:
        """The last audit entries, newest first."""
        ...

    def write_backup(self, path: str) -> None:
        """Write a consistent copy of the state to a file that a restore reads."""
        ...

    def restore_backup_and_return_kept_path_or_empty(
        self,
        source: str,
        check_backup: BackupCheck = accept_any_backup,
        kept_path_unless_beside_file: str | None = None,
        find_floor: ProgressFloor = return_no_progress,
    ) -> str:
        """Replace this state by a backup, and return where the old state was saved ("" if not).

        The new serial is above those of both, and above what `find_floor` gives for the lineage.
        A state that is no file is saved at `kept_path_unless_beside_file`, or at a similar path if
        that exists; None saves nothing. Raises StateError where the source is no backup, or where
        `check_backup` raises it.
        """
        ...

    def close(self) -> None: ...


class Secrets(Protocol):
    """Resolves references and makes keyed digests."""

    @property
    def key_id(self) -> str:
        """The id of the state key in use; "" without one, when no MAC can be computed."""
        ...

    def resolve_secret(self, ref: SecretRef) -> Sensitive:
        """The value of a reference; raises SecretUnavailable where it is missing or not allowed."""
        ...

    def resolve_setting(self, ref: SecretRef) -> Sensitive:
        """The value of a reference in the project file, which no allow-list restricts."""
        ...

    def compute_mac(
        self, salt: str, path: FieldPath, value: Sensitive, place: str = ""
    ) -> Mac | None:
        """The keyed digest of a value, for one field of one record (its salt).

        None without a key.
        """
        ...

    def find_place(self, ref: SecretRef) -> str:
        """The place of a reference, as in Mac."""
        ...


class Packages(Protocol):
    """Opens the bytes of a release's package."""

    def open_package(self, address: Address) -> AbstractContextManager[Any]:
        """The zip with the planned digest as a binary file that can be rewound and has a size.

        Its `sha256`, if it has one, is that of all its bytes in hex. Raises InputError where the
        source changed since it was planned; so may `read`, before the last byte.
        """
        ...


class Clock(Protocol):
    """The clocks, injected so that tests need not wait."""

    def utc_now(self) -> str:
        """The time as RFC 3339 in UTC, with microseconds and `Z`."""
        ...

    def monotonic_seconds(self) -> float:
        """The time of a monotonic clock in seconds."""
        ...


class Progress(Protocol):
    """Receives what an apply is doing, for a terminal or a log; must not raise."""

    def report_start(self, address: Address, verb: str) -> None: ...
    def report_upload(self, address: Address, sent_bytes: int, total_bytes: int) -> None:
        """Called as an upload advances."""
        ...

    def report_job(self, address: Address, job: Job) -> None:
        """Called after each read of a followed job; a display may only note it for later."""
        ...

    def report_end(
        self, address: Address, verb: str, result: str, seconds: float, remote_id: str = ""
    ) -> None:
        """Called when a resource's calls have ended; `remote_id` is "" where it is not known."""
        ...

    def report_wait(self, seconds: float, location: str) -> None:
        """Called when the state at a location may be written to after `seconds`; with 0 then."""
        ...
