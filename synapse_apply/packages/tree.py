"""A tree of files that a package is gathered from: by the rules, through links, checked."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from enum import Enum
from typing import Protocol

from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.frozen import frozen
from synapse_apply.packages.content import Entry, Gathered, UnreadableError
from synapse_apply.packages.ignore import NEVER, Rules, TooManyPatternsError
from synapse_apply.packages.names import canonical, collision_findings, name_findings, printable
from synapse_apply.packages.sighting import Sighting

_MAX_IGNORE_BYTES = 1024 * 1024
_LEAVE_OUT = "Leave it out with a line in .synapseignore, or put a plain file there."


class Kind(Enum):
    """What stands at a path; a submodule is one whose files are not here."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    SUBMODULE = "submodule"
    SPECIAL = "special"


@frozen
class Node:
    """`path` as the tree spells it; `size` in bytes; `key` is the tree's own.

    `sighting` is there for a file on disk.
    """

    path: str
    kind: Kind
    size: int = 0
    executable: bool = False
    key: str = ""
    sighting: Sighting | None = None


class Tree(Protocol):
    """Where files come from; every method raises UnreadableError."""

    def children(self, folder: str) -> list[Node]: ...
    def node(self, path: str) -> Node | None: ...
    def target(self, link: Node) -> str: ...
    def blocks(self, file: Node) -> Iterator[bytes]: ...


def gather(tree: Tree) -> Gathered:
    """Every file that the ignore rules leave in, links followed; all findings, not the first."""
    made = Gathered()
    try:
        _walk(tree, made)
    except TooManyPatternsError as problem:
        made.findings.append(problem.finding)
    made.entries.sort(key=lambda entry: entry.path.encode("utf-8", "surrogateescape"))
    made.excluded.sort()
    made.findings += collision_findings(entry.path for entry in made.entries)
    return made


def _walk(tree: Tree, made: Gathered) -> None:
    waiting = [("", Rules())]
    while waiting:
        folder, above = waiting.pop()
        try:
            rules = above.entering(canonical(folder), lambda path: read_text(tree, path))
            nodes = tree.children(folder)
        except TooManyPatternsError:
            raise
        except UnreadableError as problem:
            made.findings.append(problem.finding)
            continue
        for node in nodes:
            folder_like = node.kind in (Kind.FOLDER, Kind.SUBMODULE)
            rule = rules.why(canonical(node.path), folder=folder_like)
            if rule is not None:
                slash = "/" if folder_like else ""
                made.excluded.append((printable(canonical(node.path)) + slash, rule))
            elif node.kind is Kind.FOLDER:
                waiting.append((node.path, rules))
            else:
                _take(tree, node, made)


def left_out(tree: Tree, path: str) -> str | None:
    """The rule that leaves a path out, or a folder above it; None when it would be taken."""
    rules = Rules()
    parts = path.split("/")
    for depth in range(len(parts)):
        folder = "/".join(parts[:depth])
        rules = rules.entering(folder, lambda name: read_text(tree, name))
        at = "/".join(parts[: depth + 1])
        rule = rules.why(at, folder=depth + 1 < len(parts))
        if rule is not None:
            return rule
    return None


def _take(tree: Tree, node: Node, made: Gathered) -> None:
    made.findings += name_findings(canonical(node.path))
    try:
        found = file_behind(tree, node)
    except UnreadableError as problem:
        found = problem.finding
    if isinstance(found, Diagnostic):
        made.findings.append(found)
        return
    file = found
    name, sighting = canonical(node.path), file.sighting
    made.entries.append(
        Entry(name, file.executable, file.size, lambda: tree.blocks(file), sighting)
    )


