"""Packages go to disk as they arrive: memory stays where it was."""

from __future__ import annotations

import hashlib
import http.client
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from contract.emulator.conftest import BOUNDARY, Wire, form

MIB = 1024 * 1024
SIZE = 64 * MIB


def pieces(total: int) -> Iterator[bytes]:
    """A multipart body of a release with `total` bytes of package, in pieces."""
    head, tail = form(("plugin", "yolo"), ("version", "1"), ("file", b"@")).split(b"@")
    yield head
    for _ in range(total // MIB):
        yield b"\x5a" * MIB
    yield tail


def peak_memory(pid: int) -> int:
    """The most memory a process ever had, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("/proc does not tell a peak: this test needs Linux")


def test_upload_of_64_mib_with_constant_memory(tmp_path):
    """Peak memory grows by far less than the package; its SHA-256 is right."""
    command = [sys.executable, "-m", "synapse_apply.emulator", "serve", "--data", str(tmp_path)]
    command += ["--token", "x"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().removeprefix("listening on ").strip()
            wire = Wire(url, {"Synapse-Access-Token": "x"})
            wire.plugin(code="yolo")
            before = peak_memory(process.pid)
            connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
            length = sum(len(piece) for piece in pieces(SIZE))
            connection.request(
                "POST",
                "/plugin_releases/",
                pieces(SIZE),
                {
                    **wire.headers,
                    "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
                    "Content-Length": str(length),
                },
            )
            assert connection.getresponse().status == 201
            connection.close()
            assert peak_memory(process.pid) - before < 16 * MIB
            stored = wire.get("/_emulator/objects/release/1/").body["body"]["package"]
        finally:
            process.terminate()
    digest = hashlib.sha256()
    for _ in range(SIZE // MIB):
        digest.update(b"\x5a" * MIB)
    assert stored == {"name": "yolo.zip", "size": SIZE, "sha256": digest.hexdigest()}
    assert (tmp_path / "packages" / stored["sha256"]).stat().st_size == SIZE
