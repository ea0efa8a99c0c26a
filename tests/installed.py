"""Runs the installed command, found beside the interpreter, as a user's shell would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
# Nobody's: a login of the vendor's tools must not reach a test. Nor can anybody make a folder
# there, as the superuser could of a name that merely does not exist, to be read by the next run.
HOME = "/dev/null/nobody"
NOT_COPIED = shutil.ignore_patterns(".synapse-apply", "__pycache__")


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The tests' environment without what would steer the command, and what is given."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SYNAPSE_", "GITHUB_", "CI")) and name != "FORCE_COLOR"
    }
    return {**kept, "HOME": HOME, "PATH": f"{BIN}{os.pathsep}{kept.get('PATH', '')}", **given}


def run(
    arguments: str, folder: Path, given: Mapping[str, str], code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run `synapse-apply ARGUMENTS` in a folder; its exit code must be the one expected."""
    done = subprocess.run(
        [str(BIN / "synapse-apply"), *arguments.split()],
        cwd=folder,
        env=environment(given),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, (
        f"{arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    )
    return done


def copied(folder: Path, to: Path) -> Path:
    """A copy of a folder of the repository, without what runs left in it."""
    return Path(shutil.copytree(folder, to / folder.name, ignore=NOT_COPIED))


def variables(file: Path) -> dict[str, str]:
    """The NAME=VALUE lines of an example.env."""
    return dict(_pairs(file.read_text(encoding="utf-8")))


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            yield name, value
