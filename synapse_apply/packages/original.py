"""How a zip is sent without a copy: hashed while read, its last block withheld if it changed."""

from __future__ import annotations

import hashlib
import io
import os
from typing import BinaryIO

from synapse_apply.model.errors import InputError


# A 1 GiB zip was read three times and written once; this way it is read twice. The last bytes are
# given out only when all of them had the planned digest. A zip that was written within 2 s before
# the plan is copied instead, because its time could not show another write.
class HashedFileReadInOrder(io.RawIOBase):
    """A stream over an open file that must have a known size and digest.

    `sha256` is the expected digest in hex. The last block is only given if all bytes have this
    digest; else `change_error` is raised in its place, and as soon as the file turns out shorter.
    So a request with the file is never sent completely with other bytes. The stream is read in
    order, and again from the start after `seek(0)`.
    """

    def __init__(self, file: BinaryIO, size: int, sha256: str, change_error: InputError) -> None:
        super().__init__()
        self.sha256 = sha256
        self._file = file
        self._size = size
        self._change_error = change_error
        self._position = self._hashed_position = 0
        self._restart_file_and_hash()

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True, within the limits of `seek`."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """The next `size` bytes, fewer at the end; `change_error` if the file changed."""
        remaining = self._size - self._position
        read_size = remaining if size is None or size < 0 else min(size, remaining)
        if read_size <= 0:
            return b""
        # The hash covers the bytes in order; after a seek into the middle it would be wrong.
        if self._position != self._hashed_position:
            raise io.UnsupportedOperation("it is read from its start, in order")
        block = self._file.read(read_size)
        self._hash.update(block)
        self._position = self._hashed_position = self._position + len(block)
        is_last = self._position == self._size
        if len(block) < read_size or (
            is_last and not self._has_expected_digest_and_no_more_bytes()
        ):
            raise self._change_error
        return block

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set and return the position; reading is only possible at the start or where it stopped.

        Whoever sends the file seeks to the end and back to learn its size.
        """
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = start + offset
        if self._position == 0:
            self._restart_file_and_hash()
        return self._position

    def tell(self) -> int:
        """The position in bytes from the start."""
        return self._position

    def close(self) -> None:
        """Close the stream and the file."""
        self._file.close()
        super().close()

    def _restart_file_and_hash(self) -> None:
        self._file.seek(0)
        self._hash = hashlib.sha256()
        self._hashed_position = 0

    def _has_expected_digest_and_no_more_bytes(self) -> bool:
        # One byte more means that the file has grown.
        return self._hash.hexdigest() == self.sha256 and not self._file.read(1)
