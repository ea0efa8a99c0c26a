"""Many threads of one process write at once: shared commits promise what single ones do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import monotonic, sleep

import pytest
from contract.stores.leases import open_at
from contract.stores.samples import BINDING, LINEAGE, entry, intent, record

from synapse_apply.model.errors import LockLost, StateError
from synapse_apply.model.state import IntentState

THREADS = 12


@pytest.fixture
def made(where):
    """A store with an empty state, and how many transactions it has made."""
    store = open_at(where)
    store.create_state(BINDING, LINEAGE)
    yield store
    store.close()


def count_slow_transactions(store, monkeypatch):
    """Counts the writes that reach the database; each ends once all others wait, or 50 ms later."""
    counted = []
    write = store._database.write_in_transaction

    def count_and_write(work):
        counted.append(1)
        ends = monotonic() + 0.05
        while len(store._write_batch._queue) < THREADS - 1 and monotonic() < ends:
            sleep(0.001)
        return write(work)

    monkeypatch.setattr(store._database, "write_in_transaction", count_and_write)
    return counted


def test_writes_share_commits_and_none_is_lost(made, monkeypatch):
    """Calls of twelve threads are begun and settled; each is there when its write returns."""

    def call(number):
        name, ident = f"p{number}", f"i{number}"
        begun = intent(name, ident=ident)
        made.open_intent_and_use_up_its_approvals(begun)
        assert made.read_serial() > 0
        written = record(name, str(number))
        made.close_ended_intent(replace(begun, state=IntentState.DONE), written, entry(name))
        return made.find_record(begun.address) == written

    with made.lock("test"):
        counted = count_slow_transactions(made, monkeypatch)
        with ThreadPoolExecutor(THREADS) as pool:
            assert all(pool.map(call, range(120)))
        assert len(counted) < 120
    state = made.read_state()
    assert len(state.records) == 120
    assert (state.serial, state.open_intents) == (240, ())
    assert len(made.list_audit_entries_newest_first()) == 120


def test_a_write_that_is_wrong_takes_none_with_it(made):
    """Every second thread settles what nobody announced."""

    def call(number):
        begun = intent(f"p{number}", ident=f"i{number}")
        try:
            if number % 2:
                made.close_ended_intent(replace(begun, state=IntentState.FAILED), None, entry())
            else:
                made.open_intent_and_use_up_its_approvals(begun)
        except StateError as failure:
            return str(failure)
        return ""

    with made.lock("test"), ThreadPoolExecutor(THREADS) as pool:
        said = list(pool.map(call, range(60)))
    assert set(said[::2]) == {""}
    assert set(said[1::2]) == {"Only an open call can be settled"}
    assert len(made.read_state().open_intents) == 30


def test_a_lock_that_was_removed_stops_every_thread(made, where):
    """None of them writes, and each hears why."""
    other = open_at(where)
    with made.lock("test"):
        other.remove_lock_even_if_in_use(made._lease.lock_owner.lock_id)

        def call(number):
            with pytest.raises(LockLost):
                made.write_records(record(f"p{number}", str(number)))

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(call, range(24)))
    other.close()
    assert made.read_state().records == {}
