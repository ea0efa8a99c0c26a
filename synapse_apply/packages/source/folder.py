"""How a folder on disk is read as a SourceTree, without following any link."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from synapse_apply.files.checkout import read_submodule_paths_of_existing_gitmodules
from synapse_apply.packages.content import BLOCK, UnreadableError
from synapse_apply.packages.entry_names import escape_misleading_path
from synapse_apply.packages.source.tree import EntryKind, TreeEntry


class FolderTree:
    """A SourceTree (tree.py) over a folder as it is now; raises UnreadableError.

    Links are returned as links: whether one is followed is decided in tree.py.
    """

    def __init__(self, top: Path) -> None:
        self._top = top

    # Only for an empty folder: to look for a repository in all folders above takes longer than to
    # list a small package.
    @cached_property
    def _submodules(self) -> frozenset[Path]:
        return _find_submodule_folders_or_empty(self._top)

    def list_children(self, folder: str) -> list[TreeEntry]:
        """The entries of a folder, sorted by name."""
        try:
            # Sorted: the order of a directory differs between file systems.
            names = sorted(os.listdir(self._top / folder))  # noqa: PTH208 - names, not paths
        except OSError as problem:
            raise _build_unreadable_error(folder or ".", problem) from None
        nodes = (
            self.find_entry_without_following_links(f"{folder}/{name}" if folder else name)
            for name in names
        )
        return [node for node in nodes if node is not None]

    def find_entry_without_following_links(self, path: str) -> TreeEntry | None:
        """The entry at a path, a link as a link; None if there is nothing."""
        try:
            info = os.lstat(self._top / path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as problem:
            raise _build_unreadable_error(path, problem) from None
        if stat.S_ISLNK(info.st_mode):
            return TreeEntry(path, EntryKind.LINK)
        if stat.S_ISDIR(info.st_mode):
            return TreeEntry(
                path,
                EntryKind.SUBMODULE if self._is_submodule_without_files(path) else EntryKind.FOLDER,
            )
        if not stat.S_ISREG(info.st_mode):
            return TreeEntry(path, EntryKind.SPECIAL)
        is_executable = bool(info.st_mode & stat.S_IXUSR)
        return TreeEntry(path, EntryKind.FILE, info.st_size, is_executable)

    def read_link_target(self, link: TreeEntry) -> str:
        """The target of a link as it is written."""
        try:
            return os.readlink(self._top / link.path)  # noqa: PTH115 - the text, not a path
        except OSError as problem:
            raise _build_unreadable_error(link.path, problem) from None

    def iter_blocks(self, file: TreeEntry) -> Iterator[bytes]:
        """The file's content in blocks; a link that has replaced it meanwhile is not followed."""
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        try:
            with os.fdopen(os.open(self._top / file.path, flags), "rb") as content:
                while block := content.read(BLOCK):
                    yield block
        except OSError as problem:
            raise _build_unreadable_error(file.path, problem) from None

    def _is_submodule_without_files(self, path: str) -> bool:
        """Whether a folder is a Git submodule whose files were not fetched."""
        folder = self._top / path
        try:
            names = os.listdir(folder)  # noqa: PTH208 - names, not paths
        except OSError:
            return False
        if names == [".git"]:
            return (folder / ".git").is_file()
        return not names and Path(os.path.abspath(folder)) in self._submodules  # noqa: PTH100


def _find_submodule_folders_or_empty(top: Path) -> frozenset[Path]:
    """The submodule folders in .gitmodules of the repository that contains `top`."""
    start = Path(os.path.abspath(top))  # noqa: PTH100 - links stay as they are
    for folder in (start, *start.parents):
        if (folder / ".git").exists():
            try:
                submodule_paths = read_submodule_paths_of_existing_gitmodules(folder)
            except OSError:
                return frozenset()
            return frozenset(folder / path for path in submodule_paths)
    return frozenset()


def _build_unreadable_error(path: str, problem: OSError) -> UnreadableError:
    return UnreadableError(
        "File of the package cannot be read",
        f"{escape_misleading_path(path)}: {problem.strerror}.",
        "Check its permissions, or leave it out with a line in .synapseignore.",
    )
