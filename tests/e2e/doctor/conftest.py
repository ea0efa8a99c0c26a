"""A project against a backend on a real socket; commands run in it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from e2e.scenarios.canaries import forms
from e2e.scenarios.conftest import MadeOnce, ServerAtOpenSocket, open_door
from e2e.scenarios.workplace import Workplace
from in_process import run as run_here
from installed import run as run_installed

from synapse_apply import EmbeddedServer

TOKEN = "access-token-of-tests"
AGENTS = {"gpu-1": "GPU_TOKEN", "gpu-2": "GPU2_TOKEN"}
AGENT_TOKENS = {"GPU_TOKEN": "agent-token-123", "GPU2_TOKEN": "my-agent-token"}
STORAGE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: raw}
spec:
  name: Raw
  provider: amazon_s3
  category: external
  configuration:
    bucket_name: raw
    secret_key: {valueFrom: {env: RAW_KEY}}
    access_key: {valueFrom: {env: RAW_KEY}}
    region_name: us-west-2
"""


@dataclass
class Site:
    """A project folder, its one target `prod`, and the server there."""

    root: Path
    server: EmbeddedServer
    environ: dict[str, str] = field(default_factory=dict)

    def write_project(self, **more: Any) -> None:
        target = {
            "url": self.server.url,
            "tenant": "acme",
            "token": {"env": "PROD_TOKEN"},
            "agents": {name: {"env": variable} for name, variable in AGENTS.items()},
            **more,
        }
        project = {"apiVersion": "synapse-apply/v1", "kind": "Project", "manifests": ["manifests/"]}
        text = json.dumps({**project, "targets": {"prod": target}})
        (self.root / "synapse-apply.yaml").write_text(text, encoding="utf-8")

    def run(
        self, arguments: str, code: int = 0, *, installed: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a command: in this process, or as one of the installed command."""
        run = run_installed if installed else run_here
        done = run(arguments, self.root, self.environ, code)
        assert "internal error" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        told = (done.stdout + done.stderr).encode()
        wrong = self.environ.get("PROD_TOKEN") or TOKEN
        for secret in (TOKEN, wrong, *AGENT_TOKENS.values()):
            assert not [form for form in forms(secret) if form in told], secret
        return done

    def prepare(self, *typed: str) -> None:
        """Run a command that is not what a test is about, in this process."""
        Workplace(self.root, self.environ).run(*typed, code=0)

    def look(self, arguments: str = "", code: int = 0) -> Findings:
        """What `doctor` says, as a program reads it."""
        document = json.loads(self.run(f"doctor --json {arguments}", code).stdout)
        assert document["exit_code"] == code
        return Findings(document["checks"])

    def requests(self) -> dict[str, int]:
        """How often each route was asked since the last time."""
        log = self.server.backend.request_log
        counts = dict(log.counts)
        log.clear()
        return counts


@dataclass(frozen=True)
class Findings:
    checks: list[Mapping[str, Any]]

    def status(self, check: str, subject: str = "") -> list[str]:
        return [
            row["status"]
            for row in self.checks
            if row["check"] == check and subject in ("", row["subject"])
        ]

    def text(self, check: str, subject: str = "") -> str:
        """All that is said of a check."""
        return "\n".join(
            f"{row['summary']} {row['detail']} {row['hint']}"
            for row in self.checks
            if row["check"] == check and subject in ("", row["subject"])
        )

    @property
    def wrong(self) -> list[str]:
        """What is a problem, in order."""
        return [
            f"{row['check']} {row['subject']}".strip()
            for row in self.checks
            if row["status"] == "problem"
        ]

    @property
    def odd(self) -> list[str]:
        """What is a warning."""
        return [row["check"] for row in self.checks if row["status"] == "warning"]


def declare_site(folder: Path, server: EmbeddedServer) -> Site:
    """One storage with a secret; no state yet."""
    made = open_site(folder, server)
    (made.root / "manifests").mkdir(parents=True)
    (made.root / "manifests" / "raw.yaml").write_text(STORAGE, encoding="utf-8")
    made.write_project()
    return made


def open_site(folder: Path, server: EmbeddedServer) -> Site:
    secrets = {"PROD_TOKEN": TOKEN, "RAW_KEY": "k3y-of-raw-data", **AGENT_TOKENS}
    cache = {"XDG_CACHE_HOME": str(folder / "cache")}
    return Site(folder / "project", server, {**secrets, **cache})


@pytest.fixture(scope="session")
def applied_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MadeOnce]:
    """What `server` and `applied` are copies of."""
    with open_door() as door:
        made = MadeOnce(tmp_path_factory.mktemp("doctor"), door)
        backend = ServerAtOpenSocket(made.folder / "backend", door, token=TOKEN, tenant="acme")
        with backend as running:
            site = declare_site(made.folder, running)
            site.prepare("state", "init")
            site.prepare("apply", "--auto-approve")
        yield made


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedServer]:
    """An empty backend; for `applied` one that has what was applied."""
    backend = EmbeddedServer(tmp_path / "backend", token=TOKEN, tenant="acme")
    if "applied" in request.fixturenames:
        made: MadeOnce = request.getfixturevalue("applied_once")
        made.copy("backend", tmp_path)
        backend = ServerAtOpenSocket(tmp_path / "backend", made.door, token=TOKEN, tenant="acme")
    with backend as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, server: EmbeddedServer) -> Site:
    """One storage with a secret; nothing applied, an empty state."""
    made = declare_site(tmp_path, server)
    made.prepare("state", "init")
    return made


@pytest.fixture
def applied(tmp_path: Path, server: EmbeddedServer, applied_once: MadeOnce) -> Site:
    """The same with everything applied."""
    applied_once.copy("project", tmp_path)
    applied_once.copy("cache", tmp_path)
    return open_site(tmp_path, server)
