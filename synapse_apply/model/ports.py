"""Protocols the engine is written against; session plugs the real things in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Protocol

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Path
from synapse_apply.model.job import Job
from synapse_apply.model.refactoring import RecordFinisher, Renames, use_renamed_record
from synapse_apply.model.state import (
    NO_PROGRESS,
    AuditEntry,
    Intent,
    Record,
    State,
    StateIdentity,
    StateProgress,
)
from synapse_apply.model.values import Mac, SecretRef, Sensitive

Json = Mapping[str, Any]


PartialList = list[dict[str, Any]] | None
"""Objects of one reading of a list, which may lack some; None where it was not worth reading."""
PagePredicate = Callable[[Sequence[dict[str, Any]]], bool]
"""Asked with a page's items: the first page's whether to read on, any page's whether to stop."""


class JobCalls(Protocol):
    """What any API version tells of the jobs it knows. Every call raises RemoteError."""

    def get_job(self, pk: int | str, params: Json | None = None) -> dict[str, Any]: ...
    def iterate_job_console_logs(self, pk: int | str) -> Iterator[Any]:
        """The lines one by one: a long log is never in memory as a whole."""
        ...

    def tail_job_console_logs(
        self, pk: int | str, *, max_seconds: float | None = None
    ) -> Iterator[dict[str, Any]]:
        """Objects with a `type` (connected, log, complete, error, heartbeat) as they come.

        `max_seconds` in seconds. A server without it answers 404 or 405.
        """
        ...


class ApiV2(JobCalls, Protocol):
    """The calls of API v2. `dry_run` asks the server to check and to change nothing."""

    def list_plugins(self, params: Json | None = None) -> list[dict[str, Any]]: ...
    def iterate_plugins(self, params: Json | None = None) -> Iterator[dict[str, Any]]: ...
    def get_plugin(self, pk: int | str) -> dict[str, Any]: ...
    def create_plugin(
        self, data: Json, *, dry_run: bool = False, idempotency_key: str = ""
    ) -> dict[str, Any]: ...
    def update_plugin(
        self, pk: int | str, data: Json, *, dry_run: bool = False
    ) -> dict[str, Any]: ...
    def list_plugin_releases(self, params: Json | None = None) -> list[dict[str, Any]]: ...
    def list_plugins_partially(self, max_pages: int, is_useful: PagePredicate) -> PartialList: ...
    def list_plugin_releases_partially(
        self, max_pages: int, is_useful: PagePredicate
    ) -> PartialList: ...
    def get_plugin_release(self, pk: int | str) -> dict[str, Any]: ...
    def create_plugin_release(
        self, data: Json, *, dry_run: bool = False, idempotency_key: str = ""
    ) -> dict[str, Any]: ...
    def lock_plugin_release(self, pk: int | str, *, dry_run: bool = False) -> dict[str, Any]: ...
    def delete_plugin_release(self, pk: int | str, *, dry_run: bool = False) -> None: ...
    def iterate_jobs(self, params: Json | None = None) -> Iterator[dict[str, Any]]: ...
    def list_job_console_logs(self, pk: int | str) -> list[Any]: ...
    def stop_job(self, pk: int | str, *, dry_run: bool = False) -> dict[str, Any]: ...


