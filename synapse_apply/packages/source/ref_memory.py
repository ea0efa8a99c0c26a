"""How long a Git ref means one commit: from where it is first asked for to the end of a command.

A `git fetch` beside a command, or a push into a repository that it reads, moves refs. Then the
project file would be that of one commit and the manifests those of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_MEMORY: ContextVar[dict[tuple[Path, str], str] | None] = ContextVar(
    "commits_of_refs", default=None
)


# A fetch that runs beside the command would otherwise give the project file of one commit and the
# manifests of another.
@contextmanager
def pin_refs_while_running() -> Iterator[None]:
    """Let each ref mean the same commit within the block; within another one, as outside of it."""
    memory = _MEMORY.get()
    token = _MEMORY.set({} if memory is None else memory)
    try:
        yield
    finally:
        _MEMORY.reset(token)


def get_pinned_or_find_commit(git_dir: Path, ref: str, find: Callable[[], str]) -> str:
    """The id that a ref of a repository was first found to mean, else what `find` gives.

    What means nothing is not remembered: it is asked for again.
    """
    memory = _MEMORY.get()
    if memory is None:
        return find()
    commit = memory.get((git_dir, ref), "")
    if not commit and (commit := find()):
        memory[git_dir, ref] = commit
    return commit
