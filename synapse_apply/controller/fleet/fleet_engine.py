"""How a process takes part in a controller of several: it is alive, may lead, and works."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from threading import Event, Thread

from synapse_apply.controller.fleet.job_queue import DueJob, JobQueue, QueueLocation
from synapse_apply.controller.loop.claiming import RunCounts, claim_if_due
from synapse_apply.controller.loop.clock import BackgroundTasks, SharedClock
from synapse_apply.controller.loop.leading import LOOK, ROUND_SECONDS, Dispatcher, Engine
from synapse_apply.controller.loop.parts import LEASE_SECONDS, LeasedLeader, LoopParts
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
from synapse_apply.controller.store.store_database import ControllerStoreError, StoreUnavailable
from synapse_apply.model.frozen import replace

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


class FleetEngine(Engine):
    """The Engine of a process that shares its store with others, with a queue in its database."""

    def __init__(
        self,
        parts: LoopParts,
        queue_location: QueueLocation,
        clock: SharedClock,
        describe_process: Callable[[], ProcessRow],
    ) -> None:
        """`describe_process` gives this process as it is now; one that only works never leads."""
        row = describe_process()
        super().__init__(parts, row.slots)
        self._queue_location = queue_location
        self._version = row.version
        is_worker = row.role is ProcessRole.WORKER
        self._leader = None if is_worker else LeasedLeader(parts.store, parts.holder, parts.clock)
        self._heartbeat = Heartbeat(parts, clock, describe_process, self._leader)
        self._queue: JobQueue | None = None

    def take_lead(self) -> int | None:
        return self._leader.take() if self._leader else None

    def release_lead(self) -> None:
        if self._leader is not None:
            self._leader.release_lease()

    def build_dispatcher(
        self, parts: LoopParts, tasks: BackgroundTasks, counts: RunCounts, *, is_once: bool
    ) -> Dispatcher:
        # A run that ends after the lead was lost is recorded all the same: its claim decides.
        if is_once or self._queue is None:
            return super().build_dispatcher(self._parts, tasks, counts, is_once=True)
        return JobDispatcher(self._parts, tasks, counts, self._max_looks, parts, self._queue)

    def start_taking_part(
        self, tasks: BackgroundTasks, counts: RunCounts, *, is_once: bool
    ) -> None:
        self._heartbeat.on_failure = tasks.note_failure_and_wake
        self._heartbeat.start()
        if is_once:
            return
        parts = self._parts

        def has_slot() -> bool:
            """Wait until a slot is free; False where no work is begun any more."""
            while not parts.is_stopping and tasks.failure is None:
                if tasks.wait_for_fewer(LOOK, self._max_looks, _ROOM_SECONDS):
                    return True
            return False

        def begin_due_work(name: TargetName) -> None:
            """Claim a target if it is due, and work on it in a task; waits until a slot is free."""

            def work() -> None:
                claimed = claim_if_due(parts, name)
                if claimed is not None:
                    look_and_apply(parts, claimed, counts)

            # Where jobs are taken anew, a slot was not waited for before.
            if name.source in parts.settings.sources and has_slot():
                tasks.start_task((LOOK, name), work, TargetRow(name))
                has_slot()

        def log(event: str, **values: object) -> None:
            parts.log("warn", event, **values)

        self._queue = JobQueue(self._queue_location, self._version, begin_due_work, log)
        self._heartbeat.on_return = self._queue.reconnect_to_take_jobs
        self._queue.start()

    def stop_taking_work(self) -> None:
        if self._queue is not None:
            self._queue.stop()

    def close(self) -> None:
        self.stop_taking_work()
        self._heartbeat.stop()


class JobDispatcher(Dispatcher):
    """Gives every target that is due a job, a small number ahead.

    While the queue does not answer, or no job is taken, it works on what is due by itself: what is
    done with a target is guarded by the claim alone.
    """

    def __init__(
        self,
        parts: LoopParts,
        tasks: BackgroundTasks,
        counts: RunCounts,
        own_slots: int,
        leader_parts: LoopParts,
        queue: JobQueue,
    ) -> None:
        super().__init__(parts, tasks, counts, own_slots, is_once=False)
        self._leader_parts = leader_parts
        self._queue = queue
        self._waiting_since: dict[TargetName, float] = {}
        self._others_looked_at = float("-inf")
        self._told_differences: set[tuple[str, str]] = set()

    def dispatch_due(self, now: float) -> None:
        parts, store, told = self._parts, self._parts.store, ""
        if parts.is_stopping:
            return
        counter = parts.clock.read_counter()
        try:
            if counter - self._others_looked_at >= _OTHERS_SECONDS:
                self._others_looked_at = counter
                self._log_differences()
            if count := self._queue.delete_useless_jobs():
                parts.log("info", "lost jobs deleted", jobs=count)
            waiting_names = self._queue.list_targets_with_waiting_job()
            # How many targets can be worked on at once, by all processes that were seen lately.
            rows = store.list_processes()
            alive = sum(row.slots for row in rows if row.seen_at > now - _ALIVE_SECONDS)
            slots = max(alive, self._max_looks)
            self._put_due_jobs(waiting_names, slots, now)
        except StoreUnavailable as problem:
            told, values = "jobs unavailable", {"summary": problem.diagnostics[0].summary}
        else:
            since = self._waiting_since
            self._waiting_since = {name: since.get(name, counter) for name in waiting_names}
            oldest = min(self._waiting_since.values(), default=counter)
            is_slow = counter - oldest >= _UNTAKEN_SECONDS
            if is_slow and len(store.list_claimed_targets(now)) < slots:
                told, values = "jobs not taken", {"jobs": f"{len(waiting_names)}"}
        if told and told != self.trouble:
            parts.log("warn", told, **values)
        self.trouble = told
        if told:
            super().dispatch_due(now)

    def _put_due_jobs(self, waiting_names: Collection[TargetName], slots: int, now: float) -> None:
        room = _JOBS_PER_SLOT * slots - len(waiting_names)
        # What ends in other processes wakes no round here.
        self.seconds_to_next_round = _MORE_SECONDS
        if room <= 0:
            return
        parts = self._leader_parts
        with parts.write() as writer:
            due = writer.list_due(now, 2 * _JOBS_PER_SLOT * slots)
        begun = [
            *parts.store.list_claimed_targets(now),
            *(row for row in due if row.name in waiting_names),
        ]
        new = [row for row in due if row.name not in waiting_names]
        has_many = len(parts.settings.sources) > 1
        chosen = choose_due_targets(
            new,
            begun,
            len(begun) + room,
            has_many_sources=has_many,
            most_of_source=max(slots - 1, 1) if has_many else None,
        )
        if len(chosen) == len(new):
            self.seconds_to_next_round = ROUND_SECONDS
        self._queue.put_jobs_unless_waiting(
            DueJob(row.name, _USUAL if row.due_cause in _USUAL_CAUSES else _URGENT)
            for row in chosen
        )

    def _log_differences(self) -> None:
        """Tell of processes that differ."""
        store = self._parts.store
        for process in list_live_processes(store.list_processes(), store.find_lease(LEADER_LEASE)):
            difference = process.row.holder, process.difference
            if process.difference and difference not in self._told_differences:
                self._told_differences.add(difference)
                self._parts.log(
                    "warn", "process differs", process=process.row.holder, has=process.difference
                )


def build_unique_holder_name() -> str:
    """A name of this process that no other has or had: HOST:PID:RANDOM."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


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
        parts: LoopParts,
        clock: SharedClock,
        describe_process: Callable[[], ProcessRow],
        leader: LeasedLeader | None,
    ) -> None:
        """Of claims only those are renewed that this process works on (`parts.own_claims`)."""
        self._parts = parts
        self._store = parts.store
        self._clock = clock
        self._describe_process = describe_process
        self._leader = leader
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
            writer.release_claims(row.holder)
            writer.delete_processes(row.holder)

    def _renew(self) -> None:
        beat = 0
        while not self._is_stopping.is_set():
            try:
                self._clock.adjust_to_database()
                now = self._clock.read_wall()
                row = replace(self._describe_process(), seen_at=now)
                epoch = self._leader.epoch_to_renew() if self._leader else 0
                claims = self._parts.own_claims.claims_to_renew()
                self._store.extend_claims(row.holder, now + LEASE_SECONDS, epoch, claims)
                if beat % _BEATS_PER_LINE == 0:
                    self._store.put_process(row, now - _FORGOTTEN_SECONDS)
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
