"""When the `.synapse-apply` folder, the files in it and a state elsewhere are trusted.

A checkout is somebody else's: a pull request can commit a state, a key or a link beside the
project. What is ours is therefore used only when

- neither it nor a folder on the way to it is a link, a pipe or a repository of its own, and all of
  it belongs to us (`files/opening.py`, which also opens it), and
- Git tracks nothing of it, in whatever case it is spelled (here). The repository is the one that
  `files/repository.py` finds, so no other folder of the checkout can answer. It is asked
  once as long as its index stays the same.

A state that the project file puts elsewhere is looked at in the same way. Folders outside of the
checkout may be links: those are the machine's, not a commit's. A link is followed only when we or
root made it, since in a shared folder others can make some, too.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from synapse_apply.files.opening import (
    IGNORE_FILE,
    OWN_FOLDER,
    UntrustedFileError,
    build_untrusted_error,
    has_readable_gitignore_that_excludes_all,
    own_folder_exists,
)
from synapse_apply.files.tree import escape_misleading_path
from synapse_apply.model.errors import InputError, StateError, SynapseApplyError

if TYPE_CHECKING:
    from synapse_apply.files.repository import Repository

# What SQLite and this tool keep beside a state, under its name.
_COMPANION_SUFFIXES = ("", "-journal", "-wal", "-shm", ".lock")
_MAX_LINKS = 40
_tracked_by_index: dict[tuple[object, ...], tuple[str, ...]] = {}


def has_own_folder_or_raise_if_untrusted(root: Path) -> bool:
    """Whether the project in `root` has a `.synapse-apply` folder; StateError if untrusted."""
    folder = root / OWN_FOLDER
    with convert_os_errors_to_state_error(folder):
        if not own_folder_exists(folder):
            return False
        _require_paths_untracked_by_git(folder, (folder,))
    return True


@contextmanager
def convert_os_errors_to_state_error(folder: Path) -> Iterator[None]:
    """Turn an OSError in the block into a StateError about the folder."""
    try:
        yield
    except OSError as problem:
        raise StateError.from_summary(
            "The folder of states and keys cannot be read",
            f"{problem.filename or folder}: {problem.strerror or problem}.",
            "Check who owns it (`ls -la`): a run as another user, or with sudo, may have made it.",
        ) from None


def resolve_trusted_state_path(path: Path, root: Path) -> Path:
    """The path of a state file, with links resolved; StateError where it is not trusted.

    `root` is the project's folder, to which a relative path belongs.
    """
    root = root.absolute()
    path = root / path
    if Path(os.path.normpath(path)).is_relative_to(root / OWN_FOLDER):
        has_own_folder_or_raise_if_untrusted(root)
        return path
    with convert_os_errors_to_state_error(path.parent):
        path = _resolve_trusted_links(path, root)
        if OWN_FOLDER in path.parts:
            own_folder_exists(path.parent)
        companion_paths = tuple(
            path.with_name(f"{path.name}{ending}") for ending in _COMPANION_SUFFIXES
        )
        if any(os.path.lexists(companion) for companion in companion_paths):
            _require_paths_untracked_by_git(path, companion_paths)
        return path


def is_own_folder_absent_or_ignored(root: Path) -> bool:
    """Whether Git ignores the `.synapse-apply` folder in `root`; True without a folder."""
    folder = root / OWN_FOLDER
    return not own_folder_exists(folder) or has_readable_gitignore_that_excludes_all(folder)


class GitExposure(NamedTuple):
    """Why Git has a file, or would take it: the end of a sentence that begins with its path."""

    reason: str
    is_tracked: bool


def find_git_exposure_or_none_if_ignored(path: Path) -> GitExposure | None:
    """Why a commit could contain a file, there or not yet; None for one that Git ignores.

    A link counts as well as what it leads to. StateError where Git cannot tell.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - a link itself is looked at, too
    for name in dict.fromkeys((path, Path(os.path.realpath(path)))):
        if _find_tracked_paths_cached(name, (name,)):
            return GitExposure("is tracked by Git", is_tracked=True)
        if not _is_ignored_or_outside_of_repository(name):
            return GitExposure("lies in a checkout, and Git does not ignore it", is_tracked=False)
    return None


def _is_ignored_or_outside_of_repository(path: Path) -> bool:
    """Whether Git ignores a path, or no repository contains it; StateError if it cannot tell."""
    from synapse_apply.files.repository import run_git

    real_path = Path(os.path.realpath(path.parent)) / path.name
    repository = _find_trusted_repository_or_none(real_path)
    if repository is None:
        return True
    name = os.fsencode(real_path.relative_to(repository.top).as_posix())
    try:
        code, _, error_text = run_git(
            repository.top, repository, "check-ignore", "-q", "-z", "--stdin", input_bytes=name
        )
    except InputError as problem:
        raise _build_git_failure_error(path, problem) from None
    if code not in (0, 1):
        failure = InputError.from_summary("", error_text.strip().removeprefix("fatal: "))
        raise _build_git_failure_error(path, failure)
    return code == 0


def _resolve_trusted_links(path: Path, root: Path) -> Path:
    """The path with all links followed; StateError for an untrusted link or a circle."""
    resolved, remaining_parts = Path(path.anchor), list(reversed(path.parts[1:]))
    if path.is_relative_to(root):  # the way to the project is that of whoever runs us
        resolved, remaining_parts = (
            Path(os.path.realpath(root)),
            list(reversed(path.relative_to(root).parts)),
        )
    root = Path(os.path.realpath(root))
    for _ in range(_MAX_LINKS):
        while remaining_parts:
            name = remaining_parts.pop()
            if name == "..":
                resolved = resolved.parent
                continue
            candidate = resolved / name
            if candidate.is_symlink():
                break
            resolved = candidate
        else:
            return resolved
        _require_trusted_link(candidate, root)
        target = candidate.readlink()
        resolved = Path("/") if target.is_absolute() else resolved
        remaining_parts += [part for part in reversed(target.parts) if part != "/"]
    raise build_untrusted_error(path, "is behind links that lead in a circle")


