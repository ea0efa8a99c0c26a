"""When a call of an apply may begin, how it is announced, and where its outcome is written.

Pieces of work run one at a time, or in threads with a limit of concurrent calls.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import field
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Semaphore, Thread, get_ident
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeAlias

from synapse_apply.applying import messages
from synapse_apply.applying.lookup import Backend, Claims
from synapse_apply.applying.step import Actor, FinalPermit
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import CallEnded, Effect, RemoteError, StateError
from synapse_apply.model.frozen import frozen, mutable, replace
from synapse_apply.model.ports import Clock, Packages, Progress, Secrets, StateStore
from synapse_apply.model.state import AuditEntry, Intent, IntentState, Record, Uptime

# In seconds. While calls take less than this, a slot becomes free soon.
_BRIEF_CALL_SECONDS = 1.0

# So many pieces at most, each with a thread: after a kill the next run looks up each of them.
_MOST_PIECES = 256


Work = Callable[[], Any]


class WorkResult(NamedTuple):
    """What a piece of work returned, or the exception that it raised."""

    key: Any
    result_or_exception: Any


class SerialExecutor:
    """Runs each piece when its result is asked for, so that tests are single-threaded."""

    is_available_soon = False
    holds_slot = False
    has_backlog = False

    def __init__(self) -> None:
        self._queue: deque[tuple[Any, Work]] = deque()

    @property
    def has_room(self) -> bool:
        return not self._queue

    def submit(self, key: Any, work: Work) -> None:
        self._queue.append((key, work))

    def acquire_slot_unless_held(self) -> bool:
        """No slot is needed, as there is one piece at a time."""
        return False

    def release_slot(self) -> None:
        """Nothing to release."""

    def wait_for_result(self) -> WorkResult:
        key, work = self._queue.popleft()
        try:
            return WorkResult(key, work())
        except Exception as failure:  # noqa: BLE001 - an exception is a result here
            return WorkResult(key, failure)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._queue.clear()


# A slot is for calls, not for the disk: it is held from before a call is sent until its answer is
# there; announcing and recording happen outside of it. At most as many pieces wait as there are
# slots, so up to twice as many intents may be open. Only a create whose outcome a search can tell
# for certain is announced before it has its slot, and only while calls are brief: what waits when a
# run is killed is then looked up, not left unknown.
class ThreadedExecutor:
    """At most `size` pieces call the backend at once; as many again wait for the state or a slot.

    A call holds its slot from before it is sent until its answer is there
    (`acquire_slot_unless_held`, `release_slot`). Before and after, pieces wait for the disk: they
    share commits then, and the backend always has `size` calls in progress.

    Two queues in place of a future for each piece, since submitting ten thousand pieces competes
    for the processor with the threads that run them.
    """

    def __init__(self, size: int, ahead_seconds: float = 0.0) -> None:
        """With `ahead_seconds` more pieces wait for a slot: as many as get one within that time."""
        self._size = size
        self._ahead_seconds = ahead_seconds
        self._threads: list[Thread] = []
        self._unfinished = 0
        self._slots = Semaphore(size)
        # The longest recent call in seconds, decaying; and since when each thread holds a slot.
        self._longest_recent_call = 0.0
        # One for each thread that waits for a slot.
        self._waiting: list[int] = []
        self._slot_taken_at: dict[int, float] = {}
        self._pending_work: SimpleQueue[tuple[Any, Work] | None] = SimpleQueue()
        self._finished_work: SimpleQueue[WorkResult] = SimpleQueue()

    @property
    def has_room(self) -> bool:
        """Whether another piece can be submitted now."""
        return self._unfinished < self._compute_piece_limit()

    def _compute_piece_limit(self) -> int:
        # As many pieces again as there are slots, so that a slot never waits for the disk.
        fewest = 2 * self._size
        if not self._ahead_seconds or not self._longest_recent_call:
            return fewest
        # By the longest call, as what gets its slot too late is announced anew.
        in_time = int(self._size * self._ahead_seconds / self._longest_recent_call)
        return min(max(fewest, in_time), max(fewest, _MOST_PIECES))

    @property
    def is_available_soon(self) -> bool:
        """Whether a slot will be free soon, since no long calls are in progress."""
        # A copy, as other threads change the map meanwhile.
        oldest = min([*self._slot_taken_at.values()], default=None)
        under_way = 0.0 if oldest is None else monotonic() - oldest
        return max(self._longest_recent_call, under_way) < _BRIEF_CALL_SECONDS

    @property
    def holds_slot(self) -> bool:
        return get_ident() in self._slot_taken_at

    @property
    def has_backlog(self) -> bool:
        # Two calls a slot: the second one goes on while a write of a slow store is under way.
        return len(self._waiting) >= 2 * self._size

    def submit(self, key: Any, work: Work) -> None:
        self._unfinished += 1
        self._pending_work.put((key, work))
        if len(self._threads) < self._unfinished:
            thread = Thread(target=self._run_worker, name=f"apply_{len(self._threads)}")
            self._threads.append(thread)
            thread.start()

    def wait_for_result(self) -> WorkResult:
        """Wait for the next piece to end, in any order; raises nothing that a piece raised."""
        finished = self._finished_work.get()
        self._unfinished -= 1
        return finished

    def acquire_slot_unless_held(self) -> bool:
        """Wait for a slot; False if this thread needs none, or has one until `release_slot`."""
        # A thread holds at most one slot, and may ask for it again.
        thread = get_ident()
        if thread in self._slot_taken_at:
            return False
        self._waiting.append(thread)
        try:
            self._slots.acquire()
        finally:
            self._waiting.remove(thread)
        self._slot_taken_at[thread] = monotonic()
        return True

    def release_slot(self) -> None:
        """Give the slot back before the work ends, so that another piece can make its call."""
        taken_at = self._slot_taken_at.pop(get_ident(), None)
        if taken_at is not None:
            self._longest_recent_call = max(monotonic() - taken_at, 0.9 * self._longest_recent_call)
            self._slots.release()

    def _run_worker(self) -> None:
        while (piece := self._pending_work.get()) is not None:
            key, work = piece
            try:
                result = work()
            # A worker that ended with an exception would leave the main thread waiting for ever.
            except BaseException as failure:  # noqa: BLE001 - an exception is a result here
                result = failure
            self.release_slot()
            self._finished_work.put(WorkResult(key, result))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Drop pieces that have not begun, and wait for the rest unless interrupted."""
        with suppress(Empty):
            while True:
                self._pending_work.get_nowait()
        for _ in self._threads:
            self._pending_work.put(None)
        # After Ctrl-C the process ends with calls open, which the next run looks up.
        if _type is None or issubclass(_type, Exception):
            for thread in self._threads:
                thread.join()


