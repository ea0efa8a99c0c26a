"""Snapshots, what they replace, and what is never pruned."""

from __future__ import annotations

import random

import pytest
from contract.stores.samples import entry, record
from unit.stores.chain.chains import Chains, addresses, write_many

from synapse_apply.model.errors import StateError
from synapse_apply.stores.bucket.bucket_probe import count_prunable_objects
from synapse_apply.stores.chain import link_format

# In place of 200 links.
FEW_LINKS = 20


@pytest.fixture
def chains(monkeypatch):
    """A chain that gets a snapshot after a few links."""
    monkeypatch.setattr(link_format, "MOST_LINKS", FEW_LINKS)
    return Chains()


def add_snapshots(chains, store, count):
    """Write until there are so many snapshots, with audit entries; the bucket's clock goes on."""
    with store.lock("apply"):
        number = 0
        while len(chains.names("snapshots")) < count:
            store.write_records(record(f"q{number % 40}", f"q{number}"))
            store.append_audit_entries(entry(f"p{number}"))
            number += 1
    chains.bucket.now += 2 * chains.prune_age


def test_many_links_or_large_ones_make_a_snapshot():
    """At 200 links, or when they weigh 256 KiB and more than the last one."""
    chains = Chains()
    write_many(chains.make(), 200)
    assert chains.names("snapshots") == ["snapshots/000000000200"]
    heavy = Chains()
    store = heavy.make()
    noise = random.Random(5).randbytes(400_000).hex()
    with store.lock("apply"):
        store.write_records(record("large", "1", applied={("a",): noise[:400_000]}))
        assert heavy.names("snapshots") == []
        store.write_records(record("larger", "2", applied={("a",): noise[400_000:]}))
        assert heavy.names("snapshots") == ["snapshots/000000000005"]
        store.write_records(record("small", "3", applied={("a",): noise[:300_000]}))
    assert len(heavy.names("snapshots")) == 1


def test_a_snapshot_and_its_links_are_all_links(chains):
    """Whoever reads from it sees what the writer has, history included."""
    store = chains.make()
    add_snapshots(chains, store, 3)
    write_many(store, 5, first=900)
    for number in (2, 1, 0):
        reader = chains.open()
        assert reader.read_snapshot() == store.read_snapshot()
        if number:
            chains.bucket.contents.pop(chains.names("snapshots")[-1])


def test_two_generations_stay_and_what_is_older_goes(chains):
    """With all links behind the older one, so that a damaged snapshot is not the end."""
    store = chains.make()
    add_snapshots(chains, store, 4)
    # The next snapshot prunes what has become old enough.
    write_many(store, FEW_LINKS)
    older, newest = chains.names("snapshots")
    assert min(chains.names("links")) == f"links/{int(older[-12:]) + 1:012}"
    chains.bucket.contents[newest] = b"rubbish"
    reader = chains.open()
    assert reader.read_snapshot() == store.read_snapshot()
    (warning,) = reader.list_warnings()
    assert newest in warning.detail


def test_nothing_young_is_pruned(chains):
    """By the clock of the store: a reader may be slow."""
    chains.prune_age = 1e9
    add_snapshots(chains, chains.make(), 4)
    assert min(chains.names("links")) == "links/000000000001"
    assert len(chains.names("snapshots")) == 4


@pytest.mark.parametrize("switch", ["refuses_deletes", "is_unavailable"])
def test_a_store_that_refuses_snapshots_or_deletes_is_no_error(chains, switch):
    """Nothing is lost but room."""
    store = chains.make()
    try_put = store.folder.try_put_if_absent_and_tell_if_certain

    def refuse_snapshots(name, content):
        if "snapshots/" in name:
            raise StateError.from_summary("403")
        return try_put(name, content)

    if switch == "refuses_deletes":
        store.folder.refuses_deletes = True
    else:
        store.folder.try_put_if_absent_and_tell_if_certain = refuse_snapshots
    write_many(store, 3 * FEW_LINKS)
    chains.bucket.now += 2 * chains.prune_age
    write_many(store, FEW_LINKS, first=5000)
    assert len(chains.names("links")) > 4 * FEW_LINKS
    assert chains.open().read_snapshot() == store.read_snapshot()


