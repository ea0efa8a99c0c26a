"""How a process takes part in a controller of several: it is alive, may lead, and works."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from threading import Event, Thread

from synapse_apply.controller.fleet.job_queue import DueJob, JobQueue, QueueLocation
from synapse_apply.controller.loop.claiming import RunCounts, claim_if_due
from synapse_apply.controller.loop.clock import BackgroundTasks, SharedClock
from synapse_apply.controller.loop.leading import (
    LOOK,
    ROUND_SECONDS,
    Dispatcher,
    SingleRoundDispatcher,
    ThreadDispatcher,
)
from synapse_apply.controller.loop.parts import LEASE_SECONDS, Leader, LeasedLeader, LoopParts
from synapse_apply.controller.loop.working import look_and_apply
from synapse_apply.controller.rows import (
    LEADER_LEASE,
    ProcessRole,
    ProcessRow,
    RunCause,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.rules.due import choose_due_targets
from synapse_apply.controller.rules.processes import list_live_processes
from synapse_apply.controller.store.controller_store import ControllerStore
from synapse_apply.controller.store.store_database import ControllerStoreError, StoreUnavailable

# So that no worker waits for the next round of the leader.
_JOBS_PER_SLOT = 4
_ROOM_SECONDS = 0.5
# Where more is due than may be under way, such as of one host.
_MORE_SECONDS = 0.2
# A worker that has room takes a job in two seconds.
_UNTAKEN_SECONDS = 10.0
_OTHERS_SECONDS = 10.0
_ALIVE_SECONDS = 15.0
_URGENT, _USUAL = 10, 0
_USUAL_CAUSES = frozenset({RunCause.INTERVAL, RunCause.RETRY})
BuildQueue = Callable[[Callable[[TargetName], None] | None, Callable[..., None]], JobQueue]


class NeverLeader:
    """The Leader of a process that only works."""

    def take_or_keep_lease_epoch_or_none(self) -> int | None:
        return None

    def release_lease(self) -> None:
        """Nothing: it has none."""


class FleetEngine:
    """The Engine of a process that shares its store with others; see `loop/leading.py`."""

    def __init__(
        self,
        clock: SharedClock,
        build_queue: BuildQueue,
        describe_process: Callable[[], ProcessRow],
        leader: LeasedLeader | NeverLeader,
        parts: LoopParts,
    ) -> None:
        """`describe_process` gives this process as it is now. Nothing is started yet.

        `parts` write whether this process leads or not.
        """
        self._build_queue = build_queue
        self._describe_process = describe_process
        self._leader = leader
        self._parts = parts
        self._heartbeat = Heartbeat(
            parts.store,
            clock,
            describe_process,
            lambda: leader.get_epoch_to_renew_or_zero() if isinstance(leader, LeasedLeader) else 0,
            parts.own_claims.claims_to_renew,
        )
        self._queue: JobQueue | None = None

    @property
    def leader(self) -> Leader:
        return self._leader

    def build_dispatcher(
        self, parts: LoopParts, tasks: BackgroundTasks, counts: RunCounts, *, is_once: bool
    ) -> Dispatcher:
        """See Engine."""
        slots = self._describe_process().slots
        # A run that ends after the lead was lost is recorded all the same: its claim decides.
        if is_once or self._queue is None:
            return SingleRoundDispatcher(self._parts, tasks, counts, slots)
        own_threads = ThreadDispatcher(self._parts, tasks, counts, slots)
        return JobDispatcher(parts, self._queue, slots, own_threads)

    def start_taking_part(
        self, parts: LoopParts, tasks: BackgroundTasks, counts: RunCounts, *, is_once: bool
    ) -> None:
        """See Engine."""
        self._heartbeat.on_failure = tasks.note_failure_and_wake
        self._heartbeat.start()
        if is_once:
            return
        slots = self._describe_process().slots
        worker = JobWorker(parts, tasks, counts, slots)

        def log(event: str, **values: object) -> None:
            parts.log("warn", event, **values)

        self._queue = self._build_queue(worker.begin_due_work, log)
        self._heartbeat.on_return = self._queue.reconnect_to_take_jobs
        self._queue.start()

    def stop_taking_work(self) -> None:
        """See Engine."""
        if self._queue is not None:
            self._queue.stop()

    def close(self) -> None:
        """See Engine."""
        self.stop_taking_work()
        self._heartbeat.stop()


class JobWorker:
    """Begins what jobs ask for in tasks of this process, as many as it has slots for."""

    def __init__(
        self, parts: LoopParts, tasks: BackgroundTasks, counts: RunCounts, slots: int
    ) -> None:
        self._parts = parts
        self._tasks = tasks
        self._counts = counts
        self._slots = slots

    def begin_due_work(self, name: TargetName) -> None:
        """Claim a target if it is due, and work on it in a task; waits until a slot is free."""
        parts = self._parts
        if self._has_to_end() or name.source not in parts.settings.sources:
            return

        def work() -> None:
            claimed = claim_if_due(parts, name)
            if claimed is not None:
                look_and_apply(parts, claimed, self._counts)

        # Where jobs are taken anew, a slot was not waited for before.
        if self._wait_for_slot():
            self._tasks.start_task((LOOK, name), work, TargetRow(name))
            self._wait_for_slot()

    def _wait_for_slot(self) -> bool:
        """Wait until a slot is free; False where no work is begun any more."""
        while not self._has_to_end():
            if self._tasks.wait_for_fewer(LOOK, self._slots, _ROOM_SECONDS):
                return True
        return False

    def _has_to_end(self) -> bool:
        return self._parts.is_stopping or self._tasks.failure is not None


class JobDispatcher:
    """Gives every target that is due a job, a small number ahead; for the thread of the rounds."""

    def __init__(
        self, parts: LoopParts, queue: JobQueue, own_slots: int, fallback: Dispatcher
    ) -> None:
        """While the queue does not answer, or no job is taken, `fallback` has them worked on."""
        self._parts = parts
        self._queue = queue
        self._own_slots = own_slots
        self._fallback = fallback
        self._is_queue_away = False
        self._waiting_since: dict[TargetName, float] = {}
        self._is_untaken_told = False
        self._others_looked_at: float | None = None
        self._told_differences: set[tuple[str, str]] = set()
        self._has_more = False

    @property
    def seconds_to_next_round(self) -> float:
        """See Dispatcher: what ends in other processes wakes no round here."""
        return _MORE_SECONDS if self._has_more else ROUND_SECONDS

    def dispatch_due(self, now: float) -> None:
        """See Dispatcher."""
        if self._parts.is_stopping:
            return
        try:
            self._log_differences()
            if count := self._queue.delete_useless_jobs():
                self._parts.log("info", "lost jobs deleted", jobs=count)
            waiting_names = self._queue.list_targets_with_waiting_job()
            self._put_due_jobs(waiting_names, now)
        except StoreUnavailable as problem:
            if not self._is_queue_away:
                summary = problem.diagnostics[0].summary
                self._parts.log("warn", "jobs unavailable", summary=summary)
            self._is_queue_away = True
            self._fallback.dispatch_due(now)
        else:
            self._is_queue_away = False
            self._work_by_itself(waiting_names, now)

    def _work_by_itself(self, waiting_names: Collection[TargetName], now: float) -> None:
        counter, since = self._parts.clock.read_counter(), self._waiting_since
        self._waiting_since = {name: since.get(name, counter) for name in waiting_names}
        oldest = min(self._waiting_since.values(), default=counter)
        if counter - oldest < _UNTAKEN_SECONDS or not self._has_free_slot(now):
            self._is_untaken_told = False
            return
        if not self._is_untaken_told:
            self._parts.log("warn", "jobs not taken", jobs=len(waiting_names))
        self._is_untaken_told = True
        self._fallback.dispatch_due(now)

    def _has_free_slot(self, now: float) -> bool:
        claimed_count = len(self._parts.store.list_claimed_targets(now))
        return claimed_count < self._count_slots(now)

    def _put_due_jobs(self, waiting_names: Collection[TargetName], now: float) -> None:
        parts = self._parts
        slots = self._count_slots(now)
        room = _JOBS_PER_SLOT * slots - len(waiting_names)
        self._has_more = room <= 0
        if room <= 0:
            return
        with parts.write() as writer:
            due = writer.list_due_unclaimed_targets_by_turn(now, 2 * _JOBS_PER_SLOT * slots)
        begun = [
            *parts.store.list_claimed_targets(now),
            *(row for row in due if row.name in waiting_names),
        ]
        has_many = len(parts.settings.sources) > 1
        chosen = choose_due_targets(
            [row for row in due if row.name not in waiting_names],
            begun,
            len(begun) + room,
            has_many_sources=has_many,
            most_of_source=max(slots - 1, 1) if has_many else None,
        )
        self._has_more = len(chosen) < sum(row.name not in waiting_names for row in due)
        self._queue.put_jobs_unless_waiting(
            DueJob(row.name, _USUAL if row.due_cause in _USUAL_CAUSES else _URGENT)
            for row in chosen
        )

    def _count_slots(self, now: float) -> int:
        """How many targets can be worked on at once, by all processes that were seen lately."""
        processes = self._parts.store.list_recorded_processes()
        alive = sum(row.slots for row in processes if row.seen_at > now - _ALIVE_SECONDS)
        return max(alive, self._own_slots)

    def _log_differences(self) -> None:
        """Tell of processes that differ."""
        counter = self._parts.clock.read_counter()
        looked_at = self._others_looked_at
        if looked_at is not None and counter - looked_at < _OTHERS_SECONDS:
            return
        self._others_looked_at = counter
        store = self._parts.store
        for process in list_live_processes(
            store.list_recorded_processes(), store.find_lease_even_if_over(LEADER_LEASE)
        ):
            difference = process.row.holder, process.difference
            if process.difference and difference not in self._told_differences:
                self._told_differences.add(difference)
                self._parts.log(
                    "warn", "process differs", process=process.row.holder, has=process.difference
                )


def build_unique_holder_name() -> str:
    """A name of this process that no other has or had: HOST:PID:RANDOM."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def build_fleet_engine(
    parts: LoopParts,
    queue_location: QueueLocation,
    clock: SharedClock,
    describe_process: Callable[[], ProcessRow],
) -> FleetEngine:
    """The engine of a process of this role, with a queue in the store's own database."""

    def build_queue(
        begin_work: Callable[[TargetName], None] | None, log: Callable[..., None]
    ) -> JobQueue:
        version = describe_process().version
        return JobQueue(queue_location, version, begin_work, log)

    is_worker = describe_process().role is ProcessRole.WORKER
    leader = NeverLeader() if is_worker else LeasedLeader(parts.store, parts.holder, parts.clock)
    return FleetEngine(clock, build_queue, describe_process, leader, parts)


