"""The project's folder as a commit has it, read from Git's objects: nothing is checked out."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

from synapse_apply.manifests.committed import Listed
from synapse_apply.model.errors import InputError
from synapse_apply.packages.content import UnreadableError
from synapse_apply.packages.git import Commit, GitTree, place_in_repository
from synapse_apply.packages.tree import Kind, Node, Tree, bytes_at, leads_to_folder

_SUBMODULE = "is a Git submodule; its files are in another repository"
_LINK = "is a link to a folder; such links are not followed"
_WHY_NOT = {Kind.SUBMODULE: _SUBMODULE, Kind.SPECIAL: "is no file"}
# Whatever such a name leads to, nothing behind it is known of the commit.
_ELSEWHERE = {Kind.SUBMODULE: _SUBMODULE, Kind.LINK: _LINK}


class WrittenTree:
    """The `Written` of manifests over a tree of Git; `around` opens that of the repository.

    `prefix` is where the project's folder lies in it.
    """

    def __init__(self, tree: Tree, name: str, prefix: str, around: Callable[[], Tree]) -> None:
        self._tree = tree
        self._name = name
        self._prefix = prefix
        self._around = cache(around)

    @property
    def name(self) -> str:
        return self._name

    def holds(self, path: str) -> bool:
        return not path.startswith("/") and not _leaves(self._from_top(path))

    def at(self, path: str) -> Listed | None:
        """What stands at a path, or the submodule or link on the way behind which it would."""
        if path == ".":
            return Listed(".", is_folder=True)
        tree, inner = self._in(path)
        if inner == ".":
            return Listed(path, is_folder=True)
        parts = inner.split("/")
        for depth in range(1, len(parts)):
            above = tree.node("/".join(parts[:depth]))
            if above is not None and above.kind in _ELSEWHERE:
                return Listed(self._back(tree, above), why_not=_ELSEWHERE[above.kind])
        node = tree.node(inner)
        return None if node is None else self._listed(tree, node)

    def below(self, folder: str) -> list[Listed]:
        """By name, as a folder on the disk is read."""
        tree, inner = self._in(folder)
        nodes = tree.children("" if inner == "." else inner)
        nodes = sorted(nodes, key=lambda node: posixpath.basename(node.path))
        return [self._listed(tree, node) for node in nodes]

    def content(self, path: str) -> bytes:
        tree, inner = self._in(path)
        try:
            return bytes_at(tree, inner)
        except UnreadableError as problem:
            node = tree.node(inner)
            if node is None or node.kind is not Kind.LINK:
                raise InputError(problem.finding) from None
            raise InputError.of(
                "Link cannot be followed",
                f"{path} in {self._name} is a link that leads to no file of the project.",
                "Put the file itself there.",
            ) from None

    def _listed(self, tree: Tree, node: Node) -> Listed:
        why_not = _WHY_NOT.get(node.kind, "")
        if node.kind is Kind.LINK and leads_to_folder(tree, node):
            why_not = _LINK
        return Listed(self._back(tree, node), node.kind is Kind.FOLDER, why_not)

    def _from_top(self, path: str) -> str:
        return posixpath.normpath(posixpath.join(self._prefix, path))

    def _in(self, path: str) -> tuple[Tree, str]:
        """The tree that has a path, and its name there: few projects need the whole repository."""
        return (self._around(), self._from_top(path)) if _leaves(path) else (self._tree, path)

    def _back(self, tree: Tree, node: Node) -> str:
        return (
            node.path if tree is self._tree else posixpath.relpath(node.path, self._prefix or ".")
        )


def _leaves(path: str) -> bool:
    return path == ".." or path.startswith("../")


@contextmanager
def written_at(commit: Commit) -> Iterator[WrittenTree]:
    """The folder of a commit's `root` in that commit; InputError where it has none."""
    top, prefix = place_in_repository(commit.root)
    with ExitStack() as stack:
        tree = stack.enter_context(GitTree(commit.root, ".", commit.id))
        yield WrittenTree(
            tree,
            commit.ref,
            prefix,
            lambda: stack.enter_context(GitTree(top, ".", commit.id)),
        )
