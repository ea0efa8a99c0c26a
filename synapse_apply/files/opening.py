"""Which file may be opened as one of ours: no link leads to it, it is a plain file, and it is ours.

A checkout holds what somebody has committed, and a folder that others may write to holds what they
have put there. So every file below `.synapse-apply` is opened through the descriptors of the
folders on its way, none of which may be a link. What was checked is then what is opened, whatever
another process does to the names in the meantime. Whether Git tracks a file is asked by
`workspace/own_folder.py`, which has the rest of the rule.

Ours is what the effective user owns, and what root owns: root can do anything to us anyway, and
mounted volumes belong to root. When we are root ourselves, what the owner of the project's folder
owns counts, too: containers run as root on a checkout that a runner's user has made, and `sudo`
does the same (Git has the same exception for `sudo`). Anybody else's file is refused.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import StateError
from synapse_apply.model.frozen import frozen

OWN_FOLDER = ".synapse-apply"
FILE_MODE = 0o600
FOLDER_MODE = 0o700
IGNORE_FILE = ".gitignore"

NOT_OURS = "A file is not used, since synapse-apply did not make it"
LOOK_FIRST = "A commit or another user may have put it there. Look what it is, then remove it."

_IGNORE_ALL = b"*\n"
_SMALL = 64 * 1024
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Without O_NONBLOCK a named pipe would keep whoever opens it waiting.
_FILE_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHANGED = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO)


class UntrustedFileError(StateError):
    """A file or a folder that stands where one of ours belongs, and is not ours."""


@frozen
class _OpenFolderEntry:
    """A name in an open folder, and who owns the folder that all of it began at."""

    path: Path
    folder: int
    name: str
    base_owner: int

    def stat_entry(self) -> os.stat_result | None:
        """What has the name, a link itself and not what it leads to; None where nothing has."""
        try:
            return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None


def build_untrusted_error(path: Path, reason: str, hint: str = "") -> UntrustedFileError:
    """The error for a file that is not used; `reason` ends a sentence about it."""
    return UntrustedFileError(
        error_finding(
            NOT_OURS,
            f"{path} {reason}. It was not opened.",
            hint or LOOK_FIRST,
        )
    )


def resolve_base_links(path: Path) -> Path:
    """The same path, made absolute, without links in the part that is above our own folder.

    From our folder on, or in the last name of another path, links stay what they are: they are
    refused when the file is opened.
    """
    base, names = _split_base(path)
    return Path(os.path.realpath(base), *names)


def is_below_own_folder(path: Path) -> bool:
    """Whether a path goes through a folder that is called as ours."""
    return OWN_FOLDER in _split_base(path)[1]


def stat_own_file(path: Path) -> os.stat_result | None:
    """What is known of a file; None where there is none. UntrustedFileError where it is not ours.

    OSError where a folder on the way cannot be entered.
    """
    try:
        with _open_parent(path) as entry:
            info = entry.stat_entry()
            if info is not None:
                _require_own_entry(info, path, entry.base_owner)
            return info
    except (FileNotFoundError, NotADirectoryError):
        return None


def has_own_folder(path: Path) -> bool:
    """Whether there is such a folder; UntrustedFileError where one on the way is not ours."""
    try:
        with _open_parent(path, folder=True):
            return True
    except FileNotFoundError:
        return False


# Files are opened through folder descriptors, so that a swap after the check changes nothing.
# SQLite opens by path; its file is therefore compared before and after.
def open_own_file(path: Path, flags: int, mode: int = FILE_MODE) -> int:
    """A descriptor of a file of ours, opened with `flags`; OSError as `os.open`."""
    with _open_parent(path) as entry:
        info = entry.stat_entry()
        if info is not None and not flags & os.O_EXCL:
            _require_own_entry(info, path, entry.base_owner)
        try:
            descriptor = os.open(entry.name, flags | _FILE_FLAGS, mode, dir_fd=entry.folder)
        except OSError as problem:
            if problem.errno in _CHANGED:
                raise build_untrusted_error(path, "was replaced while it was opened") from None
            raise
        try:
            _require_own_entry(os.fstat(descriptor), path, entry.base_owner)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def read_own_file(path: Path, max_bytes: int = _SMALL) -> bytes:
    """The content of a file of ours, cut at `max_bytes` bytes; OSError where it cannot be read."""
    with os.fdopen(open_own_file(path, os.O_RDONLY), "rb") as file:
        return file.read(max_bytes)


def create_own_file(path: Path) -> None:
    """An empty file of mode 0600; FileExistsError where something is already."""
    descriptor = open_own_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        os.fchmod(descriptor, FILE_MODE)
    finally:
        os.close(descriptor)


def rename_over_own_file(path: Path, source_name: str) -> None:
    """Give the file called `source_name`, in the same folder, the name of `path`."""
    with _open_parent(path) as entry:
        os.replace(source_name, entry.name, src_dir_fd=entry.folder, dst_dir_fd=entry.folder)


def link_own_file(path: Path, source_name: str) -> None:
    """Give the file called `source_name`, in the same folder, the name of `path` as well."""
    with _open_parent(path) as entry:
        os.link(
            source_name,
            entry.name,
            src_dir_fd=entry.folder,
            dst_dir_fd=entry.folder,
            follow_symlinks=False,
        )


def remove_own_file(path: Path) -> None:
    """Remove a name, if there is one; what a link leads to is left alone."""
    with suppress(FileNotFoundError), _open_parent(path) as entry:
        os.unlink(entry.name, dir_fd=entry.folder)


def sync_folder(folder: Path) -> None:
    """Make a rename or a new name in the folder survive a power loss."""
    with _open_parent(folder, folder=True) as entry:
        os.fsync(entry.folder)


def create_folders(folder: Path) -> None:
    """Make the folder and what is missing above it; our own folder keeps itself out of Git.

    The file that has Git ignore our folder is there before anything else is made in it.
    """
    base, names = _split_base(folder)
    if OWN_FOLDER not in names:
        _create_plain_folders(folder)
        return
    _create_plain_folders(base)
    descriptor, current_path = os.open(base, _FOLDER_FLAGS), base
    owner = os.fstat(descriptor).st_uid
    try:
        for name in names:
            current_path = current_path / name
            with suppress(FileExistsError):
                os.mkdir(name, FOLDER_MODE, dir_fd=descriptor)
            child = _open_subfolder(descriptor, name, current_path, owner)
            os.close(descriptor)
            descriptor = child
            if name == OWN_FOLDER:
                _write_ignore_file_unless_valid(
                    _OpenFolderEntry(current_path / IGNORE_FILE, descriptor, IGNORE_FILE, owner)
                )
    finally:
        os.close(descriptor)


def is_ignored_by_git(folder: Path) -> bool:
    """Whether the file in our folder has Git ignore all of it."""
    try:
        return _has_ignore_all_line(read_own_file(folder / IGNORE_FILE))
    except OSError:
        return False


def _split_base(path: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder that is opened as it stands, and the names from there on that may be no links.

    The last part of a path that is called as our folder begins it. Elsewhere it is the last name:
    the folders above are where whoever runs us wants them.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - follows no link
    parts = path.parts
    if OWN_FOLDER in parts:
        index = len(parts) - 1 - parts[::-1].index(OWN_FOLDER)
        return Path(*parts[:index]), parts[index:]
    return path.parent, (path.name,)


@contextmanager
def _open_parent(path: Path, *, folder: bool = False) -> Iterator[_OpenFolderEntry]:
    """The open folder of a file, or the `folder` itself; FileNotFoundError where one is missing."""
    base, names = _split_base(path)
    descriptor, current_path = os.open(base, _FOLDER_FLAGS), base
    owner = os.fstat(descriptor).st_uid
    try:
        for name in names if folder else names[:-1]:
            current_path = current_path / name
            child = _open_subfolder(descriptor, name, current_path, owner)
            os.close(descriptor)
            descriptor = child
        yield _OpenFolderEntry(path, descriptor, names[-1], owner)
    finally:
        os.close(descriptor)


def _open_subfolder(descriptor: int, name: str, path: Path, owner: int) -> int:
    """The descriptor of a folder in an open one."""
    _require_own_entry(
        os.stat(name, dir_fd=descriptor, follow_symlinks=False), path, owner, folder=True
    )
    try:
        child = os.open(name, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=descriptor)
    except OSError as problem:
        if problem.errno in _CHANGED:
            raise build_untrusted_error(path, "was replaced while it was opened") from None
        raise
    try:
        _require_own_entry(os.fstat(child), path, owner, folder=True)
        _require_no_repository(child, path)
    except BaseException:
        os.close(child)
        raise
    return child


def _require_own_entry(
    info: os.stat_result, path: Path, base_owner: int, *, folder: bool = False
) -> None:
    if stat.S_ISLNK(info.st_mode):
        raise build_untrusted_error(
            path,
            "is a link",
            f"{LOOK_FIRST} If it is yours: put what it leads to in its place, or name the state's "
            "own path in targets.NAME.state.url.",
        )
    if folder and not stat.S_ISDIR(info.st_mode):
        raise build_untrusted_error(path, "is no folder")
    if not folder and stat.S_ISDIR(info.st_mode):
        raise build_untrusted_error(path, "is a folder")
    if not folder and not stat.S_ISREG(info.st_mode):
        raise build_untrusted_error(path, "is no plain file")
    if not _is_trusted_owner(info.st_uid, base_owner):
        raise build_untrusted_error(
            path,
            f"belongs to another user (uid {info.st_uid}; this is uid {os.geteuid()})",
            "Run the command as that user. If the file is yours all the same: "
            "`chown` it. If not: remove it.",
        )


# Root's files are trusted, and root trusts those of the project's owner: volumes belong to root,
# and containers run as root in a runner's checkout. Others' files are refused, as by Git's
# `safe.directory`.
def _is_trusted_owner(owner: int, base_owner: int) -> bool:
    current_uid = os.geteuid()
    return owner in (current_uid, 0) or (current_uid == 0 and owner == base_owner)


def _require_no_repository(folder: int, path: Path) -> None:
    """A submodule is a folder of somebody else's files, which stays in later checkouts."""
    try:
        os.stat(".git", dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    raise build_untrusted_error(path, "is a Git repository of its own, perhaps a submodule")


def _create_plain_folders(folder: Path) -> None:
    for missing in reversed([folder, *folder.parents]):
        if not missing.exists():
            missing.mkdir(mode=FOLDER_MODE, exist_ok=True)


def _has_ignore_all_line(text: bytes) -> bool:
    lines = [line.strip() for line in text.splitlines()]
    return b"*" in lines and not any(line.startswith(b"!") for line in lines)


def _write_ignore_file_unless_valid(entry: _OpenFolderEntry) -> None:
    """Write the file that has Git ignore our folder; one that does not is replaced."""
    info = entry.stat_entry()
    if info is not None:
        _require_own_entry(info, entry.path, entry.base_owner)
        descriptor = os.open(entry.name, os.O_RDONLY | _FILE_FLAGS, dir_fd=entry.folder)
        with os.fdopen(descriptor, "rb") as file:
            if _has_ignore_all_line(file.read(_SMALL)):
                return
    temporary_name = f"{entry.name}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE_FLAGS
    # Git must be able to read it, whoever runs Git; it holds no secret.
    descriptor = os.open(temporary_name, flags, 0o644, dir_fd=entry.folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_IGNORE_ALL)
        os.replace(temporary_name, entry.name, src_dir_fd=entry.folder, dst_dir_fd=entry.folder)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary_name, dir_fd=entry.folder)
