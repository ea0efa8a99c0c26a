"""An earlier version as a command: the files of its wheel, in an environment of their own.

It is in `tests/frozen`, since a shallow clone and an sdist have no history to build it from. What was
installed once is kept in the tests' own environment: to compile all of it takes seconds.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from controllers.forked_workers import ForkedController
from forking import ForkedProcess, run_to_end
from in_process import run_in_process
from installed import BIN, ROOT, environment

# What `pip wheel` of commit 406df49b made, unpacked: state format 1, controller store format 3.
ARCHIVE = ROOT / "tests/frozen/2026-11/synapse_apply-0.1.0.tar.xz"
NEWER = BIN / "python"


@cache
def install_older() -> Path:
    """The Python of an environment that has the earlier version, and these tests' libraries."""
    digest = hashlib.sha256(ARCHIVE.read_bytes()).hexdigest()[:12]
    folder = Path(sys.prefix, f"older-{digest}")
    if not folder.exists():
        made = Path(tempfile.mkdtemp(dir=sys.prefix))
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(made / "older", filter="data")
        venv.create(made / "venv", symlinks=True)
        (packages,) = (made / "venv/lib").glob("python*/site-packages")
        libraries = sysconfig.get_path("purelib")
        (packages / "older.pth").write_text(f"{folder / 'older'}\n{libraries}\n", encoding="utf-8")
        with suppress(OSError):  # of two that do this at once one is first
            made.rename(folder)
    return folder / "venv/bin/python"


@dataclass
class Machine:
    """Where somebody works: a version of the command, a folder, and variables."""

    python: Path
    folder: Path
    environ: Mapping[str, str]

    def run(self, *typed: str, code: int = 0) -> str:
        """Run the command; its exit code must be the one expected. Both streams."""
        if self.python == NEWER and typed[0] != "controller":
            done = run_in_process([*typed], self.folder, environment(self.environ))
        else:
            done = self.start("-m", "synapse_apply", *typed)
        told = done.stdout + done.stderr
        assert done.returncode == code, f"{typed}: exit {done.returncode}\n{told}"
        assert "Traceback" not in told
        return told

    def run_code(self, code: str, *arguments: str) -> str:
        done = self.start("-c", code, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *words: str) -> subprocess.CompletedProcess[str]:
        python = str(self.python)
        kind = ForkedController
        if self.python != NEWER:
            kind = type("Older", (ForkedProcess,), {"interpreter": python})
        return run_to_end([python, *words], self.folder, environment(self.environ), kind)

    def with_version(self, python: Path) -> Machine:
        return Machine(python, self.folder, self.environ)
