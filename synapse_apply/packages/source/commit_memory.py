"""What was read of commits, for a process or a command that reads the same commit again.

A worker of a controller looks at thousands of targets of one commit; without this each look starts
Git four times and lists the whole project. A command reads the project file, the manifests and the
packages of one commit. The id of a commit or of a blob stands for its content, so that what is
remembered is never out of date. Outside of a command other processes remember nothing.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

# Every command sets up this memory, and few open a package.
if TYPE_CHECKING:
    from synapse_apply.packages.source.tree import TreeEntry

V = TypeVar("V")

_FULL_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# The head, and the one before it. One of 100,000 files takes about 40 MB.
_MOST_LISTINGS, _MOST_ENTRIES = 2, 100_000
_MOST_BLOB_BYTES, _MOST_BYTES_OF_BLOBS = 64 * 1024, 8 * 1024**2
_MOST_COMMITS = 64


class TreeListing:
    """All entries below a folder of a commit, by their path and by the folder they lie in."""

    def __init__(self, entries: list[TreeEntry]) -> None:
        self.entries_by_path: dict[str, TreeEntry] = {}
        self.entries_by_folder: dict[str, list[TreeEntry]] = {"": []}
        for entry in entries:
            self.entries_by_path[entry.path] = entry
            folder = entry.path.rpartition("/")[0]
            self.entries_by_folder.setdefault(folder, []).append(entry)


class _RecentValues(Generic[V]):
    """Values by key; those used longest ago are forgotten once all sizes together are too many."""

    def __init__(self, most: int, measure_size: Callable[[V], int]) -> None:
        self._most, self._size = most, 0
        self._measure_size = measure_size
        self._values: OrderedDict[Hashable, V] = OrderedDict()
        self._lock = Lock()

    def find(self, key: Hashable) -> V | None:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def add_if_new_forgetting_least_recently_used(self, key: Hashable, value: V) -> None:
        with self._lock:
            if key in self._values:
                return
            self._values[key] = value
            self._size += self._measure_size(value)
            while self._size > self._most:
                _, oldest = self._values.popitem(last=False)
                self._size -= self._measure_size(oldest)


class CommitMemory:
    """Full ids that are commits of a repository, listings of their folders, and small files.

    Beside the id of a commit there is its abbreviation, as unique as it was when Git made it.
    """

    def __init__(self) -> None:
        self._commits = _RecentValues[str](_MOST_COMMITS, lambda _: 1)
        self._short_ids = _RecentValues[str](_MOST_COMMITS, lambda _: 1)
        self._listings = _RecentValues[TreeListing](_MOST_LISTINGS, lambda _: 1)
        self._blobs = _RecentValues[bytes](_MOST_BYTES_OF_BLOBS, len)

    def get_known_or_find_commit(self, git_dir: Path, ref: str, find: Callable[[], str]) -> str:
        """The commit of a ref, by `find` unless the ref is the full id of a known commit."""
        if self._commits.find((git_dir, ref)):
            return ref
        commit = find()
        # Whatever else is called like it, a full id means itself.
        if _FULL_ID.fullmatch(commit):
            self._commits.add_if_new_forgetting_least_recently_used((git_dir, commit), commit)
        return commit

    def get_or_shorten_commit_id(
        self, git_dir: Path, commit: str, shorten: Callable[[], str]
    ) -> str:
        """The abbreviation of a commit's id, by `shorten` at the first time."""
        short_id = self._short_ids.find((git_dir, commit))
        if short_id is None:
            short_id = shorten()
            self._short_ids.add_if_new_forgetting_least_recently_used((git_dir, commit), short_id)
        return short_id

    def get_or_list_folder_of_commit(
        self, git_dir: Path, commit: str, path: str, list_entries: Callable[[], list[TreeEntry]]
    ) -> TreeListing:
        """The listing of a folder of a commit, whose full id this is."""
        key = git_dir, commit, path
        listing = self._listings.find(key)
        if listing is None:
            listing = TreeListing(list_entries())
            if len(listing.entries_by_path) <= _MOST_ENTRIES:
                self._listings.add_if_new_forgetting_least_recently_used(key, listing)
        return listing

    def is_small_enough_to_keep(self, size: int) -> bool:
        """Whether a file of so many bytes is small enough to be kept."""
        return size <= _MOST_BLOB_BYTES

    def find_kept_blob_or_none(self, git_dir: Path, object_id: str) -> bytes | None:
        """The content of a blob that was read before, None for any other."""
        return self._blobs.find((git_dir, object_id))

    def keep_blob_if_small(self, git_dir: Path, object_id: str, content: bytes) -> None:
        """Keep the content of a blob, unless it is large."""
        if self.is_small_enough_to_keep(len(content)):
            self._blobs.add_if_new_forgetting_least_recently_used((git_dir, object_id), content)


_memory: CommitMemory | None = None
_MEMORY_OF_BLOCK: ContextVar[CommitMemory | None] = ContextVar("memory_of_commits", default=None)


def start_remembering_commits_in_this_process() -> None:
    """Keep what is read of commits from now on, until this process ends."""
    global _memory  # noqa: PLW0603 - of the process: its looks are made on several threads
    _memory = CommitMemory()


@contextmanager
def remember_commits_in_block() -> Iterator[None]:
    """Keep what is read of commits until the block ends; a nested block shares it."""
    token = _MEMORY_OF_BLOCK.set(_MEMORY_OF_BLOCK.get() or CommitMemory())
    try:
        yield
    finally:
        _MEMORY_OF_BLOCK.reset(token)


def get_commit_memory_or_new_empty() -> CommitMemory:
    """What this process or else this block remembers; a new empty one where neither does."""
    return _memory or _MEMORY_OF_BLOCK.get() or CommitMemory()
