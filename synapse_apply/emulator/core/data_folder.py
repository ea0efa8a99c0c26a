"""The folder of a data set: which files in it are this program's, and how they are opened.

The folder may lie in a checkout, where a commit can put links and files into it. So names in it are
opened through the folder's descriptor, never through a link, and what is no plain file of this
user's is not used. This program imports nothing of the rest, so it has this rule itself; the
command has looked at the whole way to the folder before it starts a server.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from synapse_apply.emulator.core.store import DataSetError

DATABASE = "data.sqlite3"
LOCK = "lock"
ENDPOINT = "endpoint.json"
PACKAGES = "packages"
INCOMING = "incoming"

_PROJECT_FOLDER = ".synapse-apply"
_DATABASE_FILES = (DATABASE, *(f"{DATABASE}{end}" for end in ("-wal", "-shm", "-journal")))
_PACKAGE_NAME = re.compile(r"[0-9a-f]{64}")
_PART_NAME = re.compile(r"tmp[A-Za-z0-9_]+\.part")
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MAX_ENDPOINT_BYTES = 4096


class DataSetPlaceError(DataSetError):
    """The folder of the data set cannot be made, written or trusted."""


def make_data_folder(data: Path) -> None:
    """Make the folder of a data set, kept out of Git; raises OSError, DataSetPlaceError."""
    if data.parent.name == _PROJECT_FOLDER:
        data.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _require_no_links(data)
        _write_gitignore(data.parent)
    is_new = not data.exists()
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    if is_new and data.parent.name != _PROJECT_FOLDER:
        _write_gitignore(data)


# The same rule as in files/opening.py, a second time: the emulator imports nothing of the rest.
def require_own_files(data: Path) -> None:
    """Raises DataSetPlaceError when something in the folder is not this program's."""
    _require_no_links(data)
    with open_folder(data) as folder:
        for name in (*_DATABASE_FILES, LOCK, ENDPOINT, f"{ENDPOINT}.new"):
            _require_own_entry(folder, data, name)
        for name in (PACKAGES, INCOMING):
            _require_own_entry(folder, data, name, stat.S_IFDIR)


@contextmanager
def open_folder(data: Path) -> Iterator[int]:
    """A descriptor of the folder; raises OSError."""
    _require_no_links(data)
    descriptor = os.open(data, _FOLDER_FLAGS)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_file(data: Path, name: str, flags: int) -> int:
    """A descriptor of a file in the folder; raises OSError, DataSetPlaceError."""
    with open_folder(data) as folder:
        _require_own_entry(folder, data, name)
        safety_flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(name, flags | safety_flags, 0o600, dir_fd=folder)


def read_endpoint(data: Path) -> bytes:
    """What a server has told of itself; raises OSError, DataSetPlaceError."""
    with os.fdopen(open_file(data, ENDPOINT, os.O_RDONLY), "rb") as file:
        return file.read(_MAX_ENDPOINT_BYTES)


def write_endpoint_atomically(data: Path, text: str) -> None:
    """Tell of a server, in a file that only this user can read; it appears as a whole."""
    new_name = f"{ENDPOINT}.new"
    with open_folder(data) as folder, suppress(FileNotFoundError):
        os.unlink(new_name, dir_fd=folder)
    with os.fdopen(open_file(data, new_name, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        file.write(text.encode())
    with open_folder(data) as folder:
        os.replace(new_name, ENDPOINT, src_dir_fd=folder, dst_dir_fd=folder)


def remove_endpoint(data: Path) -> None:
    """Nobody shall take a server that has ended for one that runs."""
    with suppress(FileNotFoundError), open_folder(data) as folder:
        os.unlink(ENDPOINT, dir_fd=folder)


def make_empty_incoming_folder(data: Path) -> None:
    """Make the folder of uploads under way, and remove what a killed server has left in it."""
    _make_subfolder(data, INCOMING)
    _remove_files(data, INCOMING, _PART_NAME)


def make_packages_folder(data: Path) -> None:
    """Make the folder of packages."""
    _make_subfolder(data, PACKAGES)


def remove_objects(data: Path) -> None:
    """Remove the database and the packages; the database last: a reset cut short is still one."""
    with open_folder(data) as folder:
        for name in reversed(_DATABASE_FILES):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
    with suppress(FileNotFoundError):
        _remove_files(data, PACKAGES, _PACKAGE_NAME)
    remove_endpoint(data)


def _make_subfolder(data: Path, name: str) -> None:
    with open_folder(data) as folder:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=folder)
        _require_own_entry(folder, data, name, stat.S_IFDIR)


def _remove_files(data: Path, name: str, pattern: re.Pattern[str]) -> None:
    """Remove the plain files of this program in a folder, told by their names; nothing else."""
    with open_folder(data) as folder:
        _require_own_entry(folder, data, name, stat.S_IFDIR)
        subfolder = os.open(name, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=folder)
        try:
            for file_name in os.listdir(subfolder):  # noqa: PTH208 - by its descriptor
                if not pattern.fullmatch(file_name):
                    continue
                if stat.S_ISREG(
                    os.stat(file_name, dir_fd=subfolder, follow_symlinks=False).st_mode
                ):
                    os.unlink(file_name, dir_fd=subfolder)
        finally:
            os.close(subfolder)


def _require_own_entry(
    folder: int, data: Path, name: str, expected_type: int = stat.S_IFREG
) -> None:
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode):
        raise _build_foreign_error(data / name, "is a link")
    if stat.S_IFMT(status.st_mode) != expected_type:
        type_name = "folder" if expected_type == stat.S_IFDIR else "plain file"
        raise _build_foreign_error(data / name, f"is no {type_name}")
    if not _is_trusted_owner(status.st_uid, data):
        raise _build_foreign_error(data / name, f"belongs to another user (uid {status.st_uid})")


def _require_no_links(data: Path) -> None:
    """In a project, neither the data's folder nor the one above it may be a link."""
    if data.parent.name != _PROJECT_FOLDER:
        return  # where whoever starts the server has named it
    for folder in (data.parent, data):
        if folder.is_symlink():
            raise _build_foreign_error(folder, "is a link")


def _is_trusted_owner(owner: int, data: Path) -> bool:
    """As the command has it: ours, root's, and for root also those of the project's owner."""
    own_uid = os.geteuid()
    if owner in (own_uid, 0):
        return True
    base = data.parent.parent if data.parent.name == _PROJECT_FOLDER else data.parent
    return own_uid == 0 and owner == base.stat().st_uid


def _write_gitignore(folder: Path) -> None:
    with suppress(OSError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(folder / ".gitignore", flags, 0o644), "wb") as file:
            file.write(b"*\n")


def _build_foreign_error(path: Path, reason: str) -> DataSetPlaceError:
    return DataSetPlaceError(
        f"{path} {reason}",
        "this program did not make it: look what it is and remove it, or give another folder with "
        "--data",
    )