class Api(JobCalls, Protocol):
    """The calls a kind's Binding may make; BackendClient is one. Every call raises RemoteError.

    Its own are those of API v1. Bodies are plain JSON (secrets revealed). Answers are the server's
    objects as parsed, of v2 without their envelopes. `tenant` is whose objects they act on, ""
    where the server knows by the token.
    """

    @property
    def tenant(self) -> str: ...

    @property
    def v2(self) -> ApiV2: ...

    @property
    def dry_run(self) -> Api:
        """The same, unable to act: a call that changes the server is a dry run, or is not sent.

        Unconfirmed when the server does not say that it was one: it may have acted.
        """
        ...

    def get_plugin(self, pk: int | str) -> dict[str, Any]: ...
    def create_plugin(self, data: Json, *, idempotency_key: str = "") -> dict[str, Any]: ...
    def update_plugin(self, pk: int | str, data: Json) -> dict[str, Any]: ...
    def list_plugins(self) -> list[dict[str, Any]]: ...
    def get_plugin_release(self, pk: int | str, params: Json | None = None) -> dict[str, Any]: ...
    def get_plugin_release_by_lookup(
        self, lookup: str, expand: str | None = "plugin"
    ) -> dict[str, Any]: ...
    def list_plugin_releases(self, plugin_code: str) -> list[dict[str, Any]]: ...
    def create_plugin_release(self, data: Json, *, idempotency_key: str = "") -> dict[str, Any]: ...
    def fetch_release_file(self, url: str, out: BinaryIO, max_bytes: int) -> None: ...
    def list_storages(self) -> list[dict[str, Any]]: ...
    def list_plugins_partially(self, max_pages: int, is_useful: PagePredicate) -> PartialList: ...
    def list_storages_partially(self, max_pages: int, is_useful: PagePredicate) -> PartialList: ...
    def get_storage(self, pk: int | str) -> dict[str, Any]: ...
    def create_storage(self, data: Json, *, idempotency_key: str = "") -> dict[str, Any]: ...
    def run_plugin(self, pk: int | str, data: Json) -> dict[str, Any]: ...
    def iterate_jobs(
        self, params: Json | None = None, *, is_last_page: PagePredicate | None = None
    ) -> Iterator[dict[str, Any]]:
        """Page after page; `is_last_page` tells by a page's items that no other is wanted."""
        ...

    def update_job(self, pk: int | str, data: Json) -> dict[str, Any]: ...
    def list_job_console_logs(self, pk: int | str) -> list[Any]: ...
    def can_list_plugins(self) -> bool: ...
    def health_check_agent(self, token: str) -> dict[str, Any]: ...


# Raises StateError where a backup with this binding and lineage must not be used.
BackupCheck = Callable[[StateIdentity, str], None]


# How far a state of this lineage was seen to be.
ProgressFloor = Callable[[str], StateProgress]


def no_known_progress(_lineage: str) -> StateProgress:
    """Nobody saw one."""
    return NO_PROGRESS


def accept_any_backup(_binding: StateIdentity, _lineage: str) -> None:
    """Every backup will do."""


class StateStore(Protocol):
    """One state. Every write is durable when the call returns and needs the lock.

    Raises StateError for a missing, foreign, damaged or newer state and for a failed write.
    """

    def exists(self) -> bool:
        """Whether there is a state here at all."""
        ...

    def create_state(
        self, binding: StateIdentity, lineage: str, floor: StateProgress = NO_PROGRESS
    ) -> None:
        """Make an empty state; StateError when one exists.

        Its serial is 0, or greater than that of `floor`, which is how far one of this lineage was.
        """
        ...

    def read_identity(self) -> StateIdentity: ...
    def read_lineage(self) -> str: ...
    def read_serial(self) -> int: ...
    def read_progress(self) -> StateProgress: ...
    def read_state(self) -> State:
        """One consistent snapshot."""
        ...

    def find_record(self, address: Address) -> Record | None:
        """One record as it stands now."""
        ...

    def lock(self, operation: str, timeout: float = 0.0) -> AbstractContextManager[None]:
        """Hold the state for writing; LockHeld names who still holds it after `timeout` seconds.

        Whoever is silent for a lease loses it: any write then raises LockLost.
        """
        ...

    def holds_lock(self) -> bool:
        """Whether a request may be started now: the lock is held and not lost. Costs nothing."""
        ...

    def is_lock_lost(self) -> bool:
        """Whether this process holds a lock that it has lost: it may start no request then."""
        ...

    def require_lock_not_lost(self) -> None:
        """LockLost, in the words that a write would have, where `is_lock_lost`."""
        ...

    def describe_lock_owner(self) -> tuple[Diagnostic, ...]:
        """Who holds the lock, as a run that wants it is told; nothing where it is free."""
        ...

    def has_failed_write(self) -> bool:
        """Whether a write failed under this lock: what is called now could not be recorded."""
        ...

    def unlock(self, lock_id: str) -> None:
        """Remove the lock with this id from a holder that is gone; StateError for another id."""
        ...

    def list_warnings(self) -> tuple[Diagnostic, ...]:
        """What is risky about the place where this state is kept."""
        ...

    def append_audit_entries(self, *entries: AuditEntry) -> None:
        """Add to the audit, in one transaction, what was done without an intent."""
        ...

    def write_intent(self, intent: Intent) -> None:
        """Make an intent durable before its call is sent."""
        ...

    def close_intent(self, intent: Intent, record: Record | None, entry: AuditEntry) -> None:
        """Close an intent (its `state` says how), write or remove its record, audit the call.

        With state DONE and no record the address's record is removed (a delete).
        """
        ...

    def write_records(self, *records: Record) -> None:
        """Write records in one transaction; the serial moves only when something differs."""
        ...

    def remove_records(self, *addresses: Address) -> None: ...
    def rename_addresses(
        self, renames: Renames, finish: RecordFinisher = use_renamed_record
    ) -> None:
        """Rename addresses, all or none, and what refers to them; `finish` as of `renamed`.

        StateError when an old one is unknown or has an open call, or a new one is taken.
        """
        ...

    def replace_identity(self, binding: StateIdentity) -> None: ...
    def mark_plan_applied(self, plan_id: str) -> None:
        """Remember that a saved plan was started: it is used once."""
        ...

    def was_plan_applied(self, plan_id: str) -> bool: ...
    def list_audit_entries(self, limit: int = 1000) -> list[AuditEntry]:
        """The newest entries first."""
        ...

    def write_backup(self, path: str) -> None:
        """A consistent copy of the whole state as a file that `restore_backup` reads."""
        ...

    def restore_backup(
        self,
        source: str,
        check_backup: BackupCheck = accept_any_backup,
        kept_path: str = "",
        find_floor: ProgressFloor = no_known_progress,
    ) -> str:
        """Replace this state by a backup.

        StateError when it is not one, or `check_backup` raises it.

        Its serial ends above that of both, and above what `find_floor` gives for its lineage.
        Gives where what was here is kept, "" where it is not. A state that is no file is kept at
        the path `kept_path` or at a like one: what is there already is never overwritten.
        """
        ...

    def close(self) -> None: ...


