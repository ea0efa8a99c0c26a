"""Disks that are full, or cannot be written, from a moment on."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from pathlib import Path

# linux/capability.h: version 3 of the call, CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
_VERSION, _PASSES_MODES = 0x20080522, (1 << 1) | (1 << 2)

# Stops a process from writing under a folder, for good or until the block ends.
Breaking = Callable[[subprocess.Popen[str]], None]
Way = Callable[[Path], AbstractContextManager[Breaking]]


@contextmanager
def a_limit(_folder: Path) -> Iterator[Breaking]:
    """The process may write nothing to any file, as at the end of a quota."""
    yield lambda process: resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))


@contextmanager
def a_full_disk(folder: Path) -> Iterator[Breaking]:
    """A disk of its own, small enough to be filled. What is in the folder stays there."""
    with tempfile.TemporaryDirectory() as place:
        kept = shutil.copytree(folder, Path(place) / "kept")
        with _mounted("-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)):
            shutil.copytree(kept, folder, dirs_exist_ok=True)
            filler = folder / "filler"
            yield lambda _process: _fill(filler)
            filler.unlink(missing_ok=True)
            shutil.copytree(folder, kept, dirs_exist_ok=True)
        shutil.copytree(kept, folder, dirs_exist_ok=True)


@contextmanager
def read_only_modes(folder: Path) -> Iterator[Breaking]:
    """Nobody may write; for a process that heeds it (`obey_modes`)."""
    try:
        yield lambda _process: folder.chmod(0o500)
    finally:
        folder.chmod(0o700)


@contextmanager
def a_read_only_mount(folder: Path) -> Iterator[Breaking]:
    """The same files under the same names, on a mount that takes no writes."""
    mounts: list[AbstractContextManager[None]] = []

    def break_it(_process: subprocess.Popen[str]) -> None:
        mounts.append(_mounted("--bind", str(folder), str(folder)))
        mounts[0].__enter__()
        _run("mount", "-o", "remount,bind,ro", str(folder))

    try:
        yield break_it
    finally:
        for mount in mounts:
            mount.__exit__(None, None, None)


@cache
def can_mount() -> bool:
    """Whether this machine lets us."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with _mounted("-t", "tmpfs", "tmpfs", folder):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


def obey_modes() -> None:
    """This process heeds the modes of files from now on, also where it is root."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 bits
    assert libc.capget(header, sets) == 0
    for number in range(3):
        sets[number] &= ~_PASSES_MODES
    assert libc.capset(header, sets) == 0, os.strerror(ctypes.get_errno())


@contextmanager
def _mounted(*how: str) -> Iterator[None]:
    _run("mount", *how)
    try:
        yield
    finally:
        _run("umount", "-l", how[-1])


def _fill(path: Path) -> None:
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b" " * 512)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


FULL: dict[str, Way] = {"limit": a_limit, **({"tmpfs": a_full_disk} if can_mount() else {})}
READ_ONLY: dict[str, Way] = {
    "modes": read_only_modes,
    **({"mount": a_read_only_mount} if can_mount() else {}),
}
