"""How a form with a file is sent as multipart/form-data (RFC 7578): streamed, of known length."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

_BLOCK = 64 * 1024
_OPEN_AS_TEXT = "the file is open as text; open it in binary mode ('rb')"


class UnreadableBodyError(Exception):
    """The file cannot be read, or changed while it was sent.

    Not an OSError, which the HTTP libraries would take for a broken connection.
    """


class MultipartBody:
    """A file-like body of known length that can be read again after `rewind`.

    `close` closes a file that was opened here; an open file of the caller stays open. Form values
    are written as the platform's own client does (synapse-api.md, "Multipart form"): booleans
    `True`/`False`, lists as repeated parts, maps as JSON text, null left out.
    """

    def __init__(
        self, fields: Mapping[str, Any], file: Any, name: str = "file", *, digest_field: str = ""
    ) -> None:
        """`file` is a path or an open binary file, sent from its current position to its end.

        `digest_field` names a form field for the file's SHA-256 in hex. The digest is taken from
        `fields`, else from the file's attribute `sha256`, else computed by reading the file once.
        While sending, the last bytes are withheld from a file that has another digest.
        UnreadableBodyError for a file that cannot be opened or read.
        """
        # Random, so that the file need not be searched for it (RFC 2046, 5.1.1).
        self._boundary = secrets.token_hex(16)
        self._tail = f"\r\n--{self._boundary}--\r\n".encode()
        self._owns_file = isinstance(file, str | os.PathLike)
        self._position = self._start = self._size = 0
        self._sent_hash: Any = hashlib.sha256() if digest_field else None
        self._open(file)
        try:
            if digest_field and fields.get(digest_field) is None:
                # What the file object says of all its bytes.
                told = getattr(file, "sha256", "") if not self._start else ""
                is_told = isinstance(told, str) and told
                fields = {**fields, digest_field: told if is_told else self._compute_file_digest()}
            self._expected_digest = str(fields[digest_field]).lower() if digest_field else ""
            self._head = self._encode_head(fields, name, _file_name(file))
        except BaseException:
            self.close()
            raise

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self._boundary}"

    @property
    def is_fully_read(self) -> bool:
        """Whether the last byte was read; a server that received less cannot act on it."""
        return self._position >= len(self)

    def __len__(self) -> int:
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(_BLOCK):
            yield block

    def rewind(self) -> None:
        """Go back to the first byte, for another attempt; UnreadableBodyError if impossible."""
        self._position = 0
        if self._sent_hash is not None:
            self._sent_hash = hashlib.sha256()
        with _explained_errors():
            if hasattr(self._file, "seek"):
                self._file.seek(self._start)
            else:
                self._file.rewind()

    def read(self, size: int = -1) -> bytes:
        """The next at most `size` bytes, b"" at the end; UnreadableBodyError for a changed file."""
        size = _BLOCK if size < 0 else size
        block = self._read_next_bytes(size)
        self._position += len(block)
        return block

    def close(self) -> None:
        """Close the file if it was opened here."""
        if self._owns_file:
            self._file.close()

    def _read_next_bytes(self, size: int) -> bytes:
        offset = self._position
        if offset < len(self._head):
            return self._head[offset : offset + size]
        offset -= len(self._head)
        if offset < self._size:
            return self._read_file_block(min(size, self._size - offset))
        offset -= self._size
        if offset == 0:
            self._check_whole_file()
        return self._tail[offset : offset + size]

    def _read_file_block(self, size: int) -> bytes:
        with _explained_errors():
            block: Any = self._file.read(size)
        if not isinstance(block, bytes):
            raise UnreadableBodyError(_OPEN_AS_TEXT)
        if not block:
            raise UnreadableBodyError("the file shrank while it was sent")
        if self._sent_hash is not None:
            self._sent_hash.update(block)
        return block

    def _check_whole_file(self) -> None:
        """UnreadableBodyError if the file grew, or does not have the digest stated in the form.

        Called before the closing boundary is sent: without it a server takes nothing.
        """
        has_grown = False
        with suppress(OSError, ValueError):
            has_grown = bool(self._file.read(1))
        if has_grown:
            raise UnreadableBodyError("the file grew while it was sent")
        if self._sent_hash is not None and self._sent_hash.hexdigest() != self._expected_digest:
            raise UnreadableBodyError("the SHA-256 of the file differs from the announced one")

    def _compute_file_digest(self) -> str:
        """The SHA-256 of the file in hex; rewinds it afterwards."""
        remaining = self._size
        while remaining > 0:
            remaining -= len(self._read_file_block(min(_BLOCK, remaining)))
        digest: str = self._sent_hash.hexdigest()
        self.rewind()
        return digest

    def _open(self, file: Any) -> None:
        """Open a path, or measure an open file; UnreadableBodyError for a text file or no file."""
        with _explained_errors():
            stream: Any = Path(file).open("rb") if self._owns_file else file  # noqa: SIM115
            self._file = stream
            if isinstance(self._file, io.TextIOBase):
                raise UnreadableBodyError(_OPEN_AS_TEXT)
            if not hasattr(self._file, "read"):
                kind = type(file).__name__
                raise UnreadableBodyError(f"a path or an open file is needed, not {kind}")
            if hasattr(self._file, "seek") and hasattr(self._file, "tell"):
                self._start = self._file.tell()
                self._size = self._file.seek(0, os.SEEK_END) - self._start
                self._file.seek(self._start)
            else:
                # A stream of ours that is generated: it has a length and `rewind` instead.
                self._size = len(stream)

    def _encode_head(self, fields: Mapping[str, Any], name: str, file_name: str) -> bytes:
        """All that precedes the content of the file: the other fields, and the head of its part."""
        parts = [
            f"{self._part_head(key)}{_format_field_value(item)}\r\n"
            for key, value in fields.items()
            for item in (value if isinstance(value, list | tuple) else [value])
            if item is not None
        ]
        kind = "application/zip" if file_name.endswith(".zip") else "application/octet-stream"
        more = f'; filename="{_quote_header_name(file_name)}"\r\nContent-Type: {kind}'
        return "".join([*parts, self._part_head(name, more)]).encode()

    def _part_head(self, name: str, more: str = "") -> str:
        disposition = f'Content-Disposition: form-data; name="{_quote_header_name(name)}"'
        return f"--{self._boundary}\r\n{disposition}{more}\r\n\r\n"


def _format_field_value(value: Any) -> str:
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    return str(value)


def _quote_header_name(name: str) -> str:
    """The name escaped as browsers do (WHATWG HTML), so that it cannot end its header."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _file_name(file: str | os.PathLike[str] | BinaryIO) -> str:
    name = file if isinstance(file, str | os.PathLike) else getattr(file, "name", None)
    return Path(name).name or "package.zip" if isinstance(name, str | Path) else "package.zip"


@contextmanager
def _explained_errors() -> Iterator[None]:
    """UnreadableBodyError in place of what a file raises."""
    try:
        yield
    except (OSError, ValueError, TypeError, AttributeError) as failure:
        reason = "the file is closed or cannot be rewound; give a path or an open, seekable file"
        if isinstance(failure, FileNotFoundError):
            reason = f"there is no file {failure.filename}"
        elif isinstance(failure, OSError) and failure.strerror:
            reason = f"{failure.strerror.lower()}: {failure.filename or 'the file'}"
        raise UnreadableBodyError(reason) from None
