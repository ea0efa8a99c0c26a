"""Which files of a tree are gathered for a package: ignore rules, links, submodules, names."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from enum import Enum
from typing import Protocol

from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.frozen import frozen
from synapse_apply.packages.content import GatheredFiles, PackageFile, UnreadableError
from synapse_apply.packages.entry_names import (
    build_errors_of_colliding_paths,
    escape_misleading_path,
    iter_unsafe_name_errors,
    normalize_path_to_nfc,
)
from synapse_apply.packages.ignore import NEVER_PACKAGED, IgnoreRules, TooManyPatternsError

_MAX_IGNORE_BYTES = 1024 * 1024
_LEAVE_OUT_HINT = "Leave it out with a line in .synapseignore, or put a plain file there."


class EntryKind(Enum):
    """The kind of an entry; SUBMODULE is one whose files are not available."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    SUBMODULE = "submodule"
    SPECIAL = "special"


@frozen
class TreeEntry:
    """An entry of a tree; `path` is spelled as in the tree, `size` is in bytes.

    `key` is for the tree's own use (a blob id).
    """

    path: str
    kind: EntryKind
    size: int = 0
    is_executable: bool = False
    key: str = ""


class SourceTree(Protocol):
    """A folder that files are read from; every method raises UnreadableError."""

    def list_children(self, folder: str) -> list[TreeEntry]:
        """The entries of a folder, "" for the top."""
        ...

    def find_entry_without_following_links(self, path: str) -> TreeEntry | None:
        """The entry at a path, a link as a link; None if there is nothing."""
        ...

    def read_link_target(self, link: TreeEntry) -> str:
        """The target of a link as it is written."""
        ...

    def iter_blocks(self, file: TreeEntry) -> Iterator[bytes]:
        """The content of a file in blocks."""
        ...


def gather_files_and_collect_errors(tree: SourceTree) -> GatheredFiles:
    """Gather each file that no ignore rule leaves out, links followed; collects all errors."""
    gathered = GatheredFiles()
    try:
        _walk_tree_into(tree, gathered)
    except TooManyPatternsError as problem:
        gathered.findings.append(problem.finding)
    # By bytes, as Git does: the order, and so the digest, must not depend on the system. A name
    # that is no UTF-8 has an error already, and must not end the sorting with another.
    gathered.entries.sort(key=lambda entry: entry.path.encode("utf-8", "surrogateescape"))
    gathered.excluded.sort()
    gathered.findings += build_errors_of_colliding_paths(entry.path for entry in gathered.entries)
    return gathered


def _walk_tree_into(tree: SourceTree, gathered: GatheredFiles) -> None:
    """Walk the tree and add files, left-out paths and errors to `gathered`."""

    def read_ignore_file_or_none(path: str) -> str | None:
        return read_small_text_or_none_if_absent_or_folder(tree, path)

    def read_and_remember_root_ignore_file_or_none(path: str) -> str | None:
        text = read_ignore_file_or_none(path)
        if text is not None:
            gathered.ignore_files[path] = text
        return text

    # A stack in place of recursion: a checkout may nest folders deeply.
    pending_folders = [("", IgnoreRules())]
    while pending_folders:
        folder, parent_rules = pending_folders.pop()
        try:
            rules = parent_rules.with_ignore_files_of_folder(
                normalize_path_to_nfc(folder),
                read_ignore_file_or_none if folder else read_and_remember_root_ignore_file_or_none,
            )
            nodes = tree.list_children(folder)
        # It is an UnreadableError, too; without all the rules nothing can be said of any file.
        except TooManyPatternsError:
            raise
        except UnreadableError as problem:
            gathered.findings.append(problem.finding)
            continue
        for node in nodes:
            is_folder_like = node.kind in (EntryKind.FOLDER, EntryKind.SUBMODULE)
            rule = rules.find_rule_excluding_path_itself(
                normalize_path_to_nfc(node.path), is_folder=is_folder_like
            )
            if rule is not None:
                # A left-out folder is one line, and is never entered, however many files it has.
                slash = "/" if is_folder_like else ""
                gathered.excluded.append(
                    (escape_misleading_path(normalize_path_to_nfc(node.path)) + slash, rule)
                )
            elif node.kind is EntryKind.FOLDER:
                pending_folders.append((node.path, rules))
            else:
                _add_file_and_findings_on_its_name_or_link(tree, node, gathered)


