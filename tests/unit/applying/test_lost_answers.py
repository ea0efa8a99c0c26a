"""A call whose answer was lost: looked up, recorded when it was done, never sent blindly again."""

from __future__ import annotations

import pytest
from unit.applying.bench import outcome, told, widget, widget_kind
from unit.applying.scripted import lost
from unit.applying.test_settling import LATER, W, cut, refusal

from synapse_apply.live.open_intents import acting_call_warning
from synapse_apply.model.errors import StateError
from synapse_apply.model.report import Result
from synapse_apply.model.resource import Lookup
from synapse_apply.model.state import IntentState
from synapse_apply.model.values import SecretRef, WithheldSecret
from synapse_apply.operations import state as states

KEY = SecretRef("env", "W_KEY")


def hiding(raw, _marks, form="masked"):
    """Decode as a server does that never shows secrets."""
    from unit.applying import bench

    seen = bench._decode(raw, _marks)
    configuration = dict(seen.spec.get("configuration", {}))
    if configuration.pop("key", None) is not None and form == "masked":
        configuration["key"] = WithheldSecret("masked")
    spec = {**seen.spec, "configuration": configuration}
    return type(seen)(seen.remote_id, seen.api, spec)


def test_a_create_that_was_done_is_looked_up_and_recorded(bench):
    """Done with a warning; one object, nothing open, no second POST."""
    bench.api.fail("create_widget", lost(), done=True)
    report = bench.apply(widget("w", note="a"))
    assert outcome(report, "widget/w").result is Result.DONE
    assert "A lost answer: the outcome was looked up" in told(report)
    assert report.exit_code == 0
    assert len(bench.api.objects["widget"]) == 1
    assert bench.api.writes() == ["create_widget"]
    assert bench.store.read_state().open_intents == ()
    assert not bench.plan(widget("w", note="a")).plan.has_changes


def test_a_lookup_that_fails_is_made_again(bench):
    """A search that broke says nothing about the object; the run ends with another one."""
    bench.api.fail("create_widget", lost(), done=True)
    desired = widget("w")
    context = bench.context(desired)
    planned = bench.plan(desired)
    bench.api.fail("list_widget", lost())
    from synapse_apply import apply

    with bench.store.lock("apply"):
        report = apply(context, planned, bench.progress)
    assert outcome(report, "widget/w").result is Result.DONE
    assert report.exit_code == 0
    assert bench.store.read_state().open_intents == ()


def test_a_lost_update_that_only_drops_a_key_is_not_taken_for_done(bench):
    """What was to go is still there, so it was not done: sent again."""
    bench.apply(widget("w", configuration={"a": 1, "b": 1}))
    bench.api.fail("update_widget", lost())
    report = bench.apply(widget("w", configuration={"a": 1}))
    assert outcome(report, "widget/w").result is Result.DONE
    assert bench.live("w")["configuration"] == {"a": 1}
    assert not bench.plan(widget("w", configuration={"a": 1})).plan.has_changes


@pytest.mark.parametrize("shows", [True, False])
def test_a_lost_update_of_a_secret_alone_is_not_taken_for_done(bench, shows):
    """A secret nobody can see is no proof; one that shows its old value is proof of the contrary."""
    if not shows:
        bench.catalogue = {"widget": widget_kind(decode=hiding)}
    desired = widget("w", configuration={"key": KEY})
    bench.environ["W_KEY"] = "first-value"
    bench.apply(desired)
    bench.environ["W_KEY"] = "second-value"
    bench.api.fail("update_widget", lost())
    report = bench.apply(desired)
    assert outcome(report, "widget/w").result is Result.DONE
    assert bench.live("w")["configuration"]["key"] == "second-value"
    assert not bench.plan(desired).plan.has_changes


def test_an_update_of_an_object_that_went_away(bench):
    """404 on the read before a PUT: failed, nothing was sent."""
    bench.apply(widget("w", note="a"))
    desired = widget("w", note="b")
    planned = bench.plan(desired)
    bench.api.objects["widget"].clear()
    from synapse_apply import apply

    with bench.store.lock("apply"):
        report = apply(bench.context(desired), planned, bench.progress)
    assert outcome(report, "widget/w").result is Result.FAILED
    assert bench.api.writes() == ["create_widget"]
    assert bench.store.read_state().open_intents == ()


def test_where_nothing_can_be_looked_up_a_lost_create_stays_unknown(bench):
    """An API that cannot search proves neither presence nor absence."""
    bench.catalogue = {"widget": widget_kind(lookup={"name": Lookup.NONE})}
    bench.api.fail("create_widget", lost(), done=True)
    report = bench.apply(widget("w"))
    assert outcome(report, "widget/w").result is Result.UNKNOWN
    (intent,) = bench.store.read_state().open_intents
    assert intent.state is IntentState.OPEN


def test_a_create_whose_answer_is_no_object(bench):
    """A success without an id says nothing: looked up like a lost answer."""
    bench.api.hides = frozenset({"id"})
    report = bench.apply(widget("w", note="a"))
    assert outcome(report, "widget/w").result is Result.DONE
    assert bench.record("widget/w").remote_id == "1"
    assert "without an id" in told(report)


def test_an_update_whose_answer_is_no_object(bench):
    """Read again, and done."""
    bench.apply(widget("w", note="a"))
    bench.api.hides = frozenset({"id"})
    report = bench.apply(widget("w", note="b"))
    assert outcome(report, "widget/w").result is Result.DONE
    assert bench.api.writes().count("update_widget") == 1


