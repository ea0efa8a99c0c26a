"""Which protocols planning and applying use: API, store, secrets, packages, clock, executor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.job import Job
from synapse_apply.model.state import (
    NO_PROGRESS,
    AuditEntry,
    BackendIdentity,
    Intent,
    Record,
    State,
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
    """One state, as an apply needs it; stores/sql.py has the rest of what stores do.

    Every write needs the lock, and is durable when the call returns. Raises StateError for a
    missing, foreign, damaged or newer state and for a failed write.
    """

    def read_state(self) -> State:
        """The whole state, as one consistent snapshot."""
        ...

    def find_record(self, address: Address) -> Record | None:
        """The current record of an address; None without one."""
        ...

    def is_lock_lost(self) -> bool:
        """Whether this process has taken the lock and lost it since.

        If so, it may send nothing.
        """
        ...

    @property
    def seconds_to_start(self) -> float:
        """A call is sent at most so long after the time of its intents."""
        ...

    def has_failed_write(self) -> bool:
        """Whether a write failed under this lock, so that further calls could not be recorded."""
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

    def keep_forgotten_call(self, call: Intent) -> None:
        """Store a call that has ended, and whose record goes, unless it is stored already."""
        ...

    def remove_records(self, *addresses: Address, uses_up: Sequence[str] = ()) -> None: ...
    def list_audit_entries_newest_first(self, limit: int = 1000) -> list[AuditEntry]:
        """The last audit entries, newest first."""
        ...


class Secrets(Protocol):
    """Resolves references and makes keyed digests."""

    @property
    def key_id(self) -> str:
        """The id of the state key in use; "" without one, when no MAC can be computed."""
        ...

    def resolve_secret(self, ref: SecretRef) -> Sensitive:
        """The value of a reference; raises SecretUnavailable where it is missing or not allowed."""
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
        """Called when a resource's calls have ended; `remote_id` is "" where it is unknown."""
        ...

    def report_wait(self, seconds: float, location: str) -> None:
        """Called when the state at a location may be written to after `seconds`; with 0 then."""
        ...
