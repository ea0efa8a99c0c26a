"""What a reviewer finds on the page of a plan, an apply and a drift."""

from __future__ import annotations

import re

import pytest
from unit.views import plan_samples as samples
from unit.views.leaf import Leaf
from unit.views.report_samples import REPORTS

from synapse_apply import Drift
from synapse_apply.model.address import Address
from synapse_apply.model.plan import Action, Cause, Change
from synapse_apply.model.report import ObjectDrift, Unmanaged
from synapse_apply.views.html.graph_drawing import MAX_DRAWN_NODES
from synapse_apply.views.html.reports import render_drift_html, render_plan_html, render_report_html


def titles(page):
    """The headings of a page with their counts, in order."""
    return re.findall(r'<h2 id="\w+-title">([^<]+?)(?: <span[^>]*>([\d,]+)</span>)?</h2>', page)


@pytest.mark.parametrize("name", samples.PLANS)
def test_every_sample_plan_is_a_page(name):
    """Each is well formed and says the totals that the terminal shows."""
    leaf = Leaf(render_plan_html(samples.PLANS[name]))
    assert leaf.texts["h1"] == "Plan for prod"
    assert leaf.said.count("user:hunter2") == 0


@pytest.mark.parametrize("name", REPORTS)
def test_every_sample_report_is_a_page(name):
    """Each is well formed."""
    assert Leaf(render_report_html(REPORTS[name])).texts["h1"] == "Apply for prod"


def test_drift_tells_recorded_and_live():
    """What moved, what is gone, what nobody looks after, and the ways out."""
    moved = samples.moved("author", before="Vision", after="x", cause=Cause.DRIFT)
    drift = Drift(
        "2026-11-24T12:00:00Z",
        "0.1.0",
        samples.BASE,
        (
            ObjectDrift(samples.YOLO, "41", (moved,), blocked_reason="it cannot be changed"),
            ObjectDrift(samples.LAKE, "7", is_missing=True),
        ),
        unmanaged=(Unmanaged("plugin", "99", ("code=old",)),),
    )
    leaf = Leaf(page := render_drift_html(drift))
    assert titles(page) == [("Changed outside", "2"), ("Unmanaged", "1")]
    assert [row["data-action"] for row in leaf.rows] == ["changed", "gone", "unmanaged"]
    for said in ("Recorded", "Live", "it cannot be changed", "Was id 7", "code=old", "--write"):
        assert said in leaf.said


@pytest.mark.parametrize("size", [MAX_DRAWN_NODES, MAX_DRAWN_NODES + 1])
def test_a_large_graph_is_left_out(size):
    """Above a size there are words in its place; a circle is drawn, too."""
    names = [Address("k", f"n{at}") for at in range(size)]
    changes = [Change(a, Action.CREATE, depends_on=(names[at - 1],)) for at, a in enumerate(names)]
    page = render_plan_html(samples.plan(*changes))
    assert page.count("<rect") == (size if size <= MAX_DRAWN_NODES else 0)
    assert ("too large to draw" in page) == (size > MAX_DRAWN_NODES)
    Leaf(page)


def test_thousands_of_resources_are_all_there():
    """5,000 updates: a row each, in a file of a few megabytes."""
    changes = [
        Change(
            Address("k", f"n{at}"),
            Action.UPDATE,
            remote_id=str(at),
            fields=(samples.moved("description", before="old", after=f"new {at}"),),
        )
        for at in range(5000)
    ]
    page = render_plan_html(samples.plan(*changes))
    assert page.count("<details ") == 5000
    assert len(page) < 5_000_000
