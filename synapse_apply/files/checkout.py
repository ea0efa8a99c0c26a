"""What of a checkout is read, and how: plain files of a bounded size, by no link that leads out.

Whoever opens a pull request decides what lies in a checkout, links included, and findings quote
what they are about. So a path in a checkout that a link leads out of it is not read, whoever
names it: that a pipeline names the path does not mean that it knows where it leads.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

# Ten thousand resources are some 5 MB of manifests.
MAX_FILE_BYTES = 64 * 1024 * 1024
_MAX_LIST_BYTES = 1024 * 1024
_BLOCK = 1024 * 1024


class NotPlainFileError(OSError):
    """A file that is not read; `strerror` says why and fits after its name."""

    def __init__(self, reason: str) -> None:
        """`reason` as `OSError.strerror`, with no period at its end."""
        super().__init__(errno.EINVAL, reason)


def read_plain_file(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a plain file; NotPlain for any other and for a larger one, else OSError.

    Links are followed: see `leads_outside_folder`. No pipe is waited for, no device is read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    # What a device does when it is opened is nobody's to find out.
    _require_plain_file(path.stat().st_mode)
    with os.fdopen(os.open(path, flags), "rb") as file:
        _require_plain_file(os.fstat(file.fileno()).st_mode)
        return _read_within_limit(file, max_bytes)


def read_command_line_file(
    path: Path, folder: Path | None = None, max_bytes: int = MAX_FILE_BYTES
) -> bytes:
    """The bytes of a file that somebody names on the command line.

    In a checkout (or in `folder`, where there is none around it) it must be a plain file that no
    link leads out of. Elsewhere it is as the user says, a pipe of the shell (`<(...)`) included.
    """
    checkout = find_enclosing_checkout(path) or folder
    if checkout is not None and _is_below(os.path.abspath(path), os.path.abspath(checkout)):  # noqa: PTH100
        require_inside_folder(path, checkout)
        return read_plain_file(path, max_bytes)
    with path.open("rb") as file:
        return _read_within_limit(file, max_bytes)


# Findings quote what they are about, and the author of a pull request makes the links, so it counts
# for little that the pipeline named the path. Manifests stay inside the project; the project file
# and files named on the command line inside the repository around them. A path outside of a
# checkout is the user's word.
def require_inside_folder(path: Path, folder: Path) -> None:
    """NotPlain where a link leads a path of a folder out of it."""
    if leads_outside_folder(path, folder):
        raise NotPlainFileError(f"it is a link to {os.path.realpath(path)}, outside {folder}")


def leads_outside_folder(path: Path, folder: Path) -> bool:
    """Whether the path, its links followed, ends outside of the folder, links followed as well."""
    return not _is_below(os.path.realpath(path), os.path.realpath(folder))


def is_lexically_below(path: Path, folder: Path) -> bool:
    """Whether a path lies in a folder as both are written, or as the folder really is."""
    absolute_path = os.path.abspath(path)  # noqa: PTH100 - links stay as they are
    return any(
        _is_below(absolute_path, root)
        for root in (os.path.abspath(folder), os.path.realpath(folder))  # noqa: PTH100
    )


def find_enclosing_checkout(path: Path) -> Path | None:
    """The folder with `.git` in it that a path lies in, links of the path not followed."""
    absolute_path = Path(os.path.abspath(path))  # noqa: PTH100 - links stay as they are
    return next(
        (parent for parent in absolute_path.parents if os.path.lexists(parent / ".git")), None
    )


def read_submodule_paths(folder: Path) -> frozenset[str]:
    """The paths of the submodules that `.gitmodules` in a folder names (gitmodules(5)).

    FileNotFoundError where there is none; one that is no plain file names none.
    """
    file = folder / ".gitmodules"
    try:
        text = b"" if file.is_symlink() else read_plain_file(file, _MAX_LIST_BYTES)
    except NotPlainFileError:
        text = b""
    paths = set()
    for line in text.decode("utf-8", "replace").splitlines():
        key, equals, value = line.partition("=")
        if equals and key.strip() == "path":
            paths.add(value.strip().strip('"'))
    return frozenset(paths)


def _require_plain_file(mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise NotPlainFileError("it is a pipe" if stat.S_ISFIFO(mode) else "it is a device or a socket")


def _read_within_limit(file: BinaryIO, max_bytes: int) -> bytes:
    """All of it; in blocks, since room for the most that could come would be taken at once."""
    blocks, size = [], 0
    while block := file.read(_BLOCK):
        blocks.append(block)
        if (size := size + len(block)) > max_bytes:
            raise NotPlainFileError(f"it is larger than {max_bytes // 1024**2} MiB")
    return b"".join(blocks)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
