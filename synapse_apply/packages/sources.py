"""The four kinds of package source, opened: what each holds, in one shape."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NoReturn

from synapse_apply.model.desired import PackageSource
from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import InputError
from synapse_apply.packages.archive import gather_zip, open_zip
from synapse_apply.packages.content import BLOCK, Entry, Gathered, UnreadableError
from synapse_apply.packages.folder import FolderTree
from synapse_apply.packages.git import GitTree, commit_at, file_at
from synapse_apply.packages.ignore import Rules
from synapse_apply.packages.sighting import sighting_of
from synapse_apply.packages.tree import Tree, gather, read_text, text_of

CONFIG_FILES = ("config.yaml", "synapse.yaml")

FOLDER, GIT, FILE, PUBLISHED = "folder", "git", "file", "published"


@contextmanager
def opened(
    source: PackageSource, root: Path, allow_files: Sequence[str] = ()
) -> Iterator[Gathered]:
    """All of a source; its entries are readable inside the block. InputError: nothing there."""
    if source.kind == FILE:
        with (
            open_source_file(source, root, allow_files) as file,
            open_zip(file, source.path) as archive,
        ):
            found = gather_zip(archive, source.path)
            found.zip = None if source.ref else _whole(source, file)
            yield found
    elif source.kind in (FOLDER, GIT):
        with _tree(source, root, allow_files) as tree:
            yield gather(tree)
    else:
        yield Gathered()


def _whole(source: PackageSource, file: BinaryIO) -> Entry:
    """The zip itself, read beside whoever reads what is in it."""
    seen = sighting_of(file.name, os.fstat(file.fileno()))

    def blocks() -> Iterator[bytes]:
        at = 0
        try:
            while block := os.pread(file.fileno(), BLOCK, at):
                at += len(block)
                yield block
        except OSError as problem:
            why = f"{source.path}: {problem.strerror}."
            raise UnreadableError("Package file cannot be read", why) from None

    return Entry(source.path, executable=False, size=seen.size, blocks=blocks, sighting=seen)


def config_text(
    source: PackageSource, root: Path, allow_files: Sequence[str] = ()
) -> tuple[str, str] | None:
    """(text, name for messages) of config.yaml or synapse.yaml at the package's root, or None."""
    try:
        if source.kind == FILE:
            return _config_in_zip(source, root, allow_files)
        if source.kind in (FOLDER, GIT):
            with _tree(source, root, allow_files) as tree:
                return _config_in_tree(source, tree)
    except UnreadableError as problem:
        raise InputError(problem.finding) from None
    return None


def config_file(source: PackageSource, root: Path, allow_files: Sequence[str] = ()) -> Path | None:
    """Where the config.yaml (or synapse.yaml) of a folder is on disk, None without one.

    InputError when the folder cannot be read.
    """
    try:
        with _tree(source, root, allow_files) as tree:
            found = _config_of(tree)
    except UnreadableError as problem:
        raise InputError(problem.finding) from None
    # A link is followed: whoever writes must write to what the package holds.
    return (root / source.path / found[0]).resolve() if found else None


def _config_in_tree(source: PackageSource, tree: Tree) -> tuple[str, str] | None:
    found = _config_of(tree)
    if found is None:
        return None
    name, text = found
    return text, name_in(source, name)


def name_in(source: PackageSource, path: str) -> str:
    """What to call a file of a package in a message."""
    at = f" at {source.shown_ref}" if source.ref else ""
    if source.kind == FILE:
        return f"{source.path}!{path}{at}"
    return (path if source.path in ("", ".") else f"{source.path}/{path}") + at


def _config_of(tree: Tree) -> tuple[str, str] | None:
    """(name, text) of the file that counts: what a rule leaves out is no part of the package."""
    rules = Rules().entering("", lambda path: read_text(tree, path))
    for name in CONFIG_FILES:
        text = None if rules.why(name) else read_text(tree, name)
        if text is not None:
            return name, text
    return None


