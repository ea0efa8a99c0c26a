"""Whoever calls the library with nothing chosen is held to the project's rules."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.applying.bench import Bench, widget

from synapse_apply import PlanOptions, apply, check, plan
from synapse_apply.model.errors import Refused
from synapse_apply.model.plan import Action
from synapse_apply.model.project import GuardSettings

WIDGETS = [widget(f"w{number}", note="a") for number in range(4)]


def test_the_guards_of_the_project_count(bench: Bench) -> None:
    """One of four missing is more than this target allows; what is given goes before it."""
    bench.apply(*WIDGETS)
    bench.target = replace(bench.target, guards=GuardSettings(max_share=0.1, min_objects=2))
    bench.api.objects["widget"].pop("1")
    planned = plan(bench.context(*WIDGETS), PlanOptions())
    assert [trip.name for trip in planned.plan.guards] == ["mass-missing"]
    with pytest.raises(Refused):
        check(planned.plan)
    assert not plan(bench.context(*WIDGETS), PlanOptions(guards=GuardSettings())).plan.guards


def test_drift_is_kept_where_the_project_says_so(bench: Bench) -> None:
    """`on_drift: hold` binds the library, too."""
    bench.apply(*WIDGETS)
    bench.live("w0")["note"] = "theirs"
    assert plan(bench.context(*WIDGETS), PlanOptions()).plan.has_changes
    bench.target = replace(bench.target, on_drift="hold")
    assert not plan(bench.context(*WIDGETS), PlanOptions()).plan.has_changes
    assert plan(bench.context(*WIDGETS), PlanOptions(on_drift="revert")).plan.has_changes


def test_nothing_is_adopted_unasked(bench: Bench) -> None:
    """The plan shows it; only `adopt` lets it go."""
    bench.api.objects["widget"]["9"] = {"id": 9, "name": "w0", "note": "a"}
    context = bench.context(WIDGETS[0])
    planned = plan(context, PlanOptions())
    assert [change.action for change in planned.plan.changes] == [Action.ADOPT]
    with pytest.raises(Refused):
        check(planned.plan)
    with bench.store.lock("a script"):
        asked = plan(context, PlanOptions(adopt=True))
        check(asked.plan)
        assert apply(context, asked, bench.progress).exit_code == 0
    assert bench.record("widget/w0").remote_id == "9"
