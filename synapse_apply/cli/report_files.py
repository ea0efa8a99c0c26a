"""How report files are replaced, completely or not at all, and how CI files are appended to."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path


def write_report_file(path: Path, text: str) -> None:
    """Write a file and the folders above it; an OSError leaves the old file as it was.

    A device or a pipe, such as /dev/stderr, is written to directly.
    """
    # A link stays a link: the file that it leads to is replaced.
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
            # The new file keeps the permissions of the one it replaces.
            part_file.chmod(stat.S_IMODE(path.stat().st_mode))
        part_file.replace(path)
    finally:
        with suppress(OSError):
            part_file.unlink(missing_ok=True)


def append_text(path: Path, text: str) -> None:
    """Append to a file that a CI runner reads after the step."""
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(text)


def get_file_size_or_zero(path: Path) -> int:
    """The file's size in bytes, 0 where there is no file."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
