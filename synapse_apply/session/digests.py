"""The digests of package files that were read before, kept in a file beside the state.

It holds paths and digests, nothing of what a file says. A file of it that is damaged, foreign or
not to be had makes a plan slower and is never an error; of two runs at once the later one's stays.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from synapse_apply.model.project import Project
from synapse_apply.packages.digests import Digests
from synapse_apply.stores.boot_clock import boottime
from synapse_apply.stores.private_files import FILE_MODE, FOLDER, make_folder

VARIABLE = "SYNAPSE_APPLY_CACHE"
_LARGEST = 64 * 1024 * 1024
_DAY = 24 * 60 * 60


def kept_digests(project: Project, environ: Mapping[str, str]) -> KeptDigests | None:
    """Those of a project; None where the environment says to do without."""
    if environ.get(VARIABLE, "").lower() in {"off", "0", "false", "no"}:
        return None
    return KeptDigests(project.root / FOLDER / "cache" / "digests")


class KeptDigests:
    """The digests in a file, read at once and written when there is something worth it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.digests = Digests(_read(path), int(time.time()) // _DAY, boottime)

    def keep(self) -> Digests:
        """Write them for the next run; all that is known now."""
        if self.digests.is_worth_keeping:
            with suppress(OSError):
                self._write()
        return self.digests

    def _write(self) -> None:
        make_folder(self._path.parent)
        _discard_left_behind(self._path)
        aside = self._path.with_name(f"{self._path.name}.{os.urandom(8).hex()}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(aside, flags, FILE_MODE), "wb") as file:
                # The new file's own time is what the clock of its file system says.
                info = os.fstat(file.fileno())
                self.digests.settle(info.st_dev, info.st_mtime_ns)
                file.write(self.digests.encoded())
            # Not flushed: what a power loss leaves of it does not have its digest.
            aside.replace(self._path)
        finally:
            aside.unlink(missing_ok=True)


def _read(path: Path) -> bytes:
    """The file's bytes; none where it cannot be read, or is no file of ours."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode) or info.st_size > _LARGEST:
                return b""
            return file.read(_LARGEST)
    except OSError:
        return b""


def _discard_left_behind(path: Path) -> None:
    """What runs that were killed have left; a file of a day is nobody's work any more."""
    for one in path.parent.glob(f"{path.name}.*"):
        with suppress(OSError):
            if one.lstat().st_mtime + _DAY < time.time():
                one.unlink()
