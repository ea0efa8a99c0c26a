"""After an apply that went through there is nothing left to do, whatever was live before."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from laws import holds
from laws.bench import ANYTHING_GOES, Project, combinations, name_of, on_vendor, pending
from laws.effort import effort, spread
from laws.worlds import Story, stories

from synapse_apply import PlanOptions, SynapseApplyError

pytestmark = pytest.mark.deep


def settle(project: Project, choices: PlanOptions) -> None:
    """Apply, and check what must hold then; a plan in error is not applied."""
    before, state = project.server.everything(), project.state()
    try:
        done = project.apply(choices)
    except SynapseApplyError as stopped:
        holds.of_invalid_input(stopped)
        assert project.server.mutations() == []
        return
    holds.of_apply(project, done)
    states, after = (state, project.state()), project.server.everything()
    holds.live_only_fields_survive(states, before, after, done.plan)
    assert [o for o in done.report.outcomes if o.result.value != "done"] == []
    assert [one for one in done.report.verification_results if not one.is_acceptable] == []
    again = project.plan(choices).plan
    holds.of_plan(again)
    assert not again.has_errors, again.diagnostics
    assert pending(again) == []
    if done.report.exit_code == 0:
        assert again.refused_changes == ()
        assert not again.has_changes
        assert not again.guards


CASES = [
    *(("v1", switches) for switches in spread(combinations())),
    *(("v1", switches) for switches in on_vendor(few=2)),
    *(("v2", switches) for switches in spread(combinations("v2"))),
]


@pytest.mark.parametrize(("api", "switches"), CASES, ids=name_of)
def test_a_second_plan_is_empty(project, api, switches):
    """Also after outside edits, and after the manifests went on."""

    @effort(few=2, many=60)
    @given(stories())
    def law(drawn: Story) -> None:
        here, story = project(switches, api), drawn.on(api, switches)
        choices = replace(ANYTHING_GOES, prune=story.prune)
        here.found(story.first, story.before)
        for world, edits in ((story.first, story.outside), (story.second, story.later)):
            world.write(here.root)
            settle(here, choices)
            for edit in edits:
                here.server.edit(edit)
            settle(here, choices)

    law()
