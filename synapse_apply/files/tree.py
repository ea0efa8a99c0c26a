"""What a tree of files is, on a disk or in a commit: its entries, and which links are followed."""

from __future__ import annotations

import os
import posixpath
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from synapse_apply.files.checkout import read_submodule_paths
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.secrets.secret_rules import is_in_forbidden_folder

BLOCK = 1024 * 1024
# As Linux follows: else a chain of links is walked anew for each of them.
MOST_LINKS = 40
_MAX_TEXT_BYTES = 1024 * 1024
# Letters and marks without a glyph.
INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


class UnreadableError(Exception):
    """A file of a tree cannot be read; `finding` says why, `reason` in the system's own words."""

    def __init__(self, summary: str, detail: str, hint: str = "", reason: str = "") -> None:
        super().__init__(summary)
        self.finding = error_finding(summary, detail, hint)
        self.reason = reason


def escape_misleading_path(path: str) -> str:
    """The path as it is, or quoted with escapes if it could mislead on a terminal."""
    return path if path and path.isprintable() and not INVISIBLE.intersection(path) else ascii(path)


class EntryKind(Enum):
    """The kind of an entry; SUBMODULE is one whose files are not available."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    SUBMODULE = "submodule"
    SPECIAL = "special"


class Entry(NamedTuple):
    """An entry of a tree; `path` is spelled as in the tree, `size` is in bytes.

    `key` is for the tree's own use (a blob id).
    """

    path: str
    kind: EntryKind
    size: int = 0
    is_executable: bool = False
    key: str = ""


class Tree(ABC):
    """A folder that files are read from; every method raises UnreadableError.

    Links are entries of their own. Where one leads is decided here and not by the system, which
    would follow it anywhere: each step must stay inside of the tree.
    """

    @abstractmethod
    def entries(self, folder: str) -> list[Entry]:
        """The entries of a folder, "" for the top."""

    @abstractmethod
    def entry(self, path: str) -> Entry | None:
        """The entry at a path, a link as a link; None if there is nothing."""

    @abstractmethod
    def link_text(self, link: Entry) -> str:
        """The target of a link as it is written."""

    @abstractmethod
    def blocks(self, file: Entry) -> Iterator[bytes]:
        """The content of a file in blocks."""

    def file(self, entry: Entry) -> Entry:
        """The entry itself, or the file that its link leads to."""
        name = escape_misleading_path(entry.path)
        if entry.kind is EntryKind.LINK:
            return self._follow(entry)
        if entry.kind is EntryKind.SUBMODULE:
            raise UnreadableError(
                "Submodule without its files",
                f"{name} is a Git submodule that is not checked out.",
                f"In a folder: git submodule update --init {name}. "
                "At a Git ref its files cannot be read: use the folder, or a zip (file:).",
            )
        if entry.kind is EntryKind.SPECIAL:
            raise UnreadableError(
                "Special file in the package",
                f"{name} is a device, a pipe or a socket.",
                "Exclude it with a line in .synapseignore.",
            )
        return entry

    def read(self, path: str) -> bytes:
        """The content of a file, a link followed."""
        entry = self.entry(path)
        if entry is None:
            raise UnreadableError(
                "File not found", f"{escape_misleading_path(path)} does not exist."
            )
        return b"".join(self.blocks(self.file(entry)))

    def text(self, path: str) -> str | None:
        """The UTF-8 text of a file of at most 1 MiB, a link followed; None without a file."""
        entry = self.entry(path)
        if entry is None or entry.kind is EntryKind.FOLDER:
            return None
        file = self.file(entry)
        return decode_text(path, file.size, self.blocks(file))

    def _follow(self, link: Entry) -> Entry:
        """The file that a link leads to."""
        seen_paths = {link.path}
        entry = link
        while entry.kind is EntryKind.LINK:
            text = self.link_text(entry)
            path = join_link(entry, text)
            # A step upwards for Windows, where a package may be unpacked, has a backslash.
            if text.startswith("/") or "\\" in text or path == ".." or path.startswith("../"):
                shown_text = escape_misleading_path(text)
                raise _link_error(link, f"points outside the package (to {shown_text})")
            # Else a link `readme -> .git/config` would publish a token.
            if is_in_forbidden_folder(path):
                raise _link_error(
                    link, f"points to a file that is never part of a package ({path})"
                )
            if path in seen_paths:
                raise _link_error(link, "points to itself")
            if len(seen_paths) == MOST_LINKS:
                raise _link_error(link, f"leads over more than {MOST_LINKS} links")
            seen_paths.add(path)
            next_entry = self.behind_no_link(path)
            if next_entry is None:
                raise _link_error(link, f"points nowhere (to {escape_misleading_path(text)})")
            entry = next_entry
        if entry.kind is not EntryKind.FILE:
            kind = entry.kind.value
            raise _link_error(link, f"points to a {kind}, and the tool follows only links to files")
        return entry

    def behind_no_link(self, path: str) -> Entry | None:
        """The entry at a path, None if there is none or a folder on the way is a link."""
        parts = path.split("/")
        for depth in range(1, len(parts)):
            parent = self.entry("/".join(parts[:depth]))
            # A linked folder could lead outside at every step; Git does not follow one either.
            if parent is None or parent.kind is not EntryKind.FOLDER:
                return None
        return Entry("", EntryKind.FOLDER) if path == "." else self.entry(path)


def join_link(link: Entry, text: str) -> str:
    """Where a link leads by its text, as a path from the top of its tree."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(link.path), text))


