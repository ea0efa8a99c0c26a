"""What an update sends: the live object overlaid by what is declared, secrets never echoed."""

from __future__ import annotations

import pytest
from unit.applying.bench import Bench, outcome, told, widget, widget_kind

from synapse_apply import PlanOptions, apply, plan
from synapse_apply.kinds.descriptor import UpdateMode
from synapse_apply.model.report import Result
from synapse_apply.model.resource import Lifecycle
from synapse_apply.model.values import SecretRef

KEY = SecretRef("env", "W_KEY")


def sent(bench: Bench) -> dict:
    """The body of the last mutating call."""
    return bench.api.bodies[-1][1]


def test_what_others_set_is_sent_as_it_is_live(bench):
    """Fields nobody declared go back unchanged, down to keys of free-form maps."""
    bench.apply(widget("w", configuration={"a": {"mine": 1}}))
    bench.live("w").update(size=7, configuration={"a": {"mine": 1, "theirs": 2}, "b": [1, None]})
    bench.apply(widget("w", configuration={"a": {"mine": 3}}))
    assert sent(bench) == {
        "name": "w",
        "size": 7,
        "configuration": {"a": {"mine": 3, "theirs": 2}, "b": [1, None]},
    }


def test_what_is_no_field_of_the_kind_is_not_sent(bench):
    """Server-made fields such as ids and times stay out of a body."""
    bench.apply(widget("w", note="a"))
    bench.live("w").update(created="2026", owner={"id": 3})
    bench.apply(widget("w", note="b"))
    assert sent(bench) == {"name": "w", "note": "b"}


def test_a_dropped_key_leaves_with_the_maps_it_empties(bench):
    """Maps that only held what was dropped go too; the field itself stays as an empty map."""
    bench.apply(widget("w", configuration={"a": {"b": {"c": 1}}}))
    bench.apply(widget("w", configuration={}))
    assert sent(bench)["configuration"] == {}
    assert bench.record("widget/w").applied[("configuration",)] == {}


def test_a_dropped_key_leaves_what_others_put_beside_it(bench):
    """A map with keys of others in it stays."""
    bench.apply(widget("w", configuration={"a": {"b": {"c": 1}}, "x": 1}))
    bench.live("w")["configuration"]["a"]["theirs"] = 2
    bench.apply(widget("w", configuration={"x": 1}))
    assert sent(bench)["configuration"] == {"a": {"theirs": 2}, "x": 1}


def test_an_emptied_map_that_is_declared_empty_stays(bench):
    """`{}` is a value of ours, dropped keys below it are not."""
    bench.apply(widget("w", configuration={"a": {"b": 1}, "x": 1}))
    bench.apply(widget("w", configuration={"a": {}, "x": 1}))
    assert sent(bench)["configuration"] == {"a": {}, "x": 1}


def test_an_empty_map_takes_no_keys_away(bench):
    """`{}` says that there is a map; what others put into it stays."""
    bench.apply(widget("w", note="a", configuration={"a": {}}))
    bench.live("w")["configuration"]["a"]["theirs"] = 1
    bench.apply(widget("w", note="b", configuration={"a": {}}))
    assert sent(bench)["configuration"] == {"a": {"theirs": 1}}


def test_a_dropped_field_is_sent_as_its_reset(bench):
    """A whole field that the manifest drops goes back to its reset value."""
    bench.apply(widget("w", note="a", configuration={"x": 1}))
    bench.apply(widget("w", configuration={"x": 1}))
    assert sent(bench)["note"] == ""
    assert not bench.plan(widget("w", configuration={"x": 1})).plan.has_changes


def test_ignored_fields_are_sent_as_they_are_live(bench):
    """lifecycle.ignore_changes: sent on create, taken from the live object on update."""
    ignoring = Lifecycle(ignore_changes=(("configuration", "a"),))
    bench.apply(widget("w", ignoring, note="a", configuration={"a": {"n": 1}, "b": 1}))
    assert bench.live("w")["configuration"]["a"] == {"n": 1}
    bench.live("w")["configuration"]["a"] = {"n": 9}
    bench.apply(widget("w", ignoring, note="b", configuration={"a": {"n": 2}, "b": 2}))
    assert sent(bench)["configuration"] == {"a": {"n": 9}, "b": 2}
    assert bench.record("widget/w").applied[("configuration", "a", "n")] == 1


def test_a_secret_is_sent_from_its_source(bench):
    """Never from the live object, even where that shows it."""
    bench.environ["W_KEY"] = "s3cret-1"
    bench.apply(widget("w", note="a", configuration={"key": KEY}))
    bench.live("w")["configuration"]["key"] = "changed-outside"
    bench.apply(widget("w", note="b", configuration={"key": KEY}))
    assert sent(bench)["configuration"] == {"key": "s3cret-1"}


def test_what_did_not_change_is_sent_as_it_is_declared(bench):
    """Beside a change: a secret from its source, and a text that the server keeps in its own way."""
    bench.environ["W_KEY"] = "s3cret-1"
    bench.api.quirk = lambda _kind, made: made.update(note=made["note"].lower())
    bench.apply(widget("w", note="A", size=1, configuration={"key": KEY, "x": 1}))
    bench.apply(widget("w", note="A", size=2, configuration={"key": KEY, "x": 1}))
    configuration = {"key": "s3cret-1", "x": 1}
    assert sent(bench) == {"name": "w", "note": "A", "size": 2, "configuration": configuration}


