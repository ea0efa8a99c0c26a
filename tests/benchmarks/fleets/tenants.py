"""Many tenants of one backend in one process, a state each, and a repository that declares them."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synapse_apply.emulator.core.store import ObjectStore

BIN = Path(sys.executable).parent
OBJECTS_OF_ONE = 4
SOURCE = "tenants"
_TOKEN = "LOAD_TOKEN"
_GIT = {f"GIT_{role}_{part}": "x" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
# What would steer the command, or keep Python from keeping compiled modules.
_LEFT_OUT = ("SYNAPSE", "PYTHON")


@dataclass
class Tenants:
    """So many targets of four storages; one in `incomplete_share` has its last one still to make.

    The states and objects of all but the first are copies, made by SQL with ids of their own: to
    apply ten thousand would take longer than what is measured.
    """

    root: Path
    count: int
    incomplete_share: int = 0
    environ: dict[str, str] = field(default_factory=dict)
    url: str = ""
    backend_process: int = 0

    def __post_init__(self) -> None:
        self.checkout, self.states = self.root / "checkout", self.root / "states"
        self.data = self.root / "data"
        self.environ = {
            **{name: text for name, text in os.environ.items() if not name.startswith(_LEFT_OUT)},
            **_GIT, _TOKEN: "load", "XDG_CACHE_HOME": str(self.root / "cache"), "HOME": str(self.root),
            "GIT_CONFIG_NOSYSTEM": "1", "TMPDIR": str(self.root / "tmp"),
        }  # fmt: skip

    @contextmanager
    def serve(self) -> Iterator[None]:
        """Make all of it, and serve the backend meanwhile."""
        (self.root / "tmp").mkdir()
        with self._serve_backend(self.url):
            self._make_repository()
            self.run_git("init", "-q", "-b", "main")
            self.commit()
            self._run(BIN / "synapse-apply", "state", "init", "-t", self.get_name(0))
            self._run(BIN / "synapse-apply", "apply", "-t", self.get_name(0), "--auto-approve")
        self._copy_first_tenant()
        with self._serve_backend(self.url):
            yield

    @contextmanager
    def _serve_backend(self, url: str) -> Iterator[None]:
        port = url.rpartition(":")[2] or "0"
        command = [BIN / "synapse-apply", "emulator", "--port", port, "--any-token"]
        process = subprocess.Popen(
            [*command, "--data", self.data], stdout=subprocess.PIPE, text=True, env=self.environ
        )
        try:
            assert process.stdout is not None
            words = process.stdout.readline().split()
            self.url = next(word for word in words if word.startswith("http"))
            self.backend_process = process.pid
            yield
        finally:
            process.terminate()
            process.wait(30)

    def get_name(self, number: int) -> str:
        return f"t{number:05}"

    def is_incomplete(self, number: int) -> bool:
        """Whether the last storage of a tenant is still to be made."""
        return bool(self.incomplete_share and number and number % self.incomplete_share == 0)

    def run_git(self, *arguments: str) -> None:
        self._run("git", *arguments)

    def commit(self) -> None:
        self.run_git("add", "-A")
        self.run_git("commit", "-qm", "Change", "--allow-empty")

    def change_row(self, number: int) -> None:
        """Commit a list in which the row of one tenant differs."""
        self._write_list({number: "gold"})
        self.commit()

    def _run(self, *command: str | Path) -> None:
        done = subprocess.run(
            command,
            cwd=self.checkout,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")

    def _make_repository(self) -> None:
        (self.checkout / "manifests").mkdir(parents=True)
        for number in range(OBJECTS_OF_ONE):
            document = {
                "apiVersion": "synapse-apply/v1", "kind": "Storage",
                "metadata": {"name": f"s{number}"}, "spec": build_storage(number),
            }  # fmt: skip
            path = self.checkout / "manifests" / f"s{number}.yaml"
            path.write_text(json.dumps(document))
        template = {
            "url": self.url, "tenant": "${row.name}", "token": {"env": _TOKEN},
            "labels": {"tier": "${row.tier}"},
            "state": {"url": f"{self.states}/${{row.name}}.db"},
        }  # fmt: skip
        lists = {"file": "tenants.yaml", "defaults": {"tier": "standard"}, "template": template}
        project = {"apiVersion": "synapse-apply/v1", "kind": "Project", "manifests": ["manifests/"]}
        text = json.dumps({**project, "targets_from": lists})
        (self.checkout / "synapse-apply.yaml").write_text(text)
        self._write_list({})

    def _write_list(self, tiers: dict[int, str]) -> None:
        rows = [
            f"- {{name: {self.get_name(number)}"
            + (f", tier: {tiers[number]}" if number in tiers else "")
            + "}\n"
            for number in range(self.count)
        ]
        (self.checkout / "tenants.yaml").write_text("".join(rows))

    def _copy_first_tenant(self) -> None:
        first = self.states / f"{self.get_name(0)}.db"
        bodies = [self._read_body(number) for number in range(OBJECTS_OF_ONE)]
        store = ObjectStore(self.data / "data.sqlite3")
        with store.transaction():
            for number in range(1, self.count):
                made = OBJECTS_OF_ONE - self.is_incomplete(number)
                name = self.get_name(number)
                ids = [
                    store.insert("storage", name, body, created=time.time()).id
                    for body in bodies[:made]
                ]
                self._copy_state(first, self.states / f"{name}.db", name, ids)
        store.close()
        with closing(sqlite3.connect(self.data / "data.sqlite3")) as database:
            # So that lists of one tenant are found by its index, and not by reading all.
            database.execute("ANALYZE")

    def _read_body(self, number: int) -> dict[str, Any]:
        with closing(sqlite3.connect(self.data / "data.sqlite3")) as database:
            statement = "SELECT body FROM storage WHERE json_extract(body, '$.name') = ? LIMIT 1"
            (body,) = database.execute(statement, [f"S{number}"]).fetchone()
        found: dict[str, Any] = json.loads(body)
        return found

    def _copy_state(self, first: Path, copy: Path, tenant: str, ids: list[int]) -> None:
        shutil.copyfile(first, copy)
        copy.chmod(0o600)
        with closing(sqlite3.connect(copy, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous = OFF")
            database.execute("BEGIN")
            database.execute("UPDATE meta SET lineage = ?, tenant = ?", [str(uuid.uuid4()), tenant])
            for number, identity in enumerate(ids):
                database.execute(
                    "UPDATE records SET remote_id = ?1, record = json_set(record, '$.remote_id', ?1)"
                    " WHERE address = ?2",
                    [f"{identity}", f"storage/s{number}"],
                )
            for number in range(len(ids), OBJECTS_OF_ONE):
                database.execute("DELETE FROM records WHERE address = ?", [f"storage/s{number}"])
            database.execute("COMMIT")

    # What came of it

    def count_objects(self) -> dict[int, int]:
        """How many tenants have how many objects."""
        statement = (
            "SELECT number, COUNT(*) FROM (SELECT COUNT(*) AS number FROM storage GROUP BY tenant)"
            " GROUP BY number"
        )
        with closing(sqlite3.connect(self.data / "data.sqlite3")) as database:
            return dict(database.execute(statement).fetchall())

    def count_made_twice(self) -> int:
        """How many names there are twice in a tenant."""
        statement = (
            "SELECT COUNT(*) FROM (SELECT 1 FROM storage"
            " GROUP BY tenant, json_extract(body, '$.name') HAVING COUNT(*) > 1)"
        )
        with closing(sqlite3.connect(self.data / "data.sqlite3")) as database:
            (count,) = database.execute(statement).fetchone()
        return int(count)


def build_storage(number: int) -> dict[str, Any]:
    """What a manifest says of one of the storages of a tenant."""
    spec = {"name": f"S{number}", "provider": "file_system", "category": "internal"}
    return {**spec, "configuration": {"base_path": f"/data/{number}"}}