def find_rule_leaving_path_or_parent_out(tree: SourceTree, path: str) -> str | None:
    """The rule that leaves a path, or a folder above it, out; None if it would be included."""
    rules = IgnoreRules()
    parts = path.split("/")
    # From the top: as in Git, no pattern below can include what a folder above left out.
    for depth in range(len(parts)):
        folder = "/".join(parts[:depth])
        rules = rules.with_ignore_files_of_folder(
            folder, lambda name: read_small_text_or_none_if_absent_or_folder(tree, name)
        )
        partial_path = "/".join(parts[: depth + 1])
        rule = rules.find_rule_excluding_path_itself(partial_path, is_folder=depth + 1 < len(parts))
        if rule is not None:
            return rule
    return None


def _add_file_and_findings_on_its_name_or_link(
    tree: SourceTree, node: TreeEntry, gathered: GatheredFiles
) -> None:
    gathered.findings += iter_unsafe_name_errors(normalize_path_to_nfc(node.path))
    try:
        file_or_finding = resolve_link_or_same_entry_or_finding_if_unusable(tree, node)
    except UnreadableError as problem:
        file_or_finding = problem.finding
    if isinstance(file_or_finding, Diagnostic):
        gathered.findings.append(file_or_finding)
        return
    file = file_or_finding
    gathered.entries.append(
        PackageFile(
            normalize_path_to_nfc(node.path),
            file.is_executable,
            file.size,
            lambda: tree.iter_blocks(file),
        )
    )


def resolve_link_or_same_entry_or_finding_if_unusable(
    tree: SourceTree, node: TreeEntry
) -> TreeEntry | Diagnostic:
    """The entry itself, or the file that its link leads to; the error for one without content."""
    name = escape_misleading_path(node.path)
    if node.kind is EntryKind.LINK:
        return _follow_link_inside_tree_or_finding(tree, node)
    if node.kind is EntryKind.SUBMODULE:
        return error_finding(
            "Submodule without its files",
            f"{name} is a Git submodule whose files are not here.",
            f"In a folder: git submodule update --init {name}. "
            "At a Git ref its files cannot be read: use the folder, or a zip (file:).",
        )
    if node.kind is EntryKind.SPECIAL:
        return error_finding(
            "Special file in the package",
            f"{name} is a device, a pipe or a socket.",
            "Leave it out with a line in .synapseignore.",
        )
    return node


def _follow_link_inside_tree_or_finding(
    tree: SourceTree, link: TreeEntry
) -> TreeEntry | Diagnostic:
    """The file that a link leads to, or the error; every step must stay inside of the tree.

    Steps are resolved here and not by the system, which would follow them anywhere.
    """
    seen_paths = {link.path}
    current_entry = link
    while current_entry.kind is EntryKind.LINK:
        target = tree.read_link_target(current_entry)
        target_path = posixpath.normpath(
            posixpath.join(posixpath.dirname(current_entry.path), target)
        )
        if (
            target.startswith("/")
            # A step upwards for Windows, where the package may be unpacked.
            or "\\" in target
            or target_path == ".."
            or target_path.startswith("../")
        ):
            return _build_link_finding(
                link, f"leads out of the package (to {escape_misleading_path(target)})"
            )
        # Else a link `readme -> .git/config` would publish a token.
        if any(part in NEVER_PACKAGED for part in target_path.split("/")):
            return _build_link_finding(
                link, f"leads to what is never part of a package ({target_path})"
            )
        if target_path in seen_paths:
            return _build_link_finding(link, "leads back to itself")
        seen_paths.add(target_path)
        next_entry = _find_entry_without_linked_folders(tree, target_path)
        if next_entry is None:
            return _build_link_finding(link, f"leads nowhere (to {escape_misleading_path(target)})")
        current_entry = next_entry
    if current_entry.kind is not EntryKind.FILE:
        return _build_link_finding(
            link, f"leads to a {current_entry.kind.value}, and only links to files are followed"
        )
    return current_entry