Executor: TypeAlias = SerialExecutor | ThreadedExecutor


_PAUSES = (1, 2, 4, 8, 16)
_SLICE = 0.25  # seconds between two checks of whether the run shall end
_STATE_SLICE = 0.1  # the same while an answer waits for the state
_IDLE_SECONDS = 1.0  # after which a thread without a record to write ends
# Seconds between two reports; more often would only slow the upload.
_REPORT_INTERVAL = 0.1
# Bytes after which there is a report in any case: when a connection stalls, the position that was
# reported last should be close to the real one.
_REPORT_BYTES = 1024 * 1024


class NotStarted(Exception):
    """Raised where the run shall end and nothing of the step was sent."""


@mutable
class Gate:
    """What an apply may do: when a call may begin, and which approvals it uses up.

    `slot` limits concurrent calls; `stop_reason` says why no other call may begin ("" while it
    may), `is_stopping` whether the run was asked to end, `permit` whether calls may begin at all.
    `approvals` are the ids of those that the first write of an address uses up. `may_adopt` allows
    a create that meets an existing object to adopt it. `started` are the addresses whose calls may
    have been sent.
    """

    slot: Executor = field(default_factory=SerialExecutor)
    stop_reason: Callable[[], str] = lambda: ""
    is_stopping: Callable[[], object] = lambda: False
    permit: FinalPermit = field(default_factory=FinalPermit)
    approvals: Mapping[Address, tuple[str, ...]] = field(default_factory=dict)
    may_adopt: bool = False
    started: set[Address] = field(default_factory=set)

    def take_slot(self, *addresses: Address) -> None:
        """Wait for a slot to call the backend; raises NotStarted where the run shall end."""
        if self.slot.acquire_slot_unless_held() and self.stop_reason():
            raise NotStarted
        self.started.update(addresses)

    def require_permit(self) -> None:
        """Raise NotStarted where no call may begin any more."""
        if self.permit.explain_missing_or_empty():
            raise NotStarted

    def why_unsent(self, failure: RemoteError) -> str:
        """Why a failed call was not let out for want of a permit; "" if it failed otherwise."""
        was_kept = isinstance(failure, CallEnded) and failure.effect is Effect.NONE
        return self.permit.final_reason if was_kept else ""


