"""What counts as the content of a package, and how its canonical digest is computed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Protocol

from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.model.packages.digest import EXECUTABLE_SUFFIX
from synapse_apply.packages.zip_stamps import FileStamp

BLOCK = 1024 * 1024

_LFS_PREFIXES = (
    b"version https://git-lfs.github.com/spec/",
    b"version https://hawser.github.com/spec/",
)


class UnreadableError(Exception):
    """A file of the package cannot be read; `finding` says why."""

    def __init__(self, summary: str, detail: str, hint: str = "") -> None:
        super().__init__(summary)
        self.finding = error_finding(summary, detail, hint)


@frozen
class PackageFile:
    """One file of a package.

    `path` is relative to the package's root, in NFC, with forward slashes; `size` is in bytes as
    the source states it; `blocks` opens and reads the content (UnreadableError if it cannot).
    """

    path: str
    is_executable: bool
    size: int
    blocks: Callable[[], Iterator[bytes]]


@frozen
class FileContent:
    """SHA-256 in hex and size in bytes of a file, and whether it is a Git LFS pointer."""

    sha256: str
    size: int
    is_pointer: bool = False


class ContentWatcher(Protocol):
    """Inspects files while they are read for their hash, so that none is read twice."""

    def begin_package(self, gathered: GatheredFiles) -> None:
        """Called once, before the first file."""
        ...

    def wants_file(self, entry: PackageFile) -> bool:
        """Whether `inspect_file` shall get this file, which is then held in memory."""
        ...

    def inspect_file(self, entry: PackageFile, data: bytes) -> None:
        """Called with the complete content of a wanted file."""
        ...


@mutable
class GatheredFiles:
    """The files of a source before they are read.

    `excluded` has (path, rule) of what is left out, a folder's path with a slash at its end;
    `findings` the errors; `zip_stamp` is set where all entries are in one zip on disk;
    `ignore_files` the texts of the ignore files at the root, by name.
    """

    entries: list[PackageFile] = field(default_factory=list)
    excluded: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Diagnostic] = field(default_factory=list)
    zip_stamp: FileStamp | None = None
    ignore_files: dict[str, str] = field(default_factory=dict)


@mutable
class MeasuredPackage:
    """`files` maps each path to `SHA256HEX`, or `SHA256HEX x` for an executable file.

    `size` is the sum of all sizes in bytes.
    """

    files: dict[str, str] = field(default_factory=dict)
    size: int = 0
    findings: list[Diagnostic] = field(default_factory=list)


def compute_package_digest(files: Mapping[str, str]) -> str:
    """The digest `pkg1:sha256:HEX` of a package's files; `files` is as in `MeasuredPackage`.

    These bytes are hashed: `synapse-apply package 1` and a zero byte; the number of files (8 bytes,
    big endian); then for each file, in the order of its path's UTF-8 bytes: the length of the path
    in bytes (8 bytes, big endian), the path (NFC, UTF-8), `x` if it is executable else `-`, and the
    32 bytes of the SHA-256 of its content. Times, owners, other permission bits, empty folders,
    the order of files and the encoding of a zip have no influence.
    """
    package_hash = hashlib.sha256(b"synapse-apply package 1\0" + len(files).to_bytes(8, "big"))
    for path_bytes, path in sorted((path.encode(), path) for path in files):
        content = files[path]
        package_hash.update(len(path_bytes).to_bytes(8, "big") + path_bytes)
        package_hash.update(b"x" if content.endswith(EXECUTABLE_SUFFIX) else b"-")
        package_hash.update(bytes.fromhex(content.removesuffix(EXECUTABLE_SUFFIX)))
    return f"pkg1:sha256:{package_hash.hexdigest()}"


def hash_files_collecting_errors(
    entries: list[PackageFile],
    write: Callable[[PackageFile, Iterator[bytes]], None] | None = None,
    watcher: ContentWatcher | None = None,
) -> MeasuredPackage:
    """Read each file once and hash it; errors are collected in `findings`.

    `write` gets the blocks that are hashed and must consume them.
    """
    measured = MeasuredPackage()
    for entry in entries:
        file_watcher = (
            watcher if write is None and watcher is not None and watcher.wants_file(entry) else None
        )
        # `write` consumes the blocks, so that nothing is left for `watcher`.
        block_writer = (
            write
            if file_watcher is None
            else _make_callback_joining_blocks_for_watcher(file_watcher)
        )
        try:
            content = read_hash_and_recognize_lfs_pointer(entry, block_writer)
        except UnreadableError as problem:
            measured.findings.append(problem.finding)
            continue
        measured.files[entry.path] = content.sha256 + (
            EXECUTABLE_SUFFIX if entry.is_executable else ""
        )
        measured.size += content.size
        # A pointer would be published in place of the file, and fail only when it is used.
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


def _make_callback_joining_blocks_for_watcher(
    watcher: ContentWatcher,
) -> Callable[[PackageFile, Iterator[bytes]], None]:
    return lambda entry, blocks: watcher.inspect_file(entry, b"".join(blocks))


def read_hash_and_recognize_lfs_pointer(
    entry: PackageFile, write: Callable[[PackageFile, Iterator[bytes]], None] | None = None
) -> FileContent:
    """Read a file to its end and hash it; `write` must consume the blocks. UnreadableError."""
    reader = _HashingReader(entry)
    if write is not None:
        write(entry, reader.iter_blocks_while_hashing())
    else:
        for _ in reader.iter_blocks_while_hashing():
            pass
    return reader.build_content_of_bytes_read_so_far()


class _HashingReader:
    """Hashes the blocks of one file while another consumer iterates over them."""

    def __init__(self, entry: PackageFile) -> None:
        self._entry = entry
        self._hash = hashlib.sha256()
        self.size = 0
        self.first_bytes = b""

    def iter_blocks_while_hashing(self) -> Iterator[bytes]:
        """The blocks of the file; UnreadableError if it is larger than the source stated."""
        for block in self._entry.blocks():
            self._hash.update(block)
            self.size += len(block)
            # A file that grows while it is read may grow without end.
            if self.size > self._entry.size:
                raise UnreadableError(
                    "File changed while it was read",
                    f"{self._entry.path} is larger than it was a moment ago.",
                    "Let whatever writes to it finish, then try again.",
                )
            # Enough to recognise a Git LFS pointer.
            if len(self.first_bytes) < 64:
                self.first_bytes += block[:64]
            yield block

    def build_content_of_bytes_read_so_far(self) -> FileContent:
        """The hash and size of what has been iterated over."""
        # A Git LFS pointer has less than 1024 bytes (git-lfs, docs/spec.md).
        is_pointer = self.size < 1024 and self.first_bytes.startswith(_LFS_PREFIXES)
        return FileContent(self._hash.hexdigest(), self.size, is_pointer)
