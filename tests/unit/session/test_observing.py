"""What is live: by pin, by record, by natural key; a read that failed is never absence."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.applying.bench import plugin, release, widget
from unit.applying.scripted import lost, refused

from synapse_apply.model.errors import InputError, RemoteError, Unauthorized, Unreachable
from synapse_apply.model.plan import Action


def change(planned, address):
    return next(one for one in planned.plan.changes if str(one.address) == address)


@pytest.mark.parametrize("failure", [lost(), refused(403), refused(500), refused(401)])
def test_a_read_that_fails_is_an_error_of_its_resource(bench, failure):
    """Planned as nothing at all; the others are planned, nothing can be applied."""
    bench.apply(widget("w"), widget("other"))
    bench.api.fail("get_widget", failure)
    planned = bench.plan(widget("w", note="a"), widget("other", note="a"))
    assert planned.plan.has_errors
    actions = {str(one.address): one.action for one in planned.plan.changes}
    assert sorted(actions.values(), key=str) == [Action.NO_OP, Action.UPDATE]
    bench.api.fail("get_widget", failure)
    with pytest.raises(InputError):
        bench.apply(widget("w", note="a"), widget("other", note="a"))
    assert "update_widget" not in bench.api.calls


@pytest.mark.parametrize(
    ("failure", "detail", "hint"),
    [
        (RemoteError("GET x/: refused. It never left."), "refused. It never left.", "the network"),
        (
            RemoteError("GET x/: 200 OK: no list", status_code=200),
            "no list.",
            "Check the target's url",
        ),
        (refused(500), "500.", "Run again"),
    ],
)
def test_a_read_that_fails_says_what_to_check(bench, failure, detail, hint):
    """In whole sentences: a web page means a wrong url, and trying again would not help."""
    bench.apply(widget("w"))
    bench.api.fail("get_widget", failure)
    (finding,) = bench.plan(widget("w")).plan.diagnostics
    assert finding.detail.endswith(detail)
    assert not finding.detail.endswith("..")
    assert hint in finding.hint


def test_what_hangs_on_an_unreadable_parent_is_refused(bench):
    """A child must not be made while nobody knows of its parent."""
    bench.apply(widget("p"))
    bench.api.fail("get_widget", lost())
    planned = bench.plan(widget("p"), widget("child", needs="p"))
    child = change(planned, "widget/child")
    assert child.is_refused
    assert planned.plan.has_errors


def test_a_list_is_asked_for_once(bench):
    """However many resources are looked up."""
    bench.plan(*[widget(f"w{n}") for n in range(20)])
    assert bench.api.calls == ["list_widget"]


def test_a_recorded_object_is_read_by_its_id(bench):
    """A rename in Synapse does not lose it: that is drift, not another object."""
    bench.apply(widget("w"))
    bench.live("w")["name"] = "renamed"
    planned = bench.plan(widget("w"))
    assert [one.path for one in change(planned, "widget/w").fields] == [("name",)]


def test_an_object_that_was_made_anew_is_adopted(bench):
    """The recorded id is gone, and its name leads to a new one."""
    bench.apply(widget("w", note="a"))
    bench.api.objects["widget"] = {"9": {"id": 9, "name": "w", "note": "a"}}
    assert change(bench.plan(widget("w", note="a")), "widget/w").action is Action.ADOPT
    bench.apply(widget("w", note="a"))
    assert bench.record("widget/w").remote_id == "9"
    assert not bench.plan(widget("w", note="a")).plan.has_changes


def test_a_missing_object_is_recreated(bench):
    """Once, and the record follows it."""
    bench.apply(widget("w", note="a"))
    bench.api.objects["widget"].clear()
    assert change(bench.plan(widget("w", note="a")), "widget/w").action is Action.RECREATE
    bench.apply(widget("w", note="a"))
    assert bench.record("widget/w").remote_id == "2"
    assert bench.api.writes() == ["create_widget", "create_widget"]


def test_an_id_that_belongs_to_another_object_now(bench):
    """The immutable identity differs: refused, and nothing is sent to it."""
    bench.apply(widget("w", serial="s1", note="a"))
    bench.live("w")["serial"] = "s2"
    report = bench.apply(widget("w", serial="s1", note="b"))
    assert report.exit_code == 5
    assert report.plan.refused_changes[0].refusals[0].rule == "other-object"
    assert bench.api.writes() == ["create_widget"]


def test_a_pin_that_is_not_there_is_an_error(bench):
    """Never a create: the user said that it exists."""
    planned = bench.plan(replace(widget("w"), remote_id="77"))
    assert planned.plan.has_errors
    assert "77" in planned.plan.diagnostics[0].detail


def test_a_plugin_named_by_an_id_that_is_not_there(bench):
    """The release cannot be looked up or made: an error at plan time."""
    orphan = release()
    orphan = replace(orphan, spec={**orphan.spec, "plugin": "77"})
    planned = bench.plan(orphan)
    assert planned.plan.has_errors
    assert "check the id" in planned.plan.diagnostics[0].hint


def test_a_plugin_named_by_its_id(bench):
    """Read once, however many releases name it."""
    bench.api.create_plugin({"name": "yolo", "code": "yolo"})
    releases = [
        replace(one, spec={**one.spec, "plugin": "1"}) for one in (release(), release("2.0.0"))
    ]
    bench.api.calls.clear()
    bench.apply(*releases)
    assert bench.api.calls.count("get_plugin") == 1
    assert bench.record("release/yolo@2.0.0").natural_key == "code=yolo@2.0.0"


def test_capabilities_are_probed_once_and_kept(bench):
    """405 says that there is no plugin list; any other failure is no answer."""
    planned = bench.plan(plugin(), plugin("other"))
    assert planned.plan.capabilities.has_capability("plugin.list") is False


def test_renames_are_followed_by_state_mv(bench):
    """A new address with the old natural key: refused, until the state is told."""
    from synapse_apply.model.address import Address

    bench.apply(widget("old", size=1))
    renamed = replace(widget("old", size=1), address=Address("widget", "new"))
    report = bench.apply(renamed)
    assert report.exit_code == 5
    assert report.plan.refused_changes[0].refusals[0].ways_out == (
        "`synapse-apply state mv widget/old widget/new`",
        "in the project file, for every target: moved: [{from: widget/old, to: widget/new}]",
    )
    with bench.store.lock("mv"):
        bench.store.rename_addresses({Address("widget", "old"): Address("widget", "new")})
    assert not bench.plan(renamed).plan.has_changes
    assert len(bench.api.objects["widget"]) == 1


def plan_of_many(bench, failure, call):
    """What twenty recorded and twenty new resources say when every such call fails."""
    bench.apply(*[widget(f"w{n}") for n in range(20)])
    bench.api.calls.clear()
    for _ in range(99):
        bench.api.fail(call, failure)
    return bench.plan(*[widget(f"w{n}", note="a") for n in range(20)], widget("new"), widget("n2"))


@pytest.mark.parametrize(
    "failure",
    [Unauthorized("GET x/: 401 Unauthorized", status_code=401), Unreachable("GET x/: refused")],
)
def test_a_backend_that_answers_nobody_is_asked_once(bench, failure):
    """One finding, not one a resource; and no lock-out for a wrong token."""
    planned = plan_of_many(bench, failure, "get_widget")
    assert [one.summary for one in planned.plan.diagnostics] == ["Reading the live state failed"]
    assert planned.plan.diagnostics[0].address is None
    assert bench.api.calls.count("get_widget") == 1
    assert planned.plan.has_errors


def test_a_backend_that_lets_reads_wait_is_not_asked_for_long(bench):
    """One slow object is told by itself; the third ends it."""
    planned = plan_of_many(bench, lost(), "get_widget")
    assert len(planned.plan.diagnostics) == 3
    assert bench.api.calls.count("get_widget") == 3


def test_a_list_that_cannot_be_had_is_asked_for_once(bench):
    """Its finding stands for all that would have been looked for in it."""
    planned = plan_of_many(bench, refused(403), "list_widget")
    assert len(planned.plan.diagnostics) == 1
    assert bench.api.calls.count("list_widget") == 1
    assert planned.plan.has_errors


def test_objects_that_cannot_be_read_are_told_each(bench):
    """Some may be forbidden and others not."""
    planned = plan_of_many(bench, refused(403), "get_widget")
    assert len(planned.plan.diagnostics) == 20
