"""Folders of an object store, in memory with faults, or on disk for several processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from uuid import uuid4

from synapse_apply.model.errors import StateError
from synapse_apply.stores.chain.link_format import ObjectInfo


@dataclass
class MemoryBucket:
    """What a store holds, for all folders that are opened on it; its clock is moved by hand."""

    contents: dict[str, bytes] = field(default_factory=dict)
    made_at: dict[str, float] = field(default_factory=dict)
    now: float = 0.0
    # Requests that were sent and have not arrived: they may do so at any time, or never.
    in_flight: list[tuple[str, bytes]] = field(default_factory=list)
    turn: RLock = field(default_factory=RLock)

    def put(self, name: str, content: bytes, *, ignores_condition: bool = False) -> bool:
        """Make an object if it is absent; whether it was made."""
        with self.turn:
            if name in self.contents and not ignores_condition:
                return False
            self.contents[name], self.made_at[name] = content, self.now
            return True

    def deliver(self, index: int) -> bool:
        """A delayed request arrives; it stays in flight, since networks repeat. Was it made?"""
        return self.put(*self.in_flight[index])


@dataclass
class MemoryFolder:
    """An ObjectFolder (stores/chain/link_format.py) on a bucket in memory, with its faults.

    Each switch is the number of puts that it still concerns, True for all of them.
    """

    bucket: MemoryBucket = field(default_factory=MemoryBucket)
    location: str = "memory://bucket"
    loses_answers: int = 0  # made, and then the connection breaks
    denies_success: int = 0  # made, and then told that it was there already
    is_unavailable: int = 0  # 503: not made
    delays_puts: int = 0  # not made now; the bucket has the request in flight
    is_unreachable: bool = False
    refuses_deletes: bool = False
    ignores_condition: bool = False
    before_get: Callable[[], None] = lambda: None
    round_trips: int = 0
    puts: list[str] = field(default_factory=list)

    def try_put_if_absent_and_tell_if_certain(self, name: str, content: bytes) -> bool:
        """As the store and its faults have it."""
        self._go()
        self.puts.append(name)
        if self._concerns_this_put("delays_puts"):
            self.bucket.in_flight.append((name, content))
            raise StateError.from_summary("The connection broke")
        if self._concerns_this_put("is_unavailable"):
            return False
        made = self.bucket.put(name, content, ignores_condition=self.ignores_condition)
        if self._concerns_this_put("loses_answers"):
            raise StateError.from_summary("The connection broke")
        return made and not self._concerns_this_put("denies_success")

    def get_or_none_if_absent(self, name: str) -> bytes | None:
        """What stands there."""
        self._go()
        self.before_get()
        return self.bucket.contents.get(name)

    def get_objects_or_none_in_order(self, names: Sequence[str]) -> list[bytes | None]:
        """One round trip for all."""
        self._go()
        self.before_get()
        return [self.bucket.contents.get(name) for name in names]

    def list_objects(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """One round trip, however many there are."""
        self._go()
        with self.bucket.turn:
            names = sorted(
                name for name in self.bucket.contents if name.startswith(prefix) and name > after
            )
            ages = [self.bucket.now - self.bucket.made_at.get(name, 0.0) for name in names]
            sizes = [len(self.bucket.contents[name]) for name in names]
        return map(ObjectInfo, names, sizes, ages)

    def delete_and_count_undeleted(self, names: Sequence[str]) -> int:
        """All or, where it is refused, none."""
        self._go()
        if self.refuses_deletes:
            return len(names)
        with self.bucket.turn:
            for name in names:
                self.bucket.contents.pop(name, None)
                self.bucket.made_at.pop(name, None)
        return 0

    def close(self) -> None:
        """Nothing to let go of."""

    def _go(self) -> None:
        self.round_trips += 1
        if self.is_unreachable:
            raise StateError.from_summary("The store cannot be reached")

    def _concerns_this_put(self, switch: str) -> bool:
        count = getattr(self, switch)
        if count and count is not True:
            setattr(self, switch, count - 1)
        return bool(count)


class DiskFolder:
    """An ObjectFolder in a folder on disk, for several processes: a name is linked only once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.location = f"chain:{root}"

    def try_put_if_absent_and_tell_if_certain(self, name: str, content: bytes) -> bool:
        """All of it at once, or nothing."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        new_path = path.with_name(f".{uuid4().hex}")
        new_path.write_bytes(content)
        try:
            os.link(new_path, path)
        except FileExistsError:
            return False
        finally:
            new_path.unlink()
        return True

    def get_or_none_if_absent(self, name: str) -> bytes | None:
        """What stands there."""
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None

    def get_objects_or_none_in_order(self, names: Sequence[str]) -> list[bytes | None]:
        """One after the other."""
        return [self.get_or_none_if_absent(name) for name in names]

    def list_objects(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """Of one folder, without what is not linked yet."""
        folder = self._root / prefix
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        for name in names:
            path = folder / name
            if f"{prefix}{name}" > after and not name.startswith("."):
                status = path.stat()
                yield ObjectInfo(f"{prefix}{name}", status.st_size, time.time() - status.st_mtime)

    def delete_and_count_undeleted(self, names: Sequence[str]) -> int:
        """All that are there."""
        for name in names:
            (self._root / name).unlink(missing_ok=True)
        return 0

    def close(self) -> None:
        """Nothing to let go of."""
