"""A multipart/form-data body (RFC 7578): streamed from its file, its length known beforehand."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

_BLOCK = 64 * 1024


class UnreadableBodyError(Exception):
    """The file cannot be read, or is not the size it had.

    Not an OSError, which would look like a broken connection to the libraries below.
    """


class MultipartBody:
    """A file-like body: sized, readable once, rewindable. Close it; the caller's file stays open.

    Form values as the platform's own client sends them (synapse-api.md, "Multipart form"):
    booleans `True`/`False`, lists as repeated parts, maps as JSON text, null left out.
    """

    def __init__(
        self, fields: Mapping[str, Any], file: Any, name: str = "file", *, digest_field: str = ""
    ) -> None:
        """`file` is a path or an open binary file, sent from where it stands to its end.

        `digest_field` names a field that holds the file's SHA-256 in hex: given in `fields`, told
        by the file itself (`sha256`), or else found by reading it once. Bytes that do not have it
        are not sent to their end.
        """
        self._boundary = secrets.token_hex(16)
        self._owns_file = isinstance(file, str | os.PathLike)
        self._file, self._start, self._size = _open_upload_file(file)
        self._sent_hash: Any = hashlib.sha256() if digest_field else None
        try:
            if digest_field and fields.get(digest_field) is None:
                fields = {
                    **fields,
                    digest_field: self._read_declared_digest(file) or self._compute_file_digest(),
                }
            self._expected_digest = str(fields[digest_field]).lower() if digest_field else ""
            self._head = b"".join(self._encode_field(key, value) for key, value in fields.items())
        except BaseException:
            self.close()
            raise
        self._head += self._encode_file_head(name, _choose_upload_file_name(file))
        self._tail = f"\r\n--{self._boundary}--\r\n".encode()
        self._position = 0

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self._boundary}"

    @property
    def is_fully_read(self) -> bool:
        """Whether all of it was read: a server that got less has no request to act on."""
        return self._position >= len(self)

    def __len__(self) -> int:
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(_BLOCK):
            yield block

    def rewind(self) -> None:
        """Back to the first byte, for another attempt."""
        self._position = 0
        if self._sent_hash is not None:
            self._sent_hash = hashlib.sha256()
        _rewind_file(self._file, self._start)

    def read(self, size: int = -1) -> bytes:
        """The next bytes, fewer than asked at the seams; UnreadableBodyError for a changed file."""
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
            self._require_unchanged_file()
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

    def _require_unchanged_file(self) -> None:
        """Before the last bytes leave: without them the server takes nothing."""
        if self._has_bytes_past_size():
            raise UnreadableBodyError("the file grew while it was sent")
        if self._sent_hash is not None and self._sent_hash.hexdigest() != self._expected_digest:
            raise UnreadableBodyError("the file does not have the SHA-256 that was said of it")

    def _read_declared_digest(self, file: Any) -> str:
        """The SHA-256 that a file of ours knows of all its bytes; "" for any other."""
        digest = getattr(file, "sha256", "")
        return digest if isinstance(digest, str) and not self._start else ""

    def _compute_file_digest(self) -> str:
        """The SHA-256 of the file, which then stands at its start again."""
        remaining = self._size
        while remaining > 0:
            remaining -= len(self._read_file_block(min(_BLOCK, remaining)))
        digest: str = self._sent_hash.hexdigest()
        self.rewind()
        return digest

    def _has_bytes_past_size(self) -> bool:
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
    """As browsers write it: a name must not end the header it stands in."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _choose_upload_file_name(file: Any) -> str:
    name = file if isinstance(file, str | os.PathLike) else getattr(file, "name", None)
    return Path(name).name or "package.zip" if isinstance(name, str | Path) else "package.zip"


def _open_upload_file(file: Any) -> tuple[BinaryIO, int, int]:
    """The file, where its part begins, and how many bytes follow."""
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
            start, size = 0, len(stream)
    except (OSError, ValueError, TypeError) as failure:
        raise UnreadableBodyError(_explain_file_error(failure)) from None
    return stream, start, size


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
