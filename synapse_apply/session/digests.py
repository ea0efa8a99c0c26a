"""The digests of package files that were read before, kept in a file beside the state.

It holds paths and digests, nothing of what a file says. A file of it that is damaged or cannot be
read makes a plan slower and is no error; of two runs at once the later one's stays. What stands in
its place and is not ours is refused as everywhere (`own_folder.py`), since it would be believed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from synapse_apply.files.opening import (
    FOLDER,
    UntrustedFileError,
    make_folder,
    open_file,
    read_file,
    remove_file,
    replace_file,
)
from synapse_apply.model.project import Project
from synapse_apply.packages.digests import Digests
from synapse_apply.session.own_folder import check_own_folder
from synapse_apply.stores.boot_clock import boottime

VARIABLE = "SYNAPSE_APPLY_CACHE"
_LARGEST = 64 * 1024 * 1024
_DAY = 24 * 60 * 60


def kept_digests(project: Project, environ: Mapping[str, str]) -> KeptDigests | None:
    """Those of a project; None where the environment says to do without.

    StateError where the folder they are kept in is not ours.
    """
    if environ.get(VARIABLE, "").lower() in {"off", "0", "false", "no"}:
        return None
    check_own_folder(project.root)
    return KeptDigests(project.root / FOLDER / "cache" / "digests")


class KeptDigests:
    """The digests in a file, read at once and written when there is something worth it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.digests = Digests(_read(path), int(time.time()) // _DAY, boottime)

    def keep(self) -> Digests:
        """Write them for the next run; all that is known now."""
        if self.digests.is_worth_keeping:
            with suppress(OSError, UntrustedFileError):
                self._write()
        return self.digests

    def _write(self) -> None:
        make_folder(self._path.parent)
        _discard_left_behind(self._path)
        aside = self._path.with_name(f"{self._path.name}.{os.urandom(8).hex()}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            with os.fdopen(open_file(aside, flags), "wb") as file:
                # The new file's own time is what the clock of its file system says.
                info = os.fstat(file.fileno())
                self.digests.settle(info.st_dev, info.st_mtime_ns)
                file.write(self.digests.encoded())
            # Not flushed: what a power loss leaves of it does not have its digest.
            replace_file(self._path, aside.name)
        finally:
            remove_file(aside)


def _read(path: Path) -> bytes:
    """The file's bytes; none where it cannot be read, or is no file of ours."""
    try:
        data = read_file(path, _LARGEST + 1)
    except OSError:
        return b""
    return data if len(data) <= _LARGEST else b""


def _discard_left_behind(path: Path) -> None:
    """What runs that were killed have left; a file of a day is nobody's work any more."""
    for one in path.parent.glob(f"{path.name}.*"):
        with suppress(OSError):
            if one.lstat().st_mtime + _DAY < time.time():
                one.unlink()
