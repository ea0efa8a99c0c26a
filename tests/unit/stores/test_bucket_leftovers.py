"""How much of a chain is counted as not deleted, though it could have been."""

from __future__ import annotations

import random

from contract.stores.samples import BINDING, LINEAGE, record
from object_folders import MemoryBucket, MemoryFolder

from synapse_apply.stores.bucket.bucket_probe import count_prunable_objects
from synapse_apply.stores.chain.chain_log import make_unread_chain_store

DAY = 24 * 3600.0


def fill(folder: MemoryFolder, snapshots: int) -> None:
    """Write until there are so many more snapshots: each write is large, a day after another."""
    store = make_unread_chain_store(folder)
    if not store.exists():
        store.create_state(BINDING, LINEAGE)
    texts = random.Random(7)
    wanted = count_made_snapshots(folder) + snapshots
    with store.lock("apply"):
        while count_made_snapshots(folder) < wanted:
            folder.bucket.now += DAY
            text = texts.randbytes(40_000).hex()
            store.write_records(record("large", "1", applied={("description",): text}))


def count_made_snapshots(folder: MemoryFolder) -> int:
    return sum(name.startswith("snapshots/") for name in folder.puts)


def count(folder: MemoryFolder, prefix: str) -> int:
    return len(list(folder.list_objects(prefix)))


def test_where_deletes_are_refused_all_that_is_old_is_counted() -> None:
    """Two snapshots and what is behind the older one are no leftovers."""
    folder = MemoryFolder(MemoryBucket(), refuses_deletes=True)
    fill(folder, 1)
    folder.bucket.now += 2 * DAY
    assert count_prunable_objects(folder) == 0
    behind_first_snapshot = count(folder, "links/") - 1
    fill(folder, 1)
    folder.bucket.now += 2 * DAY
    assert count_prunable_objects(folder) == behind_first_snapshot


def test_what_pruning_deletes_is_no_leftover() -> None:
    """Nothing is counted that the next snapshot does not delete by itself."""
    folder = MemoryFolder(MemoryBucket())
    fill(folder, 2)
    assert count_prunable_objects(folder) == 0
    assert count_prunable_objects(MemoryFolder(MemoryBucket())) == 0
