"""Which files of a checkout may be read: regular files of bounded size, by no link out of it.

The author of a pull request decides what is in a checkout, links included, and findings quote what
they are about. So a path in a checkout that leads out of it is not read, even if it is given on the
command line: a pipeline that names a path does not know where it leads.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from synapse_apply.model.errors import InputError

# Ten thousand resources are some 5 MB of manifests.
MAX_FILE_BYTES = 64 * 1024 * 1024
_MAX_LIST_BYTES = 1024 * 1024
_BLOCK = 1024 * 1024


class NotPlainFileError(OSError):
    """A file that must not be read; `strerror` is the reason, a phrase that follows its name."""

    def __init__(self, reason: str) -> None:
        """`reason` becomes `strerror`; it has no period at its end."""
        super().__init__(errno.EINVAL, reason)


def read_regular_file(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The content of a regular file; NotPlainFileError for another one or a larger one; OSError.

    Links are followed: the caller checks with `leads_outside_folder`. A pipe is not waited for,
    and a device is not opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    # Checked before and after: opening a device may have an effect, and the path may be replaced
    # meanwhile.
    _require_regular(path.stat().st_mode)
    with os.fdopen(os.open(path, flags), "rb") as file:
        _require_regular(os.fstat(file.fileno()).st_mode)
        return _read_all(file, max_bytes)


def read_typed_file(
    path: Path, folder: Path | None = None, max_bytes: int = MAX_FILE_BYTES
) -> bytes:
    """The content of a file that is named on the command line.

    In a checkout (or in `folder`, outside of any) it must be a regular file that does not lead out
    of it, else NotPlainFileError. Elsewhere it may be anything, such as a shell's `<(...)`.
    """
    checkout = find_checkout_above(path) or folder
    if checkout is not None and _is_same_or_below(os.path.abspath(path), os.path.abspath(checkout)):  # noqa: PTH100
        require_path_inside(path, checkout)
        return read_regular_file(path, max_bytes)
    with path.open("rb") as file:
        return _read_all(file, max_bytes)


# Manifests stay inside the project; the project file and files named on the command line inside the
# repository around them. A path outside of a checkout is the user's word.
def require_path_inside(path: Path, folder: Path) -> None:
    """NotPlainFileError if a path, its links followed, leads out of the folder."""
    if leads_outside_folder(path, folder):
        raise NotPlainFileError(f"it is a link to {os.path.realpath(path)}, outside {folder}")


def leads_outside_folder(path: Path, folder: Path) -> bool:
    """Whether a path is outside of a folder, the links of both followed."""
    return not _is_same_or_below(os.path.realpath(path), os.path.realpath(folder))


def is_at_or_below_path(path: Path, folder: Path) -> bool:
    """Whether a path is written as the folder or one below it, or as such of its real path.

    Links of the path are not followed.
    """
    absolute_path = os.path.abspath(path)  # noqa: PTH100 - links stay as they are
    return any(
        _is_same_or_below(absolute_path, root)
        for root in (os.path.abspath(folder), os.path.realpath(folder))  # noqa: PTH100
    )


def find_checkout_above(path: Path) -> Path | None:
    """The nearest folder above a path with a `.git` in it, None without one.

    Links of the path are not followed. Where a link of a checkout leads to another checkout outside
    of it, the one with the link is meant: what the path leads to is no file of it.
    """
    found = None
    for folder in iter_folders_above(path):
        if os.path.lexists(f"{folder}/.git"):
            outer = Path(folder)
            if found is None or leads_outside_folder(found, outer):
                found = outer
    return found


def explain_link_out(path: Path) -> str:
    """Why nothing is written at a path, by where a link of the checkout leads; else ""."""
    # A pipeline that names a file of the checkout does not know where a commit's link leads.
    checkout = find_checkout_above(path)
    if checkout is not None and leads_outside_folder(path, checkout):
        return "is a link that leads out of the checkout"
    if checkout is not None and not leads_outside_folder(path, checkout / ".git"):
        return "leads to Git's data"
    return ""


def open_appending(path: Path) -> int:
    """Open a file to write at its end, made where it is missing; OSError, also NotPlainFileError.

    In a checkout what was checked is what is opened, whatever is put in its place meanwhile: no
    link is followed from the checkout's folder on. Elsewhere it may be anything, as /dev/stderr.
    """
    flags, real = os.O_WRONLY | os.O_APPEND | os.O_CREAT, os.path.realpath(path)
    checkout = find_checkout_above(path)
    top = os.path.realpath(checkout or "/")
    if checkout is None or top == "/":
        return os.open(path, flags, 0o600)
    *folders, name = (".", *Path(os.path.relpath(real, top)).parts)
    reason = explain_link_out(path)
    if reason or {".git", os.pardir} & {*folders, name}:
        raise NotPlainFileError(f"it {reason or 'was replaced while it was opened'}")
    folder = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for inner in folders:
            outer = folder
            folder = os.open(inner, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=outer)
            os.close(outer)
        return os.open(name, flags | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    finally:
        os.close(folder)


def require_no_link_out(path: Path) -> None:
    """InputError for a path at which nothing is written."""
    if reason := explain_link_out(path):
        raise InputError.from_summary(
            "A link blocks the path", f"{path} {reason}. Nothing was done.", "Choose another place."
        )


def iter_folders_above(path: Path) -> Iterator[str]:
    """The folders above a path, the nearest first; links of the path are not followed.

    As text: nearly all have nothing that is looked for, and most commands look in each of them.
    """
    folder = os.path.abspath(path)  # noqa: PTH100 - links stay as they are
    while folder != os.sep:
        folder = folder.rpartition(os.sep)[0] or os.sep
        yield folder


def read_submodule_paths(folder: Path) -> frozenset[str]:
    """The paths of the submodules in a folder's `.gitmodules` (gitmodules(5)).

    FileNotFoundError if there is no such file; one that is not a regular file counts as empty.
    """
    file = folder / ".gitmodules"
    try:
        text = b"" if file.is_symlink() else read_regular_file(file, _MAX_LIST_BYTES)
    except NotPlainFileError:
        text = b""
    paths = set()
    for line in text.decode("utf-8", "replace").splitlines():
        key, equals, value = line.partition("=")
        if equals and key.strip() == "path":
            paths.add(value.strip().strip('"'))
    return frozenset(paths)


def _require_regular(mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise NotPlainFileError("it is a pipe" if stat.S_ISFIFO(mode) else "it is a device or a socket")


def _read_all(file: BinaryIO, max_bytes: int) -> bytes:
    """The content of an open file; NotPlainFileError above `max_bytes`.

    Read in blocks: `read(max_bytes)` would allocate that much at once.
    """
    blocks, size = [], 0
    while block := file.read(_BLOCK):
        blocks.append(block)
        if (size := size + len(block)) > max_bytes:
            raise NotPlainFileError(f"it is larger than {max_bytes // 1024**2} MiB")
    return b"".join(blocks)


def _is_same_or_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
