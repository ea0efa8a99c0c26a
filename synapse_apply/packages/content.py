"""What counts as the content of a package, how its digest is computed, and what differs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field

from synapse_apply.files.tree import UnreadableError
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.model.packages import EXECUTABLE_SUFFIX
from synapse_apply.packages.zip_stamps import FileStamp

_LFS_PREFIXES = (
    b"version https://git-lfs.github.com/spec/",
    b"version https://hawser.github.com/spec/",
)


@frozen
class PackageFile:
    """One file of a package.

    `path` is relative to the package's root, in NFC, with forward slashes; `size` is in bytes as
    the source states it; `blocks` opens and reads the content (UnreadableError if it cannot);
    `place` is the file's path in a folder as it is spelled there, a link followed.
    """

    path: str
    is_executable: bool
    size: int
    blocks: Callable[[], Iterator[bytes]]
    place: str = ""


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


def exhaust(_file: PackageFile, blocks: Iterator[bytes]) -> None:
    """Read a file to its end."""
    for _ in blocks:
        pass


def measure_files(
    files: Iterable[PackageFile],
    read: Callable[[PackageFile, Iterator[bytes]], None] = exhaust,
) -> MeasuredPackage:
    """Read each file once and hash it; errors are collected in `findings`.

    `read` gets the blocks that are hashed and must consume them.
    """
    measured = MeasuredPackage()
    for file in files:
        hashed = _HashedBlocks(file)
        try:
            read(file, iter(hashed))
        except UnreadableError as problem:
            measured.findings.append(problem.finding)
            continue
        suffix = EXECUTABLE_SUFFIX if file.is_executable else ""
        measured.files[file.path] = hashed.hash.hexdigest() + suffix
        measured.size += hashed.size
        # A Git LFS pointer has less than 1024 bytes (git-lfs, docs/spec.md). It would be published
        # in place of the file, and fail only when it is used.
        if hashed.size < 1024 and hashed.first_bytes.startswith(_LFS_PREFIXES):
            measured.findings.append(
                error_finding(
                    "Git LFS pointer in the package",
                    f"{file.path} is a pointer, not the file it stands for.",
                    "Fetch the content with: git lfs pull. At a Git ref there are pointers only: "
                    "use the folder, or a zip (file:).",
                )
            )
    return measured


class _HashedBlocks:
    """The blocks of one file, hashed while somebody else iterates over them."""

    def __init__(self, file: PackageFile) -> None:
        self._file = file
        self.hash = hashlib.sha256()
        self.size = 0
        self.first_bytes = b""

    def __iter__(self) -> Iterator[bytes]:
        """UnreadableError if the file is larger than the source stated."""
        for block in self._file.blocks():
            self.hash.update(block)
            self.size += len(block)
            # A file that grows while it is read may grow without end.
            if self.size > self._file.size:
                raise UnreadableError(
                    "File changed while it was read",
                    f"{self._file.path} is larger than it was a moment ago.",
                    "Let whatever writes to it finish, then try again.",
                )
            # Enough to recognise a Git LFS pointer.
            if len(self.first_bytes) < 64:
                self.first_bytes += block[:64]
            yield block


@frozen
class FileChange:
    """One path that differs; `verb` is added, removed or changed.

    `content`: the bytes differ. `executable` is the new executable bit, None if it is unchanged.
    """

    path: str
    verb: str
    content: bool = True
    executable: bool | None = None


def list_changes(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[FileChange, ...]:
    """Each path that differs between two `Package.files`, sorted by path."""
    changes = []
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path, ""), new.get(path, "")
        (old_content, was_program, _), (content, is_program, _) = (
            digest.partition(EXECUTABLE_SUFFIX) for digest in (before, after)
        )
        if not after:
            changes.append(FileChange(path, "removed"))
        elif before != after:
            executable = bool(is_program) if was_program != is_program else None
            verb = "changed" if before else "added"
            changes.append(FileChange(path, verb, old_content != content, executable))
    return tuple(changes)
