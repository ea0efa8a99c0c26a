"""How a form with a file is sent as multipart/form-data (RFC 7578): streamed, of known length."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

_BLOCK = 64 * 1024


class UnreadableBodyError(Exception):
    """The file cannot be read, or changed while it was sent.

    Not an OSError, which the HTTP libraries would take for a broken connection.
    """


class _UploadFile(NamedTuple):
    """An open file, the position where its content begins, and the bytes from there to its end."""

    stream: BinaryIO
    start: int
    size: int


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
        self._owns_file = isinstance(file, str | os.PathLike)
        self._file, self._start, self._size = _open_upload(file)
        self._sent_hash: Any = hashlib.sha256() if digest_field else None
        try:
            if digest_field and fields.get(digest_field) is None:
                fields = {
                    **fields,
                    digest_field: self._find_declared_digest(file) or self._compute_file_digest(),
                }
            self._expected_digest = str(fields[digest_field]).lower() if digest_field else ""
            self._head = b"".join(self._encode_field(key, value) for key, value in fields.items())
        except BaseException:
            self.close()
            raise
        self._head += self._encode_file_head(name, _file_name(file))
        self._tail = f"\r\n--{self._boundary}--\r\n".encode()
        self._position = 0

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
        _rewind_file(self._file, self._start)

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
        try:
            block = self._file.read(size)
        except (OSError, ValueError) as failure:
            raise UnreadableBodyError(_explain_file_error(failure)) from None
        if not isinstance(block, bytes):
            raise UnreadableBodyError("the file is open as text; open it in binary mode ('rb')")
        if not block:
            raise UnreadableBodyError("the file shrank while it was sent")
        if self._sent_hash is not None:
            self._sent_hash.update(block)
        return block

    def _check_whole_file(self) -> None:
        """UnreadableBodyError if the file grew, or does not have the digest stated in the form.

        Called before the closing boundary is sent: without it a server takes nothing.
        """
        if self._has_file_grown():
            raise UnreadableBodyError("the file grew while it was sent")
        if self._sent_hash is not None and self._sent_hash.hexdigest() != self._expected_digest:
            raise UnreadableBodyError("the file does not have the SHA-256 that was said of it")

    def _find_declared_digest(self, file: Any) -> str:
        """The SHA-256 in the file object's `sha256`; "" without one, or if not sent from byte 0."""
        digest = getattr(file, "sha256", "")
        return digest if isinstance(digest, str) and not self._start else ""

    def _compute_file_digest(self) -> str:
        """The SHA-256 of the file in hex; rewinds it afterwards."""
        remaining = self._size
        while remaining > 0:
            remaining -= len(self._read_file_block(min(_BLOCK, remaining)))
        digest: str = self._sent_hash.hexdigest()
        self.rewind()
        return digest

    def _has_file_grown(self) -> bool:
        try:
            return bool(self._file.read(1))
        except (OSError, ValueError):
            return False

    def _encode_field(self, name: str, value: Any) -> bytes:
        values = value if isinstance(value, list | tuple) else [value]
        return b"".join(
            self._encode_part(name, _format_field_value(item))
            for item in values
            if item is not None
        )

    def _encode_part(self, name: str, text: str) -> bytes:
        head = (
            f"--{self._boundary}\r\nContent-Disposition: form-data; "
            f'name="{_quote_header_name(name)}"'
        )
        return f"{head}\r\n\r\n{text}\r\n".encode()

    def _encode_file_head(self, name: str, file_name: str) -> bytes:
        content_type = (
            "application/zip" if file_name.endswith(".zip") else "application/octet-stream"
        )
        head = (
            f"--{self._boundary}\r\nContent-Disposition: form-data; "
            f'name="{_quote_header_name(name)}"'
        )
        return (
            f'{head}; filename="{_quote_header_name(file_name)}"\r\nContent-Type: '
            f"{content_type}\r\n\r\n"
        ).encode()


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


def _open_upload(file: Any) -> _UploadFile:
    """Open a path, or measure an open file; UnreadableBodyError for a text file or no file."""
    try:
        stream: Any = Path(file).open("rb") if isinstance(file, str | os.PathLike) else file  # noqa: SIM115
        if isinstance(stream, io.TextIOBase):
            raise UnreadableBodyError("the file is open as text; open it in binary mode ('rb')")
        if not hasattr(stream, "read"):
            raise UnreadableBodyError(
                f"a path or an open file is needed, not {type(file).__name__}"
            )
        if hasattr(stream, "seek") and hasattr(stream, "tell"):
            start = stream.tell()
            size = stream.seek(0, os.SEEK_END) - start
            stream.seek(start)
        else:
            # A stream of ours that is generated: it has a length and `rewind` instead of `seek`.
            start, size = 0, len(stream)
    except (OSError, ValueError, TypeError) as failure:
        raise UnreadableBodyError(_explain_file_error(failure)) from None
    return _UploadFile(stream, start, size)


def _rewind_file(file: Any, start: int) -> None:
    try:
        if hasattr(file, "seek"):
            file.seek(start)
        else:
            file.rewind()
    except (OSError, ValueError, AttributeError) as failure:
        raise UnreadableBodyError(_explain_file_error(failure)) from None


def _explain_file_error(failure: Exception) -> str:
    if isinstance(failure, FileNotFoundError):
        return f"there is no file {failure.filename}"
    if isinstance(failure, OSError) and failure.strerror:
        return f"{failure.strerror.lower()}: {failure.filename or 'the file'}"
    return "the file is closed or cannot be rewound; give a path or an open, seekable file"
