"""What is live: by pin, by record, by natural key; a read that failed is never absence."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.applying.bench import release, widget
from unit.applying.scripted import lost, refused

from synapse_apply import RemoteError


def change(planned, address):
    return next(one for one in planned.plan.changes if str(one.address) == address)


@pytest.mark.parametrize(
    ("failure", "detail", "hint"),
    [
        (RemoteError("GET x/: refused. It never left."), "refused. It never left.", "the network"),
        (
            RemoteError("GET x/: 200 OK: no list", status_code=200),
            "no list.",
            "Check the target's url",
        ),
        (refused(500), "500.", "Run the command again"),
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


def test_an_object_that_was_made_anew_is_adopted(bench):
    """The recorded id is gone, and its name leads to a new one."""
    bench.apply(widget("w", note="a"))
    bench.api.objects["widget"] = {"9": {"id": 9, "name": "w", "note": "a"}}
    assert change(bench.plan(widget("w", note="a")), "widget/w").action.value == "adopt"
    bench.apply(widget("w", note="a"))
    assert bench.record("widget/w").remote_id == "9"
    assert not bench.plan(widget("w", note="a")).plan.has_changes


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


def plan_of_many(bench, failure, call):
    """What twenty recorded and twenty new resources say when every such call fails."""
    bench.apply(*[widget(f"w{n}") for n in range(20)])
    bench.api.calls.clear()
    for _ in range(99):
        bench.api.fail(call, failure)
    return bench.plan(*[widget(f"w{n}", note="a") for n in range(20)], widget("new"), widget("n2"))


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
