"""A source with one target that a pool of workers applies, at a backend that counts its calls."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
from contract.controller.upstream import Upstream, read_no_secret, storage
from controllers.forked_workers import ForkedController
from forges.loopback_server import wait_until
from forking import TESTS
from git_repositories import git
from in_process import run
from waiting import hold

from synapse_apply import EmbeddedServer, OpenTarget, open_target
from synapse_apply.controller.planned_rows import ApplyTerms, RowAction, RowCause
from synapse_apply.controller.ports import Permit, RunResult
from synapse_apply.controller.rows import CallProgress, TargetName
from synapse_apply.controller.settings import Controller, MayRead, Source
from synapse_apply.controller.source.mirror import GitMirror
from synapse_apply.controller.worker.exchange import Order
from synapse_apply.controller.worker.pool import WorkerPool
from synapse_apply.emulator.core.backend import RequestLog
from synapse_apply.model.state import State

TOKEN, KEY = "token-of-acme-1234567890", "key-of-acme-1234567890"
CANARY = "canary-of-another-0987654321"
OTHER_KEY = "other-key-of-acme-1234567890"
ENVIRON = {
    **os.environ,
    "ACME_TOKEN": TOKEN,
    "ACME_KEY": KEY,
    "ACME_OTHER_KEY": OTHER_KEY,
    "BETA_KEY": CANARY,
}
NAME = TargetName("acme", "prod")
EVERYTHING = ApplyTerms(frozenset(RowCause), frozenset(RowAction) - {RowAction.GUARD})
Permits = Callable[[], Permit]


def build_applied_source(folder: Path) -> Source:
    return Source(
        "acme",
        str(folder / "upstream.git"),
        may_read=MayRead(("ACME_*",), (str(folder / "states"),)),
        hosts=("127.0.0.1",),
    )


def make_pool(folder: Path, **limits: Any) -> WorkerPool:
    controller = Controller("main", {"acme": build_applied_source(folder)})
    return WorkerPool(controller, folder / "data", ENVIRON, **limits)


def build_request(commit: str, terms: ApplyTerms, timeout: float) -> Order:
    return Order(*NAME, commit, timeout, terms, str(uuid.uuid4()), "controller:main")


def permit_for_long() -> Permit:
    return Permit(time.monotonic() + 10)


class ApplySite:
    """The repository, the state and the pool of one target; its first storage is applied."""

    def __init__(self, folder: Path, backend: EmbeddedServer) -> None:
        self.folder, self.backend = folder, backend
        self._storage_count = 0
        self.upstream = Upstream(folder)
        self.states, self.data = folder / "states", folder / "data"
        self.states.mkdir()
        self.source = build_applied_source(folder)
        self.pool = self.make_pool()
        self.mirror = GitMirror(self.source, self.data, read_no_secret)
        self.project = f"""
apiVersion: synapse-apply/v1
kind: Project
targets:
  prod:
    url: {backend.url}
    token: {{env: ACME_TOKEN}}
    state: {{url: {self.states}/prod.db}}
    settle_after: 0
