"""How often a command that only looks asks the store."""

from __future__ import annotations

import pytest
from contract.stores.leases import Hands
from contract.stores.samples import record
from unit.stores.chain.chains import Chains, addresses, write_many

from synapse_apply.model.errors import LockHeld
from synapse_apply.stores.chain.chain_log import ChainLog
from synapse_apply.stores.replica.replica_database import ReplicaDatabase
from synapse_apply.stores.sql import SqlStore


@pytest.fixture
def chains():
    return Chains()


@pytest.fixture
def reader(chains):
    """A store that is content with what it read two seconds ago."""
    folder = chains.open().folder
    runner = Hands().runner()
    store = SqlStore(ReplicaDatabase(ChainLog(folder, None, runner.timing), 2.0), runner=runner)
    store.folder = folder
    return store


def test_what_is_looked_at_together_is_read_once(chains, reader):
    """And anew after the time for which it counts as fresh."""
    writer = chains.make()
    assert reader.exists()
    round_trips = reader.folder.round_trips
    reader.read_lineage()
    reader.read_serial()
    assert addresses(reader) == []
    assert reader.folder.round_trips == round_trips
    write_many(writer, 1)
    reader._timing.boottime.__self__.move(2.0)
    assert addresses(reader) == ["p0"]


def test_the_lock_is_always_read_anew(chains, reader):
    """However fresh the rest is: who waits for it must see the signs of life."""
    writer = chains.make()
    assert reader.list_lock_held_findings_unless_owner_ended() == ()
    with writer.lock("apply"):
        assert reader.list_lock_held_findings_unless_owner_ended() != ()
        with pytest.raises(LockHeld), reader.lock("apply"):
            pytest.fail("two processes held one lock")


def test_a_write_on_an_old_replica_is_refused_and_done_again(chains, reader):
    """It costs a round trip, and nothing is written over what others wrote."""
    writer = chains.make()
    with reader.lock("apply"):
        pass
    write_many(writer, 2)
    with reader.lock("apply"):
        reader.write_records(record("yolo", "Y"))
    assert addresses(chains.open()) == ["p0", "p1", "yolo"]
