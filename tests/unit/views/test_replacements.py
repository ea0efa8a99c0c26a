"""What a new release replaces stands in every view, whatever a saved plan holds."""

import json
from dataclasses import replace

import pytest
from unit.views.plan_samples import PLANS
from unit.views.test_json_documents import require_closed_shape

from synapse_apply.model.packages import ChangedFile, Replacement
from synapse_apply.model.plan import Action
from synapse_apply.views.html.reports import render_plan_html
from synapse_apply.views.json.documents import format_redacted_json_document, plan_document
from synapse_apply.views.markdown.report import render_plan_markdown
from synapse_apply.views.text.plan import render_plan

FILES = (
    ChangedFile("main.py", "changed", ("@@ -1,1 +1,1 @@", "-a<b>\x1b", "+::error::c ```")),
    ChangedFile("data.bin", "changed", note="not a text"),
    ChangedFile("new.py", "added"),
    ChangedFile("old\u202e.py", "removed"),
)
REPLACED = Replacement("1.0.0", {"added": 1, "changed": 2, "removed": 4}, FILES)


def plan_with(extras):
    """A plan whose first create has these extras besides."""
    sample = PLANS["everything"]
    at = next(n for n, one in enumerate(sample.changes) if one.action is Action.CREATE)
    changed = replace(sample.changes[at], extras={**sample.changes[at].extras, **extras})
    return replace(sample, changes=(*sample.changes[:at], changed, *sample.changes[at + 1 :]))


def test_every_view_lists_the_files():
    """Text and comment have a line a file, the page folds its difference out, JSON is data."""
    plan = plan_with({"replaces": REPLACED.to_json()})
    text = render_plan(plan, color=False, width=None)
    assert "  # (supersedes 1.0.0: 1 file added, 2 changed, 4 removed)\n" in text
    assert "  #   ~ main.py\n  #       @@ -1,1 +1,1 @@\n  #       -a<b>\\u001b\n" in text
    assert "  #   ~ data.bin (not a text)\n  #   + new.py\n  #   - old\\u202e.py\n" in text
    assert "(3 more files)" in text
    assert "supersedes 1.0.0: 1 file added, 2 changed, 4 removed" in render_plan_markdown(plan)
    page = render_plan_html(plan)
    assert "<b>\x1b" not in page
    assert "-a&lt;b&gt;\\u001b" in page
    document = json.loads(format_redacted_json_document(plan_document(plan)))
    require_closed_shape(document, "plan")
    (shown,) = [r["replaces"] for r in document["resource_changes"] if "replaces" in r]
    assert [one["path"] for one in shown["files"]] == [one.path for one in FILES]


def test_files_that_nobody_recorded():
    """The version is known, and that its files are not."""
    text = render_plan(plan_with({"replaces": {"version": "0.9"}}), color=False, width=None)
    assert "(supersedes 0.9; the state has no list of its files)" in text


@pytest.mark.parametrize(
    "odd",
    [
        None, 7, "x", [], {}, {"version": 7}, {"version": "1", "added": "2"},
        {"version": "1", "added": 1, "changed": -1, "removed": 0, "files": []},
        {"version": "1", "added": 1, "changed": 1, "removed": 0, "files": {"a": 1}},
        {"version": "1", "added": 1, "changed": 1, "removed": 0,
         "files": [7, {"path": 1}, {"path": "a", "change": "eaten"},
                   {"path": "a", "change": "added", "diff": [7, {}], "note": 3}]},
    ],
)  # fmt: skip
def test_what_a_forged_plan_says_breaks_no_view(odd):
    """Extras of a saved plan are whatever stands there."""
    plan = plan_with({"replaces": odd})
    for render in (
        render_plan_markdown,
        render_plan_html,
        lambda p: format_redacted_json_document(plan_document(p)),
    ):
        assert render(plan)
    assert render_plan(plan, color=False, width=None)
