"""A folder on disk as a tree."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from synapse_apply.files.checkout import submodules_of
from synapse_apply.packages.content import BLOCK, UnreadableError
from synapse_apply.packages.names import printable
from synapse_apply.packages.sighting import sighting_of
from synapse_apply.packages.tree import Kind, Node


class FolderTree:
    """Reads a folder as it is now; nothing is followed by the system itself."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._submodules = _submodules_around(top)

    def children(self, folder: str) -> list[Node]:
        """What stands in a folder, by name."""
        try:
            names = sorted(os.listdir(self._top / folder))  # noqa: PTH208 - names, not paths
        except OSError as problem:
            raise _unreadable(folder or ".", problem) from None
        nodes = (self.node(f"{folder}/{name}" if folder else name) for name in names)
        return [node for node in nodes if node is not None]

    def node(self, path: str) -> Node | None:
        """What stands at a path, links as links; None where nothing does."""
        try:
            info = os.lstat(self._top / path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as problem:
            raise _unreadable(path, problem) from None
        if stat.S_ISLNK(info.st_mode):
            return Node(path, Kind.LINK)
        if stat.S_ISDIR(info.st_mode):
            return Node(path, Kind.SUBMODULE if self._lacks_files(path) else Kind.FOLDER)
        if not stat.S_ISREG(info.st_mode):
            return Node(path, Kind.SPECIAL)
        executable = bool(info.st_mode & stat.S_IXUSR)
        seen = sighting_of(f"{self._top}/{path}", info)
        return Node(path, Kind.FILE, info.st_size, executable, sighting=seen)

    def target(self, link: Node) -> str:
        """Where a link points, as it is written."""
        try:
            return os.readlink(self._top / link.path)  # noqa: PTH115 - the text, not a path
        except OSError as problem:
            raise _unreadable(link.path, problem) from None

    def blocks(self, file: Node) -> Iterator[bytes]:
        """The file's content; a link that took its place since is not followed."""
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        try:
            with os.fdopen(os.open(self._top / file.path, flags), "rb") as content:
                while block := content.read(BLOCK):
                    yield block
        except OSError as problem:
            raise _unreadable(file.path, problem) from None

    def _lacks_files(self, path: str) -> bool:
        """Whether a folder is a submodule that was never filled."""
        folder = self._top / path
        try:
            names = os.listdir(folder)  # noqa: PTH208 - names, not paths
        except OSError:
            return False
        if names == [".git"]:
            return (folder / ".git").is_file()
        return not names and Path(os.path.abspath(folder)) in self._submodules  # noqa: PTH100


def _submodules_around(top: Path) -> frozenset[Path]:
    """The folders that .gitmodules of the repository around `top` names."""
    here = Path(os.path.abspath(top))  # noqa: PTH100 - links stay as they are
    for folder in (here, *here.parents):
        if (folder / ".git").exists():
            try:
                listed = submodules_of(folder)
            except OSError:
                return frozenset()
            return frozenset(folder / path for path in listed)
    return frozenset()


def _unreadable(path: str, problem: OSError) -> UnreadableError:
    return UnreadableError(
        "File of the package cannot be read",
        f"{printable(path)}: {problem.strerror}.",
        "Check its permissions, or leave it out with a line in .synapseignore.",
    )