@pytest.mark.parametrize("mode", list(UpdateMode))
def test_a_secret_that_was_set_since_the_plan_is_not_cleared(bench, mode):
    """It cannot be sent back, and what replaces the map around it would leave it out."""
    bench.catalogue = {"widget": widget_kind(update_mode=mode)}
    bench.apply(widget("w", configuration={"x": 1}))
    context = bench.context(widget("w", configuration={"x": 2}))
    before = list(bench.api.bodies)
    with bench.store.lock("apply"):
        planned = plan(context, PlanOptions())
        bench.live("w")["configuration"]["key"] = "of-others"
        report = apply(context, planned, bench.progress, lambda: 0)
    assert bench.api.bodies == before
    assert outcome(report, "widget/w").result is Result.FAILED
    assert "never reads back the value of configuration.key of widget/w" in told(report)
    assert "of-others" not in told(report)


def test_a_kept_live_secret_stops_a_whole_update(bench):
    """`live: true` cannot be sent, and leaving it out of a PUT would clear it: refused."""
    bench.environ["W_KEY"] = "s3cret-1"
    bench.apply(widget("w", note="a", configuration={"key": KEY}))
    before = list(bench.api.bodies)
    report = bench.apply(widget("w", note="b", configuration={"key": SecretRef("live")}))
    assert bench.api.bodies == before
    assert report.exit_code == 5


def test_a_patch_sends_only_what_changed(bench):
    """With PATCH no other field goes out."""
    bench.catalogue = {"widget": widget_kind(update_mode=UpdateMode.PATCH)}
    bench.apply(widget("w", note="a", size=1, configuration={"x": 1}))
    bench.apply(widget("w", note="b", size=1, configuration={"x": 1}))
    assert sent(bench) == {"note": "b"}


def test_a_patch_sends_a_field_without_the_key_that_was_dropped(bench):
    """Whole, with what others have put into it."""
    bench.catalogue = {"widget": widget_kind(update_mode=UpdateMode.PATCH)}
    bench.apply(widget("w", note="a", configuration={"x": 1, "y": 1}))
    bench.live("w")["configuration"]["theirs"] = 2
    bench.apply(widget("w", note="a", configuration={"x": 1}))
    assert sent(bench) == {"configuration": {"x": 1, "theirs": 2}}


def test_a_patch_that_would_clear_a_secret_is_refused(bench):
    """The secret stands in a field that is sent whole; a change elsewhere does not touch it."""
    bench.catalogue = {"widget": widget_kind(update_mode=UpdateMode.PATCH)}
    bench.apply(widget("w", note="a", configuration={"x": 1}))
    bench.live("w")["configuration"]["key"] = "theirs"
    report = bench.apply(widget("w", note="a", configuration={"x": 2}))
    assert report.exit_code == 5
    assert report.plan.refused_changes[0].refusals[0].rule == "secret-cleared"
    assert bench.apply(widget("w", note="b", configuration={"x": 1})).exit_code == 0
    assert sent(bench) == {"note": "b"}


def test_a_field_that_was_replaced_by_a_map(bench):
    """A leaf may become a map and a map a leaf."""
    bench.apply(widget("w", configuration={"a": 1, "b": {"c": 1}}))
    bench.apply(widget("w", configuration={"a": {"z": 1}, "b": 2}))
    assert bench.live("w")["configuration"] == {"a": {"z": 1}, "b": 2}
    assert not bench.plan(widget("w", configuration={"a": {"z": 1}, "b": 2})).plan.has_changes


def test_a_field_that_the_server_did_not_take_is_told_once(bench):
    """A warning in that apply, recorded as seen, silent from then on."""
    bench.api.quirk = lambda _kind, made: made.update(note=made.get("note", "").lower())
    report = bench.apply(widget("w", note="A"))
    assert outcome(report, "widget/w").result is Result.DONE
    assert "note of widget/w was sent as 'A', but the server has 'a'" in told(report)
    assert bench.record("widget/w").applied[("note",)] == "A"
    assert bench.record("widget/w").seen[("note",)] == "a"
    assert not bench.plan(widget("w", note="A")).plan.has_changes


def test_a_dropped_key_that_the_server_keeps_stays_recorded_and_is_told(bench):
    """What was to go and did not is ours until it is gone."""
    bench.apply(widget("w", configuration={"a": 1, "b": 1}))
    bench.api.quirk = lambda _kind, made: made["configuration"].setdefault("b", 1)
    report = bench.apply(widget("w", configuration={"a": 1}))
    assert "configuration.b" in told(report)
    assert ("configuration", "b") in bench.record("widget/w").applied
    bench.api.quirk = None
    bench.apply(widget("w", configuration={"a": 1}))
    assert ("configuration", "b") not in bench.record("widget/w").applied


def test_a_write_whose_answer_is_short_is_read_back(bench):
    """Fields the answer leaves out are looked at before they are recorded."""
    bench.api.hides = frozenset({"configuration"})
    report = bench.apply(widget("w", configuration={"a": 1}))
    assert bench.api.calls[-1] == "get_widget"
    assert bench.record("widget/w").seen[("configuration", "a")] == 1
    assert told(report) == ""


def test_a_read_back_that_fails_says_so_and_nothing_else(bench):
    """The write is certain: done, with one warning and no complaint about fields nobody saw."""
    from unit.applying.scripted import lost

    bench.api.hides = frozenset({"configuration"})
    bench.api.fail("get_widget", lost())
    report = bench.apply(widget("w", configuration={"a": 1}))
    (made,) = report.outcomes
    assert made.result is Result.DONE
    assert [found.summary for found in made.diagnostics] == ["A write could not be read back"]
    assert not bench.plan(widget("w", configuration={"a": 1})).plan.has_changes


@pytest.mark.parametrize("value", ["", [], {}, 0, False])
def test_an_empty_value_is_a_value(bench, value):
    """Empty is ours; only what is absent is not."""
    desired = widget("w", configuration={"a": value})
    bench.apply(desired)
    assert bench.live("w")["configuration"] == {"a": value}
    assert not bench.plan(desired).plan.has_changes
