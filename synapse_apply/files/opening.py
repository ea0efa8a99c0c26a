"""Which files below .synapse-apply are opened as our own: regular, ours, and reached by no link.

A checkout contains what others have committed, a shared folder what others have put there. So each
file below `.synapse-apply` is opened through the descriptors of the folders above it, none of which
may be a link. Then the file that was checked is the one that is opened, even if another process
renames something meanwhile. `workspace/own_folder.py` additionally checks that Git does not track
the file.

A file is ours if the effective user or root owns it: root may do anything anyway, and mounted
volumes belong to root. If we are root, files of the owner of the project's folder count as well:
containers run as root on the checkout of a runner's user, and `sudo` does the same (Git has this
exception, too). Any other user's file is refused.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import StateError
from synapse_apply.model.frozen import frozen

OWN_FOLDER = ".synapse-apply"
FILE_MODE = 0o600
FOLDER_MODE = 0o700
IGNORE_FILE = ".gitignore"

NOT_OURS = "A file is not trusted: synapse-apply did not create it"
LOOK_FIRST = "A commit or another user may have created it. Check its content, then remove it."

_IGNORE_ALL = b"*\n"
_SMALL = 64 * 1024
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Without O_NONBLOCK opening a named pipe would wait for its writer.
_FILE_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHANGED = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO)


class UntrustedFileError(StateError):
    """A file or folder in the place of one of ours that is not ours, or is a link."""


class _FollowedFolderAndNames(NamedTuple):
    """A folder that is taken as the user has set it up, and the names below it."""

    base: str
    names: tuple[str, ...]


@frozen
class _OpenFolderEntry:
    """A name in an open folder: `folder` is its descriptor, `path` the full path.

    `base_owner` is the uid that owns the folder above our own folder.
    """

    path: Path
    folder: int
    name: str
    base_owner: int

    def stat_entry_or_none(self) -> os.stat_result | None:
        """The stat of the entry, of a link itself; None if there is none."""
        try:
            return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None


def build_untrusted_error(path: Path, reason: str, hint: str = "") -> UntrustedFileError:
    """The error for a file that is not used; `reason` follows its path in the sentence."""
    return UntrustedFileError(
        error_finding(NOT_OURS, f"{path} {reason}. It was not opened.", hint or LOOK_FIRST)
    )


def resolve_links_above(path: Path) -> Path:
    """The absolute path, with links resolved only above our own folder (or above the last name).

    Links from our folder on are kept, to be refused when the file is opened.
    """
    base, names = _split_path(path)
    return Path(os.path.realpath(base), *names)


def is_below_own_folder(path: Path) -> bool:
    """Whether a path has a part called `.synapse-apply`."""
    return OWN_FOLDER in _split_path(path).names


def stat_own_file_or_none(path: Path) -> os.stat_result | None:
    """The stat of one of our files; None if there is none. UntrustedFileError if it is not ours.

    OSError if a folder above it cannot be opened.
    """
    try:
        with _open_trusted(path) as entry:
            info = entry.stat_entry_or_none()
            if info is not None:
                _require_plain(info, path, entry.base_owner)
            return info
    except (FileNotFoundError, NotADirectoryError):
        return None


def own_folder_exists(path: Path) -> bool:
    """Whether a folder of ours exists; UntrustedFileError if it, or one above, is not ours."""
    try:
        with _open_trusted(path, folder=True):
            return True
    except FileNotFoundError:
        return False


# SQLite opens by path; its file is therefore compared before and after.
def open_own_file_with_flags(path: Path, flags: int) -> int:
    """Open one of our files with `flags`, as `os.open`; returns the descriptor.

    UntrustedFileError for a link, another user's file, or one that is no regular file.
    """
    with _open_trusted(path) as entry:
        info = entry.stat_entry_or_none()
        # With O_EXCL the system itself refuses whatever is there.
        if info is not None and not flags & os.O_EXCL:
            _require_plain(info, path, entry.base_owner)
        try:
            descriptor = os.open(entry.name, flags | _FILE_FLAGS, FILE_MODE, dir_fd=entry.folder)
        except OSError as problem:
            if problem.errno in _CHANGED:
                raise build_untrusted_error(path, "was replaced while it was opened") from None
            raise
        # Checked again: the entry may have been replaced between `stat_entry_or_none` and `open`.
        try:
            _require_plain(os.fstat(descriptor), path, entry.base_owner)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def read_start_of_own_file(path: Path, max_bytes: int = _SMALL) -> bytes:
    """The first `max_bytes` bytes of one of our files; OSError if it cannot be read."""
    with os.fdopen(open_own_file_with_flags(path, os.O_RDONLY), "rb") as file:
        return file.read(max_bytes)


def create_own_file(path: Path) -> None:
    """Create an empty file with mode 0600; FileExistsError if there is any entry."""
    # `fchmod` as well, since the umask may have removed bits of the owner.
    descriptor = open_own_file_with_flags(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        os.fchmod(descriptor, FILE_MODE)
    finally:
        os.close(descriptor)


def replace_own_file(path: Path, sibling_name: str) -> None:
    """Rename the file `sibling_name` in the same folder to `path`, replacing what is there."""
    with _open_trusted(path) as entry:
        os.replace(sibling_name, entry.name, src_dir_fd=entry.folder, dst_dir_fd=entry.folder)


def link_own_file_to_sibling(path: Path, sibling_name: str) -> None:
    """Make `path` a hard link to the file `sibling_name` in the same folder; FileExistsError."""
    with _open_trusted(path) as entry:
        os.link(
            sibling_name,
            entry.name,
            src_dir_fd=entry.folder,
            dst_dir_fd=entry.folder,
            follow_symlinks=False,
        )


def remove_own_file(path: Path) -> None:
    """Remove an entry, if there is one; of a link only the link itself."""
    with suppress(FileNotFoundError), _open_trusted(path) as entry:
        os.unlink(entry.name, dir_fd=entry.folder)


def flush_own_folder_to_disk(folder: Path) -> None:
    """Flush a folder to disk, so that a rename or new entry in it survives a power loss."""
    # As the parent of a file: outside of our own folder it is the user's, and may be a checkout.
    with _open_trusted(folder / IGNORE_FILE) as entry:
        os.fsync(entry.folder)


def make_own_folders(folder: Path, own_top: Path | None = None) -> None:
    """Create a folder and all missing ones above it, with mode 0700.

    A `.gitignore` that excludes everything comes before any other file: in our own folder, in
    `own_top` (a folder of ours with another name, such as that in the user's cache), and elsewhere
    in the folder itself if it is made here. A folder that exists may have files of the user's.
    """
    base, names = _split_path(folder)
    if own_top is not None:
        base = str(own_top.parent)
        names = folder.relative_to(own_top.parent).parts
    elif OWN_FOLDER not in names:
        _create_folders(folder.parent)
        _create_ignored(folder)
        return
    _create_folders(Path(base))
    descriptor = os.open(base, _FOLDER_FLAGS)
    owner = os.fstat(descriptor).st_uid
    try:
        for count, name in enumerate(names, 1):
            with suppress(FileExistsError):
                os.mkdir(name, FOLDER_MODE, dir_fd=descriptor)
            child = _open_subfolder(
                descriptor, name, _FollowedFolderAndNames(base, names[:count]), owner
            )
            os.close(descriptor)
            descriptor = child
            current_path = Path(base, *names[:count])
            if name == OWN_FOLDER or current_path == own_top:
                _write_gitignore(
                    _OpenFolderEntry(current_path / IGNORE_FILE, descriptor, IGNORE_FILE, owner)
                )
    finally:
        os.close(descriptor)


def has_own_gitignore(folder: Path) -> bool:
    """Whether a folder's `.gitignore` excludes all; False if unreadable, an error if not ours."""
    try:
        return _excludes_everything(read_start_of_own_file(folder / IGNORE_FILE))
    except OSError:
        return False


def _split_path(path: Path) -> _FollowedFolderAndNames:
    """(folder whose links are followed, names below it that must not be links) of a path.

    The names begin at the last `.synapse-apply` in the path, else they are only the last name:
    the folders above are as the user has set them up.
    """
    # As text: this is done for each file of ours, and Path objects took a tenth of a short command.
    parts = os.path.abspath(path).split("/")  # noqa: PTH100 - follows no link
    index = len(parts) - 1
    if OWN_FOLDER in parts:
        index -= parts[::-1].index(OWN_FOLDER)
    return _FollowedFolderAndNames("/".join(parts[:index]) or "/", tuple(parts[index:]))


@contextmanager
def _open_trusted(path: Path, *, folder: bool = False) -> Iterator[_OpenFolderEntry]:
    """Open the folder of a file, or with `folder` the path itself; FileNotFoundError without one.

    UntrustedFileError for a folder on the way that is a link, not ours, or a repository.
    """
    base, names = _split_path(path)
    descriptor = os.open(base, _FOLDER_FLAGS)
    owner = os.fstat(descriptor).st_uid
    try:
        for count, name in enumerate(names if folder else names[:-1], 1):
            child = _open_subfolder(
                descriptor, name, _FollowedFolderAndNames(base, names[:count]), owner
            )
            os.close(descriptor)
            descriptor = child
        yield _OpenFolderEntry(path, descriptor, names[-1], owner)
    finally:
        os.close(descriptor)


def _open_subfolder(
    parent_descriptor: int, name: str, split_path: _FollowedFolderAndNames, owner: int
) -> int:
    """Open a folder inside of an open one; UntrustedFileError if it is not ours.

    `split_path` is its whole path, for messages.
    """
    try:
        child = os.open(name, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=parent_descriptor)
    except OSError as problem:
        # The entry itself says more than the error does: a link, another user's, no folder.
        info = os.stat(name, dir_fd=parent_descriptor, follow_symlinks=False)
        path = Path(split_path.base, *split_path.names)
        _require_plain(info, path, owner, folder=True)
        if problem.errno in _CHANGED:
            raise build_untrusted_error(path, "was replaced while it was opened") from None
        raise
    try:
        info = os.fstat(child)
        if not (stat.S_ISDIR(info.st_mode) and _is_trusted_owner(info.st_uid, owner)):
            path = Path(split_path.base, *split_path.names)
            _require_plain(info, path, owner, folder=True)
        _require_no_git(child, split_path)
    except BaseException:
        os.close(child)
        raise
    return child


def _require_plain(
    info: os.stat_result, path: Path, base_owner: int, *, folder: bool = False
) -> None:
    """UntrustedFileError unless it is a regular file (or a `folder`) of a trusted owner."""
    if stat.S_ISLNK(info.st_mode):
        raise build_untrusted_error(
            path,
            "is a link",
            f"{LOOK_FIRST} If the link is yours: replace it with its target, or set the state's "
            "real path in targets.NAME.state.url.",
        )
    if folder and not stat.S_ISDIR(info.st_mode):
        raise build_untrusted_error(path, "is not a folder")
    if not folder and stat.S_ISDIR(info.st_mode):
        raise build_untrusted_error(path, "is a folder")
    if not folder and not stat.S_ISREG(info.st_mode):
        raise build_untrusted_error(path, "is not a regular file")
    if not _is_trusted_owner(info.st_uid, base_owner):
        raise build_untrusted_error(
            path,
            f"belongs to another user (uid {info.st_uid}; this is uid {os.geteuid()})",
            "Run the command as that user. If the file is yours anyway: `chown` it. Otherwise "
            "remove it.",
        )


def _is_trusted_owner(owner: int, base_owner: int) -> bool:
    current_uid = os.geteuid()
    return owner in (current_uid, 0) or (current_uid == 0 and owner == base_owner)


def _require_no_git(folder: int, split_path: _FollowedFolderAndNames) -> None:
    """UntrustedFileError for a folder with a `.git`.

    A submodule has another author's files, and stays in the working tree after a later checkout.
    """
    try:
        os.stat(".git", dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    path = Path(split_path.base, *split_path.names)
    raise build_untrusted_error(path, "is a separate Git repository, perhaps a submodule")


def _create_folders(folder: Path) -> None:
    if folder.exists():
        return
    for missing in reversed([folder, *folder.parents]):
        if not missing.exists():
            missing.mkdir(mode=FOLDER_MODE, exist_ok=True)


def _create_ignored(folder: Path) -> None:
    """Create a folder together with its `.gitignore`; nothing is done where it exists."""
    if folder.exists():
        return
    new_folder = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}")
    new_folder.mkdir(mode=FOLDER_MODE)
    try:
        (new_folder / IGNORE_FILE).write_bytes(_IGNORE_ALL)
        # Named at once when it is complete: cut short before, it would later count as the user's.
        new_folder.rename(folder)
    except OSError:
        (new_folder / IGNORE_FILE).unlink(missing_ok=True)
        new_folder.rmdir()
        if not folder.is_dir():  # else another process made it meanwhile
            raise


def _excludes_everything(gitignore_text: bytes) -> bool:
    lines = [line.strip() for line in gitignore_text.splitlines()]
    return b"*" in lines and not any(line.startswith(b"!") for line in lines)


def _write_gitignore(entry: _OpenFolderEntry) -> None:
    """Write the `.gitignore` that excludes our folder, unless there is one that does."""
    info = entry.stat_entry_or_none()
    if info is not None:
        _require_plain(info, entry.path, entry.base_owner)
        descriptor = os.open(entry.name, os.O_RDONLY | _FILE_FLAGS, dir_fd=entry.folder)
        with os.fdopen(descriptor, "rb") as file:
            if _excludes_everything(file.read(_SMALL)):
                return
    temporary_name = f"{entry.name}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE_FLAGS
    # Mode 0644: Git may run as another user, and the file has no secret.
    descriptor = os.open(temporary_name, flags, 0o644, dir_fd=entry.folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_IGNORE_ALL)
        os.replace(temporary_name, entry.name, src_dir_fd=entry.folder, dst_dir_fd=entry.folder)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary_name, dir_fd=entry.folder)
