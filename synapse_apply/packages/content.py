"""The content of a package: its entries and the canonical digest over them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.frozen import frozen
from synapse_apply.packages.file_stamp import FileStamp

BLOCK = 1024 * 1024
EXECUTABLE_SUFFIX = " x"

_LFS_PREFIXES = (
    b"version https://git-lfs.github.com/spec/",
    b"version https://hawser.github.com/spec/",
)


class UnreadableError(Exception):
    """A file of the package cannot be read; carries the finding."""

    def __init__(self, summary: str, detail: str, hint: str = "") -> None:
        super().__init__(summary)
        self.finding = error_finding(summary, detail, hint)


@frozen
class PackageFile:
    """One file of a package.

    `path` is relative to the package's root, NFC, with forward slashes; `size` in bytes as
    declared; `blocks` reads the content anew, UnreadableError when it cannot. `stamp` is there
    for a file on disk.
    """

    path: str
    is_executable: bool
    size: int
    blocks: Callable[[], Iterator[bytes]]
    stamp: FileStamp | None = None


@frozen
class FileContent:
    """What a file holds: its SHA-256 in hex, its size, and whether it is a Git LFS pointer."""

    sha256: str
    size: int
    is_pointer: bool = False


class ContentCache(Protocol):
    """What files held when they were read before."""

    def find_content(self, entry: PackageFile) -> FileContent | None:
        """None where it is not known, or may have changed since."""
        ...

    def store_content(self, entry: PackageFile, content: FileContent) -> None: ...


class ContentWatcher(Protocol):
    """Looks at what is in a package while it is read to be hashed: no file is read twice."""

    def begin_package(self, gathered: GatheredFiles) -> None:
        """Once, before the first file."""
        ...

    def wants_file(self, entry: PackageFile) -> bool:
        """Whether it is to see this file, which is then held in memory."""
        ...

    def inspect_file(self, entry: PackageFile, data: bytes) -> None: ...


@dataclass(slots=True)
class GatheredFiles:
    """What a source holds: its files, what was left out and why, and what is wrong with it.

    `zip_file` is the file on disk that all of it lies in; `ignore_files` the texts of those at the
    root.
    """

    entries: list[PackageFile] = field(default_factory=list)
    excluded: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Diagnostic] = field(default_factory=list)
    zip_file: PackageFile | None = None
    ignore_files: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class MeasuredPackage:
    """`files` maps each path to `SHA256HEX` or `SHA256HEX x`; `size` is the sum in bytes."""

    files: dict[str, str] = field(default_factory=dict)
    size: int = 0
    findings: list[Diagnostic] = field(default_factory=list)


def compute_package_digest(files: Mapping[str, str]) -> str:
    """`pkg1:sha256:HEX` over canonical content, never over the bytes of a zip.

    The bytes that are hashed: `synapse-apply package 1` and a zero byte; the number of files (8
    bytes, big endian); then for each file, in the order of its path's UTF-8 bytes: the length of
    the path in bytes (8 bytes, big endian), the path (NFC, UTF-8), `x` when it is executable else
    `-`, and the 32 bytes of the SHA-256 of its content. Times, owners, other permission bits,
    empty folders and the order of files do not count.
    """
    package_hash = hashlib.sha256(b"synapse-apply package 1\0" + len(files).to_bytes(8, "big"))
    for path_bytes, path in sorted((path.encode(), path) for path in files):
        content = files[path]
        package_hash.update(len(path_bytes).to_bytes(8, "big") + path_bytes)
        package_hash.update(b"x" if content.endswith(EXECUTABLE_SUFFIX) else b"-")
        package_hash.update(bytes.fromhex(content.removesuffix(EXECUTABLE_SUFFIX)))
    return f"pkg1:sha256:{package_hash.hexdigest()}"


def hash_and_measure_files(
    entries: list[PackageFile],
    write: Callable[[PackageFile, Iterator[bytes]], None] | None = None,
    cache: ContentCache | None = None,
    watcher: ContentWatcher | None = None,
) -> MeasuredPackage:
    """Read every file once; `write` sees the blocks that are hashed, as they pass.

    What `cache` has is not read, unless it is to be written or `watcher` is to see it.
    """
    measured = MeasuredPackage()
    for entry in entries:
        file_watcher = (
            watcher if write is None and watcher is not None and watcher.wants_file(entry) else None
        )
        block_writer = write if file_watcher is None else _collect_blocks_for_watcher(file_watcher)
        try:
            content = cache.find_content(entry) if cache and block_writer is None else None
            if content is None:
                content = read_and_hash_file(entry, block_writer)
                if cache is not None:
                    cache.store_content(entry, content)
        except UnreadableError as problem:
            measured.findings.append(problem.finding)
            continue
        measured.files[entry.path] = content.sha256 + (
            EXECUTABLE_SUFFIX if entry.is_executable else ""
        )
        measured.size += content.size
        if content.is_pointer:
            measured.findings.append(
                error_finding(
                    "Git LFS pointer in the package",
                    f"{entry.path} is a pointer, not the file it stands for.",
                    "Fetch the content with: git lfs pull. At a Git ref there are pointers only: "
                    "use the folder, or a zip (file:).",
                )
            )
    return measured


def _collect_blocks_for_watcher(
    watcher: ContentWatcher,
) -> Callable[[PackageFile, Iterator[bytes]], None]:
    return lambda entry, blocks: watcher.inspect_file(entry, b"".join(blocks))


def read_and_hash_file(
    entry: PackageFile, write: Callable[[PackageFile, Iterator[bytes]], None] | None = None
) -> FileContent:
    """One file read to its end; UnreadableError."""
    reader = _HashingReader(entry)
    if write is not None:
        write(entry, reader.iter_hashed_blocks())
    else:
        for _ in reader.iter_hashed_blocks():
            pass
    return reader.build_content()


class _HashingReader:
    """Hashes blocks on their way through."""

    def __init__(self, entry: PackageFile) -> None:
        self._entry = entry
        self._hash = hashlib.sha256()
        self.size = 0
        self.first_bytes = b""

    def iter_hashed_blocks(self) -> Iterator[bytes]:
        for block in self._entry.blocks():
            self._hash.update(block)
            self.size += len(block)
            if self.size > self._entry.size:
                raise UnreadableError(
                    "File changed while it was read",
                    f"{self._entry.path} is larger than it was a moment ago.",
                    "Let whatever writes to it finish, then try again.",
                )
            if len(self.first_bytes) < 64:
                self.first_bytes += block[:64]
            yield block

    def build_content(self) -> FileContent:
        """A Git LFS pointer has under 1024 bytes (git-lfs docs, spec.md)."""
        is_pointer = self.size < 1024 and self.first_bytes.startswith(_LFS_PREFIXES)
        return FileContent(self._hash.hexdigest(), self.size, is_pointer)
