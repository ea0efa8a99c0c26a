"""Making a state, its binding, its lineage and its serial."""

from __future__ import annotations

import pytest
from contract.stores.samples import BINDING, LINEAGE, entry, intent, record

from synapse_apply.model.address import Address
from synapse_apply.model.errors import StateError
from synapse_apply.model.state import BackendIdentity, IntentState, ProjectAndKeyIds
from synapse_apply.stores import schema


def test_a_missing_state_is_an_error_that_names_the_ways_out(empty):
    """An emptied workspace must not look like an empty state."""
    assert not empty.exists()
    with pytest.raises(StateError) as caught:
        empty.read_state()
    hint = caught.value.diagnostics[0].hint
    assert "restore" in hint
    assert "import" in hint
    assert "init" in hint
    assert not empty.exists()


def test_init_makes_an_empty_state(store):
    """A new state knows what it belongs to and nothing else."""
    assert store.exists()
    state = store.read_state()
    assert (state.lineage, state.serial, state.binding) == (LINEAGE, 0, BINDING)
    assert (state.records, state.open_intents) == ({}, ())
    assert (store.read_lineage(), store.read_serial(), store.read_backend_identity()) == (
        LINEAGE,
        0,
        BINDING,
    )


def test_init_never_replaces_a_state(store):
    """A second init leaves the first state as it is."""
    with pytest.raises(StateError, match="A state already exists"):
        store.create_state(BackendIdentity("https://other"), "another")
    assert store.read_backend_identity() == BINDING


def test_init_works_inside_a_lock_too(empty):
    """Whoever holds the lock already need not let go of it."""
    with empty.lock("apply"):
        empty.create_state(BINDING, LINEAGE)
        empty.write_records(record())
    assert empty.read_serial() == 1


def test_each_change_moves_the_serial_by_one(locked):
    """Every write that changes what is read counts once."""
    locked.write_records(record(), record("other", "2"))
    assert locked.read_serial() == 1
    locked.open_intent_and_use_up_its_approvals(intent())
    assert locked.read_serial() == 2
    locked.close_ended_intent(intent(state=IntentState.DONE), record(), entry())
    assert locked.read_serial() == 3
    locked.rename_addresses({Address("plugin", "other"): Address("plugin", "another")})
    assert locked.read_serial() == 4
    locked.remove_records(Address("plugin", "another"))
    assert locked.read_serial() == 5
    locked.replace_backend_identity(BackendIdentity("https://other"))
    assert locked.read_serial() == 6


def test_writing_the_same_again_changes_nothing(locked):
    """An apply with nothing to do leaves the state as it was."""
    locked.write_records(record())
    locked.write_records(record())
    locked.write_records()
    locked.replace_backend_identity(BINDING)
    locked.remove_records(Address("plugin", "unknown"))
    assert locked.read_serial() == 1


def test_one_and_true_are_not_the_same_value(locked):
    """Python calls 1, 1.0 and True equal; a server does not."""
    for serial, value in enumerate((1, 1.0, True), start=1):
        locked.write_records(record(applied={("n",): value}))
        assert locked.read_serial() == serial
        found = locked.read_state().records[Address("plugin", "yolo")].applied["n",]
        assert type(found) is type(value)


def test_rebind_changes_what_the_state_belongs_to(locked):
    """Records stay, the binding is another."""
    locked.write_records(record())
    locked.replace_backend_identity(BackendIdentity("embedded:", "", "set-1"))
    assert locked.read_state().binding == BackendIdentity("embedded:", "", "set-1")
    assert len(locked.read_state().records) == 1


def test_a_plan_is_used_once(locked):
    """The second use of a saved plan is refused; the serial does not count it."""
    assert not locked.was_plan_applied("p1")
    locked.mark_plan_applied("p1")
    assert locked.was_plan_applied("p1")
    assert locked.read_serial() == 0
    with pytest.raises(StateError, match="The plan was already applied"):
        locked.mark_plan_applied("p1")


def test_the_ids_that_a_state_is_shared_under(store, tmp_path):
    """Kept through backup and restore, and not taken for plans; a state of before has none."""
    first = ProjectAndKeyIds("5f1c2d60-0000-4000-8000-0123456789ab", "0123456789abcdef", "prod-eu")
    assert store.read_project_and_key_ids() == ProjectAndKeyIds()
    with store.lock("test"):
        store.mark_plan_applied("plan-1")
        serial = store.read_serial()
        for ids in (ProjectAndKeyIds(first.project_id), first, first):
            store.replace_project_and_key_ids(ids)
            assert store.read_project_and_key_ids() == ids
        assert store.read_serial() == serial
    store.write_backup(str(tmp_path / "copy"))
    with store.lock("test"):
        store.replace_project_and_key_ids(ProjectAndKeyIds())
    assert store.read_project_and_key_ids() == ProjectAndKeyIds()
    store.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "copy"))
    assert store.read_project_and_key_ids() == first
    assert store.was_plan_applied("plan-1")


def test_a_plan_with_the_id_of_such_a_row_binds_nothing(store):
    """Whoever may apply an unsigned plan chooses its id."""
    with store.lock("test"):
        for row_id in schema.SHARED_ROWS:
            store.mark_plan_applied(row_id)
        assert store.read_project_and_key_ids() == ProjectAndKeyIds()
        store.replace_project_and_key_ids(ProjectAndKeyIds(key_id="0123456789abcdef"))
        with pytest.raises(StateError, match="applied"):
            store.mark_plan_applied(schema.KEY_ROW)
    assert store.read_project_and_key_ids() == ProjectAndKeyIds(key_id="0123456789abcdef")
