"""Writing a report: whole or not at all, and appending to the files a CI runner reads."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path


def replace_file(path: Path, text: str) -> None:
    """Replace the file, or make it and the folders above it; OSError leaves what was there.

    A device or a pipe (/dev/stderr, for one) is written to as it is.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        with path.open("w", encoding="utf-8", newline="\n") as device:
            device.write(text)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part_file = path.with_name(f".{path.name[:200]}.{os.getpid()}.part")
    try:
        with part_file.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            part_file.chmod(stat.S_IMODE(path.stat().st_mode))
        part_file.replace(path)
    finally:
        with suppress(OSError):
            part_file.unlink(missing_ok=True)


def append_text(path: Path, text: str) -> None:
    """Add to a file that a CI runner reads when the step has ended."""
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(text)


def file_size(path: Path) -> int:
    """How many bytes there are already, 0 where there is no file."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
