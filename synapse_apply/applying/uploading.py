"""Packages on their way out, told to a progress as they are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.frozen import frozen
from synapse_apply.model.ports import Clock, Packages, Progress

# Seconds between two reports: more would be drawn by nobody and cost the upload time.
_REPORT_INTERVAL = 0.1
# Bytes after which there is one all the same: a connection may stand still at any moment, and
# what was shown last is what is looked at then.
_REPORT_BYTES = 1024 * 1024


@frozen
class ProgressPackages:
    """The `Packages` port over another one; what is read of an open package counts as sent."""

    packages: Packages
    progress: Progress
    clock: Clock

    @contextmanager
    def open_package(self, address: Address) -> Iterator[Any]:
        """As the port has it."""
        with self.packages.open_package(address) as file:
            yield _WatchedFile(
                file, partial(self.progress.report_upload, address), self.clock.monotonic_seconds
            )


class _WatchedFile:
    """A file as an upload needs it: read, told where it stands, and set back for another try."""

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
        """What the file tells of itself, "" where it does not."""
        digest: str = getattr(self._file, "sha256", "")
        return digest

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
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
        """The new place from the start."""
        self._position = self._file.seek(offset, whence)
        return self._position

    def tell(self) -> int:
        """The place from the start."""
        return self._position

    def _report_progress(self) -> None:
        self._next_report_at = self._seconds() + _REPORT_INTERVAL
        self._reported_position = self._position
        self._on_progress(self._position, self._total)
