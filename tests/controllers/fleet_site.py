"""A site with several targets that a fleet works on: replicas and workers, one database.

Each process has a data folder of its own, as on machines of their own. What reaches the database
goes through a proxy that can stand still or break.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import requests
from controllers.applying_site import OPS_TOKEN, STORAGE, ApplyingSite, read_process
from controllers.backend_proxy import Call
from controllers.forked_workers import ForkedController
from controllers.site import SECONDS
from forges.loopback_server import wait_until
from in_process import run
from installed import BIN, environment
from postgres.proxy import Proxy
from postgres.server import PASSWORD, PostgresServer, free_port
from profiles import VENDOR

from synapse_apply import EmbeddedServer

TESTS = Path(__file__).resolve().parents[1]
# What a loaded machine may add to the time of a look.
MARGIN_SECONDS = float(os.environ.get("SYNAPSE_APPLY_TEST_MARGIN", "6"))
# Between two questions to the database, in seconds: each is a connection.
_PAUSE = 0.2
PROJECT = """
apiVersion: synapse-apply/v1
kind: Project
project: {id: 6f4c1f0a-1f0e-4c52-9d0b-5b7a8f3e2d10}
manifests: [manifests/]
targets_from:
  file: tenants.yaml
  template:
    url: BACKEND
    tenant: ${row.name}
    token: {env: ACME_TOKEN}
    settle_after: 2
    state: {url: "FOLDER/states/${row.name}.db", key: {env: ACME_STATE_KEY}}
