"""How request bodies are read: JSON, forms, and multipart whose files are streamed to disk."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn
from urllib.parse import parse_qs

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from synapse_apply.emulator.core.call import Upload
from synapse_apply.emulator.core.fields import ApiError, Body, refusal, too_large, unsupported_media

TEXT_LIMIT = 16 * 1024 * 1024  # bytes of a body without its files, all of which is in memory
DEEP_NESTING_BRACKETS = 300  # a body with fewer brackets cannot be nested too deeply

# A lone surrogate can be parsed, but not written in UTF-8 again.
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(slots=True)
class ReceivedBody:
    """A parsed body; its uploads are temporary files until `delete_upload_files`."""

    body: Body
    uploads: dict[str, Upload] = field(default_factory=dict)

    def delete_upload_files(self) -> None:
        for upload in self.uploads.values():
            upload.path.unlink(missing_ok=True)


async def read_request_body(
    chunks: AsyncIterator[bytes], content_type: str, incoming_folder: Path, limit: int
) -> ReceivedBody:
    """Read and parse a request body of at most `limit` bytes. Raises ApiError: 400, 413, 415."""
    media_type, options = parse_options_header(content_type)
    if media_type == b"multipart/form-data":
        return await _read_multipart(chunks, options, incoming_folder, limit)
    raw = await _read_all_within_limit(chunks, min(limit, TEXT_LIMIT))
    if not raw:
        return ReceivedBody(Body({}))
    if media_type == b"application/json":
        return ReceivedBody(Body(_parse_json_object(raw)))
    if media_type == b"application/x-www-form-urlencoded":
        pairs = parse_qs(raw.decode("utf-8", "replace"), keep_blank_values=True)
        return ReceivedBody(Body(_first_or_all(pairs), is_form=True))
    raise unsupported_media(content_type)


def _first_or_all(values: dict[str, list[str]]) -> dict[str, Any]:
    return {name: texts[0] if len(texts) == 1 else texts for name, texts in values.items()}


async def _read_all_within_limit(chunks: AsyncIterator[bytes], limit: int) -> bytes:
    parts, size = [], 0
    async for chunk in chunks:
        size += len(chunk)
        if size <= limit:
            parts.append(chunk)
    # The rest is read although it is refused: a client that is still sending would not see the
    # answer.
    if size > limit:
        raise too_large(limit)
    return b"".join(parts)


def _parse_json_object(raw: bytes) -> dict[str, Any]:
    try:
        # Python accepts NaN and Infinity, which JSON does not have (RFC 8259, 6).
        value = json.loads(raw, parse_constant=_refuse_nan_or_infinity)
        if raw.count(b"[") + raw.count(b"{") > DEEP_NESTING_BRACKETS:
            json.dumps(value)  # the writer's recursion limit is lower than the parser's
        if _SURROGATE_ESCAPE.search(raw):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise refusal(400, "JSON parse error - surrogate characters are not allowed") from None
    except (ValueError, RecursionError) as error:
        raise refusal(400, f"JSON parse error - {error}") from None
    if not isinstance(value, dict):
        text = f"Invalid data. Expected a dictionary, but got {type(value).__name__}."
        raise ApiError(400, {"non_field_errors": [text]})
    return value


def _refuse_nan_or_infinity(name: str) -> NoReturn:
    raise ValueError(f"out of range float value: {name}")


async def _read_multipart(
    chunks: AsyncIterator[bytes], options: dict[bytes, bytes], incoming_folder: Path, limit: int
) -> ReceivedBody:
    boundary = options.get(b"boundary")
    if not boundary:
        raise refusal(400, "Multipart form parse error - Invalid boundary in multipart: None")
    reader = _MultipartReader(boundary, incoming_folder)
    size = 0
    problem: ApiError | None = None
    try:
        async for chunk in chunks:
            size += len(chunk)
            if size > limit:
                problem = too_large(limit)
            # After a problem the rest is still read, as in _read_all_within_limit.
            if problem is None:
                problem = reader.feed_chunk(chunk)
        if problem is not None:
            raise problem
        return reader.take_body()
    finally:
        reader.close()


class _MultipartReader:
    """Parses a multipart body as it arrives: texts into memory, files to disk with a SHA-256."""

    def __init__(self, boundary: bytes, incoming_folder: Path) -> None:
        self._incoming_folder = incoming_folder
        self._texts: dict[str, list[str]] = {}
        self._uploads: dict[str, Upload] = {}
        self._text_size = 0
        self._is_ended = False
        self._header_name, self._header_value = b"", b""
        self._start_part()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._start_part,
                "on_header_field": self._on_header_name,
                "on_header_value": self._on_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._on_data,
                "on_part_end": self._end_part,
                "on_end": self._on_end,
            },
        )

    def feed_chunk(self, chunk: bytes) -> ApiError | None:
        """Parse the next bytes; returns the refusal instead of raising it.

        The caller reads the body to its end before it raises.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            return refusal(400, f"Multipart form parse error - {error}")
        except ApiError as error:
            return error
        return None

    def take_body(self) -> ReceivedBody:
        """The body, whose files `close` then leaves to the caller. Raises ApiError (400)."""
        if not self._is_ended:
            raise refusal(400, "Multipart form parse error - it is cut short")
        uploads, self._uploads = self._uploads, {}
        return ReceivedBody(Body(_first_or_all(self._texts), is_form=True), uploads)

    def close(self) -> None:
        """Delete all files that `take_body` has not handed out."""
        if self._file is not None:
            self._file.close()
            Path(self._file.name).unlink(missing_ok=True)
        for upload in self._uploads.values():
            upload.path.unlink(missing_ok=True)

    def _start_part(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._file: IO[bytes] | None = None
        self._data = bytearray()

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        # A header may arrive in several pieces.
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name, self._header_value = b"", b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in options:
            self._filename = options[b"filename"].decode("utf-8", "replace")
            # In the data set's folder, so that a kept package is renamed and not copied.
            descriptor, path = tempfile.mkstemp(dir=self._incoming_folder, suffix=".part")
            os.close(descriptor)
            self._file = Path(path).open("wb", buffering=1024 * 1024)  # noqa: SIM115 - closed by close
            self._digest = hashlib.sha256()
            self._size = 0

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        piece = memoryview(data)[start:end]
        if self._file is not None:
            self._file.write(piece)
            self._digest.update(piece)
            self._size += len(piece)
            return
        self._text_size += len(piece)
        # Counted over all parts, since many small texts take as much memory as a large one.
        if self._text_size > TEXT_LIMIT:
            raise too_large(TEXT_LIMIT)
        self._data += piece

    def _end_part(self) -> None:
        if self._file is None:
            text = self._data.decode("utf-8", "replace")
            self._texts.setdefault(self._name, []).append(text)
            return
        self._file.close()
        path = Path(self._file.name)
        # Of two files under one name the last one counts, as in Django.
        earlier = self._uploads.pop(self._name, None)
        if earlier is not None:
            earlier.path.unlink(missing_ok=True)
        self._uploads[self._name] = Upload(
            self._filename, path, self._size, self._digest.hexdigest()
        )
        self._file = None

    def _on_end(self) -> None:
        self._is_ended = True