class Secrets(Protocol):
    """Resolves references and makes keyed digests."""

    @property
    def key_id(self) -> str:
        """Identifies the state key in use; "" when there is none (then nothing is digested)."""
        ...

    def resolve_secret(self, ref: SecretRef) -> Sensitive:
        """The value; SecretUnavailable when it is not there or not allowed (never its value)."""
        ...

    def resolve_setting(self, ref: SecretRef) -> Sensitive:
        """The value of the project file's own reference; SecretUnavailable without one."""
        ...

    def compute_mac(self, salt: str, path: Path, value: Sensitive) -> Mac | None:
        """Keyed digest of a value in one field of one record; None without a key."""
        ...


class Packages(Protocol):
    """Opens the bytes of a release's package."""

    def open_package(self, address: Address) -> AbstractContextManager[Any]:
        """A readable, sized, rewindable binary file of the zip with the planned digest.

        Its `sha256`, where it has one, is that of all its bytes in hex. InputError when the source
        changed since it was planned; `read` may raise it as well, before the last byte.
        """
        ...


class Clock(Protocol):
    """Time, injected so that tests need not wait."""

    def utc_now(self) -> str:
        """RFC 3339 UTC with microseconds and Z."""
        ...

    def monotonic_seconds(self) -> float:
        """Monotonic seconds."""
        ...


class Progress(Protocol):
    """Told what an apply is doing, for a terminal or a log; must not raise."""

    def report_start(self, address: Address, verb: str) -> None: ...
    def report_upload(self, address: Address, sent_bytes: int, total_bytes: int) -> None:
        """Bytes of an upload."""
        ...

    def report_job(self, address: Address, job: Job) -> None:
        """A look at a job that is followed."""
        ...

    def report_end(
        self, address: Address, verb: str, result: str, seconds: float, remote_id: str = ""
    ) -> None:
        """A resource's calls have ended; `remote_id` is the server's, where it is known."""
        ...


Work = Callable[[], Any]


class Slot(Protocol):
    """The place of a piece of work among those that call the backend, as the piece takes it."""

    @property
    def is_available_soon(self) -> bool:
        """Whether a place is had before long: calls are brief at present."""
        ...

    def acquire_slot(self) -> bool:
        """Wait for a place, and whether one was taken.

        It is kept until `release_slot` or the end.
        """
        ...

    def release_slot(self) -> None:
        """The rest of the piece is no reason to keep another from its call."""
        ...


class Executor(Slot, Protocol):
    """Runs independent pieces of work; serial in tests, threads in use."""

    @property
    def has_room(self) -> bool:
        """Whether another piece can be taken now."""
        ...

    def submit(self, key: Any, work: Work) -> None: ...
    def wait_for_result(self) -> tuple[Any, Any]:
        """(key, result) of a finished piece; an exception it raised is its result."""
        ...