"""


@dataclass
class FleetProcess:
    """A `controller run`, a replica or a `--worker`; `altered` as `controllers.altered`."""

    name: str
    verb: str
    port: int
    altered: dict[str, Any] | None = None
    process: subprocess.Popen[Any] | None = None

    @property
    def process_id(self) -> int:
        assert self.process is not None, self.name
        return self.process.pid

    def list_process_ids(self) -> list[int]:
        """Its own id, and those of the processes that it has started to look at targets."""
        return [self.process_id, *list_children(self.process_id)]

    def send(self, number: int) -> None:
        """Signal it and its children, the children first."""
        for process_id in reversed(self.list_process_ids()):
            with suppress(ProcessLookupError):
                os.kill(process_id, number)


@dataclass
class FleetSite(ApplyingSite):
    """A site whose targets are `t0`, `t1` and so on, each of a tenant of its own.

    The database is a schema of its own in `server`. `storages` are declared for all targets alike.
    """

    server: PostgresServer | None = None
    target_count: int = 4
    fleet: dict[str, FleetProcess] = field(default_factory=dict)

    def _start_servers(self, stack: ExitStack) -> None:
        assert self.server is not None
        self.database = f"fleet_{time.monotonic_ns()}"
        self.server.run(f"CREATE DATABASE {self.database}")
        self.database_proxy = Proxy(self.server.port)
        stack.callback(self.database_proxy.close)
        super()._start_servers(stack)
        stack.callback(self.end_fleet)

    def _build_backend(self, folder: Path) -> EmbeddedServer:
        return EmbeddedServer(folder, any_token=True, profile=VENDOR)

    @property
    def target_names(self) -> list[str]:
        return [f"t{number}" for number in range(self.target_count)]

    @property
    def store_url(self) -> str:
        at = f"postgres:{PASSWORD}@127.0.0.1:{self.database_proxy.port}/{self.database}"
        return f"postgresql://{at}"

    def _make_repository(self) -> None:
        self.environ["FLEET_STORE"] = self.store_url
        super()._make_repository()

    def _apply_first_commit(self) -> None:
        given = self.own_variables
        for name in self.target_names:
            run(f"state init -t {name}", self.checkout, given)
        run("apply -t * --auto-approve", self.checkout, given)

    def build_project(self) -> str:
        text = PROJECT.replace("BACKEND", self.backend_url)
        return text.replace("FOLDER", str(self.folder))

    def build_manifest(self, description: str) -> str:
        if description == "\t":
            return "spec:\n\tbroken: true\n"
        return STORAGE.replace("NUMBER", "of-all").removeprefix("---\n")

    def commit(
        self, description: str = "first", message: str = "Change", *, push: bool = True
    ) -> str:
        rows = "".join(f"- {{name: {name}}}\n" for name in self.target_names)
        (self.checkout / "tenants.yaml").write_text(rows)
        return super().commit(description, message, push=push)

    # The fleet

    def write_configuration(self, **changes: str) -> None:
        super().write_configuration(**changes)
        file = self.folder / "controller.yaml"
        text = file.read_text("utf-8") + "store: {url: {env: FLEET_STORE}}\n"
        file.write_text(text)
        for process in self.fleet.values():
            self._write_configuration_of(process)

    def _write_configuration_of(self, process: FleetProcess) -> None:
        text = (self.folder / "controller.yaml").read_text("utf-8")
        listen = f"listen: 127.0.0.1:{self.port}"
        text = text.replace(listen, f"listen: 127.0.0.1:{process.port}")
        (self.folder / f"{process.name}.yaml").write_text(text)

    def start_replica(self, name: str, **options: Any) -> FleetProcess:
        """Start a `controller run`, and wait until its page answers."""
        port = free_port() if self.fleet else self.port
        process = self.start_process(FleetProcess(name, "run", port, **options))
        wait_until(
            lambda: self.is_replica_up(process), SECONDS, f"{name} answers\n{self.read_log()}"
        )
        return process

    def start_worker(self, name: str, **options: Any) -> FleetProcess:
        """Start a `controller run --worker`; nobody waits for it."""
        return self.start_process(FleetProcess(name, "worker", free_port(), **options))

    def start_process(self, process: FleetProcess) -> FleetProcess:
        """Start one, also one that has ended once more."""
        self.fleet[process.name] = process
        self._write_configuration_of(process)
        command = [str(BIN / "synapse-apply")]
        environ = environment(self.environ)
        if process.altered is not None:
            altered = json.dumps(process.altered)
            command = [sys.executable, "-m", "controllers.altered", altered]
            environ["PYTHONPATH"] = str(TESTS)
        arguments = ["controller", "run", f"{process.name}.yaml"]
        arguments += ["--worker"] * (process.verb == "worker")
        with (self.folder / f"log-{process.name}").open("ab") as log:
            process.process = ForkedController(
                [*command, *arguments, "--data", f"data-{process.name}"],
                cwd=self.folder, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        if process.verb == "run" and self.process is None:
            self.process = process.process
        return process

    def is_replica_up(self, process: FleetProcess) -> bool:
        assert process.process is not None
        assert process.process.poll() is None, self.read_log()
        with suppress(requests.RequestException):
            url = f"http://127.0.0.1:{process.port}/healthz"
            return requests.get(url, timeout=5).status_code == 200
        return False

    def end_fleet(self) -> None:
        """Kill all that still run."""
        for process in self.fleet.values():
            if process.process is not None:
                process.send(signal.SIGKILL)
                process.process.wait(SECONDS)

    def kill_process(self, process: FleetProcess) -> float:
        """Kill it with its children, as the end of a machine; when that was."""
        self.killed_workers |= set(process.list_process_ids())
        process.send(signal.SIGKILL)
        killed_at = time.monotonic()
        assert process.process is not None
        process.process.wait(SECONDS)
        return killed_at

    @contextmanager
    def stand_still(self, process: FleetProcess) -> Iterator[float]:
        """Stop it with its children, and let it go on afterwards; when it was stopped."""
        process.send(signal.SIGSTOP)
        try:
            yield time.monotonic()
        finally:
            process.send(signal.SIGCONT)

    def check_all_run(self, *ended: FleetProcess) -> None:
        """No process has ended but these."""
        for process in self.fleet.values():
            if process not in ended and process.process is not None:
                assert process.process.poll() is None, f"{process.name}\n{self.read_log()}"

    def wait_for_write_of(
        self, *processes: FleetProcess, after: int = 0, seconds: float = SECONDS
    ) -> Call:
        """Wait until one of these makes a call that writes, later than the first `after` calls."""

        def find() -> Call | None:
            ids = {one for process in processes for one in process.list_process_ids()}
            calls = [call for call in self.writes[after:] if call.process_id in ids]
            return next((call for call in calls if not call.ended_at), None)

        wait_until(lambda: find() is not None, seconds, "a write", pause=0.05)
        call = find()
        return call or self.writes[-1]

    def begin_slow_applies(self, milliseconds: int = 700) -> str:
        """Commit three more storages, each of which takes long to make; the commit."""
        self.storages += 3
        self.slow_down_writes(milliseconds)
        return self.commit(f"number {self.storages}", "More storages")

    def begin_slow_applies_of(self, process: FleetProcess, milliseconds: int = 700) -> str:
        """As `begin_slow_applies`, until a process makes one of the calls; the commit."""
        for _ in range(8):
            commit = self.begin_slow_applies(milliseconds)
            count = len(self.writes)
            with suppress(AssertionError):
                self.wait_for_write_of(process, after=count, seconds=8)
                return commit
            # Who has a target is chance: the others were faster.
            self.set_faults()
            self.wait_for_end(commit, "success", 4 * SECONDS)
        raise AssertionError(f"{process.name} applies nothing\n{self.read_log()}")

    # The database

    def query(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a statement in the schema of the store."""
        assert self.server is not None
        url = self.server.url(database=self.database)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET search_path TO synapse_apply_controller, public")
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def find_leader(self) -> FleetProcess:
        """The replica that has the lease of the leader."""

        def find() -> FleetProcess | None:
            rows = self.query("SELECT holder FROM leases WHERE name = 'leader'")
            for process in self.fleet.values():
                if process.process is not None and rows and f":{process.process_id}:" in rows[0][0]:
                    return process
            return None

        wait_until(
            lambda: find() is not None, SECONDS, f"a leader\n{self.read_log()}", pause=_PAUSE
        )
        leader = find()
        assert leader is not None
        return leader

    def wait_for_another_leader(self, old: FleetProcess) -> FleetProcess:
        """Wait until a replica other than this one has the lease of the leader."""
        wait_until(
            lambda: self.find_leader() is not old,
            SECONDS,
            f"a leader\n{self.read_log()}",
            pause=_PAUSE,
        )
        return self.find_leader()

    def list_claims(self, process: FleetProcess) -> dict[str, int]:
        """The targets that a process works on, with the epoch of each claim.

        Ask when it was killed or stands still: one that ends in between is not taken over.
        """
        statement = "SELECT target, epoch FROM targets WHERE holder LIKE %s"
        return dict(self.query(statement, [f"%:{process.process_id}:%"]))

    def list_targets_of_unanswered_calls(self) -> set[str]:
        """The targets whose backend has not answered yet what a killed process had asked for."""
        return {
            call.tenant
            for call in self.writes
            if call.process_id in self.killed_workers and not call.ended_at
        }

    def wait_until_taken_over(self, claims: dict[str, int]) -> float:
        """Wait until each of these targets has a newer claim.

        How many seconds the last one took; 0 without claims.
        """
        begun = time.monotonic()

        def list_left() -> list[str]:
            epochs = dict(self.query("SELECT target, epoch FROM targets"))
            return [name for name, epoch in claims.items() if epochs[name] <= epoch]

        wait_until(lambda: not list_left(), SECONDS, f"taken over\n{self.read_log()}", pause=_PAUSE)
        return time.monotonic() - begun if claims else 0.0

    def list_looked_at(self) -> dict[str, float]:
        """When each target was last looked at, by the store."""
        return dict(self.query("SELECT target, looked_at FROM targets"))

    # The laws

    def get(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {OPS_TOKEN}"}
        answer = requests.get(self.url + path, headers=headers, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def list_names_of(self, tenant: str) -> list[str]:
        """The names of a tenant's storages, sorted."""
        rows = self.ask_backend("GET", "/_emulator/objects/storage/")["results"]
        return sorted(row["body"]["name"] for row in rows if row["tenant"] == tenant)

    def wait_until_all_is_made(self, names: Sequence[str]) -> None:
        """Wait until these targets have all that Git declares."""
        wait_until(
            lambda: all(len(self.list_names_of(name)) == self.storages + 1 for name in names),
            2 * SECONDS,
            f"{names} have all\n{self.read_log()}",
            pause=0.3,
        )

    def check_fleet_laws(self, names: Sequence[str] | None = None) -> None:
        """All of Git is live in these targets (None: in all), and nothing is there twice.

        No two processes write to one target at a time.
        """
        for name in self.target_names:
            live = self.list_names_of(name)
            assert len(live) == len(set(live)), live
            if names is None or name in names:
                assert len(live) == self.storages + 1, (name, live)
        made = Counter(
            (call.tenant, call.values["name"])
            for call in self.writes
            if call.method == "POST" and call.is_done
        )
        assert all(count == 1 for count in made.values()), made
        for name in self.target_names:
            calls = [call for call in self.writes if call.tenant == name]
            for call in calls:
                for other in calls:
                    if call.process_id and other.process_id not in (0, call.process_id):
                        is_before = self.get_end_of_call(other) <= call.began_at
                        is_after = self.get_end_of_call(call) <= other.began_at
                        assert is_before or is_after, (call, other)
        self.check_messages()
        self.check_no_secret()

    @property
    def canaries(self) -> tuple[str, ...]:
        return (*super().canaries, PASSWORD)

    def check_no_secret(self) -> None:
        """No canary in a log, a data folder, a table of the database, a status or a message."""
        texts = {
            "log": self.read_log().encode(),
            "statuses": repr(self.github.statuses).encode(),
            "messages": b"".join(request.body for request in self.sink.requests),
        }
        for folder in self.folder.glob("data-*"):
            for file in folder.rglob("*"):
                if file.is_file() and not file.is_symlink():
                    texts[str(file.relative_to(self.folder))] = file.read_bytes()
        tables = self.query(
            "SELECT schemaname, tablename FROM pg_tables WHERE tablename !~ '^(pg|sql)_'"
        )
        for schema, table in tables:
            rows = self.query(f'SELECT t::text FROM "{schema}"."{table}" t')
            texts[table] = repr(rows).encode()
        for name, text in texts.items():
            for canary in self.canaries:
                assert canary.encode() not in text, f"{canary} is in {name}"

    def check_messages(self) -> None:
        """Each message is of a fact of its own."""
        facts = Counter(message["id"] for message in self.sink.messages)
        assert all(count == 1 for count in facts.values()), facts


def list_children(process_id: int) -> list[int]:
    """The ids of the processes that this one has started and that live."""
    ids: list[int] = []
    for file in Path(f"/proc/{process_id}/task").glob("*/children"):
        with suppress(OSError):
            ids += map(int, file.read_text().split())
    return [number for number in ids if read_process(number, "cmdline")]
