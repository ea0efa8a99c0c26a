"""A project that points at a backend of this test, and commands in it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e.scenarios.workplace import TOKEN, Server, Workplace, project
from forking import ForkedProcess
from installed import BIN, environment

from synapse_apply import EmbeddedServer


@dataclass
class Place:
    """A project folder and its backend."""

    root: Path
    server: Server
    embedded: EmbeddedServer

    def start(self, *typed: str, **options: Any) -> subprocess.Popen[str]:
        """The command as a fork, started; whoever starts it ends it."""
        return ForkedProcess(
            [str(BIN / "synapse-apply"), *typed],
            cwd=self.root,
            env=environment({"PROD_TOKEN": TOKEN}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            **{"stderr": subprocess.PIPE, **options},
        )

    def run(self, *typed: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """The command, to its end; in this process, since there are many of them."""
        ran = Workplace(self.root, {"PROD_TOKEN": TOKEN}).run(*typed, code=code)
        return subprocess.CompletedProcess(typed, ran.code, ran.out, ran.err)

    def move_clock(self, ahead: float) -> None:
        """The backend's clock is this many seconds ahead from now on."""
        self.server.call("PATCH", "_emulator/clock/", {"ahead": ahead})

    def plugin(self, code: str = "yolo") -> int:
        made: int = self.server.call("POST", "plugins/", {"name": code, "code": code})["id"]
        return made

    def job(self, plugin: int | str = "yolo", **script: Any) -> str:
        """A job that goes as the script says."""
        body = {"parameters": {"emulator": script}}
        return str(self.server.call("POST", f"plugins/{plugin}/run/", body)["job_id"])


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Makes a place; more are options of its backend."""
    with ExitStack() as stack:

        def made(faults: Mapping[str, Any] | None = None, **switches: str) -> Place:
            running = stack.enter_context(
                EmbeddedServer(
                    tmp_path / "backend", tokens={TOKEN: "acme"}, tenant="acme",
                    switches=switches, faults=faults,
                )
            )  # fmt: skip
            root = tmp_path / "project"
            root.mkdir()
            (root / "synapse-apply.yaml").write_text(project(running.url), encoding="utf-8")
            return Place(root, Server(running.url), running)

        yield made


@pytest.fixture
def place(serve: Callable[..., Place]) -> Place:
    made = serve()
    made.plugin()
    return made


def documents(text: str) -> list[dict[str, Any]]:
    """One JSON object a line."""
    return [json.loads(line) for line in text.splitlines()]
