"""Files written: new ones, and old ones in place, all or none, each whole, with its mode."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import field
from pathlib import Path as FilePath

from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen


@frozen
class Rewrite:
    """A file, what stood in it when it was read, and what shall stand in it; `name` is shown."""

    file: FilePath
    name: str
    before: bytes = field(repr=False)
    after: bytes = field(repr=False)


def rewrite(changes: Sequence[Rewrite]) -> None:
    """Write every file, a link's target where it is one. InputError leaves them as they were.

    A file that is not writable, or that changed since it was read, is not replaced.
    """
    ready: list[tuple[Rewrite, FilePath, FilePath]] = []
    done: list[Rewrite] = []
    try:
        for change in changes:
            place = change.file.resolve()
            aside = place.with_name(f".{place.name}.{os.getpid()}.part")
            ready.append((change, place, aside))
            _prepare(change, place, aside)
        for change, place, aside in ready:
            _expect(change, place, change.before)
            aside.replace(place)
            done.append(change)
            _expect(change, place, change.after)
    except OSError as problem:
        _take_back(done)
        raise InputError(_unwritable(ready[-1][0], problem)) from None
    except InputError:
        _take_back(done)
        raise
    finally:
        for _, _, aside in ready:
            with suppress(OSError):
                aside.unlink()
    for folder in {place.parent for _, place, _ in ready}:
        _flush(folder)


def write_new(path: FilePath, text: str) -> None:
    """Write a file that is not there yet, folders on the way too; InputError if it cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(taken(path)) from None
    except OSError as problem:
        raise InputError(
            error("A file cannot be written", f"{path}: {problem.strerror}.", "Check the folder.")
        ) from None


def taken(path: FilePath, hint: str = "") -> Diagnostic:
    """The finding for a file that is not to be overwritten."""
    return error(
        "The file is there already",
        f"{path} is left as it is.",
        hint or "Choose another name, or remove it first.",
    )


def _prepare(change: Rewrite, place: FilePath, aside: FilePath) -> None:
    """The new content beside the file, on disk, as the file's owner and mode have it."""
    facts = place.stat()
    if not os.access(place, os.W_OK):
        raise PermissionError(13, "it is not writable")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(aside, flags, 0o600), "wb") as file:
        file.write(change.after)
        file.flush()
        if hasattr(os, "fchown"):
            with suppress(OSError):
                os.fchown(file.fileno(), facts.st_uid, facts.st_gid)
        aside.chmod(stat.S_IMODE(facts.st_mode))
        os.fsync(file.fileno())


def _expect(change: Rewrite, place: FilePath, content: bytes) -> None:
    if place.read_bytes() != content:
        raise InputError(_changed(change))


def _take_back(done: Sequence[Rewrite]) -> None:
    for change in done:
        with suppress(OSError):
            change.file.resolve().write_bytes(change.before)


def _flush(folder: FilePath) -> None:
    """The new names outlive a power failure; a system that cannot do that does without."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _changed(change: Rewrite) -> Diagnostic:
    return error(
        "A file changed meanwhile",
        f"{change.name} is not what it was a moment ago.",
        "Nothing was written. Run the command again.",
    )


def _unwritable(change: Rewrite, problem: OSError) -> Diagnostic:
    return error(
        "A file cannot be written",
        f"{change.name}: {problem.strerror}.",
        "Nothing was written. Check its permissions, and those of its folder.",
    )
