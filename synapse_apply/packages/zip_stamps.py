"""Zips as they were when a plan read them: one that is still so is uploaded without a copy."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NamedTuple

# Nanoseconds. A file system keeps times no finer than its clock ticks, 2 s at the worst (FAT): what
# was written in that span before it was read may have been written again with the same times.
_RACY_NANOSECONDS = 2_000_000_000


class FileStamp(NamedTuple):
    """A file on disk as it was seen: `path` leads through no link, times are in nanoseconds."""

    path: str
    device: int
    inode: int
    size: int
    modified_at: int
    changed_at: int

    def would_reveal_change(self, read_at: int) -> bool:
        """Whether a change since `read_at` would have given the file other times."""
        return max(self.modified_at, self.changed_at) + _RACY_NANOSECONDS < read_at


def build_file_stamp(path: str, info: os.stat_result) -> FileStamp:
    """A file by what the system tells of it."""
    return FileStamp(
        path, info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns
    )


class ZipStamps:
    """What the zips of one plan held, by their stamps. Nothing of it outlives the run.

    `read_clock` gives nanoseconds since 1970, as files are stamped.
    """

    def __init__(self, read_clock: Callable[[], int] = time.time_ns) -> None:
        self.read_clock = read_clock
        self._digests: dict[FileStamp, str] = {}

    def add_zip(self, stamp: FileStamp, digest: str, read_at: int) -> None:
        """Remember the package digest of a zip whose reading began at `read_at`.

        One that was written just before is not remembered: its times could not show another write.
        """
        if stamp.would_reveal_change(read_at):
            self._digests[stamp] = digest

    def has_content(self, stamp: FileStamp, digest: str) -> bool:
        """Whether a file with this stamp is known to hold the package with this digest."""
        return self._digests.get(stamp) == digest
