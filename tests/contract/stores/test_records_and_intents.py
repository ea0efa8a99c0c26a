"""Records, the calls announced before they are sent, and the history of both."""

from __future__ import annotations

from dataclasses import replace

import pytest
from contract.stores.samples import entry, intent, record

from synapse_apply.model.address import Address
from synapse_apply.model.errors import StateError
from synapse_apply.model.state import IntentState
from synapse_apply.model.values import Mac, SecretRef, Sensitive

YOLO = Address("plugin", "yolo")


def settled(state, **more):
    """The usual intent with an end."""
    return intent(state=state, **more)


def test_a_record_is_read_back_as_it_was_written(locked):
    """Every field of a record survives."""
    written = record(
        digest=f"pkg1:sha256:{'ab' * 32}",
        files={"a b/ü.py": "cd x"},
        protected=True,
        verification={"result": "ok", "n": 2**70},
        depends_on=(Address("plugin", "base"),),
        series="yolo",
        version="1.0",
        salt="s",
        created_at="t1",
        updated_at="t2",
    )
    locked.write_records(written)
    assert locked.read_state().records == {YOLO: written}
    assert locked.find_record(YOLO) == written
    assert locked.find_record(Address("plugin", "nobody")) is None


def test_an_intent_is_open_until_it_is_settled(locked):
    """What was announced is listed with all it announces."""
    announced = intent(fields={("key",): Mac("k", "ab")}, deadline=30.5, sent_at="t")
    locked.open_intent_and_use_up_its_approvals(announced)
    assert locked.read_state().open_intents == (announced,)
    locked.close_ended_intent(replace(announced, state=IntentState.DONE), record(), entry())
    assert locked.read_state().open_intents == ()
    assert locked.read_state().records == {YOLO: record()}
    assert locked.list_audit_entries_newest_first() == [entry()]


def test_open_intents_are_listed_in_the_order_they_were_announced(locked):
    """The order of calls is the order of their settling later."""
    for name in ("b", "a", "c"):
        locked.open_intent_and_use_up_its_approvals(intent(name, ident=f"i-{name}"))
    assert [one.address.name for one in locked.read_state().open_intents] == ["b", "a", "c"]


def test_a_call_without_intent_can_be_noted(locked):
    """It is in the audit; records, open calls and the serial are as they were."""
    locked.write_records(record())
    before = locked.read_state()
    locked.append_audit_entries(entry())
    assert locked.list_audit_entries_newest_first() == [entry()]
    assert locked.read_state() == before


def test_a_failed_call_leaves_the_record(locked):
    """Failed and absent calls change no record, whatever they were to do."""
    locked.write_records(record())
    for ident, state in (("i1", IntentState.FAILED), ("i2", IntentState.ABSENT)):
        locked.open_intent_and_use_up_its_approvals(intent(ident=ident))
        locked.close_ended_intent(settled(state, ident=ident), None, entry(result=state.value))
    assert locked.read_state().records == {YOLO: record()}
    assert [one.result for one in locked.list_audit_entries_newest_first()] == ["absent", "failed"]


def test_a_delete_that_was_done_removes_the_record(locked):
    """Done without a record means gone."""
    locked.write_records(record())
    locked.open_intent_and_use_up_its_approvals(intent(verb="delete"))
    locked.close_ended_intent(settled(IntentState.DONE, verb="delete"), None, entry())
    assert locked.read_state().records == {}


def test_settling_twice_or_what_was_not_begun_is_an_error(locked):
    """A record never changes by a call that nobody announced."""
    with pytest.raises(StateError, match="Only an open call"):
        locked.close_ended_intent(settled(IntentState.DONE), record(), entry())
    assert locked.read_state().records == {}
    assert locked.list_audit_entries_newest_first() == []
    locked.open_intent_and_use_up_its_approvals(intent())
    with pytest.raises(StateError, match="already announced"):
        locked.open_intent_and_use_up_its_approvals(intent())
    with pytest.raises(ValueError, match="how it ended"):
        locked.close_ended_intent(intent(), record(), entry())


def test_a_refused_settle_changes_nothing(locked):
    """Record, intent and audit change together or not at all."""
    locked.write_records(record("other", "1"))
    locked.open_intent_and_use_up_its_approvals(intent())
    with pytest.raises(StateError, match="two addresses"):
        locked.close_ended_intent(settled(IntentState.DONE), record(), entry())
    state = locked.read_state()
    assert (
        len(state.open_intents),
        set(state.records),
        locked.list_audit_entries_newest_first(),
    ) == (
        1,
        {Address("plugin", "other")},
        [],
    )


def test_one_remote_id_under_two_addresses_names_both(locked):
    """Two manifests must not fight over one object."""
    locked.write_records(record())
    with pytest.raises(StateError) as caught:
        locked.write_records(record("fresh", "9"), record("other", "1"))
    detail = caught.value.diagnostics[0].detail
    assert "plugin/other" in detail
    assert "plugin/yolo" in detail
    assert set(locked.read_state().records) == {YOLO}
    with pytest.raises(StateError, match="two addresses"):
        locked.write_records(record("a", "7"), record("b", "7"))