def build_own_process_row(
    holder: str, role: ProcessRole, *, version: str, settings_digest: str, slots: int, now: float
) -> ProcessRow:
    """This process, as others are told of it; `holder` is HOST:PID:RANDOM."""
    host, process_id, _ = holder.rsplit(":", 2)
    return ProcessRow(
        holder, host, int(process_id), role, version, settings_digest, slots, now, now
    )


_BEAT_SECONDS = 2.0
# Every so many beats a process says that it is there, and at first at once.
_BEATS_PER_LINE = 3
# Who was not seen for so long is gone, and forgotten.
_FORGOTTEN_SECONDS = 3600.0
_STOP_SECONDS = 3.0


class Heartbeat:
    """Renews what a process has in a shared store, in a thread of its own, until it is stopped.

    A process that is stopped by a signal renews nothing: others take over what it had.
    """

    def __init__(
        self,
        store: ControllerStore,
        clock: SharedClock,
        describe_process: Callable[[], ProcessRow],
        get_lead_epoch: Callable[[], int],
        list_claims: Callable[[], Collection[TargetName]],
    ) -> None:
        """`get_lead_epoch` gives 0 while this process does not lead.

        `list_claims` gives the targets that it works on: no other claim of it is renewed.
        """
        self._store = store
        self._clock = clock
        self._describe_process = describe_process
        self._get_lead_epoch = get_lead_epoch
        self._list_claims = list_claims
        self._is_stopping = Event()
        self._was_away = False
        self.on_return: Callable[[], None] = lambda: None
        """Called when the store answers again after it was away."""
        self.on_failure: Callable[[Exception], None] = lambda _problem: None
        """Called with what ended it: a process without a heartbeat loses what it has."""
        self._thread = Thread(target=self._renew, daemon=True, name="heartbeat")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Renew nothing any more, and take this process from the list of processes."""
        self._is_stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)
        row = self._describe_process()
        with suppress(ControllerStoreError), self._store.write() as writer:
            writer.release_claims_of_holder(row.holder)
            writer.delete_process(row.holder)

    def _renew(self) -> None:
        beat = 0
        while not self._is_stopping.is_set():
            try:
                self._clock.adjust_to_database()
                now = self._clock.read_wall()
                row = replace(self._describe_process(), seen_at=now)
                self._store.extend_claims_and_leader_lease(
                    row.holder, now + LEASE_SECONDS, self._get_lead_epoch(), self._list_claims()
                )
                if beat % _BEATS_PER_LINE == 0:
                    self._store.put_process_and_delete_unseen_ones(row, now - _FORGOTTEN_SECONDS)
            except StoreUnavailable:
                # The rounds say so.
                self._was_away = True
            except Exception as problem:  # noqa: BLE001 - raised again by the main thread
                self.on_failure(problem)
                return
            else:
                beat += 1
                if self._was_away:
                    self._was_away = False
                    self.on_return()
            self._is_stopping.wait(_BEAT_SECONDS)
