"""What becomes of a link when the store loses, repeats or refuses requests."""

from __future__ import annotations

from dataclasses import replace

import pytest
from contract.stores.samples import BINDING, LINEAGE, entry, intent, record
from unit.stores.chain.chains import Chains, addresses, write_many

from synapse_apply.model.errors import LockLost, StateError
from synapse_apply.model.state import IntentState


@pytest.fixture
def chains():
    return Chains()


@pytest.mark.parametrize("switch", ["loses_answers", "denies_success", "is_unavailable"])
def test_a_link_whose_answer_is_wrong_is_made_once(chains, switch):
    """Whatever the answer was, the link is read: ours, or absent and sent again."""
    store = chains.make()
    with store.lock("apply"):
        setattr(store.folder, switch, 1)
        store.write_records(record())
        store.write_records(record("more", "2"))
    assert addresses(chains.open()) == ["more", "yolo"]
    # Made, given back, taken, two writes, given back.
    assert len(chains.names("links")) == 6


def test_a_delayed_link_that_arrives_twice_is_made_once(chains):
    """What was sent again and what arrives late are the same bytes."""
    store = chains.make()
    with store.lock("apply"):
        store.folder.delays_puts = 1
        store.write_records(record())
        assert not chains.bucket.deliver(0)
    assert addresses(chains.open()) == ["yolo"]


def test_while_an_outcome_is_unknown_nothing_else_is_sent(chains):
    """The same bytes are sent again first; what came after them follows."""
    store = chains.make()
    with store.lock("apply"):
        store.folder.is_unreachable = True
        with pytest.raises(StateError):
            store.write_records(record())
        with pytest.raises(StateError):
            store.read_state()
        store.folder.is_unreachable = False
        sent_before = len(store.folder.puts)
        store.write_records(record("more", "2"))
        assert store.folder.puts[sent_before:] == ["links/000000000004", "links/000000000005"]
    assert addresses(chains.open()) == ["more", "yolo"]


def test_a_refused_link_is_never_written_over_another(chains):
    """A holder that was replaced while its request was under way hears that the lock is lost."""
    store, other = chains.make(), chains.open()
    with store.lock("apply"):
        store.folder.delays_puts = True
        store.folder.is_unreachable = False
        with pytest.raises(StateError, match="write to the state failed") as caught:
            store.write_records(record())
        assert "The connection broke" in str(caught.value.diagnostics[0].detail)
        with other.lock("apply", timeout=100):
            other.write_records(record("taken", "2"))
            store.folder.delays_puts = 0
            store._lease._renewed_at = store._timing.boottime()
            with pytest.raises(LockLost, match="lost"):
                store.write_records(record("late", "3"))
            assert not any(chains.bucket.deliver(i) for i in range(len(chains.bucket.in_flight)))
    assert addresses(chains.open()) == ["taken"]


def test_a_link_that_is_ours_and_followed_is_written_and_the_lock_is_lost(chains):
    """It arrived, its answer did not, and another process took the lock over behind it."""
    store, other = chains.make(), chains.open()
    with store.lock("apply"):
        name = f"links/{store.log.last_link_number_and_digest[0] + 1:012}"

        def let_another_take_over():
            if name in chains.bucket.contents and not other.was_locked_here:
                other.lock("apply", timeout=100).__enter__()

        store.folder.loses_answers = 1
        store.folder.before_get = let_another_take_over
        with pytest.raises(LockLost):
            store.write_records(record())
    assert addresses(chains.open()) == ["yolo"]


def test_two_that_make_a_state_at_once_make_one(chains):
    """The first link is made if it is absent: the loser hears that there is a state."""
    late = chains.open()
    late.log.exists = lambda: False
    make_first = late._database.create_state_or_raise_if_exists

    def create_after_another(statements):
        chains.make()
        return make_first(statements)

    late._database.create_state_or_raise_if_exists = create_after_another
    with pytest.raises(StateError, match="A state already exists"):
        late.create_state(BINDING, "other")
    assert chains.open().read_lineage() == LINEAGE


def test_what_changes_nothing_makes_no_link(chains):
    """Nor does reading."""
    store = chains.make()
    with store.lock("apply"):
        store.write_records(record())
        links = chains.names("links")
        store.write_records(record())
        store.read_state()
        assert chains.names("links") == links


def test_one_change_of_one_resource_is_four_links(chains):
    """The lock, the intent, its end, and the lock given back."""
    store = chains.make()
    before = len(chains.names("links"))
    with store.lock("apply"):
        store.open_intent_and_use_up_its_approvals(intent())
        store.close_ended_intent(intent(state=IntentState.DONE), record(), entry())
    assert len(chains.names("links")) - before == 4


def test_a_reader_needs_three_round_trips(chains):
    """However many links there are; then one to learn that nothing is new."""
    write_many(chains.make(), 250)
    reader = chains.open()
    reader.read_serial()
    assert reader.folder.round_trips == 3
    reader.read_serial()
    assert reader.folder.round_trips == 4


def test_an_announced_lease_is_what_a_taker_waits_for(chains):
    """Not its own: the holder may beat more slowly."""
    slow = chains.make()
    slow.log._timing = replace(slow.log._timing, lease_seconds=300.0)
    with slow.lock("apply"):
        taker = chains.open()
        with taker.lock("apply", timeout=400):
            assert 1300 <= taker._timing.monotonic() <= 1310


def test_each_write_is_a_sign_of_life(chains):
    """A holder that only writes is not replaced, however long it takes."""
    store, taker = chains.make(), chains.open()
    with store.lock("apply"):
        numbers = iter(range(10**6))

        def write_another():
            store.write_records(record(f"p{next(numbers)}", str(next(numbers))))

        taker._timing.monotonic.__self__._on_pause = write_another
        with pytest.raises(StateError, match="locked"), taker.lock("apply", timeout=200):
            pytest.fail("two processes held one lock")
        assert store.holds_lock()
