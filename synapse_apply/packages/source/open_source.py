"""The four kinds of package source, opened: what each holds, in one shape."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NoReturn

from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.resource import PackageSource
from synapse_apply.packages.content import BLOCK, GatheredFiles, PackageFile, UnreadableError
from synapse_apply.packages.file_stamp import build_file_stamp
from synapse_apply.packages.ignore import IgnoreRules
from synapse_apply.packages.source.folder import FolderTree
from synapse_apply.packages.source.git import GitTree, read_committed_file, resolve_commit
from synapse_apply.packages.source.tree import (
    SourceTree,
    decode_small_utf8_text,
    gather_tree,
    read_small_text_file,
)
from synapse_apply.packages.source.zip_archive import gather_zip, open_zip

CONFIG_FILES = ("config.yaml", "synapse.yaml")

FOLDER, GIT, FILE, PUBLISHED = "folder", "git", "file", "published"


@contextmanager
def open_source(
    source: PackageSource, root: Path, allow_files: Sequence[str] = ()
) -> Iterator[GatheredFiles]:
    """All of a source; its entries are readable inside the block. InputError: nothing there."""
    if source.kind == FILE:
        with (
            open_zip_source(source, root, allow_files) as file,
            open_zip(file, source.path) as archive,
        ):
            gathered = gather_zip(archive, source.path)
            gathered.zip_file = None if source.ref else _build_zip_entry(source, file)
            yield gathered
    elif source.kind in (FOLDER, GIT):
        with _open_folder_or_git_tree(source, root, allow_files) as tree:
            yield gather_tree(tree)
    else:
        yield GatheredFiles()


def _build_zip_entry(source: PackageSource, file: BinaryIO) -> PackageFile:
    """The zip itself, read beside whoever reads what is in it."""
    stamp = build_file_stamp(file.name, os.fstat(file.fileno()))

    def read_blocks() -> Iterator[bytes]:
        offset = 0
        try:
            while block := os.pread(file.fileno(), BLOCK, offset):
                offset += len(block)
                yield block
        except OSError as problem:
            reason = f"{source.path}: {problem.strerror}."
            raise UnreadableError("Package file cannot be read", reason) from None

    return PackageFile(
        source.path, is_executable=False, size=stamp.size, blocks=read_blocks, stamp=stamp
    )


def read_config_text(
    source: PackageSource, root: Path, allow_files: Sequence[str] = ()
) -> tuple[str, str] | None:
    """(text, name for messages) of config.yaml or synapse.yaml at the package's root, or None."""
    try:
        if source.kind == FILE:
            return _read_config_in_zip(source, root, allow_files)
        if source.kind in (FOLDER, GIT):
            with _open_folder_or_git_tree(source, root, allow_files) as tree:
                return _read_config_in_tree(source, tree)
    except UnreadableError as problem:
        raise InputError(problem.finding) from None
    return None


def find_config_file(
    source: PackageSource, root: Path, allow_files: Sequence[str] = ()
) -> Path | None:
    """Where the config.yaml (or synapse.yaml) of a folder is on disk, None without one.

    InputError when the folder cannot be read.
    """
    try:
        with _open_folder_or_git_tree(source, root, allow_files) as tree:
            config = _read_unignored_config(tree)
    except UnreadableError as problem:
        raise InputError(problem.finding) from None
    # A link is followed: whoever writes must write to what the package holds.
    return (root / source.path / config[0]).resolve() if config else None


def _read_config_in_tree(source: PackageSource, tree: SourceTree) -> tuple[str, str] | None:
    config = _read_unignored_config(tree)
    if config is None:
        return None
    name, text = config
    return text, label_package_file(source, name)


def label_package_file(source: PackageSource, path: str) -> str:
    """What to call a file of a package in a message."""
    ref_text = f" at {source.short_ref}" if source.ref else ""
    if source.kind == FILE:
        return f"{source.path}!{path}{ref_text}"
    return (path if source.path in ("", ".") else f"{source.path}/{path}") + ref_text


