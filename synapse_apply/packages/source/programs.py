"""How another program is started: which executable, and with which environment.

A checkout may hold an executable called `git`, and variables of ours may steer a program or be
secrets. So PATH is searched without what lies in the checkout, and a child process is given PATH,
HOME and the locale alone, besides what its caller sets for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

Folders = tuple[Path, ...]


def find_executable(name: str, checkouts: Folders) -> str:
    """The absolute path of a program outside of the checkouts; FileNotFoundError.

    `checkouts` are real paths, here and below.
    """
    for folder in _list_search_folders(os.environ.get("PATH", os.defpath), checkouts):
        path = Path(folder, name)
        if path.is_file() and os.access(path, os.X_OK) and not _is_in_checkout(path, checkouts):
            return str(path)
    raise FileNotFoundError(2, "not found in an absolute folder of PATH outside of the checkout")


# Built from nothing, in this one place, so that no variable of the parent steers Git.
def build_child_environment(checkouts: Folders, settings: Mapping[str, str]) -> dict[str, str]:
    """All variables of a child process: PATH, HOME, the locale, and `settings`.

    A HOME in a checkout is left out: the files of a program's user settings in it are committed.
    """
    home = Path(os.environ.get("HOME", ""))
    home_variable = (
        {"HOME": str(home)} if home.is_absolute() and not _is_in_checkout(home, checkouts) else {}
    )
    path = _list_search_folders(os.environ.get("PATH", os.defpath), checkouts)
    return {"PATH": os.pathsep.join(path), **home_variable, "LC_ALL": "C", **settings}


@lru_cache(maxsize=64)
def _list_search_folders(path: str, checkouts: Folders) -> tuple[str, ...]:
    """The folders of PATH, without relative ones and those that a checkout decides about."""
    return tuple(
        folder
        for folder in path.split(os.pathsep)
        if Path(folder).is_absolute() and not _is_in_checkout(Path(folder), checkouts)
    )


def _is_in_checkout(path: Path, checkouts: Folders) -> bool:
    """Whether a path leads into a checkout, or through a link in one."""
    steps = [Path(os.path.realpath(step)) for step in (path, *path.parents)]
    return any(step.is_relative_to(checkout) for step in steps for checkout in checkouts)
