"""A kind that only its own module knows: declared, planned, applied and found again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from contract.emulator.conftest import Wire
from contract.kinds.queue import ENDPOINTS, PREFIX, QUEUE, write_schema
from in_process import run_command
from installed import environment

from synapse_apply import EmbeddedServer
from synapse_apply.emulator import admin, serve
from synapse_apply.emulator.core import store
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests import schemas as shapes
from synapse_apply.manifests.schemas import read_marks_of_storage_secrets

TOKEN = "queue-token"
HEAD = {"apiVersion": "synapse-apply/v1"}
CACHED = (
    "list_schema_names",
    "read_schema",
    "bundle_schema_with_referenced_files",
    "build_strict_schema",
    "compile_validator",
    "known_providers",
)


@dataclass(frozen=True)
class Place:
    """A project with one target, its backend, and the command in this process."""

    root: Path
    wire: Wire
    typed: Callable[[str], tuple[int, str]]

    def settle_on(self, api: str) -> None:
        target = {
            "url": self.wire.url,
            "tenant": "acme",
            "token": {"env": "QUEUE_TOKEN"},
            "api": api,
        }
        project = {
            **HEAD,
            "kind": "Project",
            "manifests": ["manifests"],
            "targets": {"prod": target},
        }
        (self.root / "synapse-apply.yaml").write_text(json.dumps(project))

    def declare(self, **queue: Any) -> None:
        storage = {"provider": "file_system", "configuration": {"base_path": "/raw"}, "name": "Raw"}
        documents = [{**HEAD, "kind": "Storage", "metadata": {"name": "raw"}, "spec": storage}]
        if queue:
            spec = {"name": "Jobs", **queue}
            documents.append(
                {**HEAD, "kind": "Queue", "metadata": {"name": "jobs", "labels": {"a": "b"}},
                 "spec": spec}
            )  # fmt: skip
        folder = self.root / "manifests"
        folder.mkdir(exist_ok=True)
        (folder / "all.yaml").write_text("\n---\n".join(map(json.dumps, documents)))

    def does(self, typed: str, code: int = 0) -> str:
        ended, out = self.typed(typed)
        assert ended == code, out
        return out

    def queues(self) -> list[dict[str, Any]]:
        found = self.wire.get("/_emulator/objects/queue/").body["results"]
        fields = ("name", "storage", "size", "tags", "owner")
        return [{name: row["body"][name] for name in fields} for row in found]


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The kind in the catalogue, its schema beside the others, its endpoints in the emulator."""
    monkeypatch.setitem(CATALOGUE, PREFIX, QUEUE)  # type: ignore[arg-type]
    schemas = Path(shutil.copytree(shapes.choose_schema_folder(), tmp_path / "schemas"))
    write_schema(schemas)
    monkeypatch.setattr(shapes, "choose_schema_folder", lambda: schemas)
    for module in (store, admin):
        monkeypatch.setattr(module, "KINDS", (*store.KINDS, PREFIX))
    versions = tuple(
        replace(one, endpoints=(*one.endpoints, *ENDPOINTS.get(one.name, ())))
        for one in serve.VERSIONS
    )
    monkeypatch.setattr(serve, "VERSIONS", versions)
    caches = [*(getattr(shapes, name) for name in CACHED), read_marks_of_storage_secrets]
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.fixture
def place(
    known: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    for name in set(os.environ) - set(environment({})):
        monkeypatch.delenv(name)
    monkeypatch.setenv("QUEUE_TOKEN", TOKEN)
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)

    def typed(line: str) -> tuple[int, str]:
        code = run_command(line.split())
        told = capsys.readouterr()
        return code, told.out + told.err

    with EmbeddedServer(tmp_path / "data", token=TOKEN, tenant="acme") as server:
        made = Place(root, Wire(server.url, {"Authorization": f"Token {TOKEN}"}), typed)
        made.settle_on("v1")
        made.declare(storage="raw", size=3, tags=["b", "a"])
        made.does("state init")
        yield made


