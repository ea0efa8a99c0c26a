"""What a map takes the place of is shown: who approves a plan sees what is lost by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from unit.views.plan_samples import YOLO, moved, plan

from synapse_apply import Plan
from synapse_apply.model.plan import Action, Cause, Change, Refusal
from synapse_apply.model.values import ABSENT
from synapse_apply.views.html.reports import render_plan_html
from synapse_apply.views.markdown.budget import COMMENT_BUDGET
from synapse_apply.views.markdown.report import render_plan_markdown
from synapse_apply.views.text.plan import render_plan

VIEWS: dict[str, Callable[[Plan], str]] = {
    "text": lambda made: render_plan(made, color=False),
    "markdown": lambda made: render_plan_markdown(
        made, budget=COMMENT_BUDGET, run_url="", command="plan"
    ),
    "html": lambda made: render_plan_html(made, run_url="", command="plan"),
}


def change(cause: Cause, *, secret: bool = False) -> Change:
    """`configuration.x`, a text, becomes a map of two, and so does `configuration.l`, a list."""
    return Change(
        YOLO,
        Action.UPDATE,
        fields=(
            moved("configuration", "l", "k", before=ABSENT, after=1, cause=cause),
            moved("configuration", "x", "y", before=ABSENT, after=2, cause=cause),
            moved("configuration", "x", "z", "a", before=ABSENT, after=3, cause=cause),
        ),
        remote_id="7",
        before={"configuration": {"x": None if secret else "PRECIOUS", "l": ["TREASURE"]}},
        after={"configuration": {"x": {"y": 2, "z": {"a": 3}}, "l": {"k": 1}}},
        before_sensitive=(("configuration", "x"),) if secret else (),
    )


@pytest.mark.parametrize("cause", [Cause.GIT, Cause.DRIFT, Cause.BOTH])
@pytest.mark.parametrize("view", VIEWS.values(), ids=list(VIEWS))
def test_what_is_lost_is_shown_once(view: Callable[[Plan], str], cause: Cause) -> None:
    """Also where it goes with a refusal."""
    made = change(cause)
    refused = replace(made, refusals=(Refusal("immutable", "no", ("do not",)),))
    for one in (made, refused):
        shown = view(plan(one))
        assert (shown.count("PRECIOUS"), shown.count("TREASURE")) == (1, 1)


@pytest.mark.parametrize("view", VIEWS.values(), ids=list(VIEWS))
def test_a_secret_is_lost_without_its_value(view: Callable[[Plan], str]) -> None:
    assert "PRECIOUS" not in view(plan(change(Cause.GIT, secret=True)))


def test_a_text_in_place_of_a_map_with_a_secret_may_be_one() -> None:
    """It is told without its value."""
    made = replace(
        change(Cause.GIT),
        before_sensitive=(("configuration", "x", "z", "a"),),
        after_sensitive=(("configuration", "x", "z", "a"),),
    )
    for view in VIEWS.values():
        shown = view(plan(made))
        assert ("PRECIOUS" in shown, "TREASURE" in shown) == (False, True)
