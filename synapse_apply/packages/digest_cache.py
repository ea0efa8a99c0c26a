"""Digests of files that were read before: who has not changed since is not read again.

They make plans faster and are never the last word: what is uploaded is hashed on its way out.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from synapse_apply.model.frozen import frozen
from synapse_apply.packages.content import (
    ContentWatcher,
    FileContent,
    GatheredFiles,
    MeasuredPackage,
    PackageFile,
    UnreadableError,
    hash_and_measure_files,
    read_and_hash_file,
)
from synapse_apply.packages.file_stamp import FileStamp, is_unchanged

_HEADER_PREFIX = b"synapse-apply digests 1 "
_SHA256 = re.compile(r"[0-9a-f]{64}( x)?")
# What was not asked for in so many days is let go, and the oldest beyond so many files.
_MAX_AGE_DAYS, _MAX_CACHED_FILES = 30, 200_000
# Days after which a use is written down though nothing else is new.
_STALE_USE_DAYS = 7
# Reading a file costs as much as so many bytes more of it; below so many bytes in one run, reading
# all of it again is cheaper than to write it down.
_BYTES_PER_FILE, _MIN_SAVED_BYTES = 32 * 1024, 8 * 1024 * 1024


class ZipContent(NamedTuple):
    """What a zip holds, as `Measured` has it, and the SHA-256 of the zip's own bytes."""

    files: Mapping[str, str]
    size: int
    sha256: str


@frozen
class _CachedContent:
    """What a file held; `last_used_day` is the last one it was asked for, in days since 1970."""

    stamp: FileStamp
    content: FileContent | ZipContent
    last_used_day: int

    @property
    def row_count(self) -> int:
        return 1 + (len(self.content.files) if isinstance(self.content, ZipContent) else 0)

    @property
    def content_values(self) -> tuple[Any, ...]:
        content = self.content
        if isinstance(content, ZipContent):
            return content
        return (content.sha256, content.size, content.is_pointer)


