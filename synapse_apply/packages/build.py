"""A package written to a file of its own: the zip that an upload sends, to keep or to look at."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from synapse_apply.model.desired import Package, PackageSource
from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.errors import InputError
from synapse_apply.packages.aside import aside
from synapse_apply.packages.content import UnreadableError, digest_of
from synapse_apply.packages.folder import FolderTree
from synapse_apply.packages.inspect import MAX_SIZE, doubts, measured_within
from synapse_apply.packages.sources import FILE, FOLDER, opened
from synapse_apply.packages.tree import left_out


def build(
    source: PackageSource,
    root: Path,
    path: Path,
    max_size: int = MAX_SIZE,
    *,
    allow_files: Sequence[str] = (),
    warn: Callable[[Diagnostic], None] = lambda _finding: None,
) -> Package:
    """Write the reproducible zip of a source to a path, whole or not at all.

    A zip that stands there is replaced, any other file is not. InputError for that, for what is
    wrong with the source, and for a path inside the package itself.
    """
    _check_place(source, root, path)
    part = aside(path)
    try:
        with opened(source, root, allow_files) as found, part.open("xb") as file:
            measured = measured_within(found, max_size, source, file)
        part.replace(path)
    except OSError as problem:
        raise InputError(_unusable(path, f"{problem.strerror}.")) from None
    finally:
        with suppress(OSError):
            part.unlink()
    for finding in doubts(source, measured):
        warn(finding)
    return Package(digest_of(measured.files), measured.files, measured.size, source)


def _check_place(source: PackageSource, root: Path, path: Path) -> None:
    if path.is_dir():
        raise InputError(_unusable(path, "it is a folder."))
    if path.exists() and not _is_zip(path):
        raise InputError(_unusable(path, "another file stands there, and it is no zip."))
    place = (root / source.path).resolve()
    if source.kind == FILE and path.resolve() == place:
        raise InputError(_unusable(path, "it is the source itself."))
    if source.kind == FOLDER and path.resolve().is_relative_to(place):
        _check_inside(path, place)


def _check_inside(path: Path, place: Path) -> None:
    """A zip in its own folder would be a part of the next one."""
    inside = path.resolve().relative_to(place).as_posix()
    try:
        rule = left_out(FolderTree(place), inside)
    except UnreadableError as problem:
        raise InputError(problem.finding) from None
    if rule is None:
        raise InputError(_unusable(path, "it would be a part of the package from now on."))


def _is_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except OSError:
        return False


def _unusable(path: Path, why: str) -> Diagnostic:
    return error("The zip cannot be written", f"{path}: {why}", "Choose another place with -o.")
