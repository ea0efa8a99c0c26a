"""Which executable and which environment another program is started with.

A checkout may contain an executable called `git`, and our environment variables may change what a
program does, or be secrets. So PATH is searched outside of the checkout only, and a child process
gets PATH, HOME, the locale, and what its caller sets.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

Folders = tuple[Path, ...]


def find_executable(name: str, checkouts: Folders) -> str:
    """The absolute path of a program on PATH outside of the checkouts; FileNotFoundError.

    `checkouts` are real paths, as in the functions below.
    """
    for folder in _list_search_folders(os.environ.get("PATH", os.defpath), checkouts):
        path = Path(folder, name)
        if path.is_file() and os.access(path, os.X_OK) and not _is_in_checkout(path, checkouts):
            return str(path)
    raise FileNotFoundError(2, "not found in an absolute folder of PATH outside of the checkout")


# Built from nothing, in this one place, so that no variable of the parent steers Git.
def build_child_environment(checkouts: Folders, settings: Mapping[str, str]) -> dict[str, str]:
    """All variables of a child process: PATH, HOME, LC_ALL=C, and `settings`.

    A HOME inside a checkout is left out, since its configuration files may be committed ones.
    """
    home = Path(os.environ.get("HOME", ""))
    home_variable = (
        {"HOME": str(home)} if home.is_absolute() and not _is_in_checkout(home, checkouts) else {}
    )
    path = _list_search_folders(os.environ.get("PATH", os.defpath), checkouts)
    return {"PATH": os.pathsep.join(path), **home_variable, "LC_ALL": "C", **settings}


@lru_cache(maxsize=64)
def _list_search_folders(path: str, checkouts: Folders) -> tuple[str, ...]:
    """The absolute folders of PATH that are not inside a checkout."""
    return tuple(
        folder
        for folder in path.split(os.pathsep)
        if Path(folder).is_absolute() and not _is_in_checkout(Path(folder), checkouts)
    )


def _is_in_checkout(path: Path, checkouts: Folders) -> bool:
    """Whether a path, or any folder above it, resolves to one inside a checkout."""
    steps = [Path(os.path.realpath(step)) for step in (path, *path.parents)]
    return any(step.is_relative_to(checkout) for step in steps for checkout in checkouts)
