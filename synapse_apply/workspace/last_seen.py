"""The newest state of a lineage that was seen, remembered outside of it: an older one is refused.

A state that went back (a copy of yesterday, a CI cache, a restored disk) has forgotten objects, and
what is applied from it is made a second time. Serial and fence of a state only grow, so the
greatest that were seen are kept in two small files: beside the project, and in the user's cache,
which survives the checkout. What cannot be written is left out; what is remembered never goes back.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

from synapse_apply.files.opening import (
    OWN_FOLDER,
    UntrustedFileError,
    create_folders,
    open_own_file,
    read_own_file,
    remove_own_file,
    rename_over_own_file,
)
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.ports import StateStore
from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import NO_PROGRESS, StateProgress

FILE_FORMAT = 1
_SEEN_FOLDER = "seen"
# A file has one line; whatever is larger is none.
_MAX_BYTES = 4096
_MAX_COUNT = 2**63 - 1


# Serial and fence of a lineage only grow, so that an old copy of a state is recognised. `state
# restore`, `state init` with a pinned lineage and `state migrate` continue above what was seen, so
# that nobody ever has to reset anything, here or where a colleague saw the state. Beside the
# project it is noted only where our folder exists: a job on a runner leaves no file behind.
@frozen
class SeenProgress:
    """How far a lineage was seen to have come, and when (RFC 3339 UTC; "" where never)."""

    progress: StateProgress = NO_PROGRESS
    seen_at: str = ""


@frozen
class LastSeenStates:
    """What is remembered of states; `folders` are where, and may not be there or not writable.

    `outside_folders` are those of them that are not in the project.
    """

    folders: tuple[Path, ...] = ()
    outside_folders: tuple[Path, ...] = ()

    def find_farthest(self, lineage: str) -> SeenProgress:
        """The farthest that any of the folders tells."""
        farthest = SeenProgress()
        for folder in self.folders:
            seen = _read_seen_file(_seen_file_path(folder, lineage), lineage)
            if seen is not None:
                farthest = _max_progress(farthest, seen)
        return farthest

    def remember_progress(self, lineage: str, progress: StateProgress) -> None:
        """Note how far a state has come, where that is farther than what is noted."""
        for folder in self.folders:
            seen = _read_seen_file(_seen_file_path(folder, lineage), lineage)
            if seen is None or not seen.progress.has_reached(progress):
                with suppress(OSError, UntrustedFileError):
                    _write_seen_file(folder, lineage, progress)

    def forget_lineage(self, lineage: str) -> None:
        """Of a state that is removed on purpose."""
        for folder in self.folders:
            with suppress(OSError, UntrustedFileError):
                remove_own_file(_seen_file_path(folder, lineage))

    def build_older_state_findings(
        self, store: StateStore, lineage: str, progress: StateProgress, target: Target
    ) -> tuple[Diagnostic, ...]:
        """An error where a state is not as far as it was seen to be."""
        farthest = self.find_farthest(lineage)
        if progress.has_reached(farthest.progress):
            return ()
        last_change = next((entry.at for entry in store.list_audit_entries(1)), "")
        change_text = f", last changed {last_change}" if last_change else ""
        restore_command = Command("state restore FILE", target=target.name)
        finding = error_finding(
            "This state is older than the last one seen here",
            f"It has {_format_progress(progress)}{change_text}; one of the same lineage "
            f"({lineage}) with "
            f"{_format_progress(farthest.progress)} was seen here on {farthest.seen_at}. What was "
            f"done in between is "
            "not in it, and would be done a second time.",
            Text(
                "Restore the newest backup: ",
                restore_command,
                ". If this state is the right one (a database that came back from a dump, say), "
                "put it in its own place on purpose: ",
                Command("state backup FILE", target=target.name),
                ", then ",
                restore_command,
                ".",
            ),
            position=target.position,
        )
        return (finding,)

    def check_not_older(
        self, store: StateStore, target: Target, *, read_only: bool = False
    ) -> None:
        """StateError where a state is older than the last one seen; else it is that from now on.

        Who is only `read_only` changes nothing in the project.
        """
        lineage, progress = store.read_lineage(), store.read_progress()
        if findings := self.build_older_state_findings(store, lineage, progress, target):
            raise StateError(*findings)
        writable_states = replace(self, folders=self.outside_folders) if read_only else self
        writable_states.remember_progress(lineage, progress)

    def remember_store_progress(self, store: StateStore) -> None:
        """Note how far a state has come by the end of a run, if that can be told."""
        with suppress(StateError):
            self.remember_progress(store.read_lineage(), store.read_progress())


def build_last_seen_states(
    project: Project, target: Target, environ: Mapping[str, str]
) -> LastSeenStates:
    """What is remembered of the states of a target.

    Beside the project it is remembered where our folder is there already: a CI job whose state is
    in a database leaves nothing in its workspace. The embedded backend's is remembered there
    alone: its objects are there as well.
    """
    own_folder = project.root / OWN_FOLDER
    cache_folder = None if target.is_embedded else _find_cache_folder(environ)
    outside_folders = (cache_folder / _SEEN_FOLDER,) if cache_folder is not None else ()
    project_folders = (own_folder / _SEEN_FOLDER,) if own_folder.is_dir() else ()
    return LastSeenStates((*project_folders, *outside_folders), outside_folders)


def _find_cache_folder(environ: Mapping[str, str]) -> Path | None:
    """The tool's folder in the user's cache; None where the user has no home."""
    xdg_cache, home = environ.get("XDG_CACHE_HOME", ""), environ.get("HOME", "")
    if Path(xdg_cache).is_absolute():
        return Path(xdg_cache) / "synapse-apply"
    if Path(home).is_absolute() and Path(home).is_dir():
        return Path(home) / ".cache" / "synapse-apply"
    return None


def _seen_file_path(folder: Path, lineage: str) -> Path:
    """Named by a digest: a lineage is a text that somebody chose."""
    return folder / f"{hashlib.sha256(lineage.encode()).hexdigest()[:32]}.json"


def _max_progress(first: SeenProgress, second: SeenProgress) -> SeenProgress:
    return SeenProgress(
        first.progress.max_with(second.progress), max(first.seen_at, second.seen_at)
    )


def _read_seen_file(path: Path, lineage: str) -> SeenProgress | None:
    """What a file tells; None where it is no file of this user's that tells of this lineage."""
    try:
        document = json.loads(read_own_file(path, _MAX_BYTES))
    except (OSError, ValueError, RecursionError, UntrustedFileError):
        return None
    if not isinstance(document, dict) or document.get("format") != FILE_FORMAT:
        return None
    serial, fence = _parse_count(document.get("serial")), _parse_count(document.get("fence"))
    if document.get("lineage") != lineage or serial is None or fence is None:
        return None
    return SeenProgress(StateProgress(serial, fence), str(document.get("at", ""))[:40])


def _parse_count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _MAX_COUNT else None


def _write_seen_file(folder: Path, lineage: str, progress: StateProgress) -> None:
    """Write a file anew, in one step; what another run noted meanwhile stays if it is farther."""
    create_folders(folder)
    path = _seen_file_path(folder, lineage)
    with _lock_folder(folder):
        seen = _read_seen_file(path, lineage)
        if seen is not None:
            progress = progress.max_with(seen.progress)
        text = json.dumps(
            {
                "format": FILE_FORMAT,
                "lineage": lineage,
                "serial": progress.serial,
                "fence": progress.fence,
                "at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            }
        )
        temporary_path = path.with_name(f".{path.name}.{token_hex(8)}")
        descriptor = open_own_file(temporary_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(f"{text}\n")
            rename_over_own_file(path, temporary_path.name)
        except OSError:
            remove_own_file(temporary_path)
            raise


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """Other runs wait meanwhile; on a file system without such locks they do not."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _format_progress(progress: StateProgress) -> str:
    return f"serial {progress.serial} (lock number {progress.fence})"
