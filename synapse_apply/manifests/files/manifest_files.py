"""Which files are read as manifests: listed files and folders, recursive, inside the project."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from pathlib import Path

from synapse_apply.files.checkout import (
    is_at_or_below_path,
    leads_outside_folder,
    read_submodule_paths,
)
from synapse_apply.files.tree import Entry, EntryKind, FolderTree, UnreadableError
from synapse_apply.manifests.project.project import FILE_NAME, text_position
from synapse_apply.model.diagnostic import Diagnostic, Position, error_finding
from synapse_apply.model.frozen import mutable
from synapse_apply.model.project import Project, Target

_MANIFEST_SUFFIXES = (".yaml", ".yml")
_IGNORED_NAMES = frozenset(("node_modules", "__pycache__"))


@mutable
class ManifestFiles:
    """The files of one target, each once; `implicit` when no folder of manifests is configured.

    `files` has whether a file was listed itself, not found in a folder. Those of a commit are
    relative to the project's folder.
    """

    files: dict[Path, bool] = field(default_factory=dict)
    findings: list[Diagnostic] = field(default_factory=list)
    implicit: bool = False

    def add(self, file: Path, *, is_listed: bool) -> None:
        """Add a file, unless it is there already."""
        self.files[file] = is_listed or self.files.get(file, False)


class ManifestPaths:
    """The files and folders that one target's manifests are read from, on disk.

    They are `paths` when given (relative to the working folder), else the project's and the
    target's, else `manifests/` or the project's folder.
    """

    def __init__(self, project: Project, target: Target, paths: Sequence[str] = ()) -> None:
        self._project = project
        self._target = target
        self._is_typed = bool(paths)
        self._is_configured = bool(project.manifests or target.manifests)
        self.texts = (*paths,) or (*project.manifests, *target.manifests)
        if not self.texts:
            self.texts = ("manifests/" if (project.root / "manifests").is_dir() else ".",)

    def collect(self) -> ManifestFiles:
        """The manifest files in order, with findings for those that are refused."""
        result = ManifestFiles()
        result.implicit = not self._is_typed and not self._is_configured and self.texts[0] == "."
        for text, path in self._resolved():
            if not self._is_typed and self._is_configured and not self._allows(text):
                result.findings.append(
                    build_outside_finding(text, self._project, text_position(text))
                )
            elif link_finding := self._find_outside_link(path, text):
                result.findings.append(link_finding)
            else:
                self._collect_entry(path, text, result)
        return result

    def folders_without_manifests(self) -> list[str]:
        """The folders to read, as written, in which no file has a manifest's name."""
        return [
            text
            for text, path in self._resolved()
            if path.is_dir() and not any(_Folder(path, self._project, []).manifests())
        ]

    def would_read(self, path: Path) -> bool:
        """Whether a new file at this real path would be read as a manifest."""
        if not is_manifest_name(path.name) or _is_list_of_targets(self._project, str(path)):
            return False
        for _, folder in self._resolved():
            listed_folder = Path(os.path.realpath(folder))
            if listed_folder.is_dir() and path.is_relative_to(listed_folder):
                return not any(map(is_ignored_name, path.relative_to(listed_folder).parts))
        return False

    def reads_folder(self, folder: Path) -> bool:
        """Whether a manifest in this folder would be read."""
        real_folder = os.path.realpath(folder)
        for text, path in self._resolved():
            listed_folder = os.path.realpath(path)
            if self._allows(text) and _is_at_or_below(real_folder, listed_folder):
                # An ignored folder on the way hides all that is below it.
                parts_between = Path(real_folder).relative_to(listed_folder).parts
                if not any(map(is_ignored_name, parts_between)):
                    return True
        return False

    def _resolved(self) -> list[tuple[str, Path]]:
        """The files and folders to read, each as written and as a path."""
        folder = Path.cwd() if self._is_typed else self._project.root
        return [(text, folder / text) for text in self.texts]

    def _allows(self, text: str) -> bool:
        return is_inside_or_allowed(self._project, self._target, text)

    def _find_outside_link(self, path: Path, text: str) -> Diagnostic | None:
        """The finding for a path inside the project whose links lead outside; None for others.

        A path typed on the command line may lie outside as written; so may one that is listed
        outside the project under allow_files. A name listed there that lies inside does not count
        here: a pull request could turn it into a link to anywhere.
        """
        root = self._project.root
        try:
            if not is_at_or_below_path(path, root) or not leads_outside_folder(path, root):
                return None
            real_path = os.path.realpath(path)
        except ValueError:  # a name no file can have
            return None
        allowed_paths = [root / name for name in self._target.allow_files]
        if not self._is_typed and any(
            real_path == os.path.realpath(allowed_path)
            for allowed_path in allowed_paths
            if not is_at_or_below_path(allowed_path, root)
        ):
            return None
        return _outside_link_finding(path, self._project).with_changes(position=text_position(text))

    def _collect_entry(self, path: Path, text: str, result: ManifestFiles) -> None:
        path = Path(os.path.normpath(path))
        if os.path.isdir(path):  # noqa: PTH112 - also for names that no file can have
            for file in _Folder(path, self._project, result.findings).manifests():
                result.add(file, is_listed=False)
        elif os.path.exists(path):  # noqa: PTH110
            result.add(path, is_listed=True)
        else:
            result.findings.append(
                error_finding(
                    "No such file or folder",
                    f"`{text}` is listed as manifests and does not exist",
                    "make it, or remove it from the list",
                    position=text_position(text),
                )
            )