class Unrecorded(NamedTuple):
    """Why an outcome could not be recorded, and the file that has it ("": not even that)."""

    finding: Diagnostic
    recovery_file: str


class _Writer(Thread):
    """Does one write of the state after another: whatever keeps one, nothing else waits for it.

    It is among the `idle` ones while it has none.
    """

    def __init__(self, idle: list[_Writer]) -> None:
        super().__init__(name="record", daemon=True)
        self._idle = idle
        # What each gets in the end: why it failed, None where it did not.
        self._writes: SimpleQueue[tuple[Callable[[], None], SimpleQueue[BaseException | None]]] = (
            SimpleQueue()
        )

    def begin(self, write: Callable[[], None]) -> SimpleQueue[BaseException | None]:
        """Begin a write; returns the queue that gets its failure, None where there is none."""
        answer: SimpleQueue[BaseException | None] = SimpleQueue()
        self._writes.put((write, answer))
        return answer

    def run(self) -> None:
        while True:
            try:
                write, answer = self._writes.get(timeout=_IDLE_SECONDS)
            except Empty:
                try:
                    self._idle.remove(self)
                except ValueError:
                    continue  # it was taken just now
                return
            failure = None
            try:
                write()
            except BaseException as problem:  # noqa: BLE001 - raised where it is waited for
                failure = problem
            self._idle.append(self)
            answer.put(failure)


_NOT_WAITED_FOR = StateError.from_summary(
    "The state did not answer in time", "The run was stopped before it answered."
)


