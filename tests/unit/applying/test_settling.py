"""Open intents at the next run: found, absent, too young, several, or no way to tell."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.applying.bench import Bench, plugin, release, widget, widget_kind
from unit.applying.scripted import lost

from synapse_apply.model.address import Address
from synapse_apply.model.errors import StateError
from synapse_apply.model.resource import Lookup
from synapse_apply.model.state import Intent, IntentState, Uptime
from synapse_apply.model.values import SecretRef
from synapse_apply.operations import state as states
from synapse_apply.operations.import_ import record_all_live_objects_or_none
from synapse_apply.workspace.inventory_rows import InventoryRow

W = Address("widget", "w")
LATER = "2026-01-01T00:02:00.000000Z"
SOON = "2026-01-01T00:01:34.000000Z"
BLIND = {"widget": widget_kind(lookup={"name": Lookup.NONE})}


def cut(bench: Bench, *desired, call: str = "create_widget", done: bool = False, **choices) -> None:
    """A run that ends like a kill -9 in the middle of a call."""

    class Killed(BaseException):
        """Not an Exception: nothing of ours may catch it."""

    bench.api.fail(call, Killed(), done=done)
    with pytest.raises(Killed):
        bench.apply(*desired, **choices)
    assert len(bench.store.read_state().open_intents) == 1


def refusal(planned, address: str = "widget/w"):
    (change,) = [one for one in planned.plan.changes if str(one.address) == address]
    (found,) = change.refusals
    return found


def test_planning_alone_settles_nothing(bench):
    """Plan looks, and writes nothing."""
    cut(bench, widget("w"), done=True)
    serial = bench.store.read_serial()
    bench.plan(widget("w"))
    assert bench.store.read_serial() == serial
    assert len(bench.store.read_state().open_intents) == 1


def test_a_clock_set_back_waits_and_never_hurries(bench):
    """Negative ages count as none."""
    cut(bench, widget("w"))
    bench.clock.at = "2025-12-31T00:00:00.000000Z"
    assert refusal(bench.plan(widget("w"))).outcome_unknown


@pytest.mark.parametrize("wall", ["2025-12-31T00:00:00.000000Z", "2027-01-01T00:00:00.000000Z"])
def test_on_one_machine_its_own_count_decides(bench, wall):
    """However the wall clock is set meanwhile: a call is as old as the machine says."""
    bench.up = Uptime("this boot", 1000.0)
    cut(bench, widget("w"))
    bench.clock.at, bench.up = wall, Uptime("this boot", 1094.0)
    (way, _) = refusal(bench.plan(widget("w"))).ways_out
    assert way == f"plan again after {wall[:-9]}1Z: the next run looks up the call"
    bench.up = Uptime("this boot", 1095.0)
    assert bench.apply(widget("w")).exit_code == 0
    assert len(bench.api.objects["widget"]) == 1


def test_counts_of_two_machines_are_not_compared(bench):
    """Between them the wall clocks decide."""
    bench.up = Uptime("this boot", 5.0)
    cut(bench, widget("w"))
    bench.up = Uptime("another", 1_000_000.0)
    assert refusal(bench.plan(widget("w"))).outcome_unknown
    bench.clock.at = LATER
    assert bench.apply(widget("w")).exit_code == 0


def test_several_objects_of_the_name_settle_nothing(bench):
    """Which of them is ours nobody can say."""
    cut(bench, widget("w"), done=True)
    bench.api.objects["widget"]["9"] = {"id": 9, "name": "w"}
    bench.clock.at = LATER
    with pytest.raises(Exception, match="Several live objects"):
        bench.apply(widget("w"))
    assert len(bench.store.read_state().open_intents) == 1
    assert bench.api.writes() == ["create_widget"]


def test_where_nothing_can_be_looked_up_the_user_says(bench):
    """A refusal with two ways out, whatever the time; dependents wait, the rest goes on."""
    bench.catalogue = BLIND
    cut(bench, widget("w"), done=True)
    bench.clock.at = "2027-01-01T00:00:00.000000Z"
    found = refusal(bench.plan(widget("w")))
    assert found.ways_out == (
        "if it is there: `synapse-apply import widget/w ID`",
        "if it is not: `synapse-apply state settle widget/w --absent`",
    )
    report = bench.apply(widget("w"), widget("child", needs="w"), widget("free"))
    assert report.exit_code == 7
    assert [str(one.address) for one in report.outcomes] == ["widget/free"]
    assert len(bench.api.objects["widget"]) == 2


def test_settled_as_absent_by_hand_it_is_created(bench):
    """`state settle --absent`: the user looked."""
    bench.catalogue = BLIND
    cut(bench, widget("w"))
    state = bench.context()
    intent = states.close_as_not_done(state, W, moment=LATER)
    assert intent.state is IntentState.ABSENT
    assert bench.store.list_audit_entries_newest_first()[0].result == "settled by hand: not done"
    assert bench.apply(widget("w")).exit_code == 0
    with pytest.raises(StateError, match="No call of this address is open"):
        states.close_as_not_done(state, W, moment=LATER)


def test_settled_by_an_import_it_is_ours(bench):
    """`import ADDRESS ID`: the user found it; what the call carried is known to be published."""
    bench.catalogue = BLIND
    cut(bench, widget("w", note="a"), done=True)
    record_all_live_objects_or_none(bench.context(widget("w", note="a")), {W: InventoryRow("1")})
    assert bench.store.read_state().open_intents == ()
    report = bench.apply(widget("w", note="a"))
    assert report.exit_code == 0
    assert bench.api.writes() == ["create_widget"]


def test_a_release_that_was_published_is_known_by_the_digest_of_its_intent(bench):
    """A 409 or a kill with our own open intent: these bytes are ours."""
    bench.apply(plugin())
    cut(bench, plugin(), release(), call="create_release", done=True)
    assert bench.apply(plugin(), release()).exit_code == 0
    assert bench.record("release/yolo@1.0.0").digest == f"pkg1:sha256:{'aa' * 32}"
    assert bench.api.writes().count("create_release") == 1


def test_a_plugin_whose_code_nobody_lists_cannot_be_told(bench):
    """v1 finds plugins by their releases only: a miss proves nothing."""
    cut(bench, plugin(), call="create_plugin", done=True)
    bench.clock.at = LATER
    assert refusal(bench.plan(plugin()), "plugin/yolo").outcome_unknown
    assert bench.apply(plugin()).exit_code == 7
    assert len(bench.api.objects["plugin"]) == 1
    record_all_live_objects_or_none(
        bench.context(plugin()), {Address("plugin", "yolo"): InventoryRow("1")}
    )
    assert bench.apply(plugin()).exit_code == 0
    assert len(bench.api.objects["plugin"]) == 1


def test_an_update_of_a_hidden_secret_is_sent_again(bench):
    """Nobody can see whether it arrived, and sending it twice harms nobody."""
    from unit.applying.test_lost_answers import hiding

    bench.catalogue = {"widget": widget_kind(decode=hiding)}
    desired = widget("w", configuration={"key": SecretRef("env", "W_KEY")})
    bench.environ["W_KEY"] = "first-value"
    bench.apply(desired)
    bench.environ["W_KEY"] = "second-value"
    cut(bench, desired, call="update_widget")
    assert bench.apply(desired).exit_code == 0
    assert bench.live("w")["configuration"]["key"] == "second-value"
    told = [entry.result for entry in bench.store.list_audit_entries_newest_first()]
    assert told[:2] == ["done", "settled: cannot be told"]
    # Which of the two acts last makes no difference; a third one waits for both.
    bench.environ["W_KEY"] = "third-value"
    assert bench.apply(desired).exit_code == 7
    bench.clock.at = LATER
    assert bench.apply(desired).exit_code == 0
    assert bench.live("w")["configuration"]["key"] == "third-value"


@pytest.mark.parametrize("done", [True, False])
def test_a_delete_is_looked_at(bench, done):
    """Gone: the record goes too; still there: deleted again."""
    bench.apply(widget("w"), widget("keep"))
    planned = bench.plan(widget("keep"), prune=True)
    bench.api.fail("delete_widget", lost(), done=done)
    bench.api.fail("get_widget", lost())
    from synapse_apply import apply

    with bench.store.lock("apply"):
        apply(bench.context(widget("keep")), planned, bench.progress)
    assert bench.apply(widget("keep"), prune=True).exit_code == 0
    assert bench.store.find_record(W) is None
    assert len(bench.api.objects["widget"]) == 1


def test_a_recreated_object_starts_a_new_memory(bench):
    """The digest and the fields of the lost object must not speak for the new one."""
    bench.apply(plugin(), release())
    old = bench.record("release/yolo@1.0.0")
    bench.api.objects["release"].clear()
    new = release(digest=f"pkg1:sha256:{'bb' * 32}")
    cut(bench, plugin(), new, call="create_release", done=True)
    bench.apply(plugin(), new)
    record = bench.record("release/yolo@1.0.0")
    assert record.remote_id != old.remote_id
    assert record.digest == f"pkg1:sha256:{'bb' * 32}"
    assert record.created_at == old.created_at


def test_a_lookup_that_fails_leaves_everything_as_it_is(bench):
    """Refused like any unknown outcome; the next run tries again."""
    cut(bench, widget("w"), done=True)
    bench.api.fail("list_widget", lost())
    assert refusal(bench.plan(widget("w"))).outcome_unknown
    assert bench.apply(widget("w")).exit_code == 0


def test_an_intent_of_an_unknown_kind_stays_open(bench):
    """A newer version left it: this one does not touch it."""
    cut(bench, widget("w"))
    intent = bench.store.read_state().open_intents[0]
    bench.catalogue = {"widget": replace(bench.catalogue["widget"], bindings={"v2": None})}
    from synapse_apply.applying.settle import IntentResolver
    from synapse_apply.model.resource import Capabilities

    settler = IntentResolver(
        bench.api, bench.catalogue, bench.context().secrets, bench.context().declared_target.manifests.marks,
        Capabilities(), LATER, 30.0,
    )  # fmt: skip
    settled = settler.resolve_intent(intent, None)
    assert settled.is_open
    assert "does not know its kind" in settled.reason


@pytest.mark.parametrize("done", [True, False])
def test_a_hidden_secret_that_may_have_been_added_is_ours(bench, done):
    """Dropping it from the manifest later must clear it, not refuse for its sake."""
    from unit.applying.test_lost_answers import hiding

    bench.catalogue = {"widget": widget_kind(decode=hiding)}
    bench.environ["W_KEY"] = "first-value"
    bench.apply(widget("w", configuration={"x": 1}))
    adding = widget("w", configuration={"x": 1, "key": SecretRef("env", "W_KEY")})
    cut(bench, adding, call="update_widget", done=done)
    # Whether it was done nobody can see, and it may still act until then.
    assert bench.apply(widget("w", configuration={"x": 2})).exit_code == 7
    bench.clock.at = LATER
    assert bench.apply(widget("w", configuration={"x": 2})).exit_code == 0
    assert bench.live("w")["configuration"] == {"x": 2}
    assert not bench.plan(widget("w", configuration={"x": 2})).plan.has_changes


def test_many_open_creates_are_looked_up_in_one_list(bench):
    """The list is read once a look, however many calls are open, and planning needs no other."""
    names = [f"w{number}" for number in range(8)]
    open_creates(bench, *names)
    bench.api.make("widget", {"name": "w3"})
    bench.api.calls.clear()
    bench.clock.at = LATER
    planned = bench.plan(*map(widget, names))
    assert bench.api.calls.count("list_widget") == 1
    assert [one.intent.state for one in planned.resolved_intents].count(IntentState.ABSENT) == 7


def test_equal_causes_are_one_warning(bench):
    """Twenty calls that are too young are said once, with how many and how long it takes."""
    names = [f"w{number}" for number in range(20)]
    open_creates(bench, *names)
    bench.clock.at = SOON
    (said,) = (planned := bench.plan(*map(widget, names)).plan).diagnostics
    assert said.summary == "The outcome of 20 earlier calls is still unknown"
    assert "create of widget/w0, widget/w1" in said.detail
    assert "and 15 more" in said.detail
    assert {change.refusals[0].ways_out[0] for change in planned.changes} == {
        "plan again after 2026-01-01T00:01:35Z: the next run looks up the call"
    }
    assert "apply --wait" in said.hint


def open_creates(bench, *names: str) -> None:
    """Creates that were begun, and of which nobody saw the end."""
    with bench.store.lock("apply"):
        for name in names:
            address = Address("widget", name)
            call = Intent(
                f"i-{name}",
                "p",
                address,
                "create",
                "v1",
                f"name={name}",
                sent_at=bench.clock.utc_now(),
                deadline=65.0,
            )
            bench.store.open_intent_and_use_up_its_approvals(call)
