"""A project, its state and a backend in a process of its own, at hand for runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import documents, measuring

from synapse_apply.emulator.core.store import Kind, ObjectStore

BIN = Path(sys.executable).parent
PEERS = Path(__file__).parent / "peers"
TENANT = "default"
# What would steer the command, or keep Python from keeping compiled modules.
LEFT_OUT = ("SYNAPSE", "PYTHON")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a world holds: resources of one kind, and how its backend behaves (switches).

    `document` is the form of their manifests (the kind's own without it), `path` that of their
    list, `api` the version the target says.
    """

    name: str
    kind: Kind
    switches: Mapping[str, str] = field(default_factory=dict)
    document: str = ""
    path: str = ""
    api: str = "v1"


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("lists-whole", "storage", path="storages"),
        Shape("lists-short", "storage", {"list_items": "short"}, path="storages"),
        Shape("by-id", "plugin", path="plugins"),
        Shape("lists-plugins", "plugin", {"plugin_list": "list"}, path="plugins"),
        Shape("lists-v2", "plugin", document="plugin-v2", path="v2/plugins", api="v2"),
    )
}


class World:
    """So many resources in a folder: manifests, a state and a data set, full or empty."""

    def __init__(self, root: Path, shape: Shape, size: int) -> None:
        """Writes manifests and project; `fill` or `empty` makes the rest."""
        self.root, self.shape, self.size = root, shape, size
        self.project, self.data = root / "project", root / "data"
        self.ids = root / "ids.json"
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)},
            "BENCH_TOKEN": "bench",
        }
        self.document = shape.document or shape.kind
        documents.write(self.project / "manifests", self.document, size)
        token = {"env": "BENCH_TOKEN"}
        target = {"url": self.url, "tenant": TENANT, "token": token, "api": shape.api}
        project = {"apiVersion": "synapse-apply/v1", "kind": "Project", "manifests": ["manifests/"]}
        text = json.dumps({**project, "targets": {"bench": target}})
        (self.project / "synapse-apply.yaml").write_text(text)

    def change(self, share: float) -> int:
        """Let this share of the manifests differ from what is live; how many that is."""
        changed = max(1, round(self.size * share)) if share else 0
        documents.write(self.project / "manifests", self.document, self.size, changed)
        return changed

    def empty(self) -> None:
        """Nothing is live, nothing recorded."""
        for folder in (self.data, self.project / ".synapse-apply"):
            shutil.rmtree(folder, ignore_errors=True)
        self.ids.unlink(missing_ok=True)
        self.ours("state", "init")

    def fill(self) -> None:
        """All that is declared is live, recorded, and known to the scripts by its id."""
        self.empty()
        self.data.mkdir()
        store, known = ObjectStore(self.data / "data.sqlite3"), {}
        with store.transaction():
            for body in documents.bodies(self.document, self.size):
                row = store.insert(
                    self.shape.kind, TENANT, body, created=time.time(), key=body.get("code")
                )
                known[body["name"]] = row.id
        store.close()
        self.ids.write_text(json.dumps(known))
        lists = {"plugin_list": "list"} if self.shape.kind == "plugin" else {}
        with self.serving(0, lists):
            self.ours("apply", "--adopt", "--auto-approve")

    def keep(self) -> None:
        """Remember data and state as they are; `restore` brings them back."""
        for name in ("data", "project/.synapse-apply", "ids.json"):
            kept = self.root / "kept" / name
            if (self.root / name).is_dir():
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(self.root / name, kept)
            elif (self.root / name).exists():
                shutil.copy(self.root / name, kept)

    def restore(self) -> None:
        """Back to what `keep` saw."""
        for name in ("data", "project/.synapse-apply"):
            shutil.rmtree(self.root / name, ignore_errors=True)
            if (self.root / "kept" / name).exists():
                shutil.copytree(self.root / "kept" / name, self.root / name)
        self.ids.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            shutil.copy(self.root / "kept" / "ids.json", self.ids)

    @contextmanager
    def serving(
        self, latency: float, switches: Mapping[str, str] | None = None, faults: Path | None = None
    ) -> Iterator[None]:
        """The backend in a process of its own; `latency` in ms."""
        chosen = {**self.shape.switches, **(switches or {})}
        typed = [str(BIN / "synapse-apply"), "emulator", "serve", "--port", str(self.port)]
        typed += ["--data", str(self.data), "--latency", str(latency), "--any-token"]
        typed += [word for pair in chosen.items() for word in ("--switch", "=".join(pair))]
        typed += ["--faults", str(faults)] if faults else []
        process = subprocess.Popen(typed, stdout=subprocess.PIPE, text=True, env=self.environ)
        try:
            if process.stdout is None or "listening" not in process.stdout.readline():
                raise RuntimeError("the backend did not start")
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    def ours(self, *typed: str) -> measuring.Run:
        """Run the installed command in the project."""
        return self._counted([str(BIN / "synapse-apply"), *typed])

    def peer(self, name: str, verb: str) -> measuring.Run:
        """Run a script on the same manifests; `NAME:VERB` says what it shall do."""
        name, _, own = name.partition(":")
        typed = [sys.executable, str(PEERS / f"{name}.py"), own or verb, self.url]
        typed += [self.shape.path, "manifests", str(self.ids)]
        return self._counted(typed)

    def _counted(self, typed: list[str]) -> measuring.Run:
        self._asked("DELETE")
        done = measuring.run(typed, self.project, self.environ)
        counts: dict[str, int] = {}
        for route, count in self._asked("GET").items():
            verb = route.partition(" ")[0]
            counts[verb] = counts.get(verb, 0) + count
        return measuring.Run(done.wall, done.cpu, done.memory, counts)

    def _asked(self, method: str) -> dict[str, int]:
        request = urllib.request.Request(
            f"{self.url}/_emulator/requests/",
            method=method,
            headers={"Synapse-Access-Token": "Token bench"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
        except OSError:
            return {}  # nothing is served: a command that needs no backend
        counts: dict[str, int] = json.loads(text).get("counts", {}) if text else {}
        return counts