def _find_entry_without_linked_folders(tree: SourceTree, path: str) -> TreeEntry | None:
    """The entry at a path, None if there is none or a folder on the way is a link."""
    parts = path.split("/")
    for depth in range(1, len(parts)):
        parent = tree.find_entry_without_following_links("/".join(parts[:depth]))
        # A linked folder could lead outside at every step; Git does not follow one either.
        if parent is None or parent.kind is not EntryKind.FOLDER:
            return None
    return (
        TreeEntry("", EntryKind.FOLDER)
        if path == "."
        else tree.find_entry_without_following_links(path)
    )


def _build_link_finding(link: TreeEntry, reason: str) -> Diagnostic:
    return error_finding(
        "Link cannot be followed",
        f"{escape_misleading_path(link.path)} {reason}.",
        _LEAVE_OUT_HINT,
    )


def read_small_text_or_none_if_absent_or_folder(tree: SourceTree, path: str) -> str | None:
    """The UTF-8 text of a file of at most 1 MiB, None if there is none; UnreadableError."""
    node = tree.find_entry_without_following_links(path)
    if node is None or node.kind is EntryKind.FOLDER:
        return None
    file_or_finding = resolve_link_or_same_entry_or_finding_if_unusable(tree, node)
    if isinstance(file_or_finding, Diagnostic):
        raise UnreadableError(file_or_finding.summary, file_or_finding.detail, file_or_finding.hint)
    return decode_small_utf8_text_or_raise_unreadable(
        path, file_or_finding.size, tree.iter_blocks(file_or_finding)
    )


def read_file_bytes_or_raise_unreadable(tree: SourceTree, path: str) -> bytes:
    """The content of a file, a link followed inside of the tree; UnreadableError also for none."""
    node = tree.find_entry_without_following_links(path)
    if node is None:
        raise UnreadableError("File not found", f"There is no {escape_misleading_path(path)}.")
    file_or_finding = resolve_link_or_same_entry_or_finding_if_unusable(tree, node)
    if isinstance(file_or_finding, Diagnostic):
        raise UnreadableError(file_or_finding.summary, file_or_finding.detail, file_or_finding.hint)
    return b"".join(tree.iter_blocks(file_or_finding))


def is_link_to_folder(tree: SourceTree, link: TreeEntry) -> bool:
    """Whether a link finally leads to a folder of the tree."""
    seen_paths: set[str] = set()
    current_entry: TreeEntry | None = link
    while (
        current_entry is not None
        and current_entry.kind is EntryKind.LINK
        and current_entry.path not in seen_paths
    ):
        seen_paths.add(current_entry.path)
        target_path = posixpath.normpath(
            posixpath.join(
                posixpath.dirname(current_entry.path), tree.read_link_target(current_entry)
            )
        )
        current_entry = _find_entry_without_linked_folders(tree, target_path)
    return current_entry is not None and current_entry.kind is EntryKind.FOLDER


def decode_small_utf8_text_or_raise_unreadable(
    path: str, size: int, blocks: Iterator[bytes]
) -> str:
    """The blocks as UTF-8 text; UnreadableError for other bytes, or a `size` above 1 MiB."""
    if size > _MAX_IGNORE_BYTES:
        raise UnreadableError("File too large to be read as text", f"{path} is over 1 MiB.")
    try:
        # Editors on Windows begin a file with a byte order mark, which would be part of a pattern.
        return b"".join(blocks).decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise UnreadableError(
            "File is not UTF-8 text", f"{path}, byte {problem.start}.", "Save it as UTF-8."
        ) from None
