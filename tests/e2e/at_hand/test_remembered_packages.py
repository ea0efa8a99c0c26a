"""A plan does not read again what an earlier one has read, and says the same."""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from in_process import run

from synapse_apply.emulator.serve import EmbeddedServer

MIB = 1024 * 1024
SIZE = 10 * MIB
TOKEN = "token-of-tests"
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
    with EmbeddedServer(tmp_path / "backend", tokens={TOKEN: "acme"}) as backend:
        target = {"url": backend.url, "tenant": "acme", "token": {"env": "TOKEN_OF_TESTS"}}
        project = {"apiVersion": "synapse-apply/v1", "kind": "Project", "targets": {"t": target}}
        (made / "synapse-apply.yaml").write_text(json.dumps(project))
        run("state init", made, {"TOKEN_OF_TESTS": TOKEN})
        time.sleep(2.1)
        yield made


def counted(folder: Path, arguments: str, **environ: str) -> tuple[str, int]:
    """What a command prints, and how many bytes this process has read while it ran."""
    before = count_read_bytes()
    done = run(arguments, folder, {"TOKEN_OF_TESTS": TOKEN, **environ})
    return done.stdout, count_read_bytes() - before


def count_read_bytes() -> int:
    """As proc_pid_io(5) counts them: files, not sockets."""
    lines = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def test_a_second_plan_reads_little(folder: Path) -> None:
    """Plans agree, with and without; what is applied is the same content."""
    counted(folder, "plan", SYNAPSE_APPLY_CACHE="off")  # the first one reads modules as well
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
