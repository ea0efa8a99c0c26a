"""Keeps what a restore replaces, under a name that nothing has: an earlier copy is never lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from synapse_apply.files.opening import link_file, make_file, open_file, remove_file

# What the first name ends with.
KEPT = "before-restore"


def names(first: Path) -> Iterator[Path]:
    """The first name, then the same with a number, without end."""
    yield first
    for number in count(2):
        yield first.with_name(f"{first.name}-{number}")


def keep(path: Path, first: Path) -> Path:
    """The file under one more name: a link, or a copy on a file system without links."""
    for name in names(first):
        try:
            link_file(name, path.name)
        except FileExistsError:
            continue
        except OSError:
            break
        return name
    return _copy(path, first)


def _copy(path: Path, first: Path) -> Path:
    for name in names(first):
        try:
            make_file(name)
        except FileExistsError:
            continue
        break
    try:
        with (
            os.fdopen(open_file(path, os.O_RDONLY), "rb") as source,
            os.fdopen(open_file(name, os.O_WRONLY), "wb") as copy,
        ):
            shutil.copyfileobj(source, copy)
            copy.flush()
            os.fsync(copy.fileno())
    except BaseException:
        remove_file(name)
        raise
    return name
