"""Which files of a checkout are not as the commit has them that is checked out.

Plumbing only, as in `git.py`: nothing is written, and no filter runs. A file whose time stamps
alone are others counts as changed only where its content is, and one that a filter converts (Git
LFS) does not count, since only the filter could tell.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from synapse_apply.model.desired import PackageSource
from synapse_apply.model.errors import InputError
from synapse_apply.packages.names import printable
from synapse_apply.packages.repository import repository_of, run_git
from synapse_apply.packages.unmodified import filter_names, unmodified

MOST = 1000
_MODIFIED = b"M"


def files_changed_since(
    root: Path, commit: str, read: Collection[str], timeout: float
) -> tuple[str, ...]:
    """Files below `root` that differ from the commit, and those of `read` that it does not have.

    Names are relative to `root`, safe to print, sorted, at most MOST. `read` are relative to
    `root`, too. Empty where Git takes longer than `timeout` seconds. InputError as Git's errors.
    """
    repository = repository_of(root)
    if repository is None:
        return ()
    words = ("diff-index", "-z", "--no-ext-diff", "--no-renames", "--ignore-submodules=all")
    filters = filter_names(repository.top)
    if any("=" in name for name in filters):  # `-c` cannot switch it off
        return ()
    unfiltered = _without_filters(filters)
    code, out, _ = run_git(
        root, repository, *unfiltered, *words, commit, "--", ".", timeout=timeout
    )
    if code:
        return ()
    prefix = repository.prefix_of(root)
    certain, doubtful = _sorted_out(out.split(b"\0"), f"{prefix}/" if prefix else "")
    new = _find_untracked(root, read, timeout)
    found = sorted({*certain, *_really_changed(root, commit, doubtful), *new})
    return tuple(map(printable, found[:MOST]))


def _sorted_out(fields: list[bytes], prefix: str) -> tuple[list[str], list[str]]:
    """Files that have changed for sure, and those whose content is to be looked at."""
    certain: list[str] = []
    doubtful: list[str] = []
    for facts, name in zip(fields[::2], fields[1::2], strict=False):
        before, now, _, _, status = facts.split()
        path = os.fsdecode(name).removeprefix(prefix)
        same_mode = status == _MODIFIED and before.lstrip(b":") == now
        (doubtful if same_mode else certain).append(path)
    return certain, doubtful


def _really_changed(root: Path, commit: str, names: list[str]) -> Iterable[str]:
    if not names:
        return ()
    try:
        now = unmodified(PackageSource("git", ".", commit), root, ".", names)
    except InputError:
        return names
    return [name for name in names if name not in now.same and name not in now.filtered]


def _without_filters(names: Collection[str]) -> list[str]:
    """Settings with which Git runs none of these filters; it compares some files by content."""
    settings = ("clean=", "process=", "required=false")
    return [word for name in names for what in settings for word in ("-c", f"filter.{name}.{what}")]


def _find_untracked(root: Path, read: Collection[str], timeout: float) -> Iterator[str]:
    """Those of the files that Git neither knows nor ignores."""
    top = Path(os.path.realpath(root))
    inside = [name for name in read if Path(os.path.realpath(top / name)).is_relative_to(top)]
    repository = repository_of(root)
    if not inside or repository is None:
        return
    words = ("ls-files", "--others", "--exclude-standard", "-z", "--", ".")
    code, out, _ = run_git(root, repository, *words, timeout=timeout)
    wanted = {os.path.normpath(name).replace(os.sep, "/") for name in inside}
    if not code:
        yield from (name for line in out.split(b"\0") if (name := os.fsdecode(line)) in wanted)
