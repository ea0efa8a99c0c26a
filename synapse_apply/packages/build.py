"""Where a package may be written as a zip file, and that it is written completely or not at all."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.resource import FILE, FOLDER, Package, PackageSource
from synapse_apply.packages.content import UnreadableError, compute_package_digest
from synapse_apply.packages.inspection import (
    MAX_SIZE,
    iter_windows_name_and_no_config_warnings,
    measure_or_raise_all_errors,
)
from synapse_apply.packages.source.folder import FolderTree
from synapse_apply.packages.source.open_source import open_and_gather_source_files
from synapse_apply.packages.source.tree import find_rule_leaving_path_or_parent_out
from synapse_apply.packages.write_aside import remove_leftovers_and_choose_temporary_path


def write_package_zip(
    source: PackageSource,
    root: Path,
    path: Path,
    max_size: int = MAX_SIZE,
    *,
    allow_files: Sequence[str] = (),
    warn: Callable[[Diagnostic], None] = lambda _finding: None,
) -> Package:
    """Write the reproducible zip of a source to a path, atomically; returns the package.

    An existing zip is replaced. InputError for any other existing file, for a path that would be
    part of the package itself, and for errors in the source. `warn` is called with each warning.
    """
    _require_replaceable_zip_path_outside_source(source, root, path)
    temporary_path = remove_leftovers_and_choose_temporary_path(path)
    try:
        # Written beside and renamed: a reader never sees an incomplete zip.
        with (
            open_and_gather_source_files(source, root, allow_files) as gathered,
            temporary_path.open("xb") as file,
        ):
            measured = measure_or_raise_all_errors(gathered, max_size, source, file)
        temporary_path.replace(path)
    except OSError as problem:
        raise InputError(_build_unusable_path_finding(path, f"{problem.strerror}.")) from None
    finally:
        with suppress(OSError):
            temporary_path.unlink()
    for finding in iter_windows_name_and_no_config_warnings(source, measured):
        warn(finding)
    return Package(compute_package_digest(measured.files), measured.files, measured.size, source)


def _require_replaceable_zip_path_outside_source(
    source: PackageSource, root: Path, path: Path
) -> None:
    """InputError for a folder, a file that is no zip, the source itself, or a path inside it."""
    if path.is_dir():
        raise InputError(_build_unusable_path_finding(path, "it is a folder."))
    if path.exists() and not _is_zip_or_false_if_unreadable(path):
        raise InputError(
            _build_unusable_path_finding(path, "another file stands there, and it is no zip.")
        )
    source_path = (root / source.path).resolve()
    if source.kind == FILE and path.resolve() == source_path:
        raise InputError(_build_unusable_path_finding(path, "it is the source itself."))
    if source.kind == FOLDER:
        _require_zip_outside_or_ignored(path, source_path)


def _require_zip_outside_or_ignored(path: Path, resolved_folder: Path) -> None:
    """InputError in the folder, unless an ignore rule leaves the path out of the next zip."""
    resolved_path = path.resolve()
    if not resolved_path.is_relative_to(resolved_folder):
        return
    relative_path = resolved_path.relative_to(resolved_folder).as_posix()
    try:
        rule = find_rule_leaving_path_or_parent_out(FolderTree(resolved_folder), relative_path)
    except UnreadableError as problem:
        raise InputError(problem.finding) from None
    if rule is None:
        raise InputError(
            _build_unusable_path_finding(path, "it would be a part of the package from now on.")
        )


def _is_zip_or_false_if_unreadable(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except OSError:
        return False


def _build_unusable_path_finding(path: Path, reason: str) -> Diagnostic:
    return error_finding(
        "The zip cannot be written", f"{path}: {reason}", "Choose another place with -o."
    )
