"""A zip sent as it lies there, without a copy: hashed as it is read, cut short if it changed."""

from __future__ import annotations

import hashlib
import io
import os
from typing import BinaryIO

from synapse_apply.model.errors import InputError


# A 1 GiB zip was read three times and written once; this way it is read once. The last bytes are
# given out only when all of them had the planned digest. A zip that was written within 2 s before
# the plan is copied instead, because its time could not show another write.
class OriginalFile(io.RawIOBase):
    """The file behind an open one: read from its start in order, any number of times.

    `sha256` in hex is what all its bytes must have. Who reads gets the last of them only when they
    do; `problem` is raised in place of it, and as soon as the file has another size. So a request
    that carries the file never leaves whole with other bytes.
    """

    def __init__(self, file: BinaryIO, size: int, sha256: str, change_error: InputError) -> None:
        super().__init__()
        self.sha256 = sha256
        self._file = file
        self._size = size
        self._change_error = change_error
        self._position = self._hashed_position = 0
        self._restart()

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """As far as `seek` says."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes, as many as asked unless the file ends; InputError when it changed."""
        remaining = self._size - self._position
        read_size = remaining if size is None or size < 0 else min(size, remaining)
        if read_size <= 0:
            return b""
        if self._position != self._hashed_position:
            raise io.UnsupportedOperation("it is read from its start, in order")
        block = self._file.read(read_size)
        self._hash.update(block)
        self._position = self._hashed_position = self._position + len(block)
        is_last = self._position == self._size
        if len(block) < read_size or (is_last and not self._has_expected_digest()):
            raise self._change_error
        return block

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """The new place; reading goes on from the start only, or from where it was left."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = start + offset
        if self._position == 0:
            self._restart()
        return self._position

    def tell(self) -> int:
        """The place from the start."""
        return self._position

    def close(self) -> None:
        """Close the file behind it as well."""
        self._file.close()
        super().close()

    def _restart(self) -> None:
        self._file.seek(0)
        self._hash = hashlib.sha256()
        self._hashed_position = 0

    def _has_expected_digest(self) -> bool:
        return self._hash.hexdigest() == self.sha256 and not self._file.read(1)
