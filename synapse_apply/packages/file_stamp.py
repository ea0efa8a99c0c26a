"""Which file it is and in which state: what tells, without reading it, that it is as it was."""

from __future__ import annotations

import os
from typing import NamedTuple

SECOND = 1_000_000_000
# Nanoseconds. A file system keeps times no finer than its clock ticks, 2 s at the worst (FAT): what
# was written in that span before it was hashed may have been written again with the same times.
_RACY_NANOSECONDS = 2 * SECOND
# How far the clock of another file system, a network's perhaps, is supposed to differ.
_FOREIGN_CLOCK_NANOSECONDS = 3600 * SECOND


class FileStamp(NamedTuple):
    """A file on disk as it was seen: `path` leads through no link, times are in nanoseconds."""

    path: str
    device: int
    inode: int
    size: int
    modified_at: int
    changed_at: int

    def would_reveal_change(self, device: int, hashed_at: int) -> bool:
        """Whether a change since `hashed_at`, on the clock of `device`, would have been seen."""
        margin = _RACY_NANOSECONDS if self.device == device else _FOREIGN_CLOCK_NANOSECONDS
        return max(self.modified_at, self.changed_at) + margin < hashed_at


def build_file_stamp(path: str, info: os.stat_result) -> FileStamp:
    """A file by what the system tells of it."""
    return FileStamp(
        path, info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns
    )


def is_unchanged(stamp: FileStamp) -> bool:
    """Whether the very file is still there, untouched."""
    try:
        return build_file_stamp(stamp.path, os.lstat(stamp.path)) == stamp
    except (OSError, ValueError):
        return False
