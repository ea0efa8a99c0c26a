"""Approvals that are used up by what they approved: once, whatever happens around it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from contract.stores.samples import BINDING, LINEAGE, entry, intent, record

from synapse_apply.model.errors import StateError
from synapse_apply.model.state import IntentState, ProjectAndKeyIds
from synapse_apply.stores.snapshot import copy_and_verify_state_under_source_lock

IDS = ("a1", "a2", "a3")


def used(store):
    return store.list_used_approvals(IDS)


def test_an_approval_is_used_once(locked):
    """A second call with it is not announced: nothing of it is written, and the state works on."""
    locked.open_intent_and_use_up_its_approvals(intent(ident="i1", approvals=("a1", "a2")))
    serial = locked.read_serial()
    with pytest.raises(StateError, match="approval was already used"):
        locked.open_intent_and_use_up_its_approvals(
            intent("other", ident="i2", approvals=("a3", "a2"))
        )
    assert used(locked) == ("a1", "a2")
    assert [one.id for one in locked.read_state().open_intents] == ["i1"]
    assert locked.read_state().open_intents[0].approvals == ("a1", "a2")
    assert locked.read_serial() == serial
    assert not locked.has_failed_write()
    locked.open_intent_and_use_up_its_approvals(intent("other", ident="i2", approvals=("a3",)))
    assert used(locked) == IDS


@pytest.mark.parametrize("state", [IntentState.FAILED, IntentState.ABSENT])
def test_a_call_without_effect_gives_it_back(locked, state):
    """In the transaction that closes the intent; then it is used again."""
    begun = intent(ident="i1", approvals=("a1",))
    locked.open_intent_and_use_up_its_approvals(begun)
    locked.close_ended_intent(replace(begun, state=state), None, entry())
    assert used(locked) == ()
    locked.open_intent_and_use_up_its_approvals(replace(begun, id="i2"))
    assert used(locked) == ("a1",)


def test_a_call_that_was_done_keeps_it(locked):
    """So does one that failed with doubt, whose intent names none at its end."""
    done, doubtful = intent(ident="i1", approvals=("a1",)), intent("b", "i2", approvals=("a2",))
    locked.open_intent_and_use_up_its_approvals(done)
    locked.open_intent_and_use_up_its_approvals(doubtful)
    locked.close_ended_intent(replace(done, state=IntentState.DONE), record(), entry())
    ended = replace(doubtful, state=IntentState.FAILED, approvals=())
    locked.close_ended_intent(ended, None, entry("b"))
    assert used(locked) == ("a1", "a2")


def test_what_is_done_in_the_state_alone_uses_it_up(locked):
    """An adopted and a forgotten object: both, or neither."""
    locked.write_records(record(), uses_up=("a1",))
    with pytest.raises(StateError, match="approval was already used"):
        locked.write_records(record("b", "2"), uses_up=("a1",))
    with pytest.raises(StateError, match="approval was already used"):
        locked.remove_records(record().address, uses_up=("a1",))
    assert [*locked.read_state().records] == [record().address]
    locked.remove_records(record().address, uses_up=("a2",))
    assert locked.read_state().records == {}
    assert used(locked) == ("a1", "a2")


def test_a_guard_is_approved_for_one_time(locked):
    """All of its approvals or none."""
    locked.use_approvals_up_or_raise_if_used("a1", "a2")
    with pytest.raises(StateError, match="approval was already used"):
        locked.use_approvals_up_or_raise_if_used("a3", "a1")
    assert used(locked) == ("a1", "a2")


def test_a_copy_keeps_them(store, open_store):
    """As it keeps used plans; neither is taken for the other, nor for what a state is bound to."""
    with store.lock("test"):
        store.use_approvals_up_or_raise_if_used("a1")
        store.mark_plan_applied("a2")
        store.replace_project_and_key_ids(ProjectAndKeyIds("", "0123456789abcdef"))
    target = open_store("sqlite", "target")
    copy_and_verify_state_under_source_lock(store, target)
    assert used(target) == ("a1",)
    assert not target.was_plan_applied("a1")
    assert target.was_plan_applied("a2")
    assert target.read_project_and_key_ids().key_id == "0123456789abcdef"


def test_a_backup_keeps_them(sqlite, tmp_path):
    """Restored in the place of a state that has used none."""
    begun = intent(approvals=("a1",))
    with sqlite.lock("test"):
        sqlite.open_intent_and_use_up_its_approvals(begun)
        sqlite.write_backup(str(tmp_path / "backup.db"))
        sqlite.close_ended_intent(replace(begun, state=IntentState.FAILED), None, entry())
    assert used(sqlite) == ()
    sqlite.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup.db"))
    assert used(sqlite) == ("a1",)


def test_of_many_threads_one_uses_it(open_store, sort):
    """Also where their writes share a commit; every other call is announced."""
    store = open_store(sort)
    store.create_state(BINDING, LINEAGE)

    def begin(number):
        begun = intent(f"p{number}", f"i{number}", approvals=(f"a{number % 3}",))
        try:
            store.open_intent_and_use_up_its_approvals(begun)
        except StateError as failure:
            return str(failure)
        return ""

    with store.lock("test"), ThreadPoolExecutor(6) as pool:
        said = list(pool.map(begin, range(12)))
    assert said.count("") == 3
    assert {*said} == {"", "The approval was already used"}
    assert len(store.read_state().open_intents) == 3
    assert store.list_used_approvals(("a0", "a1", "a2", "a3")) == ("a0", "a1", "a2")