@frozen
class Ledger:
    """What one apply writes to its state: intents, records, and audit entries.

    `uptime` counts elapsed time, which no change of a wall clock affects. `target` is for commands
    in messages. `sign` signs a record's last run, where there is a key. `write_recovery_file`
    stores the outcome of a call that is not recorded, and returns the file ("": it failed);
    `withdraw` takes one back that is recorded now. `waiting` are the ended calls that the state has
    not taken yet, by the ids of their intents.
    """

    store: StateStore
    actor: Actor
    plan_id: str
    clock: Clock
    uptime: Callable[[], Uptime]
    target: str
    sign: Callable[[Record], Record]
    write_recovery_file: Callable[[Intent, Record | None, AuditEntry], str]
    withdraw: Callable[[], None]
    is_stopping: Callable[[], object]
    waiting: dict[str, Address] = field(default_factory=dict)
    waits_no_longer: Event = field(default_factory=Event)
    idle_writers: list[_Writer] = field(default_factory=list)

    def entry(self, intent: Intent, result: str, request_id: str | None = None) -> AuditEntry:
        """The audit entry of a call, as of now."""
        return self.actor.build_audit_entry(
            intent, result, moment=self.clock.utc_now(), plan_id=self.plan_id, request_id=request_id
        )

    def close(self, intent: Intent, record: Record | None, entry: AuditEntry) -> Unrecorded | None:
        """Close an intent with its record. Where that fails, its outcome goes to a recovery file.

        A full disk, a database that is gone, a lost lock: the file is beside the project, else in
        the folder for temporary files. It matters most for what cannot be looked up. Once the run
        is told to stop, the file has the outcome while the state is waited for: a kill loses none.
        """
        self.waiting[intent.id] = intent.address
        file, problem = "", _NOT_WAITED_FOR
        try:
            answer = self._take_writer().begin(
                partial(self.store.close_ended_intent, intent, record, entry)
            )
            while not self.waits_no_longer.is_set():
                try:
                    failure = answer.get(timeout=_STATE_SLICE)
                except Empty:
                    if self.is_stopping():
                        file = file or self.write_recovery_file(intent, record, entry)
                    continue
                if failure is None:
                    if file:
                        self.withdraw()
                    return None
                if not isinstance(failure, StateError):
                    raise failure
                problem = failure
                break
            file = file or self.write_recovery_file(intent, record, entry)
            return Unrecorded(messages.unrecorded(intent, file, self.target, problem), file)
        finally:
            del self.waiting[intent.id]

    def _take_writer(self) -> _Writer:
        with suppress(IndexError):
            return self.idle_writers.pop()
        writer = _Writer(self.idle_writers)
        writer.start()
        return writer

    def open(self, intents: tuple[Intent, ...]) -> tuple[Intent, ...]:
        """Store the intents of one call with the current time; StateError where that took long."""
        store, started_at = self.store, self.clock.monotonic_seconds()
        now, uptime = self.clock.utc_now(), self.uptime()
        deadline = max(intent.deadline for intent in intents) + store.seconds_to_start
        intents = tuple(
            replace(intent, sent_at=now, sent_up=uptime, deadline=deadline, sender=self.actor.facts)
            for intent in intents
        )
        for position, intent in enumerate(intents):
            try:
                store.open_intent_and_use_up_its_approvals(intent)
            except StateError:
                # What was announced of this call with an approval that was used before, or on a
                # disk that is full now: nothing of it is sent.
                if not (store.has_failed_write() or store.is_lock_lost()):
                    self.close_unsent(intents[:position])
                raise
        seconds = self.clock.monotonic_seconds() - started_at
        # Without the lock nothing is sent, however fast this was; the sender reports that.
        if seconds > store.seconds_to_start and not store.is_lock_lost():
            self.close_unsent(intents)
            calls = " and ".join(f"{intent.verb} of {intent.address}" for intent in intents)
            raise StateError(
                messages.finding(
                    "slow state", intents[0].address, seconds=f"{seconds:.0f}", calls=calls
                )
            )
        return intents

    def close_unsent(self, intents: tuple[Intent, ...]) -> None:
        """Close intents whose calls were not sent; the records stay as they are."""
        for intent in intents:
            closed = replace(intent, state=IntentState.FAILED)
            entry = self.entry(closed, "not sent")
            self.store.close_ended_intent(closed, self.store.find_record(intent.address), entry)


# How the progress of a package's upload is reported, as its file is read.


@frozen
class ProgressPackages:
    """A `Packages` port that reports the bytes that are read of an open package as sent."""

    packages: Packages
    progress: Progress
    clock: Clock

    @contextmanager
    def open_package(self, address: Address) -> Iterator[Any]:
        """Open the package of an address; the file reports its progress."""
        with self.packages.open_package(address) as file:
            yield _WatchedFile(
                file, partial(self.progress.report_upload, address), self.clock.monotonic_seconds
            )