def test_audit_rows_that_a_restore_left_behind_are_pruned(chains, tmp_path):
    """Once no kept snapshot names their objects; those that one names stay."""
    store, backup = chains.make(), tmp_path / "backup.db"
    store.write_backup(str(backup))
    add_snapshots(chains, store, 4)
    left_behind = set(chains.names("audit"))
    assert left_behind
    store.restore_backup_and_return_kept_path_or_empty(str(backup))
    store.folder.refuses_deletes = True
    add_snapshots(chains, store, 8)
    assert count_prunable_objects(store.folder, chains.prune_age) > len(left_behind)
    store.folder.refuses_deletes = False
    write_many(store, FEW_LINKS)
    assert left_behind.isdisjoint(chains.names("audit"))
    assert left_behind.isdisjoint(chains.names("audit"))
    assert count_prunable_objects(store.folder, chains.prune_age) == 0
    assert chains.names("audit")
    assert chains.open().read_snapshot() == store.read_snapshot()
    assert len(chains.open().list_audit_entries_newest_first()) == len(
        store.list_audit_entries_newest_first()
    )


def test_links_that_take_a_lock_over_are_never_pruned(chains):
    """Nor the one before: there the holder that was replaced writes next."""
    store, other = chains.make(), chains.open()
    held = store.lock("apply")
    held.__enter__()
    store.write_records(record("mine", "M"))
    replaced_at = store.log.last_link_number_and_digest[0]
    with other.lock("apply", timeout=100):
        other.write_records(record("taken", "T"))
    add_snapshots(chains, other, 4)
    write_many(other, FEW_LINKS)
    first = [int(name[-12:]) for name in chains.names("links")][:3]
    assert first[:2] == [replaced_at, replaced_at + 1]
    assert first[2] > 2 * FEW_LINKS
    # So that one who knows nothing of all that is refused, whenever it wakes up.
    store._lease._renewed_at = store._timing.boottime()
    with pytest.raises(StateError, match="lost"):
        store.write_records(record("late", "L"))
    assert "late" not in addresses(chains.open())


def test_who_takes_a_lock_far_behind_does_not_believe_its_link(chains):
    """Where it stands others were pruned: all is read anew, and the lock is taken at the end."""
    store, late = chains.make(), chains.open()
    late.read_serial()
    add_snapshots(chains, store, 4)
    write_many(store, FEW_LINKS)
    # It has not looked for long, and believes that it just has.
    late.log._looked_at = late._timing.boottime() + 1e9
    with late.lock("apply"):
        late.write_records(record("late", "L"))
    assert "late" in addresses(chains.open())
    assert late.read_snapshot() == store.read_snapshot() == chains.open().read_snapshot()


def test_a_reader_that_slept_long_sees_what_was_pruned_meanwhile(chains):
    """An absent number does not tell that nothing follows."""
    store, late = chains.make(), chains.open()
    late.read_serial()
    add_snapshots(chains, store, 4)
    write_many(store, FEW_LINKS)
    late._timing.boottime.__self__.move(chains.prune_age)
    assert late.read_snapshot() == store.read_snapshot()


def test_links_that_are_pruned_while_they_are_read_are_no_damage(chains):
    """Reading begins anew; what stays missing is damage, and says where."""
    store = chains.make()
    add_snapshots(chains, store, 2)
    reader = chains.open()

    def prune_meanwhile():
        reader.folder.before_get = lambda: None
        for name in chains.names("links")[:25]:
            del chains.bucket.contents[name]

    reader.folder.before_get = prune_meanwhile
    assert reader.read_snapshot() == store.read_snapshot()
    missing = chains.names("links")[-2]
    del chains.bucket.contents[missing]
    with pytest.raises(StateError, match="damaged") as caught:
        chains.open().read_state()
    assert f"{missing} is missing" in caught.value.diagnostics[0].detail


def test_snapshots_that_cannot_be_read_replace_nothing(chains):
    """Neither of two damaged ones lets a link go that the last good one needs."""
    store = chains.make()
    add_snapshots(chains, store, 1)
    for _ in range(2):
        write_many(store, FEW_LINKS)
        chains.bucket.contents[chains.names("snapshots")[-1]] = b"rubbish"
        chains.bucket.now += 2 * chains.prune_age
    write_many(store, 2 * FEW_LINKS)
    assert chains.open().read_snapshot() == store.read_snapshot()
    for name in chains.names("snapshots")[1:]:
        chains.bucket.contents[name] = b"rubbish"
    assert chains.open().read_snapshot() == store.read_snapshot()
