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
LARGEST = 64 * 1024 * 1024
_LARGEST_LIST = 1024 * 1024
_BLOCK = 1024 * 1024


class NotPlain(OSError):
    """A file that is not read; `strerror` says why and fits after its name."""

    def __init__(self, why: str) -> None:
        """`why` as `OSError.strerror`, with no period at its end."""
        super().__init__(errno.EINVAL, why)


def read_plain(path: Path, largest: int = LARGEST) -> bytes:
    """The bytes of a plain file; NotPlain for any other and for a larger one, else OSError.

    Links are followed: see `leads_out`. No pipe is waited for, no device is read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    # What a device does when it is opened is nobody's to find out.
    _check_kind(path.stat().st_mode)
    with os.fdopen(os.open(path, flags), "rb") as file:
        _check_kind(os.fstat(file.fileno()).st_mode)
        return _read_bounded(file, largest)


def read_named(path: Path, folder: Path | None = None, largest: int = LARGEST) -> bytes:
    """The bytes of a file that somebody names on the command line.

    In a checkout (or in `folder`, where there is none around it) it must be a plain file that no
    link leads out of. Elsewhere it is as the user says, a pipe of the shell (`<(...)`) included.
    """
    around = checkout_around(path) or folder
    if around is not None and _is_below(os.path.abspath(path), os.path.abspath(around)):  # noqa: PTH100
        check_place(path, around)
        return read_plain(path, largest)
    with path.open("rb") as file:
        return _read_bounded(file, largest)


def check_place(path: Path, folder: Path) -> None:
    """NotPlain where a link leads a path of a folder out of it."""
    if leads_out(path, folder):
        raise NotPlain(f"it is a link to {os.path.realpath(path)}, outside {folder}")


def leads_out(path: Path, folder: Path) -> bool:
    """Whether the path, its links followed, ends outside of the folder, links followed as well."""
    return not _is_below(os.path.realpath(path), os.path.realpath(folder))


def is_written_below(path: Path, folder: Path) -> bool:
    """Whether a path lies in a folder as both are written, or as the folder really is."""
    place = os.path.abspath(path)  # noqa: PTH100 - links stay as they are
    return any(_is_below(place, top) for top in (os.path.abspath(folder), os.path.realpath(folder)))  # noqa: PTH100


def checkout_around(path: Path) -> Path | None:
    """The folder with `.git` in it that a path lies in, links of the path not followed."""
    place = Path(os.path.abspath(path))  # noqa: PTH100 - links stay as they are
    return next((above for above in place.parents if os.path.lexists(above / ".git")), None)


def submodules_of(folder: Path) -> frozenset[str]:
    """The paths of the submodules that `.gitmodules` in a folder names (gitmodules(5)).

    FileNotFoundError where there is none; one that is no plain file names none.
    """
    file = folder / ".gitmodules"
    try:
        text = b"" if file.is_symlink() else read_plain(file, _LARGEST_LIST)
    except NotPlain:
        text = b""
    found = set()
    for line in text.decode("utf-8", "replace").splitlines():
        key, equals, value = line.partition("=")
        if equals and key.strip() == "path":
            found.add(value.strip().strip('"'))
    return frozenset(found)


def _check_kind(mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise NotPlain("it is a pipe" if stat.S_ISFIFO(mode) else "it is a device or a socket")


def _read_bounded(file: BinaryIO, largest: int) -> bytes:
    """All of it; in blocks, since room for the most that could come would be taken at once."""
    blocks, size = [], 0
    while block := file.read(_BLOCK):
        blocks.append(block)
        if (size := size + len(block)) > largest:
            raise NotPlain(f"it is larger than {largest // 1024**2} MiB")
    return b"".join(blocks)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
