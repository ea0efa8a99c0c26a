"""The rules of a chain as pure functions: what a link proves, and what may be pruned.

Link n + 1 is made only if it is absent, and holds the digest of link n. An answer decides nothing:
the link is read. A name must never be made twice, although pruning frees names: so some links are
never pruned, and who takes a lock looks for a newer snapshot before it believes its link. Each of
the two alone fails; tests/unit/stores/chain enumerates that both together hold.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import Enum

# A snapshot pays when the links behind the last one weigh more than it, or are this many.
FEWEST_LINK_BYTES = 256 * 1024
MOST_LINKS = 200

# Nothing younger is pruned, by the clock of the store: who reads or writes is slower at times.
PRUNE_AGE_SECONDS = 24 * 3600.0


class LinkOutcome(Enum):
    """What became of a request to make a link, told by what stands there now.

    OURS: made, however the request was answered. ABSENT: to be sent again, the same bytes. OTHERS:
    refused for good, so that nothing more may be sent.
    """

    OURS = "ours"
    ABSENT = "absent"
    OTHERS = "others"


def decide_link_outcome(own_content: object, stored_content: object | None) -> LinkOutcome:
    """Tell what became of a link from what is stored under its number, None for nothing."""
    if stored_content is None:
        return LinkOutcome.ABSENT
    return LinkOutcome.OURS if stored_content == own_content else LinkOutcome.OTHERS


def is_link_in_the_chain(number: int, newest_snapshot: int, *, by_lock_owner: bool) -> bool:
    """Whether a link that was made is part of the chain, or stands where old links were pruned.

    `newest_snapshot` is its number, looked up after the link was made; 0 for none. A lock owner's
    link needs no look: where it would stand, links are never pruned.
    """
    return by_lock_owner or newest_snapshot < number


def list_kept_links(number: int, *, ends_foreign_lock: bool) -> tuple[int, ...]:
    """The links to keep for ever because of this one.

    A lock that its owner had not given back: this link stands where that owner writes next, and the
    one before is what the owner had read.
    """
    return (number - 1, number) if ends_foreign_lock else ()


def select_links_to_prune(
    link_numbers: Iterable[int],
    snapshot_numbers: Sequence[int],
    never_pruned: Collection[int],
    known_until: int,
) -> list[int]:
    """The links that may be pruned.

    Two snapshots are kept, with all links behind the older one: a damaged snapshot is not the end.
    `never_pruned` are those among the links until `known_until`, which the caller has read; what
    comes later may be a link that is never pruned, or make the last one such.
    """
    if len(snapshot_numbers) < 2:
        return []
    last = min(sorted(snapshot_numbers)[-2], known_until - 1)
    return [number for number in link_numbers if number <= last and number not in never_pruned]


def unnamed_audit_objects(
    names: Iterable[str], names_in_kept_snapshots: Collection[str]
) -> list[str]:
    """The audit objects that no kept snapshot names: a restore has left their rows behind.

    Or a snapshot that was to name one was never made.
    """
    return [name for name in names if name not in names_in_kept_snapshots]


def is_snapshot_due(link_count: int, link_bytes: int, snapshot_bytes: int) -> bool:
    """Whether the links behind a snapshot are so many, or so large, that another one pays."""
    return link_count >= MOST_LINKS or link_bytes >= max(FEWEST_LINK_BYTES, snapshot_bytes)
