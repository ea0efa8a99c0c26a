"""A project whose prod takes only what staging has verified, each with a backend of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from in_process import run_command
from installed import environment

from synapse_apply import EmbeddedServer, Invocation, open_state

HEAD = "apiVersion: synapse-apply/v1"
PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {{name: {name}}}
spec: {{name: {name}, code: {name}, description: Finds things, version: 1.0.0, author: Vision, category: vision}}
---
apiVersion: synapse-apply/v1
kind: Release
spec:
  plugin: {name}
  version: 1.0.0
  source: ./plugin
  verify: {{parameters: {{emulator: {{seconds: 0}}}}, poll_interval: 0.01}}
"""
ENVIRON = {"STAGING_TOKEN": "token-of-staging", "PROD_TOKEN": "token-of-prod"}


@dataclass(frozen=True)
class Checkout:
    """A checkout of the project; its commands run in this process."""

    root: Path
    environ: Mapping[str, str] = field(default_factory=lambda: dict(ENVIRON))

    def run(self, typed: str, code: int | None = 0, **environ: str) -> str:
        """All that `synapse-apply TYPED` prints; its exit code must be the one expected."""
        out, back = io.StringIO(), Path.cwd()
        os.chdir(self.root)
        try:
            with (
                patch.dict(os.environ, environment({**self.environ, **environ}), clear=True),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(out),
            ):
                ended = run_command(typed.split())
        finally:
            os.chdir(back)
        assert code is None or ended == code, out.getvalue()
        assert "internal error" not in out.getvalue()
        return out.getvalue()

    def copied(self, root: Path) -> Checkout:
        """Another person's, with a cache of their own."""
        shutil.copytree(self.root, root)
        environ = {**self.environ, "XDG_CACHE_HOME": str(root.with_name(f"{root.name}-cache"))}
        return replace(self, root=root, environ=environ)

    def file(self, target: str, ending: str = "db") -> Path:
        return self.root / ".synapse-apply" / "state" / f"{target}.{ending}"

    @contextmanager
    def state(self, target: str) -> Iterator[Any]:
        with open_state(Invocation(self.root, target=target, environ=self.environ)) as context:
            yield context

    def sql(self, target: str, statement: str, *values: object) -> None:
        """What somebody does to a state without the tool."""
        with closing(sqlite3.connect(self.file(target))) as connection, connection:
            connection.execute(statement, values)

    def record(self, target: str, address: str) -> dict[str, Any]:
        with closing(sqlite3.connect(self.file(target))) as connection:
            row = connection.execute("SELECT record FROM records WHERE address = ?", (address,))
            found: dict[str, Any] = json.loads(row.fetchone()[0])
        return found

    def write_record(self, target: str, address: str, record: Mapping[str, Any]) -> None:
        text = json.dumps(record, sort_keys=True, separators=(",", ":"))
        self.sql(target, "UPDATE records SET record = ? WHERE address = ?", text, address)

    def write_project(self, urls: Mapping[str, str], **settings: Mapping[str, Any]) -> None:
        targets = {
            name: {"url": url, "token": {"env": f"{name.upper()}_TOKEN"}, **settings.get(name, {})}
            for name, url in urls.items()
        }
        targets["prod"].setdefault("require_verified", ["staging"])
        project = {"apiVersion": "synapse-apply/v1", "kind": "Project", "targets": targets}
        (self.root / "synapse-apply.yaml").write_text(json.dumps(project), encoding="utf-8")


@dataclass(frozen=True)
class Backends:
    """The servers of both targets."""

    servers: Mapping[str, EmbeddedServer]

    @property
    def urls(self) -> dict[str, str]:
        return {name: server.url for name, server in self.servers.items()}


@contextmanager
def backends(folder: Path) -> Iterator[Backends]:
    with ExitStack() as stack:
        yield Backends(
            {
                name: stack.enter_context(EmbeddedServer(folder / name, any_token=True))
                for name in ("staging", "prod")
            }
        )


def checkout(root: Path, urls: Mapping[str, str], *plugins: str) -> Checkout:
    """A new project with these plugins, a release each; states made, nothing applied."""
    (root / "manifests").mkdir(parents=True)
    for name in plugins:
        (root / "manifests" / f"{name}.yaml").write_text(PLUGIN.format(name=name))
    (root / "plugin").mkdir()
    (root / "plugin" / "main.py").write_text("print('found')\n")
    made = Checkout(root)
    made.write_project(urls)
    for name in urls:
        made.run(f"state init -t {name}")
    return made
