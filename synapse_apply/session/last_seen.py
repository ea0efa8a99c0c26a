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
    FOLDER,
    UntrustedFileError,
    make_folder,
    open_file,
    read_file,
    remove_file,
    replace_file,
)
from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.errors import StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.ports import StateStore
from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import START, Position

FORMAT = 1
_FOLDER = "seen"
# A file has one line; whatever is larger is none.
_MOST_BYTES = 4096
_LARGEST = 2**63 - 1


@frozen
class Seen:
    """How far a lineage was seen to have come, and when (RFC 3339 UTC; "" where never)."""

    position: Position = START
    at: str = ""


@frozen
class LastSeen:
    """What is remembered of states; `folders` are where, and may not be there or not writable.

    `outside` are those of them that are not in the project.
    """

    folders: tuple[Path, ...] = ()
    outside: tuple[Path, ...] = ()

    def of(self, lineage: str) -> Seen:
        """The farthest that any of the folders tells."""
        farthest = Seen()
        for folder in self.folders:
            found = _read(_file(folder, lineage), lineage)
            if found is not None:
                farthest = _farther(farthest, found)
        return farthest

    def remember(self, lineage: str, position: Position) -> None:
        """Note how far a state has come, where that is farther than what is noted."""
        for folder in self.folders:
            found = _read(_file(folder, lineage), lineage)
            if found is None or not found.position.reaches(position):
                with suppress(OSError, UntrustedFileError):
                    _note(folder, lineage, position)

    def forget(self, lineage: str) -> None:
        """Of a state that is removed on purpose."""
        for folder in self.folders:
            with suppress(OSError, UntrustedFileError):
                remove_file(_file(folder, lineage))

    def older(
        self, store: StateStore, lineage: str, position: Position, target: Target
    ) -> tuple[Diagnostic, ...]:
        """An error where a state is not as far as it was seen to be."""
        seen = self.of(lineage)
        if position.reaches(seen.position):
            return ()
        last = next((entry.at for entry in store.audit(1)), "")
        changed = f", last changed {last}" if last else ""
        at = f"-t {target.name}"
        finding = error(
            "This state is older than the last one seen here",
            f"It has {_describe(position)}{changed}; one of the same lineage ({lineage}) with "
            f"{_describe(seen.position)} was seen here on {seen.at}. What was done in between is "
            "not in it, and would be done a second time.",
            f"Restore the newest backup: `synapse-apply state restore FILE {at}`. If this state "
            "is the right one (a database that came back from a dump, say), put it in its own "
            f"place on purpose: `synapse-apply state backup FILE {at}`, then `synapse-apply state "
            f"restore FILE {at}`.",
            position=target.position,
        )
        return (finding,)

    def check(self, store: StateStore, target: Target, *, looking: bool = False) -> None:
        """StateError where a state is older than the last one seen; else it is that from now on.

        Who is only `looking` changes nothing in the project.
        """
        lineage, position = store.lineage(), store.position()
        if found := self.older(store, lineage, position, target):
            raise StateError(*found)
        noting = replace(self, folders=self.outside) if looking else self
        noting.remember(lineage, position)

    def note(self, store: StateStore) -> None:
        """Note how far a state has come by the end of a run, if that can be told."""
        with suppress(StateError):
            self.remember(store.lineage(), store.position())


def last_seen(project: Project, target: Target, environ: Mapping[str, str]) -> LastSeen:
    """What is remembered of the states of a target.

    Beside the project it is remembered where our folder is there already: a CI job whose state is
    in a database leaves nothing in its workspace. The embedded backend's is remembered there
    alone: its objects are there as well.
    """
    home = project.root / FOLDER
    cache = None if target.is_embedded else _cache(environ)
    outside = (cache / _FOLDER,) if cache is not None else ()
    beside = (home / _FOLDER,) if home.is_dir() else ()
    return LastSeen((*beside, *outside), outside)


def _cache(environ: Mapping[str, str]) -> Path | None:
    """The tool's folder in the user's cache; None where the user has no home."""
    given, home = environ.get("XDG_CACHE_HOME", ""), environ.get("HOME", "")
    if Path(given).is_absolute():
        return Path(given) / "synapse-apply"
    if Path(home).is_absolute() and Path(home).is_dir():
        return Path(home) / ".cache" / "synapse-apply"
    return None


def _file(folder: Path, lineage: str) -> Path:
    """Named by a digest: a lineage is a text that somebody chose."""
    return folder / f"{hashlib.sha256(lineage.encode()).hexdigest()[:32]}.json"


def _farther(one: Seen, other: Seen) -> Seen:
    return Seen(one.position.farthest(other.position), max(one.at, other.at))


def _read(path: Path, lineage: str) -> Seen | None:
    """What a file tells; None where it is no file of this user's that tells of this lineage."""
    try:
        found = json.loads(read_file(path, _MOST_BYTES))
    except (OSError, ValueError, RecursionError, UntrustedFileError):
        return None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        return None
    serial, fence = _count(found.get("serial")), _count(found.get("fence"))
    if found.get("lineage") != lineage or serial is None or fence is None:
        return None
    return Seen(Position(serial, fence), str(found.get("at", ""))[:40])


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _LARGEST else None


def _note(folder: Path, lineage: str, position: Position) -> None:
    """Write a file anew, in one step; what another run noted meanwhile stays if it is farther."""
    make_folder(folder)
    path = _file(folder, lineage)
    with _alone(folder):
        found = _read(path, lineage)
        if found is not None:
            position = position.farthest(found.position)
        text = json.dumps(
            {
                "format": FORMAT,
                "lineage": lineage,
                "serial": position.serial,
                "fence": position.fence,
                "at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            }
        )
        aside = path.with_name(f".{path.name}.{token_hex(8)}")
        number = open_file(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(f"{text}\n")
            replace_file(path, aside.name)
        except OSError:
            remove_file(aside)
            raise


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Other runs wait meanwhile; on a file system without such locks they do not."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def _describe(position: Position) -> str:
    return f"serial {position.serial} (lock number {position.fence})"
