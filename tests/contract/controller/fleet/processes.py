"""Several processes of one controller in one: each with its own store object, workers and clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from contract.controller.loop.stand_ins import StandInWorkers, World
from postgres.server import PostgresServer

from synapse_apply.controller.fleet.fleet_engine import (
    FleetEngine,
    build_own_process_row,
    build_unique_holder_name,
)
from synapse_apply.controller.fleet.job_queue import JobQueue, QueueLocation
from synapse_apply.controller.loop.clock import Clock, SharedClock
from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.loop.parts import EventLog, LoopParts
from synapse_apply.controller.rows import ProcessRole, ProcessRow, TargetName
from synapse_apply.controller.store.postgres_store import PostgresControllerStore
from synapse_apply.model.values import Sensitive

SECONDS = 60.0


class WrongClock(Clock):
    """The clock of a machine that is set wrong."""

    def __init__(self, ahead: float) -> None:
        self._ahead = ahead

    def read_wall(self) -> float:
        return super().read_wall() + self._ahead

    def draw_fraction(self) -> float:
        """What is new is due at once."""
        return 0.0


class Process:
    """What one process of the controller would have; its rounds are in a thread, or by hand."""

    def __init__(self, fleet: Fleet, role: ProcessRole, clock_ahead: float, version: str) -> None:
        self._fleet = fleet
        self.store = PostgresControllerStore(fleet.url)
        self.store.create_or_upgrade()
        self.workers = StandInWorkers()
        self.holder = build_unique_holder_name()
        clock = SharedClock(WrongClock(clock_ahead), self.store.read_database_clock)
        self.shared_clock = clock
        self.parts = LoopParts(
            fleet.world.configure(),
            self.store,
            self.workers,
            clock,
            EventLog(fleet.world.log),
            self.holder,
        )

        def describe() -> ProcessRow:
            return build_own_process_row(
                self.holder, role, version=version, settings_digest="d", slots=4, now=0.0
            )

        location = QueueLocation(self.store.connection_parameters, self.store.schema)
        self.engine = FleetEngine(self.parts, location, clock, describe)
        self.loop = ControllerLoop(self.parts, self.engine)
        self._thread: Thread | None = None
        self.failures: list[Exception] = []
        self._is_stopped = False

    @property
    def is_leading(self) -> bool:
        return self.loop._lead is not None

    @property
    def queue(self) -> JobQueue:
        assert self.engine._queue is not None
        return self.engine._queue

    def freeze(self) -> None:
        """Have what it holds run out, as if it was stopped for a while; its threads go on."""
        heartbeat = self.engine._heartbeat
        heartbeat._is_stopping.set()
        heartbeat._thread.join(SECONDS)
        self.engine.stop_taking_work()
        self._fleet.run_in_store("UPDATE leases SET until = 1")
        self._fleet.run_in_store("UPDATE targets SET lease_until = 1 WHERE holder <> ''")

    def run(self) -> None:
        """Let it live by itself."""

        def live() -> None:
            try:
                self.loop.run_until_stopped(lambda: None)
            except Exception as problem:  # noqa: BLE001 - a test looks at it
                self.failures.append(problem)

        self._thread = Thread(target=live, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Drain it; without effect a second time."""
        if self._is_stopped:
            return
        self._is_stopped = True
        self.workers.gate.set()
        self.loop.request_stop()
        if self._thread is not None:
            self._thread.join(SECONDS)
        else:
            self.loop._drain()
        self.store.close()
        assert self.failures == []


class Fleet:
    """A source `acme` with targets, and processes that share a store on PostgreSQL."""

    def __init__(
        self, folder: Path, server: PostgresServer, url: Sensitive, **targets: str
    ) -> None:
        self.server = server
        self.url = url
        self.world = World(folder)
        self.world.store.close()
        self.repository = self.world.repository
        self.repository.push("c1", **targets)
        self.processes: list[Process] = []

    def start(
        self,
        role: ProcessRole = ProcessRole.REPLICA,
        *,
        clock_ahead: float = 0.0,
        version: str = "1.0",
        is_by_hand: bool = False,
    ) -> Process:
        """One more process; `is_by_hand`: it goes round when a test says so."""
        process = Process(self, role, clock_ahead, version)
        self.processes.append(process)
        if not is_by_hand:
            process.run()
        return process

    def run_in_store(self, statement: str) -> list[tuple[Any, ...]]:
        """Do something to the tables of the store as the owner of the server; what it answers."""
        return self.server.run(f"SET search_path TO {self.processes[0].store.schema}", statement)

    def list_asked(self) -> list[str]:
        """The targets that all processes were asked to look at, one for each look."""
        return sorted(name for process in self.processes for name in process.workers.asked)

    def ask_for(self, *targets: str) -> None:
        """Have targets looked at, as somebody asks on a page of the first process."""
        for target in targets:
            actions = self.processes[0].loop.get_people_actions()
            actions.reconcile_soon_or_refuse("proxy:ann", TargetName("acme", target))


@contextmanager
def open_fleet(
    folder: Path, server: PostgresServer, url: Sensitive, **targets: str
) -> Iterator[Fleet]:
    """A fleet whose processes are drained at the end."""
    fleet = Fleet(folder, server, url, **targets)
    try:
        yield fleet
    finally:
        for process in fleet.processes:
            process.workers.gate.set()
            process.loop.request_stop()
        for process in reversed(fleet.processes):
            process.stop()
