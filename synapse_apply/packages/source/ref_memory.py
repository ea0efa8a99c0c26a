"""How long a Git ref keeps its commit: from its first use to the end of a command.

A `git fetch` or a push at the same time moves refs: then the project file could be read from one
commit and the manifests from another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from synapse_apply.packages.source.commit_memory import remember_commits_in_block

_MEMORY: ContextVar[dict[tuple[Path, str], str] | None] = ContextVar(
    "commits_of_refs", default=None
)


# A fetch that runs beside the command would otherwise give the project file of one commit and the
# manifests of another.
@contextmanager
def pin_refs_to_commits_in_block(
    commits: dict[tuple[Path, str], str] | None = None,
) -> Iterator[None]:
    """Let each ref keep the commit of its first use in the block; a nested block shares them.

    Blocks that are given the same `commits` share them, too. What is read of commits in the block
    is kept until it ends.
    """
    memory = _MEMORY.get()
    if memory is None:
        memory = {} if commits is None else commits
    token = _MEMORY.set(memory)
    try:
        with remember_commits_in_block():
            yield
    finally:
        _MEMORY.reset(token)


def get_pinned_or_find_commit(git_dir: Path, ref: str, find: Callable[[], str]) -> str:
    """The pinned commit id of a ref, else the result of `find`, which is pinned from now on.

    An empty result is not pinned. Outside of `pin_refs_to_commits_in_block` nothing is.
    """
    memory = _MEMORY.get()
    if memory is None:
        return find()
    commit = memory.get((git_dir, ref), "")
    if not commit and (commit := find()):
        memory[git_dir, ref] = commit
    return commit