def _config_in_zip(
    source: PackageSource, root: Path, allow_files: Sequence[str]
) -> tuple[str, str] | None:
    with opened(source, root, allow_files) as found:
        entries = {entry.path: entry for entry in found.entries}
        for name in CONFIG_FILES:
            if entry := entries.get(name):
                return text_of(name, entry.size, entry.blocks()), name_in(source, name)
    return None


@contextmanager
def _tree(source: PackageSource, root: Path, allow_files: Sequence[str]) -> Iterator[Tree]:
    if source.kind == GIT:
        _check_below(source)
        with GitTree(root, source.path or ".", source.ref) as tree:
            yield tree
        return
    top = _inside(source, root, allow_files)
    # Unlike those of Path, these answer also for names that no file can have.
    if not os.path.isdir(top):  # noqa: PTH112
        is_file = os.path.isfile(top)  # noqa: PTH113
        what = "is a file" if is_file else "does not exist"
        hint = "A zip built elsewhere is declared with file:." if is_file else _RELATIVE
        _stop("Package folder not found", f"{source.path} {what}.", hint)
    yield FolderTree(top)


_RELATIVE = "Paths of packages are relative to the project's folder."


def _inside(source: PackageSource, root: Path, allow_files: Sequence[str]) -> Path:
    """The source's place on disk; a pull request must not upload what lies elsewhere."""
    if "\0" in source.path:
        _stop("Package path not usable", f"{source.path!r} has a zero byte.", _RELATIVE)
    try:
        home, place = root.resolve(), (root / source.path).resolve()
        listed = [(root / name).resolve() for name in allow_files]
    except (OSError, RuntimeError, ValueError) as problem:
        _stop("Package path not usable", f"{source.path}: {problem}", _RELATIVE)
    if not place.is_relative_to(home) and place not in listed:
        _outside(source)
    return place


def open_source_file(
    source: PackageSource, root: Path, allow_files: Sequence[str] = ()
) -> BinaryIO:
    """The zip of a `file` source, open for reading, its `name` the real path; InputError."""
    if source.ref:
        return _committed_zip(source, root)
    path = _inside(source, root, allow_files)
    if not os.path.isfile(path):  # noqa: PTH113 - also for names that no file can have
        what = "is a folder" if os.path.isdir(path) else "does not exist"  # noqa: PTH112
        _stop("Package file not found", f"{source.path} {what}.", _RELATIVE)
    try:
        # The path leads through no link: one that is there now came after the look at it.
        return open(path, "rb", opener=_unfollowed)
    except OSError as problem:
        why = f"{source.path}: {problem.strerror}."
        _stop("Package file cannot be read", why, "Check its permissions.")


def _unfollowed(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


def as_of(source: PackageSource, ref: str) -> PackageSource:
    """The same source as a Git ref has it; what names a ref, or no bytes of ours, is as it is."""
    if source.kind == FOLDER:
        return replace(source, kind=GIT, ref=ref)
    return replace(source, ref=ref) if source.kind == FILE else source


def is_committed(source: PackageSource, root: Path) -> bool:
    """Whether a zip at a Git ref is in it: what a build makes seldom is."""
    _check_below(source)
    return file_at(commit_at(root, source.ref), source.path) is not None


def _committed_zip(source: PackageSource, root: Path) -> BinaryIO:
    _check_below(source)
    content = file_at(commit_at(root, source.ref), source.path)
    if content is None:
        _stop("Package file not found", f"{source.path} is not in {source.shown_ref}.", _RELATIVE)
    return io.BytesIO(content)


def _check_below(source: PackageSource) -> None:
    if source.path.startswith("/") or ".." in source.path.split("/"):
        _outside(source)


def _outside(source: PackageSource) -> NoReturn:
    _stop(
        "Package outside the project",
        f"{source.path} lies outside the project's folder.",
        "Move it into the project, or list it under allow_files of the target.",
    )


def _stop(summary: str, detail: str, hint: str) -> NoReturn:
    raise InputError(error(summary, detail, hint))
