"""Whether our folder and the files in it are trusted: the rule for all below `.synapse-apply`.

A checkout is somebody else's: a pull request can commit a state, a key or a link beside the
project. What is ours is therefore used only when

- neither it nor a folder on the way to it is a link, a pipe or a repository of its own, and all of
  it belongs to us (`files/opening.py`, which also opens it), and
- Git tracks nothing of it, in whatever case it is spelled (here). The repository is the one that
  `packages/repository.py` finds, so no other folder of the checkout can answer. It is asked once as
  long as its index stays the same.

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
from typing import TYPE_CHECKING

from synapse_apply.files.opening import (
    FOLDER,
    IGNORE_FILE,
    UntrustedFileError,
    build_untrusted_error,
    check_folder,
    is_ignored,
)
from synapse_apply.model.errors import InputError, StateError, SynapseApplyError
from synapse_apply.packages.names import printable

if TYPE_CHECKING:
    from synapse_apply.packages.repository import Repository

# What SQLite and this tool keep beside a state, under its name.
_COMPANIONS = ("", "-journal", "-wal", "-shm", ".lock")
_MOST_LINKS = 40
_tracked_by_index: dict[tuple[object, ...], tuple[str, ...]] = {}


def check_own_folder(root: Path) -> bool:
    """Whether the project in `root` has a folder of ours; StateError where it is not trusted."""
    folder = root / FOLDER
    with reading(folder):
        if not check_folder(folder):
            return False
        _check_untracked(folder, (folder,))
    return True


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turn what keeps the block from looking into a folder of ours into a StateError."""
    try:
        yield
    except OSError as problem:
        raise StateError.of(
            "The folder of states and keys cannot be read",
            f"{problem.filename or folder}: {problem.strerror or problem}.",
            "Check who owns it (`ls -la`): a run as another user, or with sudo, may have made it.",
        ) from None


def trusted_state(path: Path, root: Path) -> Path:
    """The path of a state file that the project file names, without links; StateError.

    `root` is the project's folder.
    """
    root = root.absolute()
    path = root / path
    if Path(os.path.normpath(path)).is_relative_to(root / FOLDER):
        check_own_folder(root)
        return path
    with reading(path.parent):
        path = _follow_links(path, root)
        if FOLDER in path.parts:
            check_folder(path.parent)
        beside = tuple(path.with_name(f"{path.name}{ending}") for ending in _COMPANIONS)
        if any(os.path.lexists(one) for one in beside):
            _check_untracked(path, beside)
        return path


def is_kept_out_of_git(root: Path) -> bool:
    """Whether the folder of the project in `root`, if there is one, has Git ignore it."""
    folder = root / FOLDER
    return not check_folder(folder) or is_ignored(folder)


def _follow_links(path: Path, root: Path) -> Path:
    """The path with the links in it followed; StateError for one that is not followed."""
    done, left = Path(path.anchor), list(reversed(path.parts[1:]))
    if path.is_relative_to(root):  # the way to the project is that of whoever runs us
        done, left = Path(os.path.realpath(root)), list(reversed(path.relative_to(root).parts))
    root = Path(os.path.realpath(root))
    for _ in range(_MOST_LINKS):
        while left:
            name = left.pop()
            if name == "..":
                done = done.parent
                continue
            at = done / name
            if at.is_symlink():
                break
            done = at
        else:
            return done
        _check_link(at, root)
        target = at.readlink()
        done = Path("/") if target.is_absolute() else done
        left += [part for part in reversed(target.parts) if part != "/"]
    raise build_untrusted_error(path, "is behind links that lead in a circle")


def _check_link(link: Path, root: Path) -> None:
    """StateError for a link that a commit or another user may have made."""
    if link.is_relative_to(root) or _repository_of(link) is not None:
        raise build_untrusted_error(
            link,
            "is a link in a checkout",
            "A commit may have put it there. Name the file itself as the target's state.url.",
        )
    owner = link.lstat().st_uid
    if owner not in (os.geteuid(), 0):
        raise build_untrusted_error(link, f"is a link of another user (uid {owner})")


def _check_untracked(place: Path, paths: tuple[Path, ...]) -> None:
    """StateError when Git tracks one of these paths, or something below it."""
    tracked = [one for one in _find_tracked(place, paths) if not _is_harmless(place, one)]
    if not tracked:
        return
    which = printable(tracked[0]) + (f" and {len(tracked) - 1} more" if len(tracked) > 1 else "")
    name = FOLDER if place.name == FOLDER else printable(Path(tracked[0]).name)
    raise build_untrusted_error(
        place,
        f"is in Git's index ({which})",
        "What is recorded must come from no commit. If nobody attacked you, take them out of "
        f"Git and keep them: `git rm -r --cached {shlex.quote(name)}` in {place.parent}, then "
        "commit. Else remove them.",
    )


def _is_harmless(folder: Path, tracked: str) -> bool:
    """Whether it is the file that has Git ignore our folder, and it does."""
    name = f"{FOLDER}/{IGNORE_FILE}"
    is_it = tracked == name or tracked.endswith(f"/{name}")
    return is_it and folder.name == FOLDER and is_ignored(folder)


def _find_tracked(place: Path, paths: tuple[Path, ...]) -> tuple[str, ...]:
    """What Git tracks of these paths, as paths from the top of the repository."""
    real = Path(os.path.realpath(place.parent))
    repository = _repository_of(real / place.name)
    if repository is None:
        return ()
    names = tuple((real / path.name).relative_to(repository.top).as_posix() for path in paths)
    known = (repository, names, _index_of(repository))
    if known not in _tracked_by_index:
        _tracked_by_index[known] = _list_tracked(repository, names)
    return _tracked_by_index[known]


def _list_tracked(repository: Repository, names: tuple[str, ...]) -> tuple[str, ...]:
    from synapse_apply.packages.repository import run_git

    # Where file systems take A for a, `.Synapse-Apply` of a commit is our folder.
    specs = (f":(top,icase,literal){name}" for name in names)
    try:
        code, out, why = run_git(repository.top, repository, "ls-files", "-z", "--", *specs)
    except InputError as problem:
        raise _build_unanswered_error(repository.top / names[0], problem) from None
    if code:
        failure = InputError.of("", why.strip().removeprefix("fatal: "))
        raise _build_unanswered_error(repository.top / names[0], failure)
    return tuple(os.fsdecode(name) for name in out.split(b"\0") if name)


def _repository_of(path: Path) -> Repository | None:
    """The repository that a path lies in; StateError for one that may not be believed."""
    # Here, not above: many commands find no folder of ours, and need no Git.
    from synapse_apply.packages.repository import repository_of

    try:
        return repository_of(path.parent)
    except InputError as problem:
        raise _build_unanswered_error(path, problem) from None


def _build_unanswered_error(path: Path, problem: SynapseApplyError) -> UntrustedFileError:
    why = "; ".join(one.detail.rstrip(".") for one in problem.diagnostics)
    return build_untrusted_error(
        path,
        f"may come from a commit: Git cannot tell ({why})",
        "Install git, and see that `git status` works here. If the repository is another user's "
        "on purpose: `git config --global --add safe.directory FOLDER`.",
    )


def _index_of(repository: Repository) -> tuple[int, ...]:
    """What tells one index from a later one; nothing where nothing was ever added."""
    try:
        found = (repository.git_dir / "index").stat()
    except FileNotFoundError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
