"""How the progress of a package's upload is reported, as its file is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.frozen import frozen
from synapse_apply.model.ports import Clock, Packages, Progress

# Seconds between two reports; more often would only slow the upload.
_REPORT_INTERVAL = 0.1
# Bytes after which there is a report in any case: when a connection stalls, the position that was
# reported last should be close to the real one.
_REPORT_BYTES = 1024 * 1024


@frozen
class ProgressPackages:
    """A `Packages` port that reports the bytes that are read of an open package as sent."""

    packages: Packages
    progress: Progress
    clock: Clock

    @contextmanager
    def open_package(self, address: Address) -> Iterator[Any]:
        """Open the package of an address; the file reports its progress."""
        with self.packages.open_package(address) as file:
            yield _WatchedFile(
                file, partial(self.progress.report_upload, address), self.clock.monotonic_seconds
            )


class _WatchedFile:
    """A file that reports its position when read; it can be rewound for a retry."""

    def __init__(
        self, file: Any, on_progress: Callable[[int, int], None], seconds: Callable[[], float]
    ) -> None:
        self._file = file
        self._on_progress = on_progress
        self._seconds = seconds
        self._position: int = file.tell()
        self._total: int = file.seek(0, os.SEEK_END)
        file.seek(self._position)
        self._next_report_at = 0.0
        self._reported_position = self._position
        self._report_progress()

    @property
    def sha256(self) -> str:
        """The SHA-256 of the wrapped file in hex; "" where it does not know it."""
        digest: str = getattr(self._file, "sha256", "")
        return digest

    def read(self, size: int = -1) -> bytes:
        """Read bytes, and report the position if it is time to."""
        block: bytes = self._file.read(size)
        self._position += len(block)
        is_far = (
            self._position >= self._total
            or self._position - self._reported_position >= _REPORT_BYTES
        )
        if block and (is_far or self._seconds() >= self._next_report_at):
            self._report_progress()
        return block

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position, and return it."""
        self._position = self._file.seek(offset, whence)
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def _report_progress(self) -> None:
        self._next_report_at = self._seconds() + _REPORT_INTERVAL
        self._reported_position = self._position
        self._on_progress(self._position, self._total)
