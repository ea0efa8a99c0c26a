"""One large package: our whole apply beside an upload that does nothing else."""

from __future__ import annotations

import json
import sys
import tempfile
import zipfile
from pathlib import Path

from benchmarks import measuring
from benchmarks.worlds import PEERS, SHAPES, World

RATE = 200_000_000  # bytes per second that the server reads
MIB = 1024 * 1024
RELEASE = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {{name: large}}
spec: {{name: Large, code: large}}
---
apiVersion: synapse-apply/v1
kind: Release
spec: {{plugin: large, version: {version}.0.0, file: large.zip}}
"""
SLOW = {"match": {"method": "POST", "path": "/plugin_releases/"}, "do": {"narrow": RATE}}


def measured(typed: tuple[str, ...], size: int, repeats: int) -> dict[str, list[measuring.Run]]:
    """A package of `size` MiB, stored as it is, released anew in each run.

    `plan` is the same without the upload; it has read the package before each apply.
    """
    found: dict[str, list[measuring.Run]] = {measuring.OURS: [], "plan": [], "upload": []}
    with tempfile.TemporaryDirectory(dir=_on_disk()) as folder:
        world = World(Path(folder), SHAPES["by-id"], 0)
        package = world.project / "large.zip"
        _pack(package, size)
        world.empty()
        faults = world.root / "faults.json"
        faults.write_text(json.dumps({"rules": [SLOW]}))
        with world.serving(0, faults=faults):
            _declare(world, 1)
            world.ours(*typed)
            for version in range(2, 2 + repeats):
                _declare(world, version)
                found["plan"].append(world.ours("plan"))
                found[measuring.OURS].append(world.ours(*typed))
                bare = [sys.executable, str(PEERS / "upload.py"), world.url, str(package)]
                bare += ["large", f"{version}.0.1"]
                found["upload"].append(measuring.run(bare, world.project, world.environ))
    return found


def _declare(world: World, version: int) -> None:
    text = RELEASE.format(version=version)
    (world.project / "manifests" / "large.yaml").write_text(text)


def _pack(package: Path, size: int) -> None:
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("config.yaml", "name: Large\ncode: large\n")
        with archive.open("weights.bin", "w", force_zip64=True) as file:
            for _ in range(size):
                file.write(b"\x5a" * MIB)


def _on_disk() -> str | None:
    """/tmp may be memory."""
    return "/var/tmp" if Path("/var/tmp").is_dir() else None
