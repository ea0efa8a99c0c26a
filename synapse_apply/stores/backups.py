"""Under which name a restore keeps the replaced state file: a free one, so that no file is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from synapse_apply.files.opening import (
    create_own_file,
    link_own_file_to_sibling,
    open_own_file_with_flags,
    remove_own_file,
)

# Appended to the name of the replaced state file.
KEPT_FILE_SUFFIX = "before-restore"


def iter_numbered_paths(first_path: Path) -> Iterator[Path]:
    """`first_path`, then the same name with -2, -3, ... appended, without end."""
    yield first_path
    for number in count(2):
        yield first_path.with_name(f"{first_path.name}-{number}")


def keep_under_free_name(path: Path, first_path: Path) -> Path:
    """Give a file a second name, the first free one; returns that path.

    It is a hard link, or a copy on a file system without links.
    """
    for candidate in iter_numbered_paths(first_path):
        try:
            link_own_file_to_sibling(candidate, path.name)
        except FileExistsError:
            continue
        # A file system without hard links.
        except OSError:
            break
        return candidate
    return _copy_under_free_name(path, first_path)


def _copy_under_free_name(path: Path, first_path: Path) -> Path:
    """Copy a file, flushed to disk, to the first free name; removes a partial copy on failure."""
    # Creating the file claims the name, since that fails for an existing one.
    for copy_path in iter_numbered_paths(first_path):
        try:
            create_own_file(copy_path)
        except FileExistsError:
            continue
        break
    try:
        with (
            os.fdopen(open_own_file_with_flags(path, os.O_RDONLY), "rb") as source_file,
            os.fdopen(open_own_file_with_flags(copy_path, os.O_WRONLY), "wb") as copy_file,
        ):
            shutil.copyfileobj(source_file, copy_file)
            copy_file.flush()
            os.fsync(copy_file.fileno())
    except BaseException:
        remove_own_file(copy_path)
        raise
    return copy_path