def test_from_a_manifest_to_an_empty_plan(place: Place) -> None:
    """Its storage goes first, the fields it refers to are resolved, and nothing is left to do."""
    plan = place.does("plan")
    assert "# queue/jobs will be created" in plan
    assert "+ storage = (known after apply) # from storage/raw" in plan
    assert "Plan: 2 to add, 0 to change, 0 to destroy." in plan
    assert "Apply complete! Resources: 2 added, 0 changed, 0 destroyed." in place.does(
        "apply --auto-approve"
    )
    assert place.queues() == [
        {"name": "Jobs", "storage": 1, "size": 3, "tags": ["b", "a"], "owner": ""}
    ]
    assert place.does("plan").startswith("No changes.")


def test_changes_drift_and_what_is_dropped(place: Place) -> None:
    """Fields by the rules of the descriptor: a set, a reset, drift with its cause."""
    place.does("apply --auto-approve")
    place.declare(storage="raw", size=3, tags=["a", "b"])
    assert place.does("plan").startswith("No changes.")
    place.wire.patch("/_emulator/objects/queue/1/", {"size": 9})
    assert "queue/jobs" in place.does("drift --detailed-exitcode", code=2)
    place.declare(storage="raw", size=4)
    assert "~ size" in place.does("plan")
    place.does("apply --auto-approve")
    assert place.queues()[0] == {"name": "Jobs", "storage": 1, "size": 4, "tags": [], "owner": ""}
    assert place.does("plan").startswith("No changes.")


def test_findings_are_those_of_its_schema(place: Place) -> None:
    """A mistyped field, a kind nearly right, and what this API version cannot carry."""
    place.declare(sise=3)
    assert "did you mean `size`?" in place.does("validate", code=1)
    place.declare(owner="me")
    assert "api v1 lacks owner" in place.does("validate", code=1)
    text = (place.root / "manifests" / "all.yaml").read_text()
    (place.root / "manifests" / "all.yaml").write_text(text.replace('"Queue"', '"Queu"'))
    assert "did you mean `Queue`?" in place.does("validate", code=1)


def test_a_newer_version_of_its_api(place: Place) -> None:
    """A Binding is all it takes: found by its key under another id, and deleted where it can be."""
    place.declare(size=3, tags=["b", "a"])
    place.does("apply --auto-approve")
    place.settle_on("v2")
    place.declare(storage="raw", size=3)
    said = place.does("validate", code=1)
    assert "uses api v2 for a queue and v1 for the storage that it refers to by id" in said
    assert "`api: {storage: v1, queue: v1}`" in said
    place.declare(size=3, tags=["a", "b"], owner="me")
    plan = place.does("plan")
    assert "recorded as id 1 of API v1" in plan
    place.does("apply --auto-approve --adopt")
    assert place.does("plan").startswith("No changes.")
    assert place.queues()[0]["owner"] == "me"
    assert "5001" in place.does("state show")
    place.declare()
    assert "--prune deletes it" in place.does("plan")
    place.does("apply --auto-approve --prune")
    assert place.queues() == []
    assert place.does("plan").startswith("No changes.")


def test_the_rest_of_the_face(place: Place) -> None:
    """Selection, moves, the state, export, import and the graph know it as any other."""
    place.does("apply --auto-approve")
    assert place.does("plan --only queue").startswith("No changes.")
    assert "queue/jobs" in place.does("state show queue/jobs")
    assert 'n0["queue/jobs"]' in place.does("validate --graph")
    place.does("state rm queue/jobs")
    place.does("import queue/jobs 1")
    assert place.does("plan").startswith("No changes.")
    place.does("export --out exported")
    written = (place.root / "exported").rglob("*.yaml")
    assert "kind: Queue" in "".join(path.read_text() for path in written)
