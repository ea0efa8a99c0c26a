"""An earlier version as a command: the files of its wheel, in an environment of their own.

It is in `tests/frozen`, since a shallow clone and an sdist have no history to build it from.
"""

from __future__ import annotations

import subprocess
import sysconfig
import tarfile
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from installed import BIN, ROOT, environment

# What `pip wheel` of commit 406df49b made, unpacked: state format 1, controller store format 3.
ARCHIVE = ROOT / "tests/frozen/2026-11/synapse_apply-0.1.0.tar.xz"
NEWER = BIN / "python"


def install_older(folder: Path) -> Path:
    """The Python of an environment that has the earlier version, and these tests' libraries."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder / "older", filter="data")
    venv.create(folder / "venv", symlinks=True)
    (packages,) = (folder / "venv/lib").glob("python*/site-packages")
    libraries = sysconfig.get_path("purelib")
    (packages / "older.pth").write_text(f"{folder / 'older'}\n{libraries}\n", encoding="utf-8")
    return folder / "venv/bin/python"


@dataclass
class Machine:
    """Where somebody works: a version of the command, a folder, and variables."""

    python: Path
    folder: Path
    environ: Mapping[str, str]

    def run(self, *typed: str, code: int = 0) -> str:
        """Run the command; its exit code must be the one expected. Both streams."""
        done = self.start(["-m", "synapse_apply", *typed])
        told = done.stdout + done.stderr
        assert done.returncode == code, f"{typed}: exit {done.returncode}\n{told}"
        assert "Traceback" not in told
        return told

    def run_code(self, code: str, *arguments: str) -> str:
        done = self.start(["-c", code, *arguments])
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.python), *words],
            cwd=self.folder,
            env=environment(self.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def with_version(self, python: Path) -> Machine:
        return Machine(python, self.folder, self.environ)
