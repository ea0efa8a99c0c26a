"""How each kind of package source is opened, and that it must be inside the project."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn

from synapse_apply.model.errors import InputError
from synapse_apply.model.resource import FILE, FOLDER, GIT, PackageSource
from synapse_apply.packages.content import GatheredFiles, UnreadableError
from synapse_apply.packages.ignore import IgnoreRules
from synapse_apply.packages.source.folder import FolderTree
from synapse_apply.packages.source.git import (
    GitTree,
    read_committed_file_or_none_if_absent,
    resolve_ref_to_commit_or_raise,
)
from synapse_apply.packages.source.tree import (
    SourceTree,
    decode_small_utf8_text_or_raise_unreadable,
    gather_files_and_collect_errors,
    read_small_text_or_none_if_absent_or_folder,
)
from synapse_apply.packages.source.zip_archive import gather_zip_files_and_errors, open_zip
from synapse_apply.packages.zip_stamps import build_file_stamp

CONFIG_FILES = ("config.yaml", "synapse.yaml")


@contextmanager
def open_and_gather_source_files(
    source: PackageSource, root: Path, allow_files: Sequence[str] = ()
) -> Iterator[GatheredFiles]:
    """Open a source and gather its files, whose content can be read inside the block.

    InputError if there is nothing at its path, or it is outside of the project and not listed in
    `allow_files`.
    """
    if source.kind == FILE:
        with (
            open_zip_file_or_zip_at_ref(source, root, allow_files) as file,
            open_zip(file, source.path) as archive,
        ):
            gathered = gather_zip_files_and_errors(archive, source.path)
            # A zip at a Git ref is in memory and has no file on disk to be recognised by.
            if not source.ref:
                gathered.zip_stamp = build_file_stamp(file.name, os.fstat(file.fileno()))
            yield gathered
    elif source.kind in (FOLDER, GIT):
        with _open_folder_or_git_tree(source, root, allow_files) as tree:
            yield gather_files_and_collect_errors(tree)
    else:
        yield GatheredFiles()


class SourceConfigText(NamedTuple):
    """The text of a package's config.yaml, and what to call the file in messages."""

    text: str
    label: str


def read_config_text_or_none(
    source: PackageSource, root: Path, allow_files: Sequence[str] = ()
) -> SourceConfigText | None:
    """Read config.yaml, else synapse.yaml, at the package's root; None without one. InputError."""
    try:
        if source.kind == FILE:
            return _read_config_in_zip_or_none(source, root, allow_files)
        if source.kind in (FOLDER, GIT):
            with _open_folder_or_git_tree(source, root, allow_files) as tree:
                return _read_config_in_tree_or_none(source, tree)
    except UnreadableError as problem:
        raise InputError(problem.finding) from None
    return None


def find_config_file_of_folder_source_or_none(
    source: PackageSource, root: Path, allow_files: Sequence[str] = ()
) -> Path | None:
    """The real path of a folder's config.yaml (or synapse.yaml), None without one.

    None for a source of another kind, too. InputError if the folder cannot be read.
    """
    if source.kind != FOLDER:
        return None
    try:
        with _open_folder_or_git_tree(source, root, allow_files) as tree:
            config = _read_first_unignored_config_or_none(tree)
    except UnreadableError as problem:
        raise InputError(problem.finding) from None
    # Resolved, since a writer must change the file whose content is in the package.
    return (root / source.path / config[0]).resolve() if config else None


def _read_config_in_tree_or_none(
    source: PackageSource, tree: SourceTree
) -> SourceConfigText | None:
    config = _read_first_unignored_config_or_none(tree)
    if config is None:
        return None
    name, text = config
    return SourceConfigText(text, format_package_file_label(source, name))


def format_package_file_label(source: PackageSource, path: str) -> str:
    """How a file of a package is called in messages: `ZIP!PATH` or `FOLDER/PATH`, `at REF`."""
    ref_text = f" at {source.short_ref}" if source.ref else ""
    if source.kind == FILE:
        return f"{source.path}!{path}{ref_text}"
    return (path if source.path in ("", ".") else f"{source.path}/{path}") + ref_text


class _NamedText(NamedTuple):
    name: str
    text: str


def _read_first_unignored_config_or_none(tree: SourceTree) -> _NamedText | None:
    """The first config file at the root that no ignore rule leaves out; None without one."""
    # A config file that a rule leaves out is no part of the package, and must not be read for it.
    rules = IgnoreRules().with_ignore_files_of_folder(
        "", lambda path: read_small_text_or_none_if_absent_or_folder(tree, path)
    )
    for name in CONFIG_FILES:
        text = (
            None
            if rules.find_rule_excluding_path_itself(name)
            else read_small_text_or_none_if_absent_or_folder(tree, name)
        )
        if text is not None:
            return _NamedText(name, text)
    return None


