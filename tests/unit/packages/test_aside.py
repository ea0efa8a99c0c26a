"""Files that are written whole or not at all leave nothing of a killed run behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from synapse_apply.model.resource import PackageSource
from synapse_apply.operations.saved_plan_file import write_new_plan_file
from synapse_apply.packages.sources import write_package_zip


def dead() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """A plan and a package alike; what may still be written, or is another file's, stays."""
    process = dead()
    left = [tmp_path / f".{name}.{process}.part" for name in ("next.plan", "dist.zip")]
    others = [
        tmp_path / f".next.plan.{dead()}.part",
        tmp_path / f".next.plan.{os.getppid()}.part",
        tmp_path / f".other.plan.{process}.part",
        tmp_path / ".next.plan.part",
    ]
    for path in (*left, *others):
        path.touch()
        if path != others[0]:  # that one is written by another host
            os.utime(path, (0, 0))
    write_new_plan_file(tmp_path / "next.plan", "{}")
    (tmp_path / "yolo").mkdir()
    (tmp_path / "yolo" / "main.py").write_text("1")
    write_package_zip(PackageSource("folder", "yolo"), tmp_path, tmp_path / "dist.zip")
    assert sorted(path for path in tmp_path.iterdir() if path.name.startswith(".")) == sorted(
        others
    )
