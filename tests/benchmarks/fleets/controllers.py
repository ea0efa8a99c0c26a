"""The controllers of one measurement: one process on SQLite, or a fleet on PostgreSQL."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests
from benchmarks.fleets.tenants import BIN, SOURCE, Tenants
from benchmarks.fleets.watching import Row, build_postgresql_reader, build_sqlite_reader

_UP_SECONDS, _END_SECONDS = 60.0, 60.0


@dataclass
class Controllers:
    """So many replicas of `controller run` and `controller run --worker`, with a data folder each.

    `store_url` is that of PostgreSQL, "" for SQLite in the data folder of the only replica. Each
    process looks at `look_count` targets at a time.
    """

    tenants: Tenants
    replica_count: int = 1
    worker_count: int = 0
    store_url: str = ""
    mode: str = "observe"
    interval: str = "8m"
    look_count: int = 4
    replicas: list[subprocess.Popen[bytes]] = field(default_factory=list)
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root = self.tenants.root / f"controllers-{time.monotonic_ns()}"
        self.environ = {**self.tenants.environ, "CONTROLLER_STORE": self.store_url}
        self.ports = [find_free_port() for _ in range(self.replica_count)]

    @contextmanager
    def run(self) -> Iterator[None]:
        """Start all of them, and end them by SIGTERM."""
        self.write_configurations()
        with ExitStack() as stack:
            stack.callback(self.stop)
            self.replicas = [self._start(number) for number in range(self.replica_count)]
            wait_until(self._is_up, _UP_SECONDS)
            self.workers = [
                self._start(self.replica_count + number, "--worker")
                for number in range(self.worker_count)
            ]
            yield

    def write_configurations(self) -> None:
        """A controller.yaml for each process; they differ in where they listen."""
        self.root.mkdir()
        for number, port in enumerate(self.ports):
            self._write_configuration(number, port)
        for number in range(self.worker_count):
            self._write_configuration(self.replica_count + number, find_free_port())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    def start_worker_again(self, number: int) -> None:
        """Start one in place of one that was killed, as a supervisor does."""
        self.workers[number] = self._start(self.replica_count + number, "--worker")

    def build_reader(self) -> Callable[[], Sequence[Row]]:
        if self.store_url:
            return build_postgresql_reader(self.store_url)
        return build_sqlite_reader(self.root / "data-0" / "controller.db")

    def read_log(self) -> str:
        return "".join(
            file.read_text(encoding="utf-8", errors="replace") for file in self.root.glob("log-*")
        )

    def stop(self) -> None:
        processes = [*self.workers, *self.replicas]
        for process in processes:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in processes:
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _is_up(self) -> bool:
        for process in self.replicas:
            if process.poll() is not None:
                raise RuntimeError(f"a controller ended\n{self.read_log()[-3000:]}")
        with suppress(requests.RequestException):
            return all(
                requests.get(f"http://127.0.0.1:{port}/healthz", timeout=5).ok
                for port in self.ports
            )
        return False

    def _start(self, number: int, *how: str) -> subprocess.Popen[bytes]:
        command = [BIN / "synapse-apply", "controller", "run", *how, self.root / f"{number}.yaml"]
        command += ["--looks", str(self.look_count)]
        with (self.root / f"log-{number}").open("ab") as log:
            return subprocess.Popen(
                [*command, "--data", self.root / f"data-{number}"],
                env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.root, start_new_session=True,
            )  # fmt: skip

    def _write_configuration(self, number: int, port: int) -> None:
        tenants = self.tenants
        source = {
            "url": str(tenants.checkout), "hosts": [tenants.url.partition("//")[2]], "poll": "5s",
            "may_read": {"env": ["LOAD_*"], "files": [f"{tenants.states}/"]},
            "targets": {"*": {"mode": self.mode, "interval": self.interval}},
        }  # fmt: skip
        settings = {
            "apiVersion": "synapse-apply/v1", "kind": "Controller", "metadata": {"name": "scale"},
            "sources": {SOURCE: source}, "listen": f"127.0.0.1:{port}", "open_metrics": True,
        }  # fmt: skip
        if self.store_url:
            settings["store"] = {"url": {"env": "CONTROLLER_STORE"}}
        (self.root / f"{number}.yaml").write_text(json.dumps(settings))


def find_free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port: int = free.getsockname()[1]
        return port


def wait_until(is_true: Callable[[], bool], seconds: float) -> None:
    """RuntimeError where it is not true in time."""
    end = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > end:
            raise RuntimeError(f"not within {seconds:g} s")
        time.sleep(0.1)


def count_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
