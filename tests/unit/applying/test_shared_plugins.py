"""Who sees and runs a plugin: declared, compared and sent, and otherwise left alone."""

from __future__ import annotations

import pytest
from unit.applying.bench import plugin

SHARED = {"is_public": True, "is_active": False, "system_only": False, "detail": {"a": 1, "b": 2}}


@pytest.mark.parametrize(
    "declared", [{"is_public": True}, {"is_active": False}, {"detail": {"a": {"b": [1]}}}]
)
def test_what_is_declared_is_sent_and_compared(bench, declared):
    """Made so, sent again where it was changed outside."""
    bench.apply(plugin(**declared))
    assert declared.items() <= bench.live("yolo", "plugin").items()
    assert not bench.plan(plugin(**declared)).plan.has_changes
    (name,) = declared
    bench.api.objects["plugin"]["1"][name] = None
    assert bench.apply(plugin(**declared)).exit_code == 0
    assert bench.live("yolo", "plugin")[name] == declared[name]


def test_what_is_not_declared_is_never_sent(bench):
    """An update of another field would publish, or end, what somebody else decides on."""
    bench.apply(plugin())
    bench.api.objects["plugin"]["1"].update(SHARED)
    assert not bench.plan(plugin()).plan.has_changes
    bench.apply(plugin(description="d"))
    assert bench.api.writes() == ["create_plugin", "update_plugin"]
    assert not SHARED.keys() & bench.api.bodies[1][1].keys()


def test_a_declared_detail_keeps_its_other_keys(bench):
    """As in every free-form map."""
    bench.apply(plugin())
    bench.api.objects["plugin"]["1"].update(SHARED)
    bench.apply(plugin(detail={"a": 5}))
    assert bench.api.bodies[-1][1]["detail"] == {"a": 5, "b": 2}
    assert "is_public" not in bench.api.bodies[-1][1]


def test_what_is_no_longer_declared_is_left_as_it_is(bench):
    """And the plan says so."""
    bench.apply(plugin(is_public=True))
    planned = bench.plan(plugin()).plan
    assert "is_public: no longer declared, left unchanged" in planned.changes[0].notes
    assert bench.apply(plugin()).exit_code == 0
    assert bench.api.writes() == ["create_plugin"]
    assert not bench.plan(plugin()).plan.changes[0].notes
