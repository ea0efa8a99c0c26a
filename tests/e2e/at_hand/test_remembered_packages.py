"""A plan does not read again what an earlier one has read, and says the same."""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from installed import run

from synapse_apply.emulator.serve import EmbeddedServer

MIB = 1024 * 1024
SIZE = 10 * MIB
TOKEN = "token-of-tests"
# Run by every Python that finds it: tells how many bytes the process has read.
COUNTING = """\
import atexit, os, re
def tell():
    read = re.search(r"rchar: (\\d+)", open("/proc/self/io").read())[1]
    open(os.environ["COUNT_FILE"], "w").write(read)
atexit.register(tell)
"""
PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {{name: {name}}}
spec: {{name: {name}, code: {name}}}
---
apiVersion: synapse-apply/v1
kind: Release
spec: {{plugin: {name}, version: 1.0.0, {source}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A project with a large folder and a large zip, which nobody has touched for two seconds."""
    made = tmp_path / "project"
    (made / "manifests").mkdir(parents=True)
    (made / "folder").mkdir()
    (made / "folder" / "weights.bin").write_bytes(os.urandom(SIZE))
    (made / "folder" / "config.yaml").write_text("name: in-folder\ncode: in-folder\n")
    with zipfile.ZipFile(made / "package.zip", "w") as archive:
        archive.writestr("config.yaml", "name: in-zip\ncode: in-zip\n")
        archive.writestr("weights.bin", os.urandom(SIZE))
    for name, source in (("in-folder", "source: ./folder"), ("in-zip", "file: package.zip")):
        text = PLUGIN.format(name=name, source=source)
        (made / "manifests" / f"{name}.yaml").write_text(text)
    (tmp_path / "counting").mkdir()
    (tmp_path / "counting" / "sitecustomize.py").write_text(COUNTING)
    with EmbeddedServer(tmp_path / "backend", tokens={TOKEN: "acme"}) as backend:
        target = {"url": backend.url, "tenant": "acme", "token": {"env": "TOKEN_OF_TESTS"}}
        project = {"apiVersion": "synapse-apply/v1", "kind": "Project", "targets": {"t": target}}
        (made / "synapse-apply.yaml").write_text(json.dumps(project))
        run("state init", made, {"TOKEN_OF_TESTS": TOKEN})
        time.sleep(2.1)
        yield made


def counted(folder: Path, arguments: str, **environ: str) -> tuple[str, int]:
    """What a command prints, and how many bytes its process has read."""
    count = folder.parent / "count"
    given = {"TOKEN_OF_TESTS": TOKEN, "PYTHONPATH": str(folder.parent / "counting"), **environ}
    done = run(arguments, folder, {**given, "COUNT_FILE": str(count)})
    return done.stdout, int(count.read_text())


def test_a_second_plan_reads_little(folder: Path) -> None:
    """Plans agree, with and without; what is applied is the same content."""
    without, all_of_it = counted(folder, "plan", SYNAPSE_APPLY_CACHE="off")
    assert not (folder / ".synapse-apply" / "cache").exists()
    first, _ = counted(folder, "plan")
    second, rest = counted(folder, "plan")
    assert without == first == second
    assert all_of_it - rest > 2 * SIZE - MIB
    counted(folder, "validate")
    counted(folder, "apply --auto-approve")
    after, rest_after = counted(folder, "plan")
    assert "No changes." in after
    assert all_of_it - rest_after > 2 * SIZE - MIB
    assert counted(folder, "plan", SYNAPSE_APPLY_CACHE="off")[0] == after
    with (folder / "folder" / "weights.bin").open("r+b") as file:
        file.write(b"other")
    changed, _ = counted(folder, "plan")
    assert "release/in-folder@1.0.0 has unreleased changes (1 file" in changed
    assert counted(folder, "plan", SYNAPSE_APPLY_CACHE="off")[0] == changed