class _WatchedFile:
    """A file that reports its position when read; it can be rewound for a retry."""

    def __init__(
        self, file: Any, on_progress: Callable[[int, int], None], seconds: Callable[[], float]
    ) -> None:
        self._file, self._on_progress, self._seconds = file, on_progress, seconds
        self._position: int = file.tell()
        self._total: int = file.seek(0, os.SEEK_END)
        file.seek(self._position)
        self._report_progress()

    @property
    def sha256(self) -> str:
        """The SHA-256 of the wrapped file in hex; "" where it does not know it."""
        digest: str = getattr(self._file, "sha256", "")
        return digest

    def read(self, size: int = -1) -> bytes:
        """Read bytes, and report the position if it is time to."""
        block: bytes = self._file.read(size)
        self._position += len(block)
        is_far = self._position >= min(self._total, self._reported_position + _REPORT_BYTES)
        if block and (is_far or self._seconds() >= self._next_report_at):
            self._report_progress()
        return block

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position, and return it."""
        self._position = self._file.seek(offset, whence)
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def _report_progress(self) -> None:
        self._next_report_at = self._seconds() + _REPORT_INTERVAL
        self._reported_position = self._position
        self._on_progress(self._position, self._total)


@frozen
class Run:
    """One apply, as its steps see it.

    `settle_after` is in seconds. `plain_forms` are the fields of creates, by kind and API version,
    of which the backend has accepted only the plain form. `followed` are the jobs of runs that are
    recorded as started. `read_published_digest` is that of `IntentResolver`.
    """

    backend: Backend
    ledger: Ledger
    secrets: Secrets
    packages: Packages
    progress: Progress
    claims: Claims
    gate: Gate
    settle_after: float = 30.0
    sleep: Callable[[float], None] = lambda _seconds: None
    plain_forms: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    followed: dict[Address, str] = field(default_factory=dict)
    read_published_digest: Callable[[Intent], str | None] = lambda _call: ""

    def seconds(self) -> float:
        """The time of a monotonic clock."""
        return self.ledger.clock.monotonic_seconds()

    # A create is not idempotent, and the API has no idempotency key. So the call is written down
    # first, and an unknown outcome is looked up, never sent again. The intent's id is sent as
    # `Idempotency-Key` for servers that know it; nothing relies on that.
    # The next run counts the age of a call from its intent. Where a call would begin more than the
    # store's `seconds_to_start` after it, the intent is closed and made again.
    def announce(self, *intents: Intent, before_slot: bool = False) -> tuple[Intent, ...]:
        """Store the intents of one call, and return them with the current time.

        Raises StateError where they cannot be written or writing took too long: nothing may be sent
        then. With `before_slot` they are written before the wait for a slot; raises NotStarted,
        with the intents closed again, where the run ends during that wait, or no call may begin.
        """
        gate, store = self.gate, self.ledger.store
        addresses = [intent.address for intent in intents]
        gate.require_permit()
        self.claims.read_records_once()
        if not before_slot:
            gate.take_slot()
        started_at = self.seconds()
        gate.started.update(addresses)
        opened = self.ledger.open(intents)
        if not before_slot:
            return opened
        try:
            gate.take_slot()
        except NotStarted:
            # If the state cannot be written, the next run finds out that nothing was sent.
            if not (store.has_failed_write() or store.is_lock_lost()):
                with suppress(StateError):
                    self.ledger.close_unsent(opened)
            gate.started.difference_update(addresses)
            raise
        if self.seconds() - started_at > store.seconds_to_start and not store.is_lock_lost():
            # The slot came late, and the next run counts the call's age from the stored time.
            self.ledger.close_unsent(opened)
            opened = self.ledger.open(intents)
        return opened

    def pauses(self, should_stop: Callable[[], object]) -> Iterator[None]:
        """Yield after ever longer pauses, `settle_after` seconds in all; end when `should_stop`."""
        for part in _PAUSES if self.settle_after > 0 else ():
            seconds = self.settle_after * part / sum(_PAUSES)
            slices = math.ceil(seconds / _SLICE)
            # In slices, so that an interrupt ends the wait soon.
            for _ in range(slices):
                if should_stop():
                    return
                self.sleep(seconds / slices)
            yield
