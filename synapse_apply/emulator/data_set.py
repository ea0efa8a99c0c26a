"""A data set seen from outside: who serves it, and how to begin anew. Loads no server."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synapse_apply.emulator.core.backend import (
    DATABASE,
    ENDPOINT,
    PACKAGES,
    DataLock,
    DataSetBusyError,
)


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that has a data set now, as its `endpoint.json` tells."""

    url: str
    pid: int
    data_set: str


def reset(data: Path | str) -> bool:
    """Remove all objects; the next start makes a new data set. False when there was none.

    Raises DataSetBusyError while a server has it.
    """
    data = Path(data)
    if not (data / DATABASE).exists():
        return False
    lock = DataLock(data)
    try:
        for suffix in ("-wal", "-shm", ""):  # the database last: a reset cut short is still one
            (data / f"{DATABASE}{suffix}").unlink(missing_ok=True)
        shutil.rmtree(data / PACKAGES, ignore_errors=True)
        (data / ENDPOINT).unlink(missing_ok=True)
    finally:
        lock.release()
    return True


def find_running(data: Path | str) -> RunningServer | None:
    """The server that has a data set now; None when nobody has (a stale file is passed over)."""
    data = Path(data)
    try:
        told: dict[str, Any] = json.loads((data / ENDPOINT).read_text(encoding="utf-8"))
        DataLock(data).release()
    except DataSetBusyError:
        return RunningServer(told["url"], told["pid"], told["data_set"])
    except (OSError, ValueError):
        return None
    return None


def is_untouched(data: Path | str) -> bool:
    """Whether nothing was ever made in the data set that a server has now."""
    where = f"{(Path(data) / DATABASE).absolute().as_uri()}?mode=ro"
    made = "SELECT COUNT(*) FROM sqlite_sequence WHERE name IN ('plugin', 'release', 'storage')"
    try:
        with closing(sqlite3.connect(where, uri=True)) as connection:
            return bool(connection.execute(made).fetchone()[0] == 0)
    except sqlite3.Error:
        return False  # who cannot look must not take it for empty


def recorded_data_set(data: Path | str) -> str:
    """The UUID of the data set that is kept there; "" where none can be read."""
    where = f"{(Path(data) / DATABASE).absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(where, uri=True)) as connection:
            row = connection.execute("SELECT value FROM about WHERE name = 'data_set'").fetchone()
    except sqlite3.Error:
        return ""
    return str(row[0]) if row else ""


def write_endpoint(data: Path, url: str, data_set: str) -> None:
    """Tell others where the server of a data set is; atomically."""
    text = json.dumps({"url": url, "pid": os.getpid(), "data_set": data_set})
    new = data / f"{ENDPOINT}.new"
    new.write_text(text + "\n", encoding="utf-8")
    new.replace(data / ENDPOINT)