def _read_unignored_config(tree: SourceTree) -> tuple[str, str] | None:
    """(name, text) of the file that counts: what a rule leaves out is no part of the package."""
    rules = IgnoreRules().with_folder_files("", lambda path: read_small_text_file(tree, path))
    for name in CONFIG_FILES:
        text = None if rules.find_excluding_rule(name) else read_small_text_file(tree, name)
        if text is not None:
            return name, text
    return None


def _read_config_in_zip(
    source: PackageSource, root: Path, allow_files: Sequence[str]
) -> tuple[str, str] | None:
    with open_source(source, root, allow_files) as gathered:
        entries = {entry.path: entry for entry in gathered.entries}
        for name in CONFIG_FILES:
            if entry := entries.get(name):
                return decode_small_utf8_text(name, entry.size, entry.blocks()), label_package_file(
                    source, name
                )
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
    top = _resolve_inside_project(source, root, allow_files)
    # Unlike those of Path, these answer also for names that no file can have.
    if not os.path.isdir(top):  # noqa: PTH112
        is_file = os.path.isfile(top)  # noqa: PTH113
        state_text = "is a file" if is_file else "does not exist"
        hint = "A zip built elsewhere is declared with file:." if is_file else _RELATIVE_HINT
        _raise_input_error("Package folder not found", f"{source.path} {state_text}.", hint)
    yield FolderTree(top)


_RELATIVE_HINT = "Paths of packages are relative to the project's folder."


def _resolve_inside_project(source: PackageSource, root: Path, allow_files: Sequence[str]) -> Path:
    """The source's place on disk; a pull request must not upload what lies elsewhere."""
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


def open_zip_source(source: PackageSource, root: Path, allow_files: Sequence[str] = ()) -> BinaryIO:
    """The zip of a `file` source, open for reading, its `name` the real path; InputError."""
    if source.ref:
        return _open_committed_zip(source, root)
    path = _resolve_inside_project(source, root, allow_files)
    if not os.path.isfile(path):  # noqa: PTH113 - also for names that no file can have
        state_text = "is a folder" if os.path.isdir(path) else "does not exist"  # noqa: PTH112
        _raise_input_error("Package file not found", f"{source.path} {state_text}.", _RELATIVE_HINT)
    try:
        # The path leads through no link: one that is there now came after the look at it.
        return open(path, "rb", opener=_open_without_links)
    except OSError as problem:
        reason = f"{source.path}: {problem.strerror}."
        _raise_input_error("Package file cannot be read", reason, "Check its permissions.")


def _open_without_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


def at_git_ref(source: PackageSource, ref: str) -> PackageSource:
    """The same source as a Git ref has it; what names a ref, or no bytes of ours, is as it is."""
    if source.kind == FOLDER:
        return replace(source, kind=GIT, ref=ref)
    return replace(source, ref=ref) if source.kind == FILE else source


def is_zip_committed(source: PackageSource, root: Path) -> bool:
    """Whether a zip at a Git ref is in it: what a build makes seldom is."""
    _require_path_inside_project(source)
    return read_committed_file(resolve_commit(root, source.ref), source.path) is not None


def _open_committed_zip(source: PackageSource, root: Path) -> BinaryIO:
    _require_path_inside_project(source)
    content = read_committed_file(resolve_commit(root, source.ref), source.path)
    if content is None:
        _raise_input_error(
            "Package file not found", f"{source.path} is not in {source.short_ref}.", _RELATIVE_HINT
        )
    return io.BytesIO(content)


def _require_path_inside_project(source: PackageSource) -> None:
    if source.path.startswith("/") or ".." in source.path.split("/"):
        _raise_outside_project(source)


def _raise_outside_project(source: PackageSource) -> NoReturn:
    _raise_input_error(
        "Package outside the project",
        f"{source.path} lies outside the project's folder.",
        "Move it into the project, or list it under allow_files of the target.",
    )


def _raise_input_error(summary: str, detail: str, hint: str) -> NoReturn:
    raise InputError(error_finding(summary, detail, hint))
