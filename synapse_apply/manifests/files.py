"""Which files hold manifests: folders (recursive, sorted) and single files, inside the project."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from synapse_apply.files.checkout import is_written_below, leads_out
from synapse_apply.manifests.project import FILE_NAME, place_of
from synapse_apply.manifests.submodules import is_not_checked_out
from synapse_apply.model.diagnostic import Diagnostic, Position, error
from synapse_apply.model.project import Project, Target

_SUFFIXES = (".yaml", ".yml")
_PASSED_OVER = frozenset(("node_modules", "__pycache__"))


@dataclass(slots=True)
class ManifestFiles:
    """The files of one target, each once; `implicit` when nobody named a folder.

    `named` are those that were listed themselves, not found in a folder.
    """

    files: list[FilePath] = field(default_factory=list)
    named: set[FilePath] = field(default_factory=set)
    findings: list[Diagnostic] = field(default_factory=list)
    implicit: bool = False


def manifest_files(project: Project, target: Target, paths: Sequence[str] = ()) -> ManifestFiles:
    """The manifests of a target, in order.

    `paths` when given (relative to the working folder), else the project's and the target's,
    else `manifests/` or the project's folder.
    """
    result = ManifestFiles()
    named = (*project.manifests, *target.manifests)
    entries = _entries(project, target, paths)
    result.implicit = not paths and not named and entries[0][0] == "."
    seen: set[FilePath] = set()
    for text, path in entries:
        if not paths and named and not is_inside(project, target, text):
            result.findings.append(outside(text, project, place_of(text)))
            continue
        if away := _leads_away(project, target, path, text, is_typed=bool(paths)):
            result.findings.append(away)
            continue
        for file in _expand(path, project, result, text):
            if file not in seen:
                seen.add(file)
                result.files.append(file)
    return result


def empty_folders(project: Project, target: Target, paths: Sequence[str] = ()) -> list[str]:
    """The folders that are to be read and have no file that could be a manifest, as written."""
    return [
        text
        for text, path in _entries(project, target, paths)
        if path.is_dir() and not any(_expand(path, project, ManifestFiles(), text))
    ]


def listed_by(project: Project, target: Target) -> tuple[str, ...]:
    """What is read without being named, as the project file has it or leaves it out."""
    if named := (*project.manifests, *target.manifests):
        return named
    return ("manifests/",) if (project.root / "manifests").is_dir() else (".",)


def is_read(project: Project, target: Target, folder: FilePath) -> bool:
    """Whether what lies in this folder is read without being named."""
    place = os.path.realpath(folder)
    for text in listed_by(project, target):
        listed = os.path.realpath(project.root / text)
        if is_inside(project, target, text) and _is_below(place, listed):
            between = FilePath(place).relative_to(listed).parts
            if not any(map(is_passed_over, between)):
                return True
    return False


def _entries(project: Project, target: Target, paths: Sequence[str]) -> list[tuple[str, FilePath]]:
    """The folders and files to look in, each as it is written and where it is."""
    if paths:
        return [(text, FilePath.cwd() / text) for text in paths]
    return [(text, project.root / text) for text in listed_by(project, target)]


def would_be_read(
    path: FilePath, project: Project, target: Target, paths: Sequence[str] = ()
) -> bool:
    """Whether a new file at this path, links followed, would be read as a manifest."""
    if not is_manifest(path.name):
        return False
    for _, folder in _entries(project, target, paths):
        above = FilePath(os.path.realpath(folder))
        if above.is_dir() and path.is_relative_to(above):
            return not any(map(is_passed_over, path.relative_to(above).parts))
    return False


def is_passed_over(name: str) -> bool:
    """Whether a file or folder of this name is not looked at where nobody named it."""
    return name.startswith(".") or name in _PASSED_OVER


def is_manifest(name: str) -> bool:
    """Whether a file of this name in a folder of manifests is read."""
    return name.endswith(_SUFFIXES) and name != FILE_NAME


def _leads_away(
    project: Project, target: Target, path: FilePath, text: str, *, is_typed: bool
) -> Diagnostic | None:
    """The finding for a path whose links leave the project, though it lies there as it is written.

    One that is typed may lie elsewhere, and then leads where it leads; so may one that is listed
    outside the project under allow_files. A name listed there that lies inside counts for nothing
    here: a pull request can make it a link to anywhere.
    """
    try:
        elsewhere = not is_written_below(path, project.root)
        away = not elsewhere and leads_out(path, project.root)
        real = os.path.realpath(path)
    except ValueError:  # a name no file can have
        return None
    if elsewhere or not away:
        return None
    listed = [project.root / name for name in target.allow_files]
    outside = [one for one in listed if not is_written_below(one, project.root)]
    if not is_typed and any(real == os.path.realpath(one) for one in outside):
        return None
    return _leads_out(str(path), project).with_(position=place_of(text))


def _expand(
    path: FilePath, project: Project, result: ManifestFiles, text: str
) -> Iterator[FilePath]:
    path = FilePath(os.path.normpath(path))
    is_folder = os.path.isdir(path)  # noqa: PTH112 - also for names that no file can have
    if not is_folder and os.path.exists(path):  # noqa: PTH110
        result.named.add(path)
        yield path
    elif is_folder:
        yield from _walk(str(path), project, result)
    else:
        result.findings.append(
            error(
                "No such file or folder",
                f"`{text}` is listed as manifests and does not exist",
                "make it, or remove it from the list",
                position=place_of(text),
            )
        )


def _walk(folder: str, project: Project, result: ManifestFiles) -> Iterator[FilePath]:
    found = _listed(folder, result)
    if not found and is_not_checked_out(FilePath(folder)):
        result.findings.append(_not_checked_out(folder))
    for entry in found:
        if is_passed_over(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, project, result)
        elif entry.is_symlink() and _leads_to_folder(entry):
            result.findings.append(_linked_folder(entry.path))
        elif is_manifest(entry.name):
            if entry.is_symlink() and leads_out(FilePath(entry.path), project.root):
                result.findings.append(_leads_out(entry.path, project))
            else:
                yield FilePath(entry.path)


def _listed(folder: str, result: ManifestFiles) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as problem:
        result.findings.append(_unreadable(folder, problem))
        return []


def _leads_to_folder(link: os.DirEntry[str]) -> bool:
    try:
        return link.is_dir()
    except OSError:  # a link in a circle: reading it tells why
        return False


def _leads_out(path: str, project: Project) -> Diagnostic:
    return error(
        "Path outside the project",
        f"{shown(FilePath(path), str(FilePath.cwd()))} is a link to {os.path.realpath(path)}, "
        f"outside {project.root}",
        "put the file itself there",
    )


def _linked_folder(path: str) -> Diagnostic:
    """Following it could lead in circles; passing it over would forget what it declares."""
    return error(
        "A linked folder among the manifests",
        f"{shown(FilePath(path), str(FilePath.cwd()))} is a link to a folder, "
        f"{os.path.realpath(path)}; such links are not followed",
        "put the folder itself there, or list the one it leads to under `manifests:`",
    )


def _not_checked_out(folder: str) -> Diagnostic:
    """What it declares must not be taken for removed."""
    return error(
        "A Git submodule that is not checked out",
        f"{shown(FilePath(folder), str(FilePath.cwd()))} is empty, and .gitmodules has it",
        "`git submodule update --init`, or have the CI job check submodules out",
    )


def _unreadable(folder: str, problem: OSError) -> Diagnostic:
    """What such a folder declares must not be taken for removed."""
    return error(
        "Unreadable folder",
        f"{shown(FilePath(folder), str(FilePath.cwd()))}: {problem.strerror}",
        "check its permissions",
    )


def is_inside(project: Project, target: Target, text: str) -> bool:
    """Whether a path written in the project lies inside it, or is listed under allow_files."""
    root = os.path.normpath(project.root)
    path = os.path.normpath(FilePath(root, text))
    if _is_below(path, root):
        return True
    return any(path == os.path.normpath(FilePath(root, name)) for name in target.allow_files)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def outside(text: str, project: Project, position: Position | None = None) -> Diagnostic:
    """The finding for a path that leaves the project."""
    return error(
        "Path outside the project",
        f"`{text}` lies outside {project.root}",
        "move it inside, or list it under allow_files in synapse-apply.yaml",
        position=position,
    )


def shown(path: FilePath, folder: str) -> str:
    """A file's name as people can follow it: relative to the working folder where inside it."""
    text = str(path)
    return text[len(folder) + 1 :] if text.startswith(folder + os.sep) else text
