"""A zip sent as it lies there, without a copy: hashed as it is read, cut short if it changed."""

from __future__ import annotations

import hashlib
import io
import os
from typing import BinaryIO

from synapse_apply.model.errors import InputError


class Original(io.RawIOBase):
    """The file behind an open one: read from its start in order, any number of times.

    `sha256` in hex is what all its bytes must have. Who reads gets the last of them only when they
    do; `problem` is raised in place of it, and as soon as the file has another size. So a request
    that carries the file never leaves whole with other bytes.
    """

    def __init__(self, file: BinaryIO, size: int, sha256: str, problem: InputError) -> None:
        super().__init__()
        self.sha256 = sha256
        self._file = file
        self._size = size
        self._problem = problem
        self._at = self._hashed = 0
        self._begin()

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """As far as `seek` says."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes, as many as asked unless the file ends; InputError when it changed."""
        left = self._size - self._at
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted <= 0:
            return b""
        if self._at != self._hashed:
            raise io.UnsupportedOperation("it is read from its start, in order")
        block = self._file.read(wanted)
        self._hash.update(block)
        self._at = self._hashed = self._at + len(block)
        is_last = self._at == self._size
        if len(block) < wanted or (is_last and not self._is_as_planned()):
            raise self._problem
        return block

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """The new place; reading goes on from the start only, or from where it was left."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = start + offset
        if self._at == 0:
            self._begin()
        return self._at

    def tell(self) -> int:
        """The place from the start."""
        return self._at

    def close(self) -> None:
        """Close the file behind it as well."""
        self._file.close()
        super().close()

    def _begin(self) -> None:
        self._file.seek(0)
        self._hash = hashlib.sha256()
        self._hashed = 0

    def _is_as_planned(self) -> bool:
        return self._hash.hexdigest() == self.sha256 and not self._file.read(1)
