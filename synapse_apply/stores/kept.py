"""Keeps what a restore replaces, under a name that nothing has: an earlier copy is never lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from synapse_apply.stores.private_files import make_file

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
            name.hardlink_to(path)
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
        with path.open("rb") as source, name.open("wb") as copy:
            shutil.copyfileobj(source, copy)
            copy.flush()
            os.fsync(copy.fileno())
    except BaseException:
        name.unlink(missing_ok=True)
        raise
    return name