class DigestCache:
    """What earlier runs found, and what this one finds; a file that changed is not known.

    `kept` is what `encode_cache` gave, anything else counts as nothing. `today` in days since 1970,
    `seconds` is a clock that also counts while the machine is suspended.
    """

    def __init__(
        self,
        encoded_cache: bytes = b"",
        today: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cached_by_path = _decode_cache(encoded_cache, today)
        self._today = today
        self._clock = clock
        self._started_at: float | None = None
        self._pending: list[_CachedContent] = []
        self._saved_bytes = 0
        self._is_stale = False

    def measure_gathered(
        self, gathered: GatheredFiles, watcher: ContentWatcher | None = None
    ) -> MeasuredPackage:
        """As `measure` has it; what is known is not read."""
        zip_file = gathered.zip_file
        if zip_file is None or zip_file.stamp is None:
            return hash_and_measure_files(gathered.entries, cache=self, watcher=watcher)
        cached_content = self._find_cached_content(zip_file.stamp)
        if isinstance(cached_content, ZipContent) and watcher is None:
            return MeasuredPackage(dict(cached_content.files), cached_content.size)
        measured_package = hash_and_measure_files(gathered.entries, watcher=watcher)
        if not measured_package.findings:
            # What changes meanwhile is no longer as it was seen, and so not kept.
            with suppress(UnreadableError):
                zip_bytes = read_and_hash_file(zip_file)
                content = ZipContent(
                    measured_package.files, measured_package.size, zip_bytes.sha256
                )
                self._add_pending(zip_file.stamp, content)
        return measured_package

    def find_content(self, entry: PackageFile) -> FileContent | None:
        """As the `Memory` of `measure` has it."""
        if entry.stamp is None:
            return None
        cached_content = self._find_cached_content(entry.stamp)
        return cached_content if isinstance(cached_content, FileContent) else None

    def store_content(self, entry: PackageFile, content: FileContent) -> None:
        """As the `Memory` of `measure` has it."""
        if entry.stamp is not None and content.size == entry.stamp.size:
            self._add_pending(entry.stamp, content)

    def find_zip_content(self, stamp: FileStamp) -> ZipContent | None:
        """What a zip holds that is as it was when all of it was read; None where that is open."""
        cached = self._cached_by_path.get(stamp.path)
        content = cached.content if cached and cached.stamp == stamp else None
        return content if isinstance(content, ZipContent) else None

    @property
    def is_worth_saving(self) -> bool:
        """Whether writing down what this run found spares the next one more than it costs."""
        return self._saved_bytes >= _MIN_SAVED_BYTES or self._is_stale

    def commit_pending(self, device: int, now: int) -> None:
        """Take over what this run found, where a change since would have been seen.

        `now` in nanoseconds is the clock of the file system `device`, which stamps its files.
        """
        elapsed = 0.0 if self._started_at is None else self._clock() - self._started_at
        started_at = now - int(elapsed * 1e9)
        for cached in self._pending:
            if cached.stamp.would_reveal_change(device, started_at) and is_unchanged(cached.stamp):
                self._cached_by_path[cached.stamp.path] = cached
        self._pending = []

    def encode_cache(self) -> bytes:
        """All that is known, for the next run."""
        rows, remaining = [], _MAX_CACHED_FILES
        for cached in sorted(
            self._cached_by_path.values(), key=lambda cached: -cached.last_used_day
        ):
            remaining -= cached.row_count
            if remaining >= 0 and cached.last_used_day > self._today - _MAX_AGE_DAYS:
                rows.append([*cached.stamp, cached.last_used_day, *cached.content_values])
        body = json.dumps(rows, separators=(",", ":")).encode()
        return _HEADER_PREFIX + hashlib.sha256(body).hexdigest().encode() + b"\n" + body

    def _find_cached_content(self, stamp: FileStamp) -> FileContent | ZipContent | None:
        cached = self._cached_by_path.get(stamp.path)
        if cached is None or cached.stamp != stamp:
            if self._started_at is None:
                self._started_at = self._clock()
            return None
        if cached.last_used_day != self._today:
            self._is_stale = self._is_stale or cached.last_used_day + _STALE_USE_DAYS < self._today
            self._cached_by_path[stamp.path] = _CachedContent(stamp, cached.content, self._today)
        return cached.content

    def _add_pending(self, stamp: FileStamp, content: FileContent | ZipContent) -> None:
        self._saved_bytes += _BYTES_PER_FILE + stamp.size
        self._pending.append(_CachedContent(stamp, content, self._today))


def _decode_cache(data: bytes, today: int) -> dict[str, _CachedContent]:
    """Nothing for what is damaged, foreign or of another version: it is only slower."""
    head, _, body = data.partition(b"\n")
    if head != _HEADER_PREFIX + hashlib.sha256(body).hexdigest().encode():
        return {}
    try:
        cached_files = [_parse_row(row, today) for row in json.loads(body)]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return {cached.stamp.path: cached for cached in cached_files}


def _parse_row(row: Any, today: int) -> _CachedContent:
    """One file as `encoded` has it; ValueError or TypeError for any other shape."""
    path, *numbers = row[:6]
    last_used_day, files_or_sha256, size, sha256_or_is_pointer = row[6:]
    if not isinstance(path, str) or not all(
        type(number) is int for number in (*numbers, last_used_day, size)
    ):
        raise ValueError(path)
    is_zip = not isinstance(sha256_or_is_pointer, bool)
    content = (
        ZipContent(files_or_sha256, size, sha256_or_is_pointer)
        if is_zip
        else FileContent(files_or_sha256, size, sha256_or_is_pointer)
    )
    texts = [sha256_or_is_pointer, *files_or_sha256.values()] if is_zip else [files_or_sha256]
    if not all(_SHA256.fullmatch(text) for text in texts):
        raise ValueError(path)
    return _CachedContent(FileStamp(path, *numbers), content, min(last_used_day, today))
