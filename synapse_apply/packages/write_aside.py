"""Under which temporary name a file is written before it is renamed; when leftovers are removed."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path

_ABANDONED_SECONDS = 60.0  # since the last write; a process that still writes is never so slow
_PART = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)\.part")


def choose_temporary_path(path: Path) -> Path:
    """A hidden name beside `path` with this process's id; removes those of killed processes.

    A file is kept if its process runs, or if it was written less than a minute ago: its process
    may be on another host.
    """
    now = time.time()
    with suppress(OSError):
        for leftover in path.parent.iterdir():
            match = _PART.fullmatch(leftover.name)
            if (
                match is None
                or match["name"] != path.name
                or _may_be_running(int(match["process"]))
            ):
                continue
            if now - leftover.stat().st_mtime > _ABANDONED_SECONDS:
                leftover.unlink()
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _may_be_running(process_id: int) -> bool:
    """Whether a process with this id runs, also another user's.

    Our own id counts as ended: a file with it is from an earlier process, as in a container where
    each has the same id.
    """
    if process_id == os.getpid():
        return False
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
