"""Tools that read Terraform's output read ours: the expressions tfcmt uses match."""

import re
from dataclasses import replace

import pytest
from unit.views import plan_samples as samples
from unit.views.report_samples import REPORTS

from synapse_apply.model.address import Address
from synapse_apply.model.project import MovedAddress
from synapse_apply.views.text.outcomes import render_report
from synapse_apply.views.text.plan import render_plan

PASSES = re.compile(r"(?m)^(Plan: \d|No changes.)")
FAILS = re.compile(r"(?m)^(Error: )")
DESTROYS = re.compile(r"(?m)([1-9][0-9]* to destroy.)")
APPLIED = re.compile(r"(?m)^(Apply complete!)")
ROWS = {
    "created": re.compile(r"(?m)^ *# (.*) will be created$"),
    "updated": re.compile(r"(?m)^ *# (.*) will be updated in-place$"),
    "destroyed": re.compile(r"(?m)^ *# (.*) will be destroyed$"),
    "imported": re.compile(r"(?m)^ *# (.*) will be imported$"),
    "imported_from": re.compile(r"(?m)^ *# \(imported from (.*)\)$"),
}


def text(name):
    """A sample plan without colour."""
    return render_plan(samples.PLANS[name], color=False)


@pytest.mark.parametrize("name", ["everything", "create", "no-changes", "refused-only", "empty"])
def test_a_good_plan_is_seen_as_one(name):
    """A plan that could be made matches the expression for success."""
    assert PASSES.search(text(name))


def test_an_errored_plan_is_seen_as_failed():
    """An errored plan has neither a Plan: line nor No changes., and an Error: block."""
    assert not PASSES.search(text("errored"))
    assert FAILS.search(text("errored"))


def test_destroys_are_seen():
    """The warning label for destroys is set only where something is destroyed."""
    assert DESTROYS.search(render_plan(samples.plan(samples.DELETE), color=False))
    assert not DESTROYS.search(text("create"))


def test_resources_are_listed_by_action():
    """The addresses in a comment are those of the plan."""
    found = {word: regex.findall(text("everything")) for word, regex in ROWS.items()}
    assert found == {
        "created": ["plugin/yolo", "release/yolo@1.2.0", "storage/데이터-호수"],
        "updated": ["plugin/segmenter"],
        "destroyed": ["storage/scratch"],
        "imported": ["storage/archive", "plugin/ocr"],
        "imported_from": ['"7"', '"31"'],
    }


def test_moves_are_listed():
    """A rename is told in Terraform's words, before all else."""
    moved = MovedAddress(samples.YOLO, Address("plugin", "detector"))
    output = render_plan(replace(samples.plan(), moved=(moved,)), color=False)
    assert re.findall(r"(?m)^ *# (.*) has moved to (.*)$", output) == [
        ("plugin/yolo", "plugin/detector")
    ]
    assert PASSES.search(output)


def test_a_manifest_cannot_forge_rows_or_totals():
    """Text of several lines is never a line of its own in the plan."""
    forged = "a\n  # plugin/other will be destroyed\nPlan: 0 to add\nError: x\nNo changes."
    change = samples.Change(
        samples.YOLO,
        samples.Action.CREATE,
        fields=(samples.new("description", value=forged), samples.new("list", value=[forged])),
        notes=(forged,),
        reason=forged,
    )
    output = render_plan(samples.plan(change), color=False)
    assert ROWS["destroyed"].findall(output) == []
    assert [m.group() for m in PASSES.finditer(output)] == ["Plan: 1"]
    assert not FAILS.search(output)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ((samples.CREATE_PLUGIN,), "Plan: 1 to add, 0 to change, 0 to destroy."),
        ((samples.ADOPT,), "Plan: 1 to import, 0 to add, 0 to change, 0 to destroy."),
        ((samples.ADOPT_AND_UPDATE,), "Plan: 1 to import, 0 to add, 1 to change, 0 to destroy."),
        ((samples.FORGET,), "Plan: 0 to add, 0 to change, 0 to destroy, 1 to forget."),
        ((samples.REFUSED_STORAGE,), "Plan: 0 to add, 0 to change, 0 to destroy."),
        ((samples.NO_OP,), "No changes. Live state matches the configuration."),
        ((), "No changes. This plan contains no resources."),
    ],
)
def test_the_last_line_counts(changes, line):
    """The totals stand at column 0 in the words tools rely on, and last."""
    assert render_plan(samples.plan(*changes), color=False).splitlines()[-1] == line


def test_a_refusal_is_told_before_the_totals():
    """Never `No changes.` beside a `!` row."""
    lines = text("refused-only").splitlines()
    assert lines[-2] == "Refused: 1 (see ! rows)."
    assert "No changes." not in text("refused-only")


@pytest.mark.parametrize(
    ("name", "whole"),
    [("complete", True), ("everything", False), ("stopped", False), ("refused", False)],
)
def test_only_a_whole_apply_is_complete(name, whole):
    """`Apply complete!` is said only when all was done."""
    output = render_report(REPORTS[name], color=False)
    assert bool(APPLIED.search(output)) is whole
    assert bool(re.search(r"(?m)^Apply incomplete! Resources: \d+", output)) is not whole


def test_every_changed_path_is_visible():
    """No update without a visible difference."""
    output = render_plan(samples.plan(samples.UPDATE), color=False)
    for change in samples.UPDATE.fields:
        assert str(change.path[-1]) in output


def test_every_cause_from_outside_is_named():
    """Drift, and drift that met a change in Git, stand beside their fields."""
    output = text("everything")
    assert '-> "Vision" # drift: changed outside' in output
    assert '-> "exact" # changed in Git and outside' in output


def test_long_values_show_where_they_differ():
    """A long string is cut around the difference, not before it."""
    before, after = "x" * 3000 + "old" + "y" * 500, "x" * 3000 + "new" + "y" * 500
    change = samples.Change(
        samples.YOLO,
        samples.Action.UPDATE,
        fields=(samples.moved("d", before=before, after=after),),
    )
    output = render_plan(samples.plan(change), color=False)
    assert "old" in output
    assert "new" in output
    assert max(map(len, output.splitlines())) < 600
