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
        self, fields: Mapping[str, Any], file: Any, name: str = "file", *, digest: str = ""
    ) -> None:
        """`file` is a path or an open binary file, sent from where it stands to its end.

        `digest` names a field that holds the file's SHA-256 in hex: given in `fields`, told by the
        file itself (`sha256`), or else found by reading it once. Bytes that do not have it are not
        sent to their end.
        """
        self._boundary = secrets.token_hex(16)
        self._own = isinstance(file, str | os.PathLike)
        self._file, self._start, self._size = _opened(file)
        self._sent: Any = hashlib.sha256() if digest else None
        try:
            if digest and fields.get(digest) is None:
                fields = {**fields, digest: self._told(file) or self._measured()}
            self._expected = str(fields[digest]).lower() if digest else ""
            self._head = b"".join(self._field(key, value) for key, value in fields.items())
        except BaseException:
            self.close()
            raise
        self._head += self._file_head(name, _file_name(file))
        self._tail = f"\r\n--{self._boundary}--\r\n".encode()
        self._at = 0

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self._boundary}"

    @property
    def is_whole(self) -> bool:
        """Whether all of it was read: a server that got less has no request to act on."""
        return self._at >= len(self)

    def __len__(self) -> int:
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(_BLOCK):
            yield block

    def rewind(self) -> None:
        """Back to the first byte, for another attempt."""
        self._at = 0
        if self._sent is not None:
            self._sent = hashlib.sha256()
        _to_start(self._file, self._start)

    def read(self, size: int = -1) -> bytes:
        """The next bytes, fewer than asked at the seams; UnreadableBodyError for a changed file."""
        size = _BLOCK if size < 0 else size
        block = self._next(size)
        self._at += len(block)
        return block

    def close(self) -> None:
        """Close the file if it was opened here."""
        if self._own:
            self._file.close()

    def _next(self, size: int) -> bytes:
        at = self._at
        if at < len(self._head):
            return self._head[at : at + size]
        at -= len(self._head)
        if at < self._size:
            return self._read_file(min(size, self._size - at))
        at -= self._size
        if at == 0:
            self._check_end()
        return self._tail[at : at + size]

    def _read_file(self, size: int) -> bytes:
        try:
            block = self._file.read(size)
        except (OSError, ValueError) as failure:
            raise UnreadableBodyError(_why(failure)) from None
        if not isinstance(block, bytes):
            raise UnreadableBodyError("the file is open as text; open it in binary mode ('rb')")
        if not block:
            raise UnreadableBodyError("the file shrank while it was sent")
        if self._sent is not None:
            self._sent.update(block)
        return block

    def _check_end(self) -> None:
        """Before the last bytes leave: without them the server takes nothing."""
        if self._surplus():
            raise UnreadableBodyError("the file grew while it was sent")
        if self._sent is not None and self._sent.hexdigest() != self._expected:
            raise UnreadableBodyError("the file does not have the SHA-256 that was said of it")

    def _told(self, file: Any) -> str:
        """The SHA-256 that a file of ours knows of all its bytes; "" for any other."""
        told = getattr(file, "sha256", "")
        return told if isinstance(told, str) and not self._start else ""

    def _measured(self) -> str:
        """The SHA-256 of the file, which then stands at its start again."""
        left = self._size
        while left > 0:
            left -= len(self._read_file(min(_BLOCK, left)))
        found: str = self._sent.hexdigest()
        self.rewind()
        return found

    def _surplus(self) -> bool:
        try:
            return bool(self._file.read(1))
        except (OSError, ValueError):
            return False

    def _field(self, name: str, value: Any) -> bytes:
        values = value if isinstance(value, list | tuple) else [value]
        return b"".join(self._part(name, _text(each)) for each in values if each is not None)

    def _part(self, name: str, text: str) -> bytes:
        head = f'--{self._boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"'
        return f"{head}\r\n\r\n{text}\r\n".encode()

    def _file_head(self, name: str, file_name: str) -> bytes:
        kind = "application/zip" if file_name.endswith(".zip") else "application/octet-stream"
        head = f'--{self._boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"'
        return f'{head}; filename="{_quoted(file_name)}"\r\nContent-Type: {kind}\r\n\r\n'.encode()


def _text(value: Any) -> str:
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    return str(value)


def _quoted(name: str) -> str:
    """As browsers write it: a name must not end the header it stands in."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _file_name(file: Any) -> str:
    name = file if isinstance(file, str | os.PathLike) else getattr(file, "name", None)
    return Path(name).name or "package.zip" if isinstance(name, str | Path) else "package.zip"


def _opened(file: Any) -> tuple[BinaryIO, int, int]:
    """The file, where its part begins, and how many bytes follow."""
    try:
        opened: Any = Path(file).open("rb") if isinstance(file, str | os.PathLike) else file  # noqa: SIM115
        if isinstance(opened, io.TextIOBase):
            raise UnreadableBodyError("the file is open as text; open it in binary mode ('rb')")
        if not hasattr(opened, "read"):
            raise UnreadableBodyError(
                f"a path or an open file is needed, not {type(file).__name__}"
            )
        if hasattr(opened, "seek") and hasattr(opened, "tell"):
            start = opened.tell()
            size = opened.seek(0, os.SEEK_END) - start
            opened.seek(start)
        else:
            start, size = 0, len(opened)
    except (OSError, ValueError, TypeError) as failure:
        raise UnreadableBodyError(_why(failure)) from None
    return opened, start, size


def _to_start(file: Any, start: int) -> None:
    try:
        if hasattr(file, "seek"):
            file.seek(start)
        else:
            file.rewind()
    except (OSError, ValueError, AttributeError) as failure:
        raise UnreadableBodyError(_why(failure)) from None


def _why(failure: Exception) -> str:
    if isinstance(failure, FileNotFoundError):
        return f"there is no file {failure.filename}"
    if isinstance(failure, OSError) and failure.strerror:
        return f"{failure.strerror.lower()}: {failure.filename or 'the file'}"
    return "the file is closed or cannot be rewound; give a path or an open, seekable file"
