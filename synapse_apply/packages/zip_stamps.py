"""When a zip counts as unchanged since the plan read it, so that it is uploaded without a copy."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import BinaryIO, NamedTuple, Self

# Nanoseconds. File systems store times in steps, of 2 s at most (FAT): a file that was written less
# than a step before it was read may be written again with the same times.
_RACY_NANOSECONDS = 2_000_000_000


class FileStamp(NamedTuple):
    """Identity, size and times of a file on disk; `path` has no links, times are in nanoseconds."""

    path: str
    device: int
    inode: int
    size: int
    modified_at: int
    changed_at: int

    @classmethod
    def of(cls, file: BinaryIO) -> Self:
        """The stamp of an open file, whose name is its real path."""
        info = os.fstat(file.fileno())
        times = info.st_mtime_ns, info.st_ctime_ns
        return cls(file.name, info.st_dev, info.st_ino, info.st_size, *times)


class ZipStamps:
    """The package digests of the zips of one plan by their stamps, for the time of a run.

    `read_clock` gives nanoseconds since 1970, as the times of files are.
    """

    def __init__(self, read_clock: Callable[[], int] = time.time_ns) -> None:
        self.read_clock = read_clock
        self._digests: dict[FileStamp, str] = {}

    def remember(self, stamp: FileStamp, digest: str, read_at: int) -> None:
        """Remember the package digest of a zip whose reading began at `read_at`.

        A zip that was written just before is not remembered: another write might not change its
        times.
        """
        if max(stamp.modified_at, stamp.changed_at) + _RACY_NANOSECONDS < read_at:
            self._digests[stamp] = digest

    def knows(self, stamp: FileStamp, digest: str) -> bool:
        """Whether the file with this stamp is known to contain the package with this digest."""
        return self._digests.get(stamp) == digest
