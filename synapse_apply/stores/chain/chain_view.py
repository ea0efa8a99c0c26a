"""How far a chain was read, and what whoever writes the next link must know of it."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from synapse_apply.model.frozen import frozen
from synapse_apply.stores.batch_log import Batch, LogReading, TableRows
from synapse_apply.stores.chain.chain_rules import list_kept_links
from synapse_apply.stores.chain.link_format import AuditObject, Link, LockSign, Snapshot


class ChainBookmark(NamedTuple):
    """The last link that an earlier process has read, in a folder of the chain."""

    folder: int
    number: int
    digest: str


@frozen
class ChainView:
    """The last link that was read, and what came before it. The first view is of an empty chain.

    `folder` is 1, or greater where the chain goes on in another folder behind a seal; `number` and
    `digest` are those of the last link, or of that seal. `link_count` and `link_bytes` are of the
    links behind the snapshot. `forged_number` is the first link whose signature is wrong, 0 for
    none; `lacks_key`: a signature could not be checked.
    """

    folder: int = 1
    number: int = 0
    digest: str = ""
    lock: LockSign = LockSign()
    never_pruned: frozenset[int] = frozenset()
    audit_objects: tuple[AuditObject, ...] = ()
    snapshot_number: int = 0
    snapshot_bytes: int = 0
    link_count: int = 0
    link_bytes: int = 0
    forged_number: int = 0
    lacks_key: bool = False
    damaged_snapshots: tuple[int, ...] = ()

    @property
    def position(self) -> str:
        """The position as callers of a BatchLog keep it; "" for an empty chain."""
        return f"{self.folder}:{self.number}:{self.digest}" if self.number else ""

    @property
    def owner_lease_seconds(self) -> float | None:
        """The lease of the lock's owner, None if nobody holds the lock."""
        return self.lock.lease_seconds if self.lock.lock_id else None

    def build_view_after_link(
        self, link: Link, digest: str, size: int, *, is_genuine: bool | None = True
    ) -> ChainView:
        """The view with one more link; `size` is in bytes."""
        never_pruned = list_kept_links(link.number, ends_foreign_lock=link.batch.ends_foreign_lock)
        return replace(
            self,
            number=link.number,
            digest=digest,
            lock=link.lock,
            never_pruned=self.never_pruned.union(never_pruned),
            audit_objects=() if link.batch.replaces_all else self.audit_objects,
            link_count=self.link_count + 1,
            link_bytes=self.link_bytes + size,
            forged_number=self.forged_number or (link.number if is_genuine is False else 0),
            lacks_key=self.lacks_key or is_genuine is None,
        )

    def build_view_at_snapshot(
        self, snapshot: Snapshot, size: int, *, is_genuine: bool | None = True
    ) -> ChainView:
        """The view of a chain that is read from a snapshot on."""
        return replace(
            self,
            number=snapshot.number,
            digest=snapshot.link_digest,
            lock=snapshot.lock,
            never_pruned=frozenset(snapshot.never_pruned),
            audit_objects=snapshot.audit_objects,
            snapshot_number=snapshot.number,
            snapshot_bytes=size,
            link_count=0,
            link_bytes=0,
            lacks_key=self.lacks_key or is_genuine is None,
        )


class ChainReading(NamedTuple):
    """What was read: how far, the rows of the snapshot (None: none was read), and batches."""

    view: ChainView
    tables: TableRows | None
    batches: tuple[Batch, ...]

    def to_log_reading(self) -> LogReading:
        return LogReading(
            self.tables, self.batches, self.view.position, self.view.owner_lease_seconds
        )


def parse_bookmark_or_none(text: str) -> ChainBookmark | None:
    """The bookmark in a position of a view; None for any other text, which may be of a file."""
    folder, _, rest = text.partition(":")
    number, _, digest = rest.partition(":")
    if not digest or not all(part.isascii() and part.isdigit() for part in (folder, number)):
        return None
    bookmark = ChainBookmark(int(folder[:18]), int(number[:18]), digest)
    return bookmark if bookmark.folder and bookmark.number else None


def folder_prefix_of(folder: int) -> str:
    """Where the objects of a folder of the chain are: the first has no name of its own."""
    return "" if folder == 1 else f"chain-{folder}/"


def build_link_name(folder: int, number: int) -> str:
    return f"{folder_prefix_of(folder)}links/{number:012}"


def build_snapshot_name(folder: int, number: int) -> str:
    return f"{folder_prefix_of(folder)}snapshots/{number:012}"


def build_audit_name(folder: int, first: int, last: int, digest: str) -> str:
    prefix = folder_prefix_of(folder)
    return f"{prefix}audit/{first:012}-{last:012}-{digest[:16]}"


def parse_object_number(name: str) -> int | None:
    """The number at the end of the name of a link or snapshot, None for a name of another sort."""
    text = name.rpartition("/")[2]
    return int(text) if 12 <= len(text) <= 18 and text.isascii() and text.isdigit() else None
