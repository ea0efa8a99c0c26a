"""The content of a package: its entries and the canonical digest over them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.frozen import frozen
from synapse_apply.packages.sighting import Sighting

BLOCK = 1024 * 1024
EXECUTABLE = " x"

_LFS_STARTS = (
    b"version https://git-lfs.github.com/spec/",
    b"version https://hawser.github.com/spec/",
)


class UnreadableError(Exception):
    """A file of the package cannot be read; carries the finding."""

    def __init__(self, summary: str, detail: str, hint: str = "") -> None:
        super().__init__(summary)
        self.finding = error(summary, detail, hint)


@frozen
class Entry:
    """One file of a package.

    `path` is relative to the package's root, NFC, with forward slashes; `size` in bytes as
    declared; `blocks` reads the content anew, UnreadableError when it cannot. `sighting` is there
    for a file on disk.
    """

    path: str
    executable: bool
    size: int
    blocks: Callable[[], Iterator[bytes]]
    sighting: Sighting | None = None


@frozen
class Content:
    """What a file holds: its SHA-256 in hex, its size, and whether it is a Git LFS pointer."""

    sha256: str
    size: int
    is_pointer: bool = False


class Memory(Protocol):
    """What files held when they were read before."""

    def recall(self, entry: Entry) -> Content | None:
        """None where it is not known, or may have changed since."""
        ...

    def learn(self, entry: Entry, content: Content) -> None: ...


class Watch(Protocol):
    """Looks at what is in a package while it is read to be hashed: no file is read twice."""

    def begin(self, found: Gathered) -> None:
        """Once, before the first file."""
        ...

    def wants(self, entry: Entry) -> bool:
        """Whether it is to see this file, which is then held in memory."""
        ...

    def see(self, entry: Entry, data: bytes) -> None: ...


@dataclass(slots=True)
class Gathered:
    """What a source holds: its files, what was left out and why, and what is wrong with it.

    `zip` is the file on disk that all of it lies in; `ignore_files` the texts of those at the root.
    """

    entries: list[Entry] = field(default_factory=list)
    excluded: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Diagnostic] = field(default_factory=list)
    zip: Entry | None = None
    ignore_files: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Measured:
    """`files` maps each path to `SHA256HEX` or `SHA256HEX x`; `size` is the sum in bytes."""

    files: dict[str, str] = field(default_factory=dict)
    size: int = 0
    findings: list[Diagnostic] = field(default_factory=list)


def digest_of(files: Mapping[str, str]) -> str:
    """`pkg1:sha256:HEX` over canonical content, never over the bytes of a zip.

    The bytes that are hashed: `synapse-apply package 1` and a zero byte; the number of files (8
    bytes, big endian); then for each file, in the order of its path's UTF-8 bytes: the length of
    the path in bytes (8 bytes, big endian), the path (NFC, UTF-8), `x` when it is executable else
    `-`, and the 32 bytes of the SHA-256 of its content. Times, owners, other permission bits,
    empty folders and the order of files do not count.
    """
    whole = hashlib.sha256(b"synapse-apply package 1\0" + len(files).to_bytes(8, "big"))
    for name, path in sorted((path.encode(), path) for path in files):
        content = files[path]
        whole.update(len(name).to_bytes(8, "big") + name)
        whole.update(b"x" if content.endswith(EXECUTABLE) else b"-")
        whole.update(bytes.fromhex(content.removesuffix(EXECUTABLE)))
    return f"pkg1:sha256:{whole.hexdigest()}"


def measure(
    entries: list[Entry],
    write: Callable[[Entry, Iterator[bytes]], None] | None = None,
    memory: Memory | None = None,
    watch: Watch | None = None,
) -> Measured:
    """Read every file once; `write` sees the blocks that are hashed, as they pass.

    What `memory` has is not read, unless it is to be written or `watch` is to see it.
    """
    made = Measured()
    for entry in entries:
        seen = watch if write is None and watch is not None and watch.wants(entry) else None
        through = write if seen is None else _shown_to(seen)
        try:
            content = memory.recall(entry) if memory and through is None else None
            if content is None:
                content = read_through(entry, through)
                if memory is not None:
                    memory.learn(entry, content)
        except UnreadableError as problem:
            made.findings.append(problem.finding)
            continue
        made.files[entry.path] = content.sha256 + (EXECUTABLE if entry.executable else "")
        made.size += content.size
        if content.is_pointer:
            made.findings.append(
                error(
                    "Git LFS pointer in the package",
                    f"{entry.path} is a pointer, not the file it stands for.",
                    "Fetch the content with: git lfs pull. At a Git ref there are pointers only: "
                    "use the folder, or a zip (file:).",
                )
            )
    return made


def _shown_to(watch: Watch) -> Callable[[Entry, Iterator[bytes]], None]:
    return lambda entry, blocks: watch.see(entry, b"".join(blocks))


def read_through(
    entry: Entry, write: Callable[[Entry, Iterator[bytes]], None] | None = None
) -> Content:
    """One file read to its end; UnreadableError."""
    passing = _Passing(entry)
    if write is not None:
        write(entry, passing.blocks())
    else:
        for _ in passing.blocks():
            pass
    return passing.content()


class _Passing:
    """Hashes blocks on their way through."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._hash = hashlib.sha256()
        self.size = 0
        self.start = b""

    def blocks(self) -> Iterator[bytes]:
        for block in self._entry.blocks():
            self._hash.update(block)
            self.size += len(block)
            if self.size > self._entry.size:
                raise UnreadableError(
                    "File changed while it was read",
                    f"{self._entry.path} is larger than it was a moment ago.",
                    "Let whatever writes to it finish, then try again.",
                )
            if len(self.start) < 64:
                self.start += block[:64]
            yield block

    def content(self) -> Content:
        """A Git LFS pointer has under 1024 bytes (git-lfs docs, spec.md)."""
        is_pointer = self.size < 1024 and self.start.startswith(_LFS_STARTS)
        return Content(self._hash.hexdigest(), self.size, is_pointer)
