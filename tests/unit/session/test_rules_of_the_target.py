"""Whoever calls the library with nothing chosen is held to the project's rules."""

from __future__ import annotations

from dataclasses import replace

from unit.applying.bench import Bench, widget

from synapse_apply import PlanOptions, plan

WIDGETS = [widget(f"w{number}", note="a") for number in range(4)]


def test_drift_is_kept_where_the_project_says_so(bench: Bench) -> None:
    """`on_drift: hold` binds the library, too."""
    bench.apply(*WIDGETS)
    bench.live("w0")["note"] = "theirs"
    assert plan(bench.context(*WIDGETS), PlanOptions()).plan.has_changes
    bench.target = replace(bench.target, on_drift="hold")
    assert not plan(bench.context(*WIDGETS), PlanOptions()).plan.has_changes
    assert plan(bench.context(*WIDGETS), PlanOptions(on_drift="revert")).plan.has_changes
