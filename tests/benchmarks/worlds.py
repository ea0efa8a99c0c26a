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
INVENTORY = "inventory.json"
# What would steer the command, or keep Python from keeping compiled modules.
LEFT_OUT = ("SYNAPSE", "PYTHON")


@dataclass(frozen=True, slots=True)
class Part:
    """Resources of one kind: the form of their manifests and the path of their list."""

    kind: Kind
    document: str
    path: str


STORAGES = Part("storage", "storage", "storages")
PLUGINS = Part("plugin", "plugin", "plugins")
PLUGINS_V2 = Part("plugin", "plugin-v2", "v2/plugins")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a world holds, as many of each part, and how its backend behaves (switches).

    `api` is the version the target says.
    """

    name: str
    parts: tuple[Part, ...]
    switches: Mapping[str, str] = field(default_factory=dict)
    api: str = "v1"

    @property
    def documents(self) -> list[str]:
        return [part.document for part in self.parts]

    @property
    def paths(self) -> str:
        """The path of each kind's list, as the scripts take it."""
        return ",".join(f"{part.kind.capitalize()}={part.path}" for part in self.parts)


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("lists-whole", (STORAGES,)),
        Shape("lists-short", (STORAGES,), {"list_items": "short"}),
        Shape("by-id", (PLUGINS,)),
        Shape("lists-plugins", (PLUGINS,), {"plugin_list": "list"}),
        Shape("mixed", (PLUGINS, STORAGES), {"plugin_list": "list"}),
        Shape("lists-v2", (PLUGINS_V2,), api="v2"),
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
            # What was seen of a state is noted here; a state that goes back is refused by it.
            "XDG_CACHE_HOME": str(root / "cache"),
        }
        documents.write(self.project / "manifests", shape.documents, size)
        token = {"env": "BENCH_TOKEN"}
        target = {"url": self.url, "tenant": TENANT, "token": token, "api": shape.api}
        project = {"apiVersion": "synapse-apply/v1", "kind": "Project", "manifests": ["manifests/"]}
        text = json.dumps({**project, "targets": {"bench": target}})
        (self.project / "synapse-apply.yaml").write_text(text)

    def change(self, share: float) -> int:
        """Let this share of the manifests differ from what is live; how many that is."""
        changed = max(1, round(self.size * share)) if share else 0
        documents.write(self.project / "manifests", self.shape.documents, self.size, changed)
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
            for part in self.shape.parts:
                for body in documents.bodies(part.document, self.size // len(self.shape.parts)):
                    row = store.insert(
                        part.kind, TENANT, body, created=time.time(), key=body.get("code")
                    )
                    known[body["name"]] = row.id
        store.close()
        self.ids.write_text(json.dumps(known))
        with self.serving(0, {"plugin_list": "list"}):
            self.ours("apply", "--adopt", "--auto-approve")

    def forget(self) -> None:
        """All is live as before, and an inventory tells of it what was recorded."""
        rows = [
            {"address": f"{part.kind}/{part.kind}-{n}", "id": known[f"{part.kind}-{n}"]}
            for known in (json.loads(self.ids.read_text()),)
            for part in self.shape.parts
            for n in range(self.size // len(self.shape.parts))
        ]
        (self.project / INVENTORY).write_text(json.dumps({"inventory": rows}))
        shutil.rmtree(self.project / ".synapse-apply")
        self.ours("state", "init")

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
        shutil.rmtree(self.root / "cache", ignore_errors=True)
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
        typed = [str(BIN / "synapse-apply"), "emulator", "--port", str(self.port)]
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
        typed += [self.shape.paths, "manifests", str(self.ids)]
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
