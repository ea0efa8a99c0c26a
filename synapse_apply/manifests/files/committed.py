"""Which manifests of a target a Git commit holds, and how they are read from it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import Protocol

from synapse_apply.manifests.export.inventory import is_inventory_file
from synapse_apply.manifests.files.manifest_files import (
    build_outside_finding,
    is_ignored_name,
    is_manifest_name,
    is_project_path_allowed_by_its_text,
)
from synapse_apply.manifests.project.project import get_text_position_or_none
from synapse_apply.manifests.yaml.reader import ReadResult, read_documents
from synapse_apply.model.diagnostic import Diagnostic, Position, error_finding, warning_finding
from synapse_apply.model.errors import InputError, SecretUnavailable
from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.model.project import Project, Target


@frozen
class CommittedEntry:
    """One entry of a folder in a commit: a file, a folder, or neither, with the reason.

    `path` is relative to the project's folder.
    """

    path: str
    is_folder: bool = False
    unreadable_reason: str = ""


class CommittedFolder(Protocol):
    """The project's folder in a commit; paths are relative to it, `.` is itself.

    What lies beside it in the same repository begins with `../`.
    """

    @property
    def name(self) -> str:
        """The name of the commit in messages."""
        ...

    def does_path_stay_inside_repository(self, path: str) -> bool:
        """Whether a path lies in the repository."""
        ...

    def find_entry_or_unreadable_ancestor(self, path: str) -> CommittedEntry | None:
        """The entry at a path, or one on the way to it whose content the commit does not hold.

        A submodule is such an entry. None only where it is certain that nothing stood there.
        """
        ...

    def list_folder(self, folder: str) -> list[CommittedEntry]:
        """The entries of a folder, sorted by name."""
        ...

    def read_content(self, path: str) -> bytes:
        """The bytes of a file, links followed; raises InputError where they cannot be read."""
        ...


@mutable
class CommittedFiles:
    """What was read of a commit; `implicit` when no folder of manifests is configured."""

    readings: list[ReadResult] = field(default_factory=list)
    findings: list[Diagnostic] = field(default_factory=list)
    implicit: bool = False


# Read from Git's objects, never checked out: nothing is left behind after a signal, and no hook or
# filter runs.
def read_committed_manifests(
    project: Project, target: Target, paths: Sequence[str], commit_folder: CommittedFolder
) -> CommittedFiles:
    """Read a target's manifests from a commit, in the order in which a folder is read.

    `paths` when given (relative to the project's folder), else the project's and the target's,
    else `manifests/` or the project's folder.
    """
    result = CommittedFiles()
    listed_paths = (*paths,) or (*project.manifests, *target.manifests)
    if not listed_paths:
        manifests_entry = commit_folder.find_entry_or_unreadable_ancestor("manifests")
        result.implicit = manifests_entry is None or not manifests_entry.is_folder
        listed_paths = (".",) if result.implicit else ("manifests",)
    visited: set[str] = set()
    for text in listed_paths:
        if not paths and not is_project_path_allowed_by_its_text(project, target, text):
            result.findings.append(
                build_outside_finding(text, project, get_text_position_or_none(text))
            )
            continue
        for path in _iter_manifest_paths_or_report(text, commit_folder, result):
            is_list = path in project.list_files and path != posixpath.normpath(text)
            if path not in visited and not is_list:
                visited.add(path)
                reading = _read_committed_file_or_finding(path, commit_folder)
                # An inventory is skipped in a folder, and an error if it is listed itself.
                if path == posixpath.normpath(text) or not is_inventory_file(reading):
                    result.readings.append(reading)
    return result


def _iter_manifest_paths_or_report(
    text: str, commit_folder: CommittedFolder, result: CommittedFiles
) -> Iterator[str]:
    path = posixpath.normpath(text)
    is_outside = not commit_folder.does_path_stay_inside_repository(path)
    entry = None if is_outside else commit_folder.find_entry_or_unreadable_ancestor(path)
    # A path from the project file, which may be younger than the commit, is only a warning.
    if entry is None and get_text_position_or_none(text) is not None and not is_outside:
        result.findings.append(_build_absent_at_ref_warning(text, commit_folder))
    elif entry is None or entry.unreadable_reason:
        result.findings.append(
            _build_missing_or_unreadable_finding(text, commit_folder, entry, is_outside=is_outside)
        )
    elif entry.is_folder:
        yield from _iter_manifest_paths_below_folder(path, commit_folder, result)
    else:
        yield path


def _iter_manifest_paths_below_folder(
    folder: str, commit_folder: CommittedFolder, result: CommittedFiles
) -> Iterator[str]:
    for entry in commit_folder.list_folder(folder):
        name = posixpath.basename(entry.path)
        if is_ignored_name(name):
            continue
        if entry.unreadable_reason:
            result.findings.append(_build_unreadable_entry_finding(entry, commit_folder))
        elif entry.is_folder:
            yield from _iter_manifest_paths_below_folder(entry.path, commit_folder, result)
        elif is_manifest_name(name):
            yield entry.path


def _read_committed_file_or_finding(path: str, commit_folder: CommittedFolder) -> ReadResult:
    display_name = f"{commit_folder.name}:{path}"
    try:
        return read_documents(commit_folder.read_content(path), display_name)
    except InputError as problem:
        position = Position(display_name, 1, 1)
        return ReadResult(
            (), tuple(finding.with_changes(position=position) for finding in problem.diagnostics)
        )


def _build_missing_or_unreadable_finding(
    text: str, commit_folder: CommittedFolder, entry: CommittedEntry | None, *, is_outside: bool
) -> Diagnostic:
    if entry is not None:
        return _build_unreadable_entry_finding(entry, commit_folder).with_changes(
            position=get_text_position_or_none(text)
        )
    reason = f"is not in {commit_folder.name}"
    hint = "choose another Git ref, or another path"
    if is_outside:
        reason = f"lies outside the repository, which is all that {commit_folder.name} has"
        hint = "keep it in this repository, or leave out the Git ref to read it as it is now"
    return error_finding(
        "No such file or folder at that Git ref",
        f"`{text}` {reason}",
        hint,
        position=get_text_position_or_none(text),
    )


def _build_absent_at_ref_warning(text: str, commit_folder: CommittedFolder) -> Diagnostic:
    """The warning for a listed path that the commit lacks: the list may be younger than it."""
    return warning_finding(
        "Listed manifests that are not in that Git ref",
        f"`{text}` is not in {commit_folder.name}, so nothing was declared in it",
        "check that it only came later: what it holds now counts as no longer declared",
        position=get_text_position_or_none(text),
    )


def _build_unreadable_entry_finding(
    entry: CommittedEntry, commit_folder: CommittedFolder
) -> Diagnostic:
    return error_finding(
        "Manifests that cannot be read at a Git ref",
        f"{entry.path} in {commit_folder.name} {entry.unreadable_reason}",
        "what it holds would be taken for removed; put the files themselves there",
    )


def read_committed_secret_or_none_if_outside(folder: CommittedFolder, path: str) -> bytes | None:
    """A file with secrets as a commit has it, None for a path that is not in the project's folder.

    SecretUnavailable where the commit has no such file.
    """
    inner_path = posixpath.normpath(path)
    if inner_path.startswith(("/", "../")) or inner_path == "..":
        return None
    entry = folder.find_entry_or_unreadable_ancestor(inner_path)
    try:
        if entry is not None and not entry.is_folder and not entry.unreadable_reason:
            return folder.read_content(inner_path)
    except InputError:
        pass  # the same for the user: nothing stands there that can be read
    raise SecretUnavailable.from_summary(
        "Secret not available",
        f"{path} is no file at {folder.name}",
        "Files of the project are read from the revision of the manifests. Name one that has it.",
    )
