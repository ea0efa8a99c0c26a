"""Which files in a data set's folder are this program's own, and how they are opened safely.

The folder may be in a checkout, where a commit can put links and files into it. So files are opened
through the folder's descriptor and never through a link, and only regular files of a trusted owner
are used. The rule is repeated here, since this program imports nothing of the other folders; the
command line has checked the folders above before it starts a server.
"""

from __future__ import annotations

import os
import re
import secrets
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
_GITIGNORE = ".gitignore"
# SQLite opens or creates the companions by name, and would follow a link there.
_DATABASE_FILES = (DATABASE, *(f"{DATABASE}{end}" for end in ("-wal", "-shm", "-journal")))
_PACKAGE_NAME = re.compile(r"[0-9a-f]{64}")
_PART_NAME = re.compile(r"tmp[A-Za-z0-9_]+\.part")
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MAX_ENDPOINT_BYTES = 4096


class DataSetPlaceError(DataSetError):
    """The folder of the data set cannot be created, written or trusted."""


def make_data_folder(data: Path) -> None:
    """Create the folder of a data set with a `.gitignore`; raises OSError, DataSetPlaceError."""
    if data.parent.name == _PROJECT_FOLDER:
        data.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _require_no_links(data)
        _write_own_gitignore(data.parent)
        data.mkdir(exist_ok=True, mode=0o700)
    # A folder that exists may be the user's: it gets no `.gitignore`.
    elif not data.exists():
        data.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Create a folder together with its `.gitignore`, which gets its name when it is complete.
        new_folder = data.with_name(f".{data.name}.{secrets.token_hex(8)}")
        new_folder.mkdir(mode=0o700)
        try:
            _write_own_gitignore(new_folder)
            new_folder.rename(data)
        except OSError:
            (new_folder / _GITIGNORE).unlink(missing_ok=True)
            new_folder.rmdir()
            if not data.is_dir():  # else another process made it meanwhile
                raise


# The same rule as in files/opening.py, a second time: the emulator imports nothing of the rest.
def require_trusted_files(data: Path) -> None:
    """Raises DataSetPlaceError for a file of a known name that is a link or not ours."""
    _require_no_links(data)
    with open_folder_descriptor(data) as folder:
        for name in (*_DATABASE_FILES, LOCK, ENDPOINT, f"{ENDPOINT}.new"):
            _require_trusted_file(folder, data, name)
        for name in (PACKAGES, INCOMING):
            _require_trusted_file(folder, data, name, stat.S_IFDIR)


@contextmanager
def open_folder_descriptor(data: Path) -> Iterator[int]:
    """The descriptor of the folder during the block; raises OSError, DataSetPlaceError."""
    _require_no_links(data)
    descriptor = os.open(data, _FOLDER_FLAGS)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_own_file_descriptor(data: Path, name: str, flags: int) -> int:
    """Open a file in the folder; returns its descriptor. Raises OSError, DataSetPlaceError."""
    with open_folder_descriptor(data) as folder:
        _require_trusted_file(folder, data, name)
        # Without O_NONBLOCK opening a named pipe would wait for its writer.
        safety_flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(name, flags | safety_flags, 0o600, dir_fd=folder)


def read_endpoint(data: Path) -> bytes:
    """The content of `endpoint.json`; raises OSError, DataSetPlaceError."""
    with os.fdopen(open_own_file_descriptor(data, ENDPOINT, os.O_RDONLY), "rb") as file:
        return file.read(_MAX_ENDPOINT_BYTES)


def write_endpoint_atomically(data: Path, text: str) -> None:
    """Write `endpoint.json` atomically, readable by its owner only."""
    new_name = f"{ENDPOINT}.new"
    with open_folder_descriptor(data) as folder, suppress(FileNotFoundError):
        os.unlink(new_name, dir_fd=folder)
    with os.fdopen(
        open_own_file_descriptor(data, new_name, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb"
    ) as file:
        file.write(text.encode())
    with open_folder_descriptor(data) as folder:
        os.replace(new_name, ENDPOINT, src_dir_fd=folder, dst_dir_fd=folder)


def remove_endpoint(data: Path) -> None:
    """Remove `endpoint.json`, if there is one: the server it describes has ended."""
    with suppress(FileNotFoundError), open_folder_descriptor(data) as folder:
        os.unlink(ENDPOINT, dir_fd=folder)


def make_subfolders(data: Path) -> None:
    """Create those for packages and incoming uploads, and delete what a killed server left."""
    with open_folder_descriptor(data) as folder:
        for name in (PACKAGES, INCOMING):
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=folder)
            _require_trusted_file(folder, data, name, stat.S_IFDIR)
    _remove_matching_files(data, INCOMING, _PART_NAME)


def remove_data_set_files(data: Path) -> None:
    """Delete the database, the packages and `endpoint.json`.

    The main database file comes after its companions: a reset that was interrupted can be
    repeated, since there still is a data set.
    """
    with open_folder_descriptor(data) as folder:
        for name in reversed(_DATABASE_FILES):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
    with suppress(FileNotFoundError):
        _remove_matching_files(data, PACKAGES, _PACKAGE_NAME)
    remove_endpoint(data)


def _remove_matching_files(data: Path, subfolder_name: str, pattern: re.Pattern[str]) -> None:
    """Delete the regular files in a subfolder whose names match; nothing else."""
    with open_folder_descriptor(data) as folder:
        _require_trusted_file(folder, data, subfolder_name, stat.S_IFDIR)
        subfolder = os.open(subfolder_name, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=folder)
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


def _require_trusted_file(
    folder: int, data: Path, name: str, expected_type: int = stat.S_IFREG
) -> None:
    """DataSetPlaceError for an existing entry that is a link, of another type, or not ours."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode):
        raise _build_foreign_error(data / name, "is a link")
    if stat.S_IFMT(status.st_mode) != expected_type:
        type_name = "folder" if expected_type == stat.S_IFDIR else "regular file"
        raise _build_foreign_error(data / name, f"is not a {type_name}")
    if not _is_trusted_owner(status.st_uid, data):
        raise _build_foreign_error(data / name, f"belongs to another user (uid {status.st_uid})")


def _require_no_links(data: Path) -> None:
    """DataSetPlaceError if, in a project, the data set's folder or the one above is a link."""
    if data.parent.name != _PROJECT_FOLDER:
        return  # a path that the user has chosen, links included
    for folder in (data.parent, data):
        if folder.is_symlink():
            raise _build_foreign_error(folder, "is a link")


def _is_trusted_owner(owner: int, data: Path) -> bool:
    """Whether files of this owner are used: ours, root's, and for root the project owner's."""
    own_uid = os.geteuid()
    if owner in (own_uid, 0):
        return True
    base = data.parent.parent if data.parent.name == _PROJECT_FOLDER else data.parent
    return own_uid == 0 and owner == base.stat().st_uid


def _write_own_gitignore(folder: Path) -> None:
    """Write the file that excludes the folder from Git, unless there is one with content.

    OSError if it cannot be written. An empty one is left by a process that was killed.
    """
    path = folder / _GITIGNORE
    with suppress(FileNotFoundError):
        if path.is_symlink() or path.stat().st_size:
            return
    new_path = folder / f"{_GITIGNORE}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(new_path, flags, 0o644), "wb") as file:
            file.write(b"*\n")
        new_path.replace(path)
    finally:
        new_path.unlink(missing_ok=True)


def _build_foreign_error(path: Path, reason: str) -> DataSetPlaceError:
    return DataSetPlaceError(
        f"{path} {reason}",
        "this program did not create it: check what it is and remove it, or give another "
        "folder with --data",
    )
