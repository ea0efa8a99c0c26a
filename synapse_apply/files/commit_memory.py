"""What was read of commits, for a process or a command that reads the same commit again.

A worker of a controller looks at thousands of targets of one commit; without this each look starts
Git four times and lists the whole project. A command reads the project file, the manifests and the
packages of one commit. The id of a commit or of a blob stands for its content, so that what is
remembered is never out of date. Outside of a command other processes remember nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

# Every command sets up this memory, and few read a commit.
if TYPE_CHECKING:
    from synapse_apply.files.tree import Entry

V = TypeVar("V")

# The head, and the one before it. One of 100,000 files takes about 40 MB.
_MOST_LISTINGS, MOST_ENTRIES = 2, 100_000
MOST_BLOB_BYTES, _MOST_BYTES_OF_BLOBS = 64 * 1024, 8 * 1024**2
_MOST_COMMITS = 64


class Listing:
    """All entries below a folder of a commit, by their path and by the folder they lie in."""

    def __init__(self, entries: list[Entry]) -> None:
        self.by_path = {entry.path: entry for entry in entries}
        self.by_folder: dict[str, list[Entry]] = {"": []}
        for entry in entries:
            self.by_folder.setdefault(entry.path.rpartition("/")[0], []).append(entry)


class Recent(Generic[V]):
    """Values by key; those used longest ago are forgotten once all sizes together are too many."""

    def __init__(self, most: int, measure: Callable[[V], int] = lambda _value: 1) -> None:
        self._most, self._size = most, 0
        self._measure = measure
        self._values: OrderedDict[Hashable, V] = OrderedDict()
        self._lock = Lock()

    def find(self, key: Hashable) -> V | None:
        """The value of a key, None where it is unknown."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def keep(self, key: Hashable, value: V) -> None:
        """Keep a value, unless there is one."""
        with self._lock:
            if key in self._values:
                return
            self._values[key] = value
            self._size += self._measure(value)
            while self._size > self._most:
                _, oldest = self._values.popitem(last=False)
                self._size -= self._measure(oldest)


class CommitMemory:
    """What is known by the folder of a repository and an id in it.

    `short_ids` has the abbreviation of a commit's id, as unique as it was when Git made it;
    `listings` are by the path of a folder as well, `blobs` are small files.
    """

    def __init__(self) -> None:
        self.commits = Recent[str](_MOST_COMMITS)
        self.short_ids = Recent[str](_MOST_COMMITS)
        self.listings = Recent[Listing](_MOST_LISTINGS)
        self.blobs = Recent[bytes](_MOST_BYTES_OF_BLOBS, len)


_memory: CommitMemory | None = None
_MEMORY_OF_BLOCK: ContextVar[CommitMemory | None] = ContextVar("memory_of_commits", default=None)
_PINS: ContextVar[dict[tuple[Path, str], str] | None] = ContextVar("commits_of_refs", default=None)


def remember_commits() -> None:
    """Keep what is read of commits from now on, until this process ends."""
    global _memory  # noqa: PLW0603 - of the process: its looks are made on several threads
    _memory = CommitMemory()


def commit_memory() -> CommitMemory:
    """What this process or else this block remembers; a new empty one where neither does."""
    return _memory or _MEMORY_OF_BLOCK.get() or CommitMemory()


# A fetch that runs beside the command would otherwise give the project file of one commit and the
# manifests of another.
@contextmanager
def pin_refs(commits: dict[tuple[Path, str], str] | None = None) -> Iterator[None]:
    """Let each ref keep the commit of its first use in the block; a nested block shares them.

    Blocks that are given the same `commits` share them, too. What is read of commits in the block
    is kept until it ends.
    """
    pins = _PINS.get()
    if pins is None:
        pins = {} if commits is None else commits
    pins_token = _PINS.set(pins)
    memory_token = _MEMORY_OF_BLOCK.set(_MEMORY_OF_BLOCK.get() or CommitMemory())
    try:
        yield
    finally:
        _MEMORY_OF_BLOCK.reset(memory_token)
        _PINS.reset(pins_token)


def pinned_commit(git_dir: Path, ref: str, find: Callable[[], str]) -> str:
    """The pinned commit id of a ref, else the result of `find`, which is pinned from now on.

    An empty result is not pinned. Outside of `pin_refs` nothing is.
    """
    pins = _PINS.get()
    if pins is None:
        return find()
    commit = pins.get((git_dir, ref), "")
    if not commit and (commit := find()):
        pins[git_dir, ref] = commit
    return commit
