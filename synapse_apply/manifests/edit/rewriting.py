"""How files are written: new ones never over old ones, old ones all or none, with their mode."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import field
from pathlib import Path

from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen


@frozen
class Rewrite:
    """A file to replace: its content when it was read, its new content, its `name` in messages."""

    file: Path
    name: str
    old_content: bytes = field(repr=False)
    new_content: bytes = field(repr=False)


def rewrite_all_or_none(changes: Sequence[Rewrite]) -> None:
    """Replace the content of every file, following links; on InputError all are as they were.

    A file that is not writable, or that changed since it was read, is not replaced.
    """
    prepared: list[tuple[Rewrite, Path, Path]] = []
    done: list[Rewrite] = []
    try:
        # All temporary files are written before the first is renamed: a full disk changes nothing.
        for change in changes:
            # Links are followed first: a rename over a link would replace the link, not its file.
            real_path = change.file.resolve()
            # In the same folder, since a rename is atomic only within one file system. Dot files
            # are never read as manifests.
            temporary_path = real_path.with_name(f".{real_path.name}.{os.getpid()}.part")
            prepared.append((change, real_path, temporary_path))
            _write_temporary_file(change, real_path, temporary_path)
        for change, real_path, temporary_path in prepared:
            # Checked right before the rename: an editor may have saved the file meanwhile.
            _require_file_content(change, real_path, change.old_content)
            temporary_path.replace(real_path)
            done.append(change)
            # Read back: another writer may have replaced the file in between.
            _require_file_content(change, real_path, change.new_content)
    except OSError as problem:
        _try_to_restore_old_contents(done)
        # `change` is the one that could not be replaced.
        raise InputError(_build_unwritable_finding(change, problem)) from None
    except InputError:
        _try_to_restore_old_contents(done)
        raise
    finally:
        for _, _, temporary_path in prepared:
            with suppress(OSError):
                temporary_path.unlink()
    for folder in {real_path.parent for _, real_path, _ in prepared}:
        _try_to_fsync_folder(folder)


def create_new_file_with_parents(path: Path, text: str) -> None:
    """Create a file and its parent folders; InputError if it exists or cannot be written.

    A file that could not be written completely is removed again.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Mode "x" fails if the file exists, without a gap between a check and the creation.
        file = path.open("x", encoding="utf-8", newline="\n")
        try:
            with file:
                file.write(text)
        except BaseException:
            # A half-written file would make the next try fail, since the file exists.
            with suppress(OSError):
                path.unlink()
            raise
    except FileExistsError:
        raise InputError(build_existing_file_finding(path)) from None
    except OSError as problem:
        raise InputError.from_summary(
            "A file cannot be written", f"{path}: {problem.strerror}.", "Check the folder."
        ) from None


def build_existing_file_finding(path: Path, hint: str = "") -> Diagnostic:
    """The finding for a file that exists and is not to be overwritten."""
    return error_finding(
        "The file is there already",
        f"{path} is left as it is.",
        hint or "Choose another name, or remove it first.",
    )


def _write_temporary_file(change: Rewrite, real_path: Path, temporary_path: Path) -> None:
    """Write the new content beside the file, synced, with the file's owner and mode."""
    file_stat = real_path.stat()
    if not os.access(real_path, os.W_OK):
        raise PermissionError(13, "it is not writable")
    # O_EXCL follows no link that somebody put at this name.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(temporary_path, flags, 0o600), "wb") as file:
        file.write(change.new_content)
        file.flush()
        # Another owner needs a privilege: without it the file belongs to who runs the command.
        if hasattr(os, "fchown"):
            with suppress(OSError):
                os.fchown(file.fileno(), file_stat.st_uid, file_stat.st_gid)
        temporary_path.chmod(stat.S_IMODE(file_stat.st_mode))
        # Otherwise a power failure after the rename could leave an empty file.
        os.fsync(file.fileno())


def _require_file_content(change: Rewrite, real_path: Path, content: bytes) -> None:
    if real_path.read_bytes() != content:
        raise InputError(_build_changed_finding(change))


def _try_to_restore_old_contents(done: Sequence[Rewrite]) -> None:
    for change in done:
        with suppress(OSError):
            change.file.resolve().write_bytes(change.old_content)


def _try_to_fsync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that renames survive a power failure.

    Ignored where unsupported.
    """
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _build_changed_finding(change: Rewrite) -> Diagnostic:
    return error_finding(
        "A file changed meanwhile",
        f"{change.name} is not what it was a moment ago.",
        "Nothing was written. Run the command again.",
    )


def _build_unwritable_finding(change: Rewrite, problem: OSError) -> Diagnostic:
    return error_finding(
        "A file cannot be written",
        f"{change.name}: {problem.strerror}.",
        "Nothing was written. Check its permissions, and those of its folder.",
    )