class _Folder(FolderTree):
    """A listed folder on disk; what must not count as removed manifests is reported."""

    def __init__(self, top: Path, project: Project, findings: list[Diagnostic]) -> None:
        super().__init__(top)
        self._folder = top
        self._project = project
        self._findings = findings

    def manifests(self) -> Iterator[Path]:
        for entry in iter_manifests(self.entries, "", self._is_refused):
            yield self._folder / entry.path

    def entries(self, folder: str) -> list[Entry]:
        """The entries of a folder, sorted by name; none of one that cannot be read."""
        try:
            entries = super().entries(folder)
        except UnreadableError as problem:
            self._report(
                "Unreadable folder", folder, f": {problem.reason}", "check its permissions"
            )
            return []
        # Only an empty folder can be one, so that `.gitmodules` is searched rarely.
        if not entries and _is_missing_submodule(self._folder / folder):
            self._report(
                "A Git submodule that is not checked out",
                folder,
                " is empty, and .gitmodules has it",
                "`git submodule update --init`, or have the CI job check submodules out",
            )
        return entries

    def _is_refused(self, entry: Entry) -> bool:
        if entry.kind in (EntryKind.FOLDER, EntryKind.SUBMODULE):
            return False
        path, is_link = self._folder / entry.path, entry.kind is EntryKind.LINK
        # Following it could loop or leave the project, and skipping it would take what it declares
        # for removed.
        if is_link and os.path.isdir(path):  # noqa: PTH112 - False for one that leads to itself
            self._report(
                "A linked folder among the manifests",
                entry.path,
                f" is a link to a folder, {os.path.realpath(path)}; such links are not followed",
                "put the folder itself there, or list the one it leads to under `manifests:`",
            )
            return True
        if not is_manifest_name(path.name) or _is_list_of_targets(self._project, str(path)):
            return True
        leads_outside = is_link and leads_outside_folder(path, self._project.root)
        if leads_outside:
            self._findings.append(_outside_link_finding(path, self._project))
        return leads_outside

    def _report(self, summary: str, path: str, detail: str, hint: str) -> None:
        name = format_display_path(self._folder / path, str(Path.cwd()))
        self._findings.append(error_finding(summary, name + detail, hint))


def iter_manifests(
    entries: Callable[[str], list[Entry]], folder: str, is_refused: Callable[[Entry], bool]
) -> Iterator[Entry]:
    """The files below a folder that have a manifest's name, sorted by name in each folder.

    `entries` gives those of a folder; `is_refused` leaves one out and may report it.
    """
    # Sorted, since findings follow the order.
    for entry in sorted(entries(folder), key=lambda entry: posixpath.basename(entry.path)):
        name = posixpath.basename(entry.path)
        if is_ignored_name(name) or is_refused(entry):
            continue
        if entry.kind in (EntryKind.FOLDER, EntryKind.SUBMODULE):
            yield from iter_manifests(entries, entry.path, is_refused)
        elif is_manifest_name(name):
            yield entry


def is_ignored_name(name: str) -> bool:
    """Whether a file or folder of this name is skipped inside of a folder."""
    return name.startswith(".") or name in _IGNORED_NAMES


def is_manifest_name(name: str) -> bool:
    """Whether a file of this name inside of a folder is read as a manifest."""
    return name.endswith(_MANIFEST_SUFFIXES) and name != FILE_NAME


def _is_list_of_targets(project: Project, path: str) -> bool:
    """Whether `targets_from` of the project names the file at this path."""
    return path.removeprefix(os.path.join(project.root, "")) in project.list_files  # noqa: PTH118


def _is_missing_submodule(empty_folder: Path) -> bool:
    """Whether an empty folder is where the checkout above it has a submodule.

    Git tracks no empty folder, and leaves one in the place of a submodule that is not checked out.
    `.gitmodules` lists its path (gitmodules(5)).
    """
    folder = empty_folder.resolve()
    for parent in folder.parents:
        try:
            submodule_paths = read_submodule_paths(parent)
        except OSError:
            continue
        # The nearest `.gitmodules` decides: one further up lists the submodules of its own
        # repository.
        return folder.relative_to(parent).as_posix() in submodule_paths
    return False


def _outside_link_finding(path: Path, project: Project) -> Diagnostic:
    name = format_display_path(path, str(Path.cwd()))
    return error_finding(
        "Path outside the project",
        f"{name} is a link to {os.path.realpath(path)}, outside {project.root}",
        "put the file itself there",
    )


def is_inside_or_allowed(project: Project, target: Target, text: str) -> bool:
    """Whether a path written in the project lies inside it, or is listed under allow_files.

    Links are not followed: where the path leads is checked by who opens it.
    """
    root = os.path.normpath(project.root)
    path = os.path.normpath(Path(root, text))
    if _is_at_or_below(path, root):
        return True
    return any(path == os.path.normpath(Path(root, name)) for name in target.allow_files)


def _is_at_or_below(path: str, folder: str) -> bool:
    # With the separator, so that `/a/bc` is not below `/a/b`.
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def build_outside_finding(
    text: str, project: Project, position: Position | None = None
) -> Diagnostic:
    """The finding for a path that leaves the project."""
    return error_finding(
        "Path outside the project",
        f"`{text}` lies outside {project.root}",
        "move it inside, or list it under allow_files in synapse-apply.yaml",
        position=position,
    )


def format_display_path(path: Path, folder: str) -> str:
    """A file's path for messages: relative to the working folder `folder` where inside it."""
    text = str(path)
    return text[len(folder) + 1 :] if text.startswith(folder + os.sep) else text
