"""Drift that is kept stays as it is and stays in sight; what is accepted is a change no more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from laws import holds
from laws.bench import ANYTHING_GOES, Project, on_each_api, pending
from laws.effort import effort
from laws.worlds import Story, stories

from synapse_apply import Plan
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.errors import InputError
from synapse_apply.model.plan import Cause
from synapse_apply.model.report import Result
from synapse_apply.model.values import get_at_or_absent
from synapse_apply.operations.write_drift import write_live_values
from synapse_apply.planning.drift import build_drift_report

pytestmark = pytest.mark.deep

HOLD = replace(ANYTHING_GOES, on_drift="hold")
_OUTSIDE = {Cause.DRIFT, Cause.BOTH}


def held(plan: Plan) -> dict[tuple[str, FieldPath], Any]:
    """What a plan keeps, and the live values it keeps."""
    return {
        (str(change.address), field.path): (change.remote_id, field.before)
        for change in plan.changes
        if not change.is_refused
        for field in change.held
    }


def goes(project: Project) -> bool:
    """Apply; whether all of it went through, so that nothing else explains a difference."""
    try:
        done = project.apply()
    except InputError:
        return False
    return all(outcome.result is Result.DONE for outcome in done.report.outcomes)


@on_each_api()
def test_what_is_held_stays(project, api, switches):
    """No value changes at the server, the next plan is empty, and it holds the same again."""

    @effort(few=2, many=60)
    @given(stories())
    def law(drawn: Story) -> None:
        here, story = project(switches, api), drawn.on(api, switches)
        story.first.write(here.root)
        if not goes(here):
            return
        for edit in story.outside:
            here.server.edit(edit)
        story.second.write(here.root)
        first = here.plan(HOLD).plan
        kept = held(first)
        try:
            done = here.apply(HOLD)
        except InputError:
            return
        holds.of_apply(here, done)
        bodies = {str(row["id"]): row["body"] for row in here.server.objects("plugin")}
        for (address, path), (remote_id, value) in kept.items():
            if address.startswith("plugin/"):
                assert get_at_or_absent(bodies[remote_id], path) == value, (address, path)
        again = here.plan(HOLD).plan
        assert pending(again) == []
        if done.report.exit_code == 0:
            assert kept.items() <= held(again).items()

    law()


@on_each_api()
def test_drift_is_told_as_the_plan_tells_it(project, api, switches):
    """Every field that a plan would put back is drift of the same cause, and nothing else is."""

    @effort(few=2, many=60)
    @given(stories())
    def law(drawn: Story) -> None:
        here, story = project(switches, api), drawn.on(api, switches)
        story.first.write(here.root)
        if not goes(here):
            return
        for edit in story.outside:
            here.server.edit(edit)
        story.second.write(here.root)
        planned = here.plan()
        told = {
            (one.address, field.path): field.cause
            for one in build_drift_report(planned.plan, planned.resources).objects
            for field in one.fields
        }
        wanted = {
            (change.address, field.path): field.cause
            for change in planned.plan.changes
            for field in change.fields
            if field.cause in _OUTSIDE
        }
        # A secret without a value here is seen to have moved, and no plan can say more of it.
        unknown = set(told) - set(wanted)
        assert all(told[at] is Cause.DRIFT for at in unknown)
        assert {at: told[at] for at in wanted} == wanted

    law()


@on_each_api()
def test_what_is_accepted_is_no_change(project, api, switches):
    """Of each resource alone: it is refused in words, or the plan has nothing to do for it."""

    @effort(few=2, many=60)
    @given(stories())
    def law(drawn: Story) -> None:
        here, story = project(switches, api), drawn.on(api, switches)
        story.first.write(here.root)
        if not goes(here):
            return
        for edit in story.outside:
            here.server.edit(edit)
        planned = here.plan()
        for one in build_drift_report(planned.plan, planned.resources).changed_or_replaced_objects:
            with here.opened() as (context, _):
                found = build_drift_report(planned.plan, planned.resources)
                try:
                    write_live_values(
                        here.where, context, planned, found, [one.address], write=True
                    )
                except InputError as refused:
                    holds.of_findings(refused.diagnostics)
                    continue
            row = next(c for c in here.plan().plan.changes if c.address == one.address)
            before = next(c for c in planned.plan.changes if c.address == one.address)
            waiting = {field.path for field in before.fields if field.cause not in _OUTSIDE}
            assert {field.path for field in row.fields} <= waiting

    law()
