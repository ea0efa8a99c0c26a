"""Where a file is written before it takes its place, so that it is there whole or not at all."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path

_ABANDONED_SECONDS = 60.0  # seconds in which whoever writes has written something
_PART = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)\.part")


def remove_leftovers_and_choose_temporary_path(path: Path) -> Path:
    """A hidden name beside the path, this process's own; what a killed one left there is removed.

    One of a process that may still write is left alone, also that of another host.
    """
    now = time.time()
    with suppress(OSError):
        for leftover in path.parent.iterdir():
            match = _PART.fullmatch(leftover.name)
            if (
                match is None
                or match["name"] != path.name
                or _may_still_be_writing(int(match["process"]))
            ):
                continue
            if now - leftover.stat().st_mtime > _ABANDONED_SECONDS:
                leftover.unlink()
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _may_still_be_writing(process_id: int) -> bool:
    """Whether it runs here; another's counts as well. Our own number is from before a restart."""
    if process_id == os.getpid():
        return False
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
