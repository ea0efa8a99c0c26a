"""What a reviewer finds on the page of a plan, an apply and a drift."""

from __future__ import annotations

import re

import pytest
from unit.views import plan_samples as samples
from unit.views.leaf import Leaf
from unit.views.report_samples import REPORTS

from synapse_apply.model.address import Address
from synapse_apply.model.plan import Action, Cause, Change
from synapse_apply.model.report import Drift, ObjectDrift, Unmanaged
from synapse_apply.views.html.graph_drawing import MAX_DRAWN_NODES
from synapse_apply.views.html.reports import (
    render_drift_html,
    render_findings_html,
    render_plan_html,
    render_report_html,
)


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


def test_what_stands_in_the_way_comes_first():
    """Guards and refusals, then this change, apart from drift; each with its count."""
    assert titles(render_plan_html(samples.PLANS["everything"])) == [
        ("What to do next", ""),
        ("Apply will stop", "1"),
        ("Refused", "2"),
        ("This change", "5"),
        ("Drift, not from this change", "2"),
        ("Adopted", "2"),
        ("Forgotten", "1"),
        ("Notes", "2"),
        ("Warnings", "1"),
        ("Dependencies", ""),
    ]


def test_a_field_is_in_the_part_it_comes_from():
    """An update of both is two rows, each with its own fields and causes."""
    page = render_plan_html(samples.plan(samples.UPDATE))
    ours, drift = re.findall(r"<details .*?</details>", page, re.DOTALL)
    assert "author" not in ours
    assert 'data-cause="git both secret"' in ours
    assert '<th scope="row">author</th>' in drift
    assert 'data-cause="drift"' in drift


def test_a_changed_field_is_a_row_of_before_and_after():
    """Short values side by side, texts and lists line by line, what is absent as not set."""
    page = render_plan_html(samples.plan(samples.UPDATE))
    mode = page[page.index("configuration.mode") :]
    assert mode.index("fast") < mode.index("exact") < mode.index("Git and outside")
    assert '<span class="gone">-   | old</span><span class="come">+   | new</span>' in page
    assert '<span class="gone">-   &quot;class-7&quot;,</span>' in page
    assert "(sensitive, changed)" in page


def test_a_refusal_says_why_and_how_to_go_on():
    """The reason, its place, the ways out and what was wanted, open from the start."""
    leaf = Leaf(
        page := render_plan_html(samples.plan(samples.REFUSED_STORAGE, *samples.ALL[:3] * 4))
    )
    assert '<details class="row trouble" id="r0"' in page
    assert leaf.rows[0]["data-trouble"] == "1"
    assert "open" in leaf.rows[0]
    assert "open" not in leaf.rows[1]
    for said in ("this API cannot change a storage", "manifests/storages.yaml:14:5",
                 "declare a storage under a new name", "eu-central-1"):  # fmt: skip
        assert said in leaf.said


def test_an_apply_tells_what_went_wrong_first():
    """Unknown and failed before refused, skipped and done, each with what the server said."""
    page = render_report_html(REPORTS["everything"], run_url="https://ci.example/7")
    assert [title for title, _ in titles(page)] == [
        "What to do next", "Outcome unknown", "Failed", "Refused", "Skipped", "Done", "Warnings",
        "Dependencies",
    ]  # fmt: skip
    said = Leaf(page).said
    assert "Apply incomplete!" in said
    assert "amazon_s3 is switched off for this tenant" in said
    assert "req-3" in said
    assert "https://ci.example/7" in said


def test_verifications_are_told():
    """A run with what is sent; a run that failed with the last lines of its log."""
    planned = Leaf(render_plan_html(samples.PLANS["verify"]))
    assert "parameters.quality" in planned.said
    assert "job 12 is still running" in planned.said
    ended = Leaf(render_report_html(REPORTS["not-verified"]))
    assert "step 1" in ended.said
    assert "cannot be withdrawn" in ended.said


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


def test_findings_alone_are_a_page():
    """Why a command ended before it had a plan."""
    leaf = Leaf(render_findings_html([samples.ERROR], "plan", target="prod"))
    assert leaf.texts["h1"] == "Plan failed for prod"
    assert "req-9" in leaf.said
    assert "form" not in leaf.tags


def test_the_graph_leads_to_the_rows():
    """A box for what is planned and what it needs; a box of a row is a link to it."""
    page = render_plan_html(samples.PLANS["create"])
    assert re.findall(r'<a class="node (\w+)" href="#(\w+)"><title>([^<]+)</title>', page) == [
        ("create", "r1", "release/yolo@1.2.0: create"),
        ("create", "r0", "plugin/yolo: create"),
    ]
    assert page.count('class="edge"') == 1


@pytest.mark.parametrize("size", [MAX_DRAWN_NODES, MAX_DRAWN_NODES + 1])
def test_a_large_graph_is_left_out(size):
    """Above a size there are words in its place; a circle is drawn, too."""
    names = [Address("k", f"n{at}") for at in range(size)]
    changes = [Change(a, Action.CREATE, depends_on=(names[at - 1],)) for at, a in enumerate(names)]
    page = render_plan_html(samples.plan(*changes))
    assert page.count("<rect") == (size if size <= MAX_DRAWN_NODES else 0)
    assert ("too many to draw" in page) == (size > MAX_DRAWN_NODES)
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


def test_filters_offer_what_there_is():
    """Kinds, actions and causes of this page, where there are two or more to choose from."""
    page = render_plan_html(samples.PLANS["everything"])
    assert re.findall(r'<select name="(\w+)">', page) == ["action", "kind", "cause"]
    assert "Only refused" in page
    assert "Only refused" not in render_plan_html(samples.PLANS["create"])
    assert "<select" not in render_plan_html(samples.plan(samples.CREATE_PLUGIN))
