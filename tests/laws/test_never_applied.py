"""A plan in error, or one that a guard stops, is never applied: nothing is sent or recorded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import holds
from laws.bench import Project, on_each_api
from laws.effort import effort
from laws.worlds import Edit, Story, edits, stories

from synapse_apply import PlanOptions, SilentProgress, SynapseApplyError, apply, check, plan

pytestmark = pytest.mark.deep

CHOICES = st.builds(
    PlanOptions, prune=st.booleans(), adopt=st.booleans(), resend_secrets=st.booleans()
)
COPIES = st.integers(0, 2).map(lambda at: Edit("storage", at, "copy"))
LOSSES = st.builds(Edit, st.sampled_from(["plugin", "storage"]), st.just(0), st.just("delete"))
TROUBLE = st.lists(COPIES | LOSSES | edits(), max_size=6)


def stopped(project: Project, choices: PlanOptions) -> SynapseApplyError | None:
    """Plan and try to apply as the command does; what stopped it, None when it went on."""
    with project.opened() as (context, _), context.store.lock("apply"):
        planned = plan(context, choices)
        holds.of_plan(planned.plan)
        try:
            check(planned.plan)
        except SynapseApplyError as problem:
            assert planned.plan.has_errors or planned.plan.guards
            return problem
        assert not planned.plan.has_errors
        assert not planned.plan.guards
        holds.of_report(apply(context, planned, SilentProgress()))
    return None


@on_each_api()
def test_a_stopped_plan_changes_nothing(project, api, switches):
    """Neither the server nor the state, and the exit code says which it was."""

    @effort(few=3, many=60)
    @given(stories(), TROUBLE, CHOICES)
    def law(drawn: Story, trouble: list[Edit], choices: PlanOptions) -> None:
        here, story = project(switches, api), drawn.on(api, switches)
        story.first.write(here.root)
        here.apply()
        for edit in trouble:
            here.server.edit(edit)
        story.second.write(here.root)
        live, state = here.server.everything(), here.state()
        here.server.forget()
        problem = stopped(here, choices)
        if problem is None:
            return
        assert problem.diagnostics
        if problem.exit_code == 5:
            holds.of_findings(problem.diagnostics)
        else:
            assert problem.exit_code == 1
            holds.of_invalid_input(problem)
        assert here.server.mutations() == []
        assert here.server.everything() == live
        assert here.state() == state

    law()
