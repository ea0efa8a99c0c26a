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
    OWN_FOLDER,
    UntrustedFileError,
    create_folders,
    open_own_file,
    read_own_file,
    remove_own_file,
    replace_own_file,
)
from synapse_apply.model.project import Project
from synapse_apply.packages.digest_cache import DigestCache
from synapse_apply.stores.lock.boot_clock import read_boottime
from synapse_apply.workspace.own_folder import check_own_folder

CACHE_VARIABLE = "SYNAPSE_APPLY_CACHE"
_MAX_BYTES = 64 * 1024 * 1024
_DAY_SECONDS = 24 * 60 * 60


def open_digest_cache(project: Project, environ: Mapping[str, str]) -> DigestCacheFile | None:
    """Those of a project; None where the environment says to do without.

    StateError where the folder they are kept in is not ours.
    """
    if environ.get(CACHE_VARIABLE, "").lower() in {"off", "0", "false", "no"}:
        return None
    check_own_folder(project.root)
    return DigestCacheFile(project.root / OWN_FOLDER / "cache" / "digests")


class DigestCacheFile:
    """The digests in a file, read at once and written when there is something worth it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.digests = DigestCache(
            _read_cache_file(path), int(time.time()) // _DAY_SECONDS, read_boottime
        )

    def save_digests(self) -> DigestCache:
        """Write them for the next run; all that is known now."""
        if self.digests.is_worth_saving:
            with suppress(OSError, UntrustedFileError):
                self._write_file()
        return self.digests

    def _write_file(self) -> None:
        create_folders(self._path.parent)
        _remove_stale_temporary_files(self._path)
        temporary_path = self._path.with_name(f"{self._path.name}.{os.urandom(8).hex()}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            with os.fdopen(open_own_file(temporary_path, flags), "wb") as file:
                # The new file's own time is what the clock of its file system says.
                info = os.fstat(file.fileno())
                self.digests.commit_pending(info.st_dev, info.st_mtime_ns)
                file.write(self.digests.encode_cache())
            # Not flushed: what a power loss leaves of it does not have its digest.
            replace_own_file(self._path, temporary_path.name)
        finally:
            remove_own_file(temporary_path)


def _read_cache_file(path: Path) -> bytes:
    """The file's bytes; none where it cannot be read, or is no file of ours."""
    try:
        data = read_own_file(path, _MAX_BYTES + 1)
    except OSError:
        return b""
    return data if len(data) <= _MAX_BYTES else b""


def _remove_stale_temporary_files(path: Path) -> None:
    """What runs that were killed have left; a file of a day is nobody's work any more."""
    for leftover_path in path.parent.glob(f"{path.name}.*"):
        with suppress(OSError):
            if leftover_path.lstat().st_mtime + _DAY_SECONDS < time.time():
                leftover_path.unlink()
