"""Runs the command in this process, and tells an internal error from all that it says itself."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from in_process import run_command

from synapse_apply.cli import errors

# A child may read nothing of who runs the fuzzer, and send nothing in their name.
_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH")


class InternalError(Exception):
    """A command line that ended as no command may end; the text has the traceback."""


def clear_environment(given: Mapping[str, str]) -> None:
    """Leave only what a run of the fuzzer is meant to see."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    os.environ.clear()
    os.environ.update({**kept, "HOME": "/dev/null/nobody", **given})


def execute(*arguments: str) -> int:
    """Run a command line in the working folder; gives its exit code."""
    found: list[BaseException] = []
    original = errors._build_internal_finding

    def noticing(problem: BaseException) -> object:
        found.append(problem)
        return original(problem)

    with mock.patch.object(errors, "_build_internal_finding", noticing), _streams():
        try:
            code = run_command(arguments)
        except BaseException as problem:
            if isinstance(problem, KeyboardInterrupt):
                raise
            found.append(problem)
            code = -1
    if found:
        told = "".join(traceback.format_exception(found[0]))
        raise InternalError(f"synapse-apply {' '.join(arguments)}\n{told}")
    return code


@contextmanager
def _streams() -> Iterator[None]:
    """Streams as a process has them: bytes behind an encoding, what it lacks as escapes."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _stream(), _stream()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace")


def write_project(folder: Path, text: str) -> None:
    """A project file, in a folder that becomes the working folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "synapse-apply.yaml").write_text(text, encoding="utf-8")
    os.chdir(folder)