def test_a_state_that_breaks_after_the_answer_does_not_undo_the_call(bench, monkeypatch):
    """What was made is not taken for failed because nobody could look whose id it is."""
    make = bench.api.make

    def made_and_broken(kind, body):
        made = make(kind, body)
        monkeypatch.setattr(bench.store, "read_state", _broken)
        return made

    bench.api.make = made_and_broken
    report = bench.apply(widget("w", note="a"))
    assert outcome(report, "widget/w").result is Result.DONE
    assert bench.record("widget/w").remote_id == "1"


def _broken() -> None:
    raise StateError.from_summary("The state cannot be read")


@pytest.mark.parametrize(("was", "sent"), [(1, True), (0, False), (True, 1)])
def test_a_number_is_not_taken_for_the_truth_value_that_was_sent(bench, was, sent):
    """In Python they are equal: what shows all but that of an update shows not that it was done."""
    bench.apply(widget("w", note="a", configuration={"q": was}))
    cut(bench, widget("w", note="b", configuration={"q": sent}), call="update_widget")
    bench.live("w")["note"] = "b"
    newer = widget("w", note="b", configuration={"q": 5})
    assert refusal(bench.plan(newer)).outcome_unknown
    warned = [acting_call_warning(1, call) for call in bench.store.read_state().open_intents]
    assert "configuration.q, note" in warned[0].detail
    bench.clock.at = LATER
    assert bench.apply(newer).exit_code == 0
    (call,) = bench.record("widget/w").given_up
    assert call.state is IntentState.UNKNOWN


@pytest.mark.parametrize(("was", "sent"), [(1, True), (0, False), (True, 1)])
@pytest.mark.parametrize("done", [True, False])
def test_a_number_that_becomes_a_truth_value_is_a_change_that_shows(bench, done, was, sent):
    """It is all that was sent, and tells whether the update was done."""
    bench.apply(widget("w", configuration={"q": was}))
    cut(bench, widget("w", configuration={"q": sent}), call="update_widget", done=done)
    bench.clock.at = LATER
    bench.apply(widget("w", configuration={"q": sent}))
    results = [entry.result for entry in bench.store.list_audit_entries_newest_first()]
    assert ("settled: done" if done else "settled: not done") in results


def trimming(_kind, made):
    made["note"] = made["note"].strip()


@pytest.mark.parametrize("done", [True, False])
def test_a_text_that_the_server_trims_tells_whether_it_was_sent(bench, done):
    """Once found done it is recorded as after an answer, and its call would change nothing."""
    bench.api.quirk = trimming
    desired = widget("w", note="ten\n")
    bench.apply(widget("w", note="nine\n"))
    cut(bench, desired, call="update_widget", done=done)
    bench.clock.at = bench.clock.at if done else LATER
    bench.apply(desired)
    results = [entry.result for entry in bench.store.list_audit_entries_newest_first()]
    assert ("settled: done" if done else "settled: not done") in results
    assert bench.api.writes().count("update_widget") == (1 if done else 2)
    record = bench.record("widget/w")
    assert (record.applied["note",], record.seen["note",]) == ("ten\n", "ten")
    if done:
        bench.apply(widget("w", note="eleven\n"))
        warned = [
            bench.plan(widget("w", note="eleven\n")).plan.diagnostics
            for bench.live("w")["note"] in ("by hand", "ten")
        ]
        assert [str(one).count("would set note back.") for one in warned] == [1, 0]
        # What is live is as it was sent, until the apply.
        assert [str(one).count("would set note back after an apply.") for one in warned] == [0, 1]


def test_a_late_text_that_the_server_trims_is_told_as_ours(bench):
    """Git took it back; then the lost call acted."""
    bench.api.quirk = trimming
    desired = widget("w", note="nine\n")
    bench.apply(desired)
    cut(bench, widget("w", note="ten\n"), call="update_widget")
    states.close_as_not_done(bench.context(), W, moment=LATER)
    bench.apply(desired)
    bench.live("w")["note"] = "ten"
    (change,) = bench.plan(desired).plan.changes
    assert change.fields[0].origin.endswith("who set it is unknown")
    bench.live("w")["note"] = "by hand"
    (change,) = bench.plan(desired).plan.changes
    assert not change.fields[0].origin


@pytest.mark.parametrize("by_hand", [True, False])
@pytest.mark.parametrize("note", ["a", "a\n"])
def test_a_hidden_secret_that_was_sent_again_and_lost_is_sent(bench, note, by_hand):
    """Nobody knows what the server has, and to send it was all that the call was for."""
    bench.catalogue = {"widget": widget_kind(decode=hiding)}
    bench.api.quirk = trimming
    bench.environ["W_KEY"] = "of-git"
    desired = widget("w", note=note, configuration={"key": KEY})
    bench.apply(desired)
    bench.live("w")["configuration"]["key"] = "of-somebody"
    cut(bench, desired, call="update_widget", resend_secrets=True)
    if by_hand:
        states.close_as_not_done(bench.context(), W, moment=LATER)
    bench.clock.at = LATER
    bench.apply(desired)
    assert bench.live("w")["configuration"]["key"] == "of-git"
    assert not bench.plan(desired).plan.has_changes


def test_a_hidden_secret_beside_a_lost_change_is_not_sent_for_it(bench):
    """It was applied before, and the update was for the change."""
    bench.catalogue = {"widget": widget_kind(decode=hiding)}
    bench.environ["W_KEY"] = "of-git"
    bench.apply(widget("w", size=1, configuration={"key": KEY}))
    desired = widget("w", size=2, configuration={"key": KEY})
    cut(bench, desired, call="update_widget", done=True)
    bench.clock.at = LATER
    assert not bench.plan(desired).plan.has_changes
