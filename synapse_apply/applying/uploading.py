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
_EVERY = 0.1
# Bytes after which there is one all the same: a connection may stand still at any moment, and
# what was shown last is what is looked at then.
_STEP = 1024 * 1024


@frozen
class WatchedPackages:
    """The `Packages` port over another one; what is read of an open package counts as sent."""

    packages: Packages
    progress: Progress
    clock: Clock

    @contextmanager
    def open(self, address: Address) -> Iterator[Any]:
        """As the port has it."""
        with self.packages.open(address) as file:
            yield _Watched(file, partial(self.progress.sent, address), self.clock.seconds)


class _Watched:
    """A file as an upload needs it: read, told where it stands, and set back for another try."""

    def __init__(
        self, file: Any, tell: Callable[[int, int], None], seconds: Callable[[], float]
    ) -> None:
        self._file = file
        self._tell = tell
        self._seconds = seconds
        self._at: int = file.tell()
        self._total: int = file.seek(0, os.SEEK_END)
        file.seek(self._at)
        self._due = 0.0
        self._told = self._at
        self._report()

    @property
    def sha256(self) -> str:
        """What the file tells of itself, "" where it does not."""
        told: str = getattr(self._file, "sha256", "")
        return told

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        block: bytes = self._file.read(size)
        self._at += len(block)
        far = self._at >= self._total or self._at - self._told >= _STEP
        if block and (far or self._seconds() >= self._due):
            self._report()
        return block

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """The new place from the start."""
        self._at = self._file.seek(offset, whence)
        return self._at

    def tell(self) -> int:
        """The place from the start."""
        return self._at

    def _report(self) -> None:
        self._due = self._seconds() + _EVERY
        self._told = self._at
        self._tell(self._at, self._total)
