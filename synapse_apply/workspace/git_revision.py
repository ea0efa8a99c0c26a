"""How a project's folder is read from a Git commit, without a checkout."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

from synapse_apply.manifests.files.committed import CommittedEntry
from synapse_apply.model.errors import InputError
from synapse_apply.packages.content import UnreadableError
from synapse_apply.packages.source.git import GitCommit, GitTree, locate_in_repository_or_raise
from synapse_apply.packages.source.tree import (
    EntryKind,
    SourceTree,
    TreeEntry,
    is_link_to_folder,
    read_file_bytes_or_raise_unreadable,
)

_SUBMODULE_REASON = "is a Git submodule; its files are in another repository"
_LINK_REASON = "is a link to a folder; such links are not followed"
_UNREADABLE_REASONS = {EntryKind.SUBMODULE: _SUBMODULE_REASON, EntryKind.SPECIAL: "is no file"}
# Whatever such a name leads to, nothing behind it is known of the commit.
_OUTSIDE_REASONS = {EntryKind.SUBMODULE: _SUBMODULE_REASON, EntryKind.LINK: _LINK_REASON}


class CommittedTree:
    """The `CommittedFolder` of manifests over a Git tree.

    `prefix` is the project's folder in the repository; `open_repository` opens the repository's
    whole tree, for paths above that folder.
    """

    def __init__(
        self, tree: SourceTree, name: str, prefix: str, open_repository: Callable[[], SourceTree]
    ) -> None:
        self._tree = tree
        self._name = name
        self._prefix = prefix
        self._open_repository = cache(open_repository)

    @property
    def name(self) -> str:
        return self._name

    def does_path_stay_inside_repository(self, path: str) -> bool:
        return not path.startswith("/") and not _leads_above_project(
            self._convert_to_repository_path(path)
        )

    def find_entry_or_unreadable_ancestor(self, path: str) -> CommittedEntry | None:
        """The entry at a path, or the submodule or link on the way to it; None without one."""
        if path == ".":
            return CommittedEntry(".", is_folder=True)
        tree, inner_path = self._select_tree_and_path_in_it(path)
        if inner_path == ".":
            return CommittedEntry(path, is_folder=True)
        parts = inner_path.split("/")
        # Git has nothing behind a submodule or a link: the path would look as if it were absent.
        for depth in range(1, len(parts)):
            ancestor = tree.find_entry_without_following_links("/".join(parts[:depth]))
            if ancestor is not None and ancestor.kind in _OUTSIDE_REASONS:
                return CommittedEntry(
                    self._convert_to_project_path(tree, ancestor),
                    unreadable_reason=_OUTSIDE_REASONS[ancestor.kind],
                )
        node = tree.find_entry_without_following_links(inner_path)
        return None if node is None else self._build_entry(tree, node)

    def list_folder(self, folder: str) -> list[CommittedEntry]:
        """The entries of a folder, sorted by name as for a folder on disk."""
        tree, inner_path = self._select_tree_and_path_in_it(folder)
        nodes = tree.list_children("" if inner_path == "." else inner_path)
        nodes = sorted(nodes, key=lambda node: posixpath.basename(node.path))
        return [self._build_entry(tree, node) for node in nodes]

    def read_content(self, path: str) -> bytes:
        tree, inner_path = self._select_tree_and_path_in_it(path)
        try:
            return read_file_bytes_or_raise_unreadable(tree, inner_path)
        except UnreadableError as problem:
            node = tree.find_entry_without_following_links(inner_path)
            if node is None or node.kind is not EntryKind.LINK:
                raise InputError(problem.finding) from None
            raise InputError.from_summary(
                "Link cannot be followed",
                f"{path} in {self._name} is a link that leads to no file of the project.",
                "Put the file itself there.",
            ) from None

    def _build_entry(self, tree: SourceTree, node: TreeEntry) -> CommittedEntry:
        reason = _UNREADABLE_REASONS.get(node.kind, "")
        if node.kind is EntryKind.LINK and is_link_to_folder(tree, node):
            reason = _LINK_REASON
        return CommittedEntry(
            self._convert_to_project_path(tree, node), node.kind is EntryKind.FOLDER, reason
        )

    def _convert_to_repository_path(self, path: str) -> str:
        return posixpath.normpath(posixpath.join(self._prefix, path))

    def _select_tree_and_path_in_it(self, path: str) -> tuple[SourceTree, str]:
        """The tree with this path, and the path in it; the whole repository only if needed."""
        return (
            (self._open_repository(), self._convert_to_repository_path(path))
            if _leads_above_project(path)
            else (self._tree, path)
        )

    def _convert_to_project_path(self, tree: SourceTree, node: TreeEntry) -> str:
        return (
            node.path if tree is self._tree else posixpath.relpath(node.path, self._prefix or ".")
        )


def _leads_above_project(path: str) -> bool:
    return path == ".." or path.startswith("../")


@contextmanager
def open_folder_at_commit_or_raise(commit: GitCommit) -> Iterator[CommittedTree]:
    """The folder `commit.root` as it is in that commit; InputError where the commit lacks it."""
    repository_root, prefix = locate_in_repository_or_raise(commit.root)
    with ExitStack() as stack:
        tree = stack.enter_context(GitTree(commit.root, ".", commit.id))
        yield CommittedTree(
            tree,
            commit.label,
            prefix,
            # Listed only if a manifest names something above the project: a repository may be
            # large.
            lambda: stack.enter_context(GitTree(repository_root, ".", commit.id)),
        )