def _link_error(link: Entry, reason: str) -> UnreadableError:
    return UnreadableError(
        "Link cannot be followed",
        f"{escape_misleading_path(link.path)} {reason}.",
        "Exclude the link with a line in .synapseignore, or replace it with a plain file.",
    )


def decode_text(path: str, size: int, blocks: Iterable[bytes]) -> str:
    """The blocks as UTF-8 text; UnreadableError for other bytes, or a `size` above 1 MiB."""
    if size > _MAX_TEXT_BYTES:
        raise UnreadableError("File too large to be read as text", f"{path} is over 1 MiB.")
    try:
        # Editors on Windows begin a file with a byte order mark, which would be part of a pattern.
        return b"".join(blocks).decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise UnreadableError(
            "File is not UTF-8 text", f"{path}, byte {problem.start}.", "Save it as UTF-8."
        ) from None


class FolderTree(Tree):
    """A folder on disk as it is now."""

    def __init__(self, top: Path | str) -> None:
        self._top = os.fspath(top)

    def entries(self, folder: str) -> list[Entry]:
        """The entries of a folder, sorted by name."""
        try:
            # Sorted: the order of a directory differs between file systems.
            names = sorted(os.listdir(self._real_path(folder)))  # noqa: PTH208 - names, not paths
        except OSError as problem:
            raise _unreadable(folder or ".", problem) from None
        entries = (self.entry(f"{folder}/{name}" if folder else name) for name in names)
        return [entry for entry in entries if entry is not None]

    def entry(self, path: str) -> Entry | None:
        """The entry at a path, a link as a link; None if there is nothing."""
        try:
            info = os.lstat(self._real_path(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as problem:
            raise _unreadable(path, problem) from None
        if stat.S_ISREG(info.st_mode):
            return Entry(path, EntryKind.FILE, info.st_size, bool(info.st_mode & stat.S_IXUSR))
        if stat.S_ISLNK(info.st_mode):
            return Entry(path, EntryKind.LINK)
        if not stat.S_ISDIR(info.st_mode):
            return Entry(path, EntryKind.SPECIAL)
        return Entry(
            path, EntryKind.SUBMODULE if self._lacks_submodule_files(path) else EntryKind.FOLDER
        )

    def link_text(self, link: Entry) -> str:
        """The target of a link as it is written."""
        try:
            return os.readlink(self._real_path(link.path))  # noqa: PTH115 - the text, not a path
        except OSError as problem:
            raise _unreadable(link.path, problem) from None

    def blocks(self, file: Entry) -> Iterator[bytes]:
        """The file's content in blocks; a link that has replaced it meanwhile is not followed."""
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        try:
            with os.fdopen(os.open(self._real_path(file.path), flags), "rb") as content:
                while block := content.read(BLOCK):
                    yield block
        except OSError as problem:
            raise _unreadable(file.path, problem) from None

    def _real_path(self, path: str) -> str:
        return os.path.join(self._top, path)  # noqa: PTH118 - of many files

    # Only for an empty folder: to look for a repository in all folders above takes longer than to
    # list a small package.
    @cached_property
    def _submodules(self) -> frozenset[str]:
        """The submodule folders in .gitmodules of the repository that contains the top."""
        start = Path(os.path.abspath(self._top))  # noqa: PTH100 - links stay as they are
        for folder in (start, *start.parents):
            if (folder / ".git").exists():
                try:
                    paths = read_submodule_paths(folder)
                except OSError:
                    return frozenset()
                return frozenset(str(folder / path) for path in paths)
        return frozenset()

    def _lacks_submodule_files(self, path: str) -> bool:
        """Whether a folder is a Git submodule whose files were not fetched."""
        folder = self._real_path(path)
        try:
            names = os.listdir(folder)  # noqa: PTH208 - names, not paths
        except OSError:
            return False
        if names == [".git"]:
            return os.path.isfile(f"{folder}/.git")  # noqa: PTH113
        return not names and os.path.abspath(folder) in self._submodules  # noqa: PTH100


def _unreadable(path: str, problem: OSError) -> UnreadableError:
    return UnreadableError(
        "File of the package cannot be read",
        f"{escape_misleading_path(path)}: {problem.strerror}.",
        "Check its permissions, or exclude the file with a line in .synapseignore.",
        str(problem.strerror),
    )