def test_another_kind_or_api_may_have_the_same_id(locked):
    """Ids are counted per kind and API version."""
    locked.write_records(
        record(), record("yolo", "1", kind="storage"), record("new", "1", api="v2")
    )
    assert len(locked.read_state().records) == 3


def test_two_records_may_exchange_their_ids_in_one_call(locked):
    """Only the end of a call is judged."""
    locked.write_records(record("a", "1"), record("b", "2"))
    locked.write_records(record("a", "2"), record("b", "1"))
    ids = {at.name: one.remote_id for at, one in locked.read_state().records.items()}
    assert ids == {"a": "2", "b": "1"}


def test_a_move_takes_the_dependents_along(locked):
    """What depended on the old address depends on the new one."""
    release = record("yolo@1", "5", kind="release", depends_on=(YOLO,))
    locked.write_records(record(), release)
    new = Address("plugin", "detector")
    locked.rename_addresses({YOLO: new})
    records = locked.read_state().records
    assert records[new] == replace(record(), address=new)
    assert records[release.address].depends_on == (new,)
    assert YOLO not in records


def test_several_moves_are_one_write(locked):
    """A series goes along, texts that name it too; where one cannot be, none is."""
    release = record("yolo@1", "5", kind="release", depends_on=(YOLO,), series="plugin/yolo")
    locked.write_records(record(), release, record("other", "2"))
    detector, member = Address("plugin", "detector"), Address("release", "detector@1")
    with pytest.raises(StateError, match="taken"):
        locked.rename_addresses({YOLO: detector, release.address: Address("plugin", "other")})
    before = locked.read_serial()
    locked.rename_addresses({YOLO: detector, release.address: member})
    assert locked.read_serial() == before + 1
    moved = locked.read_state().records[member]
    assert (moved.depends_on, moved.series) == ((detector,), "plugin/detector")
    assert locked.read_state().records.keys() == {detector, member, Address("plugin", "other")}


def test_a_move_needs_a_known_source_a_free_place_and_no_open_call(locked):
    """Each refusal has its own words and changes nothing."""
    locked.write_records(record(), record("other", "2"))
    with pytest.raises(StateError, match="has no record"):
        locked.rename_addresses({Address("plugin", "nobody"): Address("plugin", "new")})
    with pytest.raises(StateError, match="taken"):
        locked.rename_addresses({YOLO: Address("plugin", "other")})
    locked.open_intent_and_use_up_its_approvals(intent(verb="update"))
    with pytest.raises(StateError, match="not settled"):
        locked.rename_addresses({YOLO: Address("plugin", "new")})
    assert len(locked.read_state().records) == 2


def test_audit_gives_the_newest_first_and_no_more_than_asked(locked):
    """History is read from its end."""
    for number in range(5):
        locked.open_intent_and_use_up_its_approvals(intent(ident=f"i{number}"))
        ended = intent(ident=f"i{number}", state=IntentState.FAILED)
        locked.close_ended_intent(ended, None, entry(at=f"t{number}"))
    assert [one.at for one in locked.list_audit_entries_newest_first(limit=2)] == ["t4", "t3"]
    assert len(locked.list_audit_entries_newest_first()) == 5


@pytest.mark.parametrize("value", [Sensitive("s3cr3t"), SecretRef("env", "s3cr3t")])
def test_a_secret_is_never_stored(locked, value):
    """What is no digest is refused, and the refusal shows nothing."""
    with pytest.raises(TypeError) as caught:
        locked.write_records(record(applied={("key",): value}))
    assert "s3cr3t" not in str(caught.value)
    with pytest.raises(TypeError):
        locked.open_intent_and_use_up_its_approvals(intent(fields={("list",): [value]}))
    assert (locked.read_state().records, locked.read_state().open_intents) == ({}, ())


def test_of_the_ended_calls_of_a_forgotten_object_the_newest_are_kept(locked):
    """As many as a record of it would have; those of another object are no matter of it."""
    locked.keep_forgotten_call(intent(ident="other", state=IntentState.ABSENT, remote_id="8"))
    for number in range(60):
        call = intent(ident=f"i{number:02}", state=IntentState.ABSENT, remote_id="7")
        locked.keep_forgotten_call(call)
    kept = [call.id for call in locked.read_state().forgotten_calls]
    assert kept == ["other", *(f"i{number}" for number in range(10, 60))]


def test_a_call_that_ended_when_its_object_was_forgotten_is_opened_again(locked):
    """It is one call: its answer was found, or a backup has it as open."""
    begun = intent(ident="i1")
    locked.keep_forgotten_call(replace(begun, state=IntentState.ABSENT))
    assert [call.id for call in locked.read_state().forgotten_calls] == ["i1"]
    locked.open_intent_and_use_up_its_approvals(begun)
    state = locked.read_state()
    assert (state.open_intents, state.forgotten_calls) == ((begun,), ())
    with pytest.raises(StateError):  # an open one is announced already
        locked.open_intent_and_use_up_its_approvals(begun)
    locked.close_ended_intent(replace(begun, state=IntentState.DONE), record(), entry())
    assert locked.read_state().calls == ()