# A `state.url` may lead through a link that we or root made outside of a checkout; inside one, a
# commit may have made it.
def _require_trusted_link(link: Path, root: Path) -> None:
    """StateError for a link that a commit or another user may have created."""
    if link.is_relative_to(root) or _find_trusted_repository_or_none(link) is not None:
        raise build_untrusted_error(
            link,
            "is a link in a checkout",
            "A commit may have put it there. Name the file itself as the target's state.url.",
        )
    owner = link.lstat().st_uid
    if owner not in (os.geteuid(), 0):
        raise build_untrusted_error(link, f"is a link of another user (uid {owner})")


# What Git cannot answer is refused, also where Git is missing. Git is asked once per index, and
# only where the folder exists.
def _require_paths_untracked_by_git(own_path: Path, paths: tuple[Path, ...]) -> None:
    """StateError when Git tracks one of these paths, or a file below it."""
    tracked_paths = [
        tracked_path
        for tracked_path in _find_tracked_paths_cached(own_path, paths)
        if not _is_own_gitignore(own_path, tracked_path)
    ]
    if not tracked_paths:
        return
    tracked_text = escape_misleading_path(tracked_paths[0]) + (
        f" and {len(tracked_paths) - 1} more" if len(tracked_paths) > 1 else ""
    )
    name = (
        OWN_FOLDER
        if own_path.name == OWN_FOLDER
        else escape_misleading_path(Path(tracked_paths[0]).name)
    )
    raise build_untrusted_error(
        own_path,
        f"is in Git's index ({tracked_text})",
        "What is recorded must come from no commit. If nobody attacked you, take them out of "
        f"Git and keep them: `git rm -r --cached {shlex.quote(name)}` in {own_path.parent}, then "
        "commit. Else remove them.",
    )


def _is_own_gitignore(folder: Path, tracked_path: str) -> bool:
    """Whether it is our own `.gitignore` in the folder, with the content that we write."""
    name = f"{OWN_FOLDER}/{IGNORE_FILE}"
    is_ignore_path = tracked_path == name or tracked_path.endswith(f"/{name}")
    return (
        is_ignore_path
        and folder.name == OWN_FOLDER
        and has_readable_gitignore_that_excludes_all(folder)
    )


def _find_tracked_paths_cached(own_path: Path, paths: tuple[Path, ...]) -> tuple[str, ...]:
    """The paths that Git tracks, relative to the top of the repository; cached per Git index."""
    real_folder = Path(os.path.realpath(own_path.parent))
    repository = _find_trusted_repository_or_none(real_folder / own_path.name)
    if repository is None:
        return ()
    names = tuple(
        (real_folder / path.name).relative_to(repository.top).as_posix() for path in paths
    )
    # `git ls-files` costs a process: several checks of one command share its answer.
    cache_key = (repository, names, _fingerprint_git_index_or_empty_if_absent(repository))
    if cache_key not in _tracked_by_index:
        _tracked_by_index[cache_key] = _ask_git_for_tracked_paths(repository, names)
    return _tracked_by_index[cache_key]


def _ask_git_for_tracked_paths(repository: Repository, names: tuple[str, ...]) -> tuple[str, ...]:
    from synapse_apply.files.repository import run_git

    # Where file systems take A for a, `.Synapse-Apply` of a commit is our folder.
    specs = (f":(top,icase,literal){name}" for name in names)
    try:
        code, out, error_text = run_git(repository.top, repository, "ls-files", "-z", "--", *specs)
    except InputError as problem:
        raise _build_git_failure_error(repository.top / names[0], problem) from None
    if code:
        failure = InputError.from_summary("", error_text.strip().removeprefix("fatal: "))
        raise _build_git_failure_error(repository.top / names[0], failure)
    return tuple(os.fsdecode(name) for name in out.split(b"\0") if name)


def _find_trusted_repository_or_none(path: Path) -> Repository | None:
    """The repository that contains a path, None without one; StateError for an untrusted one."""
    # Here, not above: many commands find no folder of ours, and need no Git.
    from synapse_apply.files.repository import find_repository_or_raise_if_untrusted

    try:
        return find_repository_or_raise_if_untrusted(path.parent)
    except InputError as problem:
        raise _build_git_failure_error(path, problem) from None


def _build_git_failure_error(path: Path, problem: SynapseApplyError) -> UntrustedFileError:
    reason = "; ".join(finding.detail.rstrip(".") for finding in problem.diagnostics)
    return build_untrusted_error(
        path,
        f"may come from a commit: Git cannot tell ({reason})",
        "Install git, and see that `git status` works here. If the repository is another user's "
        "on purpose: `git config --global --add safe.directory FOLDER`.",
    )


def _fingerprint_git_index_or_empty_if_absent(repository: Repository) -> tuple[int, ...]:
    """Changes whenever Git's index does; () while the repository has none."""
    try:
        index_stat = (repository.git_dir / "index").stat()
    except FileNotFoundError:
        return ()
    return (
        index_stat.st_dev,
        index_stat.st_ino,
        index_stat.st_size,
        index_stat.st_mtime_ns,
        index_stat.st_ctime_ns,
    )