def _read_config_in_zip_or_none(
    source: PackageSource, root: Path, allow_files: Sequence[str]
) -> SourceConfigText | None:
    with open_and_gather_source_files(source, root, allow_files) as gathered:
        entries = {entry.path: entry for entry in gathered.entries}
        for name in CONFIG_FILES:
            if entry := entries.get(name):
                text = decode_small_utf8_text_or_raise_unreadable(name, entry.size, entry.blocks())
                return SourceConfigText(text, format_package_file_label(source, name))
    return None


@contextmanager
def _open_folder_or_git_tree(
    source: PackageSource, root: Path, allow_files: Sequence[str]
) -> Iterator[SourceTree]:
    if source.kind == GIT:
        _require_path_inside_project(source)
        with GitTree(root, source.path or ".", source.ref) as tree:
            yield tree
        return
    top = _require_real_path_inside_or_allowed(source, root, allow_files)
    # Unlike Path.is_dir, these return False for a name that no file can have.
    if not os.path.isdir(top):  # noqa: PTH112
        is_file = os.path.isfile(top)  # noqa: PTH113
        state_text = "is a file" if is_file else "does not exist"
        hint = "A zip built elsewhere is declared with file:." if is_file else _RELATIVE_HINT
        _raise_input_error("Package folder not found", f"{source.path} {state_text}.", hint)
    yield FolderTree(top)


_RELATIVE_HINT = "Paths of packages are relative to the project's folder."


def _require_real_path_inside_or_allowed(
    source: PackageSource, root: Path, allow_files: Sequence[str]
) -> Path:
    """The real path of a source; InputError outside of the project, unless in `allow_files`.

    Otherwise a pull request could upload any file of the machine.
    """
    if "\0" in source.path:
        _raise_input_error(
            "Package path not usable", f"{source.path!r} has a zero byte.", _RELATIVE_HINT
        )
    try:
        project_root, source_path = root.resolve(), (root / source.path).resolve()
        allowed_paths = [(root / name).resolve() for name in allow_files]
    except (OSError, RuntimeError, ValueError) as problem:
        _raise_input_error("Package path not usable", f"{source.path}: {problem}", _RELATIVE_HINT)
    if not source_path.is_relative_to(project_root) and source_path not in allowed_paths:
        _raise_outside_project(source)
    return source_path


def open_zip_file_or_zip_at_ref(
    source: PackageSource, root: Path, allow_files: Sequence[str] = ()
) -> BinaryIO:
    """Open the zip of a `file` source for reading; its `name` is the real path. InputError.

    A zip at a Git ref is read into memory.
    """
    if source.ref:
        return _read_committed_zip_into_memory(source, root)
    path = _require_real_path_inside_or_allowed(source, root, allow_files)
    if not os.path.isfile(path):  # noqa: PTH113 - also for names that no file can have
        state_text = "is a folder" if os.path.isdir(path) else "does not exist"  # noqa: PTH112
        _raise_input_error("Package file not found", f"{source.path} {state_text}.", _RELATIVE_HINT)
    try:
        # The path was resolved: a link that is there now was put there after the check.
        return open(path, "rb", opener=_open_without_links)
    except OSError as problem:
        reason = f"{source.path}: {problem.strerror}."
        _raise_input_error("Package file cannot be read", reason, "Check its permissions.")


def _open_without_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


def with_git_ref_if_folder_or_zip(source: PackageSource, ref: str) -> PackageSource:
    """A folder or zip source at this Git ref; a source of another kind is returned unchanged."""
    if source.kind == FOLDER:
        return replace(source, kind=GIT, ref=ref)
    return replace(source, ref=ref) if source.kind == FILE else source


def is_zip_in_commit_of_its_ref(source: PackageSource, root: Path) -> bool:
    """Whether the zip of a source at a Git ref is committed there; build results rarely are."""
    _require_path_inside_project(source)
    return (
        read_committed_file_or_none_if_absent(
            resolve_ref_to_commit_or_raise(root, source.ref), source.path
        )
        is not None
    )


def _read_committed_zip_into_memory(source: PackageSource, root: Path) -> BinaryIO:
    _require_path_inside_project(source)
    content = read_committed_file_or_none_if_absent(
        resolve_ref_to_commit_or_raise(root, source.ref), source.path
    )
    if content is None:
        _raise_input_error(
            "Package file not found", f"{source.path} is not in {source.short_ref}.", _RELATIVE_HINT
        )
    return io.BytesIO(content)


def _require_path_inside_project(source: PackageSource) -> None:
    """InputError for an absolute path or one with `..`; `allow_files` does not apply to commits."""
    if source.path.startswith("/") or ".." in source.path.split("/"):
        _raise_outside_project(source)


def _raise_outside_project(source: PackageSource) -> NoReturn:
    _raise_input_error(
        "Package outside the project",
        f"{source.path} lies outside the project's folder.",
        "Move it into the project, or list it under allow_files of the target.",
    )


def _raise_input_error(summary: str, detail: str, hint: str) -> NoReturn:
    raise InputError.from_summary(summary, detail, hint)
