"""A project folder and a backend beside it: commands run in it as a user types them."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from in_process import run_in_process
from installed import HOME
from openers import get_opener_without_proxy

from synapse_apply import Invocation, open_state

TOKEN = "acme-token-of-tests"
OTHER_TOKEN = "other-token-of-tests"
# One more target of a project file, which nobody asks.
STAGING = """\
  staging:
    url: http://127.0.0.1:9
    token: {env: PROD_TOKEN}
"""
QUIET = {
    name: text
    for name, text in os.environ.items()
    if not name.startswith(("SYNAPSE", "CI", "GITHUB", "RAW_"))
} | {"HOME": HOME}

PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: yolo}
spec:
  name: Yolo
  code: yolo
  description: Finds things
  version: "1.0.0"
  category: pre_annotation
  configuration: {parameters: {quality: {type: float, default: 0.8}}}
"""
RELEASE = """\
apiVersion: synapse-apply/v1
kind: Release
spec:
  plugin: yolo
  version: "1.0.0"
  changelog: First
  is_stable: true
  source: ./plugins/yolo
"""
# The same where plugins and releases are of API v2.
PLUGIN_V2 = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: yolo}
spec: {name: Yolo, code: yolo, description: Finds things, category: smart_tool}
"""
RELEASE_V2 = """\
apiVersion: synapse-apply/v1
kind: Release
spec: {plugin: yolo, version: "1.0.0", source: ./plugins/yolo}
"""
STORAGE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: raw-data}
spec:
  name: Raw data
  provider: file_system
  category: internal
  configuration: {base_path: /data/raw}
"""
CONFIG = 'name: Yolo\ncode: yolo\nversion: "1.0.0"\ncategory: pre_annotation\n'


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@dataclass
class Workplace:
    """`environ` is all the environment that commands see beside a clean one."""

    root: Path
    environ: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, *documents: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("---\n".join(documents), encoding="utf-8")
        return path

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def run(self, *typed: str, code: int | None = None) -> Ran:
        """Run a command; with `code` it must end so."""
        done = run_in_process(list(typed), self.root, {**QUIET, **self.environ})
        ran = Ran(done.returncode, done.stdout, done.stderr)
        if code is not None:
            assert ran.code == code, f"exit {ran.code}, not {code}\n{ran.out}\n{ran.err}"
        assert "Traceback" not in ran.text, ran.text
        assert "internal error" not in ran.text
        return ran

    def plan(self, *more: str, code: int | None = None) -> Ran:
        return self.run("plan", *more, code=code)

    def apply(self, *more: str, code: int | None = 0) -> Ran:
        return self.run("apply", "--auto-approve", *more, code=code)

    def unchanged(self) -> None:
        """The law: after an apply that is whole there is nothing left to do."""
        assert "No changes." in self.plan("--detailed-exitcode", code=0).out


def project(url: str, target: str = "prod", **more: Any) -> str:
    """A project file with one target at a url."""
    settings = {"url": url, "tenant": "acme", "token": {"env": "PROD_TOKEN"}, **more}
    return json.dumps(
        {
            "apiVersion": "synapse-apply/v1",
            "kind": "Project",
            "manifests": ["manifests/"],
            "default_target": target,
            "targets": {target: settings},
        }
    )


def sample(place: Workplace) -> None:
    """A plugin, its release with a package, and a storage."""
    place.write("manifests/plugin.yaml", PLUGIN, RELEASE)
    place.write("manifests/storage.yaml", STORAGE)
    place.write("plugins/yolo/config.yaml", CONFIG)
    place.write("plugins/yolo/plugin/main.py", "print('yolo')\n")


@dataclass(frozen=True)
class Server:
    """The backend's own doors: what is there, who asked for what, edits from outside."""

    url: str
    token: str = TOKEN

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={
                "Synapse-Access-Token": f"Token {self.token}",
                "Content-Type": "application/json",
            },
        )
        with get_opener_without_proxy().open(request, timeout=60) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    @property
    def counts(self) -> tuple[int, int, int]:
        """Plugins, releases and storages there are, of all tenants."""
        counts = self.call("GET", "_emulator/state/")["counts"]
        return counts["plugin"], counts["release"], counts["storage"]

    def objects(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", f"_emulator/objects/{kind}/")["results"]
        return found

    @property
    def writes(self) -> list[str]:
        """Every mutating request so far, as METHOD PATH, ours among them left out."""
        counts = self.call("GET", "_emulator/requests/")["counts"]
        return [at for at in counts if not at.startswith(("GET", "HEAD")) and "_emulator" not in at]

    def switch(self, **values: str) -> None:
        self.call("PATCH", "_emulator/switches/", values)


@contextmanager
def held(place: Workplace, target: str = "prod") -> Iterator[Any]:
    """Another process's hold on the state, as that process would have it; the state's store."""

    with (
        open_state(Invocation(place.root, target=target, environ=place.environ)) as session,
        session.store.lock("apply"),
    ):
        yield session.store
