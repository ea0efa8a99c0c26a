"""Which manifests of a target a Git commit holds, and how they are read from it.

They are read from Git's objects, never checked out: nothing is left behind after a signal, and no
hook or filter runs.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

from synapse_apply.files.commits import CommitTree, GitCommit, locate
from synapse_apply.files.tree import Entry, EntryKind, UnreadableError
from synapse_apply.manifests.files import (
    ManifestFiles,
    build_outside_finding,
    is_inside_or_allowed,
    iter_manifests,
)
from synapse_apply.manifests.project.project import text_position
from synapse_apply.manifests.yaml.reader import ReadResult, read_documents
from synapse_apply.model.diagnostic import Diagnostic, Position, error_finding, warning_finding
from synapse_apply.model.errors import InputError, SecretUnavailable
from synapse_apply.model.project import Project, Target

_SUBMODULE_REASON = "is a Git submodule, so its files are in another repository"
_LINK_REASON = "is a link to a folder, and the tool does not follow such links"


class Fault(NamedTuple):
    """A path whose content a commit does not hold, and why, as a phrase."""

    path: str
    reason: str


class CommittedFolder:
    """The project's folder in a commit; paths are relative to it, `.` is itself.

    What lies beside it in the same repository begins with `../`. A context manager.
    """

    def __init__(self, commit: GitCommit) -> None:
        """InputError where the commit lacks the folder `commit.root`."""
        self.name = commit.label
        self.commit = commit
        self._top, self._prefix = locate(commit.root)
        self._closing = ExitStack()
        self._tree = self._closing.enter_context(CommitTree(commit.root, ".", commit.id))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_problem: object) -> None:
        self._closing.close()

    def collect(self, project: Project, target: Target, paths: Sequence[str]) -> ManifestFiles:
        """A target's manifests, in the order in which a folder on disk is read.

        `paths` when given, else the project's and the target's, else `manifests/` or the project's
        folder.
        """
        result = ManifestFiles()
        texts = (*paths,) or (*project.manifests, *target.manifests)
        if not texts:
            manifests_entry = self.entry("manifests")
            result.implicit = (
                manifests_entry is None or manifests_entry.kind is not EntryKind.FOLDER
            )
            texts = (".",) if result.implicit else ("manifests",)
        for text in texts:
            if paths or is_inside_or_allowed(project, target, text):
                self._collect_text(text, project, result)
            else:
                result.findings.append(build_outside_finding(text, project, text_position(text)))
        return result

    def _collect_text(self, text: str, project: Project, result: ManifestFiles) -> None:
        path, position = posixpath.normpath(text), text_position(text)
        is_outside = path.startswith("/") or _leads_above(self._repository_path(path))
        fault = None if is_outside else self.fault(path)
        entry = None if is_outside else self.entry(path)
        if fault is not None:
            result.findings.append(self._unreadable(fault).with_changes(position=position))
        # A path from the project file, which may be younger than the commit, is only a warning.
        elif entry is None and position is not None and not is_outside:
            result.findings.append(
                warning_finding(
                    "Listed manifests that are not in that Git ref",
                    f"`{text}` is not in {self.name}, so it declared nothing there",
                    "check that it was added later: its current resources are treated as no longer "
                    "declared",
                    position=position,
                )
            )
        elif entry is None:
            reason = f"is not in {self.name}"
            hint = "choose another Git ref, or another path"
            if is_outside:
                reason = (
                    f"is outside the repository, and {self.name} has only files of the repository"
                )
                hint = "move it into this repository, or omit the Git ref to read the current files"
            summary = "No such file or folder at that Git ref"
            result.findings.append(
                error_finding(summary, f"`{text}` {reason}", hint, position=position)
            )
        elif entry.kind is EntryKind.FOLDER:
            is_flat = result.implicit and project.file is None

            def is_refused(entry: Entry) -> bool:
                if fault := self._fault_of(entry):
                    result.findings.append(self._unreadable(fault))
                is_below = is_flat and entry.kind in (EntryKind.FOLDER, EntryKind.SUBMODULE)
                return fault is not None or is_below or entry.path in project.list_files

            for manifest in iter_manifests(self.entries, path, is_refused):
                result.add(Path(manifest.path), is_listed=False)
        else:
            result.add(Path(path), is_listed=True)

    def _unreadable(self, fault: Fault) -> Diagnostic:
        return error_finding(
            "Manifests that cannot be read at a Git ref",
            f"{fault.path} in {self.name} {fault.reason}",
            "its resources would be treated as removed. Replace the link or submodule with the "
            "files",
        )

    def read_documents(self, path: str) -> ReadResult:
        """The documents of a file; a finding where it cannot be read."""
        display_name = f"{self.name}:{path}"
        try:
            return read_documents(self.read(path), display_name)
        except InputError as problem:
            position = Position(display_name, 1, 1)
            findings = (finding.with_changes(position=position) for finding in problem.diagnostics)
            return ReadResult((), tuple(findings))

    def read_secret(self, path: str) -> bytes | None:
        """A file with secrets, None for a path that is not in the project's folder.

        SecretUnavailable where the commit has no such file.
        """
        inner_path = posixpath.normpath(path)
        if inner_path.startswith("/") or _leads_above(inner_path):
            return None
        entry = self.entry(inner_path)
        try:
            if entry and entry.kind is not EntryKind.FOLDER and not self.fault(inner_path):
                return self.read(inner_path)
        except InputError:
            pass  # the same for the user: nothing stands there that can be read
        raise SecretUnavailable.from_summary(
            "Secret not available",
            f"{path} is not a file at {self.name}",
            "The tool reads files of the project from the revision of the manifests. Choose a "
            "revision that contains the file.",
        )

    def fault(self, path: str) -> Fault | None:
        """Why a path cannot be read: it is, or lies behind, a submodule or a linked folder."""
        tree, inner_path = self._locate(path)
        parts = inner_path.split("/")
        # Git has nothing behind a submodule or a link: the path would look as if it were absent.
        for depth in range(1, len(parts)):
            parent = tree.entry("/".join(parts[:depth]))
            if parent is not None and parent.kind in (EntryKind.SUBMODULE, EntryKind.LINK):
                reason = _LINK_REASON if parent.kind is EntryKind.LINK else _SUBMODULE_REASON
                return Fault(self._project_path(tree, parent), reason)
        entry = self.entry(path)
        return None if entry is None else self._fault_of(entry)

    def _fault_of(self, entry: Entry) -> Fault | None:
        if entry.kind is EntryKind.SUBMODULE:
            return Fault(entry.path, _SUBMODULE_REASON)
        tree, inner_path = self._locate(entry.path)
        if entry.kind is EntryKind.LINK and tree.leads_to_folder(entry._replace(path=inner_path)):
            return Fault(entry.path, _LINK_REASON)
        return None

    def entry(self, path: str) -> Entry | None:
        """The entry at a path, a link as a link; None if there is nothing."""
        tree, inner_path = self._locate(path)
        if inner_path == ".":
            return Entry(path, EntryKind.FOLDER)
        entry = tree.entry(inner_path)
        return entry and entry._replace(path=self._project_path(tree, entry))

    def entries(self, folder: str) -> list[Entry]:
        """The entries of a folder."""
        tree, inner_path = self._locate(folder)
        entries = tree.entries("" if inner_path == "." else inner_path)
        return [entry._replace(path=self._project_path(tree, entry)) for entry in entries]

    def read(self, path: str) -> bytes:
        """The bytes of a file, links followed; InputError where they cannot be read."""
        tree, inner_path = self._locate(path)
        try:
            return tree.read(inner_path)
        except UnreadableError as problem:
            entry = tree.entry(inner_path)
            if entry is None or entry.kind is not EntryKind.LINK:
                raise InputError(problem.finding) from None
            raise InputError.from_summary(
                "Link cannot be followed",
                f"{path} in {self.name} is a link that does not point to a file of the project.",
                "Replace the link with the file.",
            ) from None

    @cached_property
    def _repository(self) -> CommitTree:
        return self._closing.enter_context(CommitTree(self._top, ".", self.commit.id))

    def _locate(self, path: str) -> tuple[CommitTree, str]:
        """The tree with this path, and the path in it.

        The whole repository is listed only if a manifest names something above the project: it may
        be large.
        """
        if _leads_above(path):
            return self._repository, self._repository_path(path)
        return self._tree, path

    def _repository_path(self, path: str) -> str:
        return posixpath.normpath(posixpath.join(self._prefix, path))

    def _project_path(self, tree: CommitTree, entry: Entry) -> str:
        if tree is self._tree:
            return entry.path
        return posixpath.relpath(entry.path, self._prefix or ".")


def _leads_above(path: str) -> bool:
    return path == ".." or path.startswith("../")
