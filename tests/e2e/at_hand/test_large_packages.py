"""A package of any size is uploaded with the memory of a small one, and a terminal sees it go.

With SYNAPSE_APPLY_TEST_DEEP=1 (`make test-deep`) the package has 1 GiB.
"""

from __future__ import annotations

import re
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.cli.test_terminal import at_a_terminal
from fault.commands import Backend
from fault.site import TENANT, TOKEN, Server
from in_process import run
from installed import BIN, environment
from laws.effort import DEEP

MIB = 1024 * 1024
SIZE = 1024 * MIB if DEEP else 128 * MIB
EXTRA = 64 * MIB if DEEP else 16 * MIB
GIVEN = {"TOKEN_OF_TESTS": TOKEN}
PROJECT = """\
apiVersion: synapse-apply/v1
kind: Project
targets: {{prod: {{url: "{url}", tenant: {tenant}, token: {{env: TOKEN_OF_TESTS}}}}}}
"""
MANIFESTS = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: yolo}
spec: {name: Yolo, code: yolo}
---
apiVersion: synapse-apply/v1
kind: Release
spec: {plugin: yolo, version: 1.0.0, file: package.zip}
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Backend(tmp_path / "data")
    yield made.start()
    made.kill()


@pytest.fixture
def project(tmp_path: Path, server: Server) -> Path:
    folder = tmp_path / "project"
    (folder / "manifests").mkdir(parents=True)
    (folder / "manifests" / "yolo.yaml").write_text(MANIFESTS)
    (folder / "synapse-apply.yaml").write_text(PROJECT.format(url=server.url, tenant=TENANT))
    package(folder, 0)
    run("state init", folder, GIVEN)
    return folder


def package(folder: Path, size: int) -> None:
    """A zip of so many bytes, stored as they are."""
    with zipfile.ZipFile(folder / "package.zip", "w") as archive:
        archive.writestr("config.yaml", "name: Yolo\ncode: yolo\n")
        with archive.open("weights.bin", "w", force_zip64=True) as file:
            for _ in range(0, size, MIB):
                file.write(b"\x5a" * MIB)


def peak_of_apply(folder: Path) -> int:
    """The most memory the installed command had while it applied, in bytes."""
    command = [str(BIN / "synapse-apply"), "apply", "--auto-approve"]
    peak = 0
    with subprocess.Popen(
        command, cwd=folder, env=environment(GIVEN), stdout=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            if found := re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE):
                peak = max(peak, int(found[1]) * 1024)
            time.sleep(0.01)
    assert process.returncode == 0
    return peak


@pytest.mark.deep
def test_memory_does_not_grow_with_the_package(project: Path, server: Server) -> None:
    """A large upload takes hardly more than one of a few bytes, and arrives whole."""
    small = peak_of_apply(project)
    package(project, SIZE)
    manifest = project / "manifests" / "yolo.yaml"
    manifest.write_text(MANIFESTS.replace("1.0.0", "1.1.0"))
    large = peak_of_apply(project)
    assert small > 10 * MIB, "the peak was not seen"
    assert large - small < EXTRA, f"{small // MIB} MiB, then {large // MIB} MiB"
    sizes = [one["body"]["package"]["size"] for one in server.objects("release")]
    assert (project / "package.zip").stat().st_size in sizes


def test_a_terminal_sees_how_much_has_gone(project: Path, server: Server) -> None:
    """A bar with the bytes sent and their sum, that begins anew when the upload does."""
    package(project, 24 * MIB)
    server.faults({"match": {"method": "POST", "path": "/plugin_releases/", "nth": 1},
                   "do": {"cut": 2 * MIB, "wait": 1}})  # fmt: skip
    code, shown = at_a_terminal(project, b"", "apply", "--auto-approve", COLUMNS="120", **GIVEN)
    assert code == 0, shown
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    told = re.findall(r"release/yolo@1.0.0: Creating\.\.\. \S+ ([\d.]+) MiB of 24.0 MiB", plain)
    assert told, plain
    assert any(2 <= float(sent) < 24 for sent in told), told
    assert "release/yolo@1.0.0: Creation complete after" in plain


def test_off_a_terminal_nothing_is_drawn(project: Path) -> None:
    """A log of CI has the plan and the report, and no bar."""
    package(project, 4 * MIB)
    done = run("apply --auto-approve", project, GIVEN)
    assert done.stderr == ""
    report = done.stdout.partition("to destroy.\n")[2]
    assert [line.partition(" (id ")[0] for line in report.splitlines() if " (id " in line] == [
        "  + plugin/yolo created",
        "  + release/yolo@1.0.0 created",
    ]
    assert "MiB of" not in done.stdout