"""
        self.commit = self.push({"synapse-apply.yaml": self.project, **self._build_storages(1)})
        self.checkout = folder / "checkout"
        git(folder, "clone", "-q", str(self.upstream.path), str(self.checkout))
        run("state init -t prod", self.checkout, self.given)
        self.apply()

    @property
    def given(self) -> dict[str, str]:
        return {"ACME_TOKEN": TOKEN, "ACME_KEY": KEY}

    def make_pool(self, **limits: Any) -> WorkerPool:
        return make_pool(self.folder, **limits)

    def declare_more(self, number: int) -> None:
        """Declare so many further storages, and count the creates from here on."""
        self.push(self._build_storages(number))
        self.look()
        self.backend.backend.request_log = RequestLog()

    def _build_storages(self, number: int) -> dict[str, str | None]:
        first = self._storage_count
        self._storage_count += number
        names = [f"s{position}" for position in range(first, self._storage_count)]
        return {f"manifests/{name}.yaml": storage(name) for name in names}

    def push(self, files: dict[str, str | None]) -> str:
        self.commit = self.upstream.commit(files)
        self.mirror.fetch_head()
        return self.commit

    def look(self) -> RunResult:
        return self.pool.look(Order(*NAME, self.commit, 60.0))

    def apply(
        self,
        read_permit: Permits | None = None,
        terms: ApplyTerms = EVERYTHING,
        timeout: float = 60.0,
        pool: WorkerPool | None = None,
        tell: Callable[[Sequence[CallProgress]], None] | None = None,
    ) -> RunResult:
        return (pool or self.pool).apply(
            self.build_request(terms, timeout), read_permit or permit_for_long, tell
        )

    def build_request(self, terms: ApplyTerms = EVERYTHING, timeout: float = 60.0) -> Order:
        return build_request(self.commit, terms, timeout)

    def start_controller(self) -> ForkedController:
        """A process that applies the target and does nothing else."""
        arguments = [sys.executable, "-m", __name__, str(self.folder), self.commit]
        return ForkedController(arguments, cwd=TESTS, env=ENVIRON)

    def delay_answers(self, seconds: float) -> None:
        """Let each create be done at once, and answered late."""
        match = {"method": "POST", "path": "/storages/"}
        self.put_faults({"match": match, "do": {"hang": seconds, "commit": "after"}})

    @contextmanager
    def hold_answers(self) -> Iterator[None]:
        """Let each create be done at once, and answered only at the end."""
        with hold():
            self.delay_answers(0.1)
            yield
            self.put_faults()

    def put_faults(self, *rules: dict[str, Any]) -> None:
        self._ask_backend("PUT", "faults/", {"rules": rules})

    def change_plugin_by_hand(self) -> None:
        """Change the description of the only plugin outside of Git."""
        (plugin,) = self._ask_backend("GET", "objects/plugin/")["results"]
        change = {"description": "changed by hand"}
        self._ask_backend("PATCH", f"objects/plugin/{plugin['id']}/", change)

    def delete_one_storage_by_hand(self) -> None:
        storages = self._ask_backend("GET", "objects/storage/")["results"]
        self._ask_backend("DELETE", f"objects/storage/{storages[0]['id']}/")

    def _ask_backend(self, method: str, path: str, body: Any = None) -> Any:
        url, headers = f"{self.backend.url}/_emulator/{path}", {"Authorization": f"Token {TOKEN}"}
        answer = requests.request(method, url, json=body, headers=headers, timeout=60)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def count_creates(self) -> int:
        """How many creates were acted on."""
        entries = list(self.backend.backend.request_log.recent_entries)
        return sum(entry["method"] == "POST" for entry in entries)

    def list_job_lists(self) -> list[str]:
        """The requests that listed jobs, oldest first."""
        return [
            entry["path"]
            for entry in list(self.backend.backend.request_log.recent_entries)
            if entry["method"] == "GET" and entry["path"].split("?")[0].endswith("/jobs/")
        ]

    def wait_for_creates(self, number: int) -> None:
        wait_until(lambda: self.count_creates() >= number, 60, f"{number} creates")

    def open_target(self) -> AbstractContextManager[OpenTarget]:
        """The target as a person opens it in a checkout."""
        return open_target("prod", folder=self.checkout, environ=self.given)

    def read_state(self) -> State:
        with self.open_target() as target:
            return target.state.read()

    def close(self) -> None:
        with suppress(requests.RequestException):
            self.put_faults()
        self.pool.close()


@contextmanager
def open_site(folder: Path, kind: type[ApplySite] = ApplySite) -> Iterator[Any]:
    """A site with a backend of its own; both end with it."""
    with (
        EmbeddedServer(folder / "backend", token=TOKEN) as server,
        closing(kind(folder, server)) as site,
    ):
        yield site


if __name__ == "__main__":
    make_pool(Path(sys.argv[1])).apply(
        build_request(sys.argv[2], EVERYTHING, 60.0), permit_for_long
    )
