"""Runs the command in this process: what it costs a process is most of what a short command costs.

A test needs the installed command (`installed`) only where the process itself is the point: its
streams, signals, terminal, start and end.
"""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from installed import environment

from synapse_apply.cli.main import run as run_command

# What `tempfile` finds the folder for temporary files by. It writes a file to try each candidate.
_FOLDER_VARIABLES = ("TMPDIR", "TEMP", "TMP")
_OWN_VALUES = [os.environ.get(name) for name in _FOLDER_VARIABLES]
_OWN_FOLDER = tempfile.gettempdir()


def run_in_process(
    typed: list[str], folder: Path, environ: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command line in a folder, with streams of its own and no environment but `environ`."""
    out, err = _open_stream(), _open_stream()
    with (
        chdir(folder),
        Path(os.devnull).open(encoding="utf-8") as nothing,
        _only(environ),
        patch.multiple(sys, stdin=nothing, stdout=out, stderr=err),
        patch.object(tempfile, "tempdir", _find_temporary_folder_or_none_if_untried(environ)),
    ):
        try:
            code = run_command(typed)
        finally:
            _close_log()
    return subprocess.CompletedProcess(typed, code, _read(out), _read(err))


def _find_temporary_folder_or_none_if_untried(environ: Mapping[str, str]) -> str | None:
    """What a process of this environment would find; it tries itself where that is not ours."""
    is_own = [environ.get(name) for name in _FOLDER_VARIABLES] == _OWN_VALUES
    return _OWN_FOLDER if is_own else None


@contextmanager
def _only(environ: Mapping[str, str]) -> Iterator[None]:
    """The variables of this process are these. As `patch.dict` has it, but for what stays as it is."""
    before = dict(os.environ)
    _change_variables(before, environ)
    try:
        yield
    finally:
        _change_variables(dict(os.environ), before)


def _change_variables(old: Mapping[str, str], new: Mapping[str, str]) -> None:
    for name in old.keys() - new.keys():
        del os.environ[name]
    for name, value in new.items():
        if old.get(name) != value:
            os.environ[name] = value


def run(
    arguments: str, folder: Path, given: Mapping[str, str], code: int = 0
) -> subprocess.CompletedProcess[str]:
    """As `installed.run`, in this process."""
    done = run_in_process(arguments.split(), folder, environment(given))
    assert done.returncode == code, (
        f"{arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    )
    return done


@cache
def read_schema(name: str) -> dict[str, Any]:
    """What `schema NAME` prints."""
    schema: dict[str, Any] = json.loads(run(f"schema {name}", Path(), {}).stdout)
    return schema


def _close_log() -> None:
    """As the end of a process does: the next command opens its own, or none."""
    logger = logging.getLogger("synapse_apply")
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        if isinstance(handler, logging.StreamHandler) and handler.stream is not sys.stderr:
            handler.stream.close()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def _open_stream() -> io.TextIOWrapper:
    """As the command opens its own: any text can be written, bytes as well."""
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")


def _read(stream: io.TextIOWrapper) -> str:
    stream.flush()
    content = stream.buffer
    assert isinstance(content, io.BytesIO)
    return content.getvalue().decode("utf-8", "surrogateescape")
