"""Moving a state to another store."""

from __future__ import annotations

from dataclasses import replace

import pytest
from buckets.servers import BUCKET_SORT
from contract.stores.samples import BINDING, LINEAGE, entry, intent, record

from synapse_apply.model.errors import StateError
from synapse_apply.model.state import IntentState
from synapse_apply.stores.snapshot import copy_and_verify_state_under_source_lock


@pytest.fixture
def full(store):
    """A state with something of everything, in an order that is not that of names."""
    with store.lock("fill"):
        store.write_records(record("b", "1"), record("a", "2"), record("b@1", "3", kind="release"))
        for name in ("z", "y"):
            store.open_intent_and_use_up_its_approvals(intent(name, f"i-{name}"))
        store.open_intent_and_use_up_its_approvals(intent("x", "i-x"))
        ended = intent("x", "i-x", state=IntentState.DONE)
        store.close_ended_intent(ended, record("x", "9"), entry("x", at="t1"))
        for number in range(3):
            store.open_intent_and_use_up_its_approvals(intent("w", f"w{number}"))
            ended = intent("w", f"w{number}", state=IntentState.FAILED)
            store.close_ended_intent(ended, None, entry("w", at=f"t{number}"))
        store.mark_plan_applied("p2")
        store.mark_plan_applied("p1")
    return store


@pytest.mark.parametrize("to", ["sqlite", "postgres", "chain", "git", BUCKET_SORT])
def test_everything_moves(full, open_store, to):
    """Records, open calls in their order, history, used plans, lineage, binding and serial."""
    target = open_store(to, "target")
    moved = copy_and_verify_state_under_source_lock(full, target)
    assert moved == target.read_state() == full.read_state()
    assert (target.read_lineage(), target.read_backend_identity()) == (LINEAGE, BINDING)
    assert target.read_serial() == full.read_serial() > 0
    assert target.list_audit_entries_newest_first() == full.list_audit_entries_newest_first()
    assert target.was_plan_applied("p1")
    assert target.was_plan_applied("p2")


def test_the_target_works_on(full, open_store):
    """It is not locked, and open calls can be settled there."""
    target = open_store("sqlite", "target")
    copy_and_verify_state_under_source_lock(full, target)
    with target.lock("apply"):
        done = replace(intent("z", "i-z"), state=IntentState.DONE)
        target.close_ended_intent(done, record("z", "10"), entry("z"))
    assert [one.address.name for one in target.read_state().open_intents] == ["y"]
    assert target.list_audit_entries_newest_first()[0] == entry("z")


def test_a_state_is_never_moved_onto_another(full, open_store):
    """Both stay as they are."""
    target = open_store("sqlite", "target")
    target.create_state(BINDING, "other")
    before = full.read_snapshot()
    with pytest.raises(StateError, match="A state already exists"):
        copy_and_verify_state_under_source_lock(full, target)
    assert full.read_snapshot() == before
    assert target.read_state().records == {}
    assert target.read_lineage() == "other"


def test_nothing_moves_from_where_nothing_is(empty, open_store):
    """And nothing is made."""
    target = open_store("sqlite", "target")
    with pytest.raises(StateError, match="There is no state"):
        copy_and_verify_state_under_source_lock(empty, target)
    assert not target.exists()


def test_a_copy_that_differs_is_not_to_be_used(full, open_store):
    """The message says which one is right."""
    target = open_store("sqlite", "target")
    fill = target.create_from_snapshot
    target.create_from_snapshot = lambda contents: fill(replace(contents, audit=contents.audit[1:]))
    with pytest.raises(StateError, match="copy of the state differs") as caught:
        copy_and_verify_state_under_source_lock(full, target)
    assert full.where in caught.value.diagnostics[0].hint
    assert target.where in caught.value.diagnostics[0].hint
