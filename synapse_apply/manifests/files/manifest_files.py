"""Which files are read as manifests: listed files and folders, recursive, inside the project."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import field
from pathlib import Path

from synapse_apply.files.checkout import is_lexically_same_or_below, leads_outside_folder
from synapse_apply.manifests.files.submodules import is_missing_submodule
from synapse_apply.manifests.project.project import FILE_NAME, get_text_position_or_none
from synapse_apply.model.diagnostic import Diagnostic, Position, error_finding
from synapse_apply.model.frozen import mutable
from synapse_apply.model.project import Project, Target

_MANIFEST_SUFFIXES = (".yaml", ".yml")
_IGNORED_NAMES = frozenset(("node_modules", "__pycache__"))


@mutable
class ManifestFiles:
    """The files of one target, each once; `implicit` when no folder of manifests is configured.

    `listed_files` are those that were listed themselves, not found in a folder.
    """

    files: list[Path] = field(default_factory=list)
    listed_files: set[Path] = field(default_factory=set)
    findings: list[Diagnostic] = field(default_factory=list)
    implicit: bool = False


def collect_manifest_files(
    project: Project, target: Target, paths: Sequence[str] = ()
) -> ManifestFiles:
    """Find the manifest files of a target, in order, with findings for those that are refused.

    `paths` when given (relative to the working folder), else the project's and the target's,
    else `manifests/` or the project's folder.
    """
    result = ManifestFiles()
    listed_paths = (*project.manifests, *target.manifests)
    entries = _list_entries_as_written_and_as_path(project, target, paths)
    result.implicit = not paths and not listed_paths and entries[0][0] == "."
    visited: set[Path] = set()
    for text, path in entries:
        if (
            not paths
            and listed_paths
            and not is_project_path_allowed_by_its_text(project, target, text)
        ):
            result.findings.append(
                build_outside_finding(text, project, get_text_position_or_none(text))
            )
            continue
        if link_finding := _find_outside_link_error_unless_allowed(
            project, target, path, text, is_typed=bool(paths)
        ):
            result.findings.append(link_finding)
            continue
        for file in _iter_entry_files_or_report_missing(path, project, result, text):
            if file not in visited:
                visited.add(file)
                result.files.append(file)
    return result


def list_folders_without_manifest_names(
    project: Project, target: Target, paths: Sequence[str] = ()
) -> list[str]:
    """The folders to read, as written, in which no file has a manifest's name."""
    return [
        text
        for text, path in _list_entries_as_written_and_as_path(project, target, paths)
        if path.is_dir()
        and not any(_iter_entry_files_or_report_missing(path, project, ManifestFiles(), text))
    ]


def list_configured_or_default_manifest_paths(project: Project, target: Target) -> tuple[str, ...]:
    """The configured manifest paths as written, else the default one."""
    if listed_paths := (*project.manifests, *target.manifests):
        return listed_paths
    return ("manifests/",) if (project.root / "manifests").is_dir() else (".",)


def is_folder_read_by_default(project: Project, target: Target, folder: Path) -> bool:
    """Whether a manifest in this folder would be read without naming it on the command line."""
    real_folder = os.path.realpath(folder)
    for text in list_configured_or_default_manifest_paths(project, target):
        listed_folder = os.path.realpath(project.root / text)
        if is_project_path_allowed_by_its_text(project, target, text) and _is_at_or_below(
            real_folder, listed_folder
        ):
            # An ignored folder on the way hides all that is below it.
            parts_between = Path(real_folder).relative_to(listed_folder).parts
            if not any(map(is_ignored_name, parts_between)):
                return True
    return False


def _list_entries_as_written_and_as_path(
    project: Project, target: Target, paths: Sequence[str]
) -> list[tuple[str, Path]]:
    """The folders and files to read, each as written and as a path."""
    if paths:
        return [(text, Path.cwd() / text) for text in paths]
    return [
        (text, project.root / text)
        for text in list_configured_or_default_manifest_paths(project, target)
    ]


def would_read_new_file(
    path: Path, project: Project, target: Target, paths: Sequence[str] = ()
) -> bool:
    """Whether a new file at this real path would be read as a manifest."""
    if not is_manifest_name(path.name) or is_list_of_targets(project, str(path)):
        return False
    for _, folder in _list_entries_as_written_and_as_path(project, target, paths):
        listed_folder = Path(os.path.realpath(folder))
        if listed_folder.is_dir() and path.is_relative_to(listed_folder):
            return not any(map(is_ignored_name, path.relative_to(listed_folder).parts))
    return False


def is_ignored_name(name: str) -> bool:
    """Whether a file or folder of this name is skipped inside of a folder."""
    return name.startswith(".") or name in _IGNORED_NAMES


def is_manifest_name(name: str) -> bool:
    """Whether a file of this name inside of a folder is read as a manifest."""
    return name.endswith(_MANIFEST_SUFFIXES) and name != FILE_NAME


def is_list_of_targets(project: Project, path: str) -> bool:
    """Whether `targets_from` of the project names the file at this path."""
    relative_path = path.removeprefix(os.path.join(project.root, ""))  # noqa: PTH118
    return relative_path in project.list_files


