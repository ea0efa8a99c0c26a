"""The project's folder as a commit has it, read from Git's objects: nothing is checked out."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager

from synapse_apply.manifests.committed import Listed
from synapse_apply.model.errors import InputError
from synapse_apply.packages.content import UnreadableError
from synapse_apply.packages.git import Commit, GitTree
from synapse_apply.packages.tree import Kind, Node, Tree, bytes_at, leads_to_folder

_SUBMODULE = "is a Git submodule; its files are in another repository"
_LINK = "is a link to a folder; such links are not followed"
_WHY_NOT = {Kind.SUBMODULE: _SUBMODULE, Kind.SPECIAL: "is no file"}
# Whatever such a name leads to, nothing behind it is known of the commit.
_ELSEWHERE = {Kind.SUBMODULE: _SUBMODULE, Kind.LINK: _LINK}


class WrittenTree:
    """The `Written` of manifests over a tree of Git."""

    def __init__(self, tree: Tree, name: str) -> None:
        self._tree = tree
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def at(self, path: str) -> Listed | None:
        """What stands at a path, or the submodule or link on the way behind which it would."""
        if path == ".":
            return Listed(".", is_folder=True)
        parts = path.split("/")
        for depth in range(1, len(parts)):
            above = self._tree.node("/".join(parts[:depth]))
            if above is not None and above.kind in _ELSEWHERE:
                return Listed(above.path, why_not=_ELSEWHERE[above.kind])
        node = self._tree.node(path)
        return None if node is None else self._listed(node)

    def below(self, folder: str) -> list[Listed]:
        """By name, as a folder on the disk is read."""
        nodes = self._tree.children("" if folder == "." else folder)
        nodes = sorted(nodes, key=lambda node: posixpath.basename(node.path))
        return [self._listed(node) for node in nodes]

    def content(self, path: str) -> bytes:
        try:
            return bytes_at(self._tree, path)
        except UnreadableError as problem:
            node = self._tree.node(path)
            if node is None or node.kind is not Kind.LINK:
                raise InputError(problem.finding) from None
            raise InputError.of(
                "Link cannot be followed",
                f"{path} in {self._name} is a link that leads to no file of the project.",
                "Put the file itself there.",
            ) from None

    def _listed(self, node: Node) -> Listed:
        why_not = _WHY_NOT.get(node.kind, "")
        if node.kind is Kind.LINK and leads_to_folder(self._tree, node):
            why_not = _LINK
        return Listed(node.path, node.kind is Kind.FOLDER, why_not)


@contextmanager
def written_at(commit: Commit) -> Iterator[WrittenTree]:
    """The folder of a commit's `root` in that commit; InputError where it has none."""
    with GitTree(commit.root, ".", commit.short) as tree:
        yield WrittenTree(tree, commit.ref)