def file_behind(tree: Tree, node: Node) -> Node | Diagnostic:
    """The file that a node is, or that its link leads to inside the tree; else why it is none."""
    name = printable(node.path)
    if node.kind is Kind.LINK:
        return _follow(tree, node)
    if node.kind is Kind.SUBMODULE:
        return error(
            "Submodule without its files",
            f"{name} is a Git submodule whose files are not here.",
            f"In a folder: git submodule update --init {name}. "
            "At a Git ref its files cannot be read: use the folder, or a zip (file:).",
        )
    if node.kind is Kind.SPECIAL:
        return error(
            "Special file in the package",
            f"{name} is a device, a pipe or a socket.",
            "Leave it out with a line in .synapseignore.",
        )
    return node


def _follow(tree: Tree, link: Node) -> Node | Diagnostic:
    """The file that a link leads to, step by step inside the tree."""
    seen = {link.path}
    at = link
    while at.kind is Kind.LINK:
        target = tree.target(at)
        where = posixpath.normpath(posixpath.join(posixpath.dirname(at.path), target))
        if target.startswith("/") or "\\" in target or where == ".." or where.startswith("../"):
            return _bad_link(link, f"leads out of the package (to {printable(target)})")
        if any(part in NEVER for part in where.split("/")):
            return _bad_link(link, f"leads to what is never part of a package ({where})")
        if where in seen:
            return _bad_link(link, "leads back to itself")
        seen.add(where)
        found = _plain_node(tree, where)
        if found is None:
            return _bad_link(link, f"leads nowhere (to {printable(target)})")
        at = found
    if at.kind is not Kind.FILE:
        return _bad_link(link, f"leads to a {at.kind.value}, and only links to files are followed")
    return at


def _plain_node(tree: Tree, path: str) -> Node | None:
    """The node at a path, None where there is none or a folder on the way is itself a link."""
    parts = path.split("/")
    for depth in range(1, len(parts)):
        above = tree.node("/".join(parts[:depth]))
        if above is None or above.kind is not Kind.FOLDER:
            return None
    return Node("", Kind.FOLDER) if path == "." else tree.node(path)


def _bad_link(link: Node, why: str) -> Diagnostic:
    return error("Link cannot be followed", f"{printable(link.path)} {why}.", _LEAVE_OUT)


def read_text(tree: Tree, path: str) -> str | None:
    """The text of a small file of the tree, None where there is none; UnreadableError."""
    node = tree.node(path)
    if node is None or node.kind is Kind.FOLDER:
        return None
    found = file_behind(tree, node)
    if isinstance(found, Diagnostic):
        raise UnreadableError(found.summary, found.detail, found.hint)
    return text_of(path, found.size, tree.blocks(found))


def bytes_at(tree: Tree, path: str) -> bytes:
    """The content of a file of the tree, a link followed inside it; UnreadableError."""
    node = tree.node(path)
    if node is None:
        raise UnreadableError("File not found", f"There is no {printable(path)}.")
    found = file_behind(tree, node)
    if isinstance(found, Diagnostic):
        raise UnreadableError(found.summary, found.detail, found.hint)
    return b"".join(tree.blocks(found))


def leads_to_folder(tree: Tree, link: Node) -> bool:
    """Whether a link ends at a folder of the tree."""
    seen: set[str] = set()
    at: Node | None = link
    while at is not None and at.kind is Kind.LINK and at.path not in seen:
        seen.add(at.path)
        where = posixpath.normpath(posixpath.join(posixpath.dirname(at.path), tree.target(at)))
        at = _plain_node(tree, where)
    return at is not None and at.kind is Kind.FOLDER


def text_of(path: str, size: int, blocks: Iterator[bytes]) -> str:
    """UTF-8 text of at most 1 MiB; UnreadableError for anything else."""
    if size > _MAX_IGNORE_BYTES:
        raise UnreadableError("File too large to be read as text", f"{path} is over 1 MiB.")
    try:
        return b"".join(blocks).decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise UnreadableError(
            "File is not UTF-8 text", f"{path}, byte {problem.start}.", "Save it as UTF-8."
        ) from None