def _find_outside_link_error_unless_allowed(
    project: Project, target: Target, path: Path, text: str, *, is_typed: bool
) -> Diagnostic | None:
    """The finding for a path inside the project whose links lead outside; None where they do not.

    A path typed on the command line may lie outside as written; so may one that is listed
    outside the project under allow_files. A name listed there that lies inside does not count
    here: a pull request could turn it into a link to anywhere.
    """
    try:
        lies_outside = not is_lexically_same_or_below(path, project.root)
        leads_outside = not lies_outside and leads_outside_folder(path, project.root)
        real_path = os.path.realpath(path)
    except ValueError:  # a name no file can have
        return None
    if lies_outside or not leads_outside:
        return None
    allowed_paths = [project.root / name for name in target.allow_files]
    outside_paths = [
        allowed_path
        for allowed_path in allowed_paths
        if not is_lexically_same_or_below(allowed_path, project.root)
    ]
    if not is_typed and any(
        real_path == os.path.realpath(allowed_path) for allowed_path in outside_paths
    ):
        return None
    return _build_outside_link_finding(str(path), project).with_changes(
        position=get_text_position_or_none(text)
    )


def _iter_entry_files_or_report_missing(
    path: Path, project: Project, result: ManifestFiles, text: str
) -> Iterator[Path]:
    path = Path(os.path.normpath(path))
    is_folder = os.path.isdir(path)  # noqa: PTH112 - also for names that no file can have
    if not is_folder and os.path.exists(path):  # noqa: PTH110
        result.listed_files.add(path)
        yield path
    elif is_folder:
        yield from _iter_folder_manifests_and_report_refused(str(path), project, result)
    else:
        result.findings.append(
            error_finding(
                "No such file or folder",
                f"`{text}` is listed as manifests and does not exist",
                "make it, or remove it from the list",
                position=get_text_position_or_none(text),
            )
        )


def _iter_folder_manifests_and_report_refused(
    folder: str, project: Project, result: ManifestFiles
) -> Iterator[Path]:
    folder_entries = _scan_folder_reporting_unreadable(folder, result)
    # Only an empty folder can be one, so that `.gitmodules` is searched rarely.
    if not folder_entries and is_missing_submodule(Path(folder)):
        result.findings.append(_build_submodule_finding(folder))
    for entry in folder_entries:
        if is_ignored_name(entry.name):
            continue
        # Linked folders are refused below: following them could loop or leave the project.
        if entry.is_dir(follow_symlinks=False):
            yield from _iter_folder_manifests_and_report_refused(entry.path, project, result)
        elif entry.is_symlink() and _is_link_to_folder(entry):
            result.findings.append(_build_linked_folder_finding(entry.path))
        elif is_manifest_name(entry.name) and not is_list_of_targets(project, entry.path):
            if entry.is_symlink() and leads_outside_folder(Path(entry.path), project.root):
                result.findings.append(_build_outside_link_finding(entry.path, project))
            else:
                yield Path(entry.path)


def _scan_folder_reporting_unreadable(folder: str, result: ManifestFiles) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            # Sorted, since the order of scandir depends on the file system, and findings follow it.
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as problem:
        result.findings.append(_build_unreadable_finding(folder, problem))
        return []


def _is_link_to_folder(link: os.DirEntry[str]) -> bool:
    try:
        return link.is_dir()
    except OSError:  # a link that leads to itself: reading it reports why
        return False


def _build_outside_link_finding(path: str, project: Project) -> Diagnostic:
    return error_finding(
        "Path outside the project",
        f"{format_display_path(Path(path), str(Path.cwd()))} is a link to "
        f"{os.path.realpath(path)}, "
        f"outside {project.root}",
        "put the file itself there",
    )


def _build_linked_folder_finding(path: str) -> Diagnostic:
    """The error for a linked folder.

    Following it could loop, and skipping it would take what it declares for removed.
    """
    return error_finding(
        "A linked folder among the manifests",
        f"{format_display_path(Path(path), str(Path.cwd()))} is a link to a folder, "
        f"{os.path.realpath(path)}; such links are not followed",
        "put the folder itself there, or list the one it leads to under `manifests:`",
    )


def _build_submodule_finding(folder: str) -> Diagnostic:
    """The error for a submodule that is not checked out.

    Its manifests must not count as removed.
    """
    return error_finding(
        "A Git submodule that is not checked out",
        f"{format_display_path(Path(folder), str(Path.cwd()))} is empty, and .gitmodules has it",
        "`git submodule update --init`, or have the CI job check submodules out",
    )


def _build_unreadable_finding(folder: str, problem: OSError) -> Diagnostic:
    """The error for an unreadable folder: its manifests must not count as removed."""
    return error_finding(
        "Unreadable folder",
        f"{format_display_path(Path(folder), str(Path.cwd()))}: {problem.strerror}",
        "check its permissions",
    )


def is_project_path_allowed_by_its_text(project: Project, target: Target, text: str) -> bool:
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
