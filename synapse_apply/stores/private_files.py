"""Files and folders that only their owner may read, from the first byte on."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = ".synapse-apply"
FILE_MODE = 0o600
FOLDER_MODE = 0o700


def make_folder(folder: Path) -> None:
    """Make the folder and what is missing above it; our own folder keeps itself out of Git."""
    for missing in reversed([folder, *folder.parents]):
        if not missing.exists():
            missing.mkdir(mode=FOLDER_MODE, exist_ok=True)
    ours = next((at for at in (folder, *folder.parents) if at.name == FOLDER), None)
    if ours is not None:
        _ignore(ours / ".gitignore")


def make_file(path: Path) -> None:
    """An empty file of mode 0600; FileExistsError where something is already."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        os.fchmod(descriptor, FILE_MODE)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Make a rename or a new name in the folder survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _ignore(path: Path) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write("*\n")
    except FileExistsError:
        pass
