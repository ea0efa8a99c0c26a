"""What a reader is told once, or not at all: bookkeeping, equal causes, rows that stay."""

from __future__ import annotations

from dataclasses import replace

from synapse_apply import Plan, Report
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Position, error_finding, warning_finding
from synapse_apply.model.plan import Action, Change, PlanBase, Refusal
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.state import BackendIdentity
from synapse_apply.views.ci import build_report_outputs, changed_plan_annotations, plan_annotations
from synapse_apply.views.html.reports import render_report_html
from synapse_apply.views.json.documents import report_document
from synapse_apply.views.markdown.report import render_report_markdown
from synapse_apply.views.text.outcomes import render_report

PLAN = Plan(
    "p", "2026-01-01T00:00:00Z", "1", PlanBase("prod", BackendIdentity("https://x"), "l", 1)
)


def at(number: int) -> Address:
    return Address("storage", f"s{number}")


def interrupted() -> Report:
    """One storage was made and one was not; the records of 18 others were to be brought up."""
    rows = [Change(at(number), Action.NO_OP, rebase=True) for number in range(18)]
    changes = (*rows, Change(at(18), Action.CREATE), Change(at(19), Action.CREATE))
    why = (warning_finding("Skipped", "The run was stopped."),)
    outcomes = (
        Outcome(at(18), Action.CREATE, Result.DONE, "1"),
        Outcome(at(19), Action.CREATE, Result.SKIPPED, diagnostics=why),
        *(Outcome(row.address, row.action, Result.SKIPPED, diagnostics=why) for row in rows),
    )
    return Report(replace(PLAN, changes=changes), outcomes, stop_signal=15)


def test_an_interrupted_apply_counts_no_bookkeeping() -> None:
    """The plan said 2 to add: the report speaks of these, in every form."""
    report = interrupted()
    text = render_report(report, color=False)
    assert "1 added, 0 changed, 0 destroyed; 0 failed, 1 skipped, 0 unknown." in text
    assert "storage/s0 " not in text
    markdown = render_report_markdown(report)
    assert "storage/s19" in markdown
    assert "storage/s0" not in markdown
    assert "storage/s0<" not in render_report_html(report)
    assert build_report_outputs(report)["skipped"] == "1"
    assert report_document(report)["counts"]["skipped"] == 1


def failed(number: int, detail: str = "creating {}: no connection to backend.") -> Outcome:
    told = error_finding(
        "A call failed", detail.format(at(number)), "Apply again.", address=str(at(number))
    )
    return Outcome(at(number), Action.CREATE, Result.FAILED, diagnostics=(told,))


def test_equal_causes_are_one_finding_with_a_count() -> None:
    """Twenty calls that failed alike: one block; what failed otherwise has its own."""
    other = failed(99, "creating {}: name: too long.")
    report = Report(PLAN, (*map(failed, range(20)), other))
    text = render_report(report, color=False)
    assert text.count("Error: A call failed") == 2
    assert (
        "20 resources: storage/s0, storage/s1, storage/s2, storage/s3, storage/s4 and 15 more."
        in (text)
    )
    assert "name: too long." in text
    assert len(report_document(report)["diagnostics"]) == 21


def test_a_few_findings_stay_as_they_are() -> None:
    """Each with its place."""
    text = render_report(Report(PLAN, tuple(map(failed, range(3)))), color=False)
    assert text.count("Error: A call failed") == 3


def noted(address: Address, weight: object = warning_finding) -> Diagnostic:
    return weight("Look here", address=str(address), position=Position("a.yaml", 1, 1))  # type: ignore[operator,no-any-return]


def test_annotations_are_for_rows_that_the_change_touches() -> None:
    """A warning on what stays as it is annotates nobody's pull request; an error always does."""
    changes = (
        Change(at(0), Action.NO_OP),
        Change(at(1), Action.UPDATE),
        Change(at(2), Action.NO_OP, refusals=(Refusal("fixed", "It cannot be changed"),)),
        Change(at(3), Action.NO_OP),
    )
    found = (
        noted(at(0)),
        noted(at(1)),
        noted(at(2)),
        noted(at(3), error_finding),
        warning_finding("Of all"),
    )
    plan = replace(PLAN, changes=changes, diagnostics=found)
    touched = {(one.title, one.subject) for one in changed_plan_annotations(plan)}
    assert touched == {
        ("Look here", "storage/s1"),
        ("Look here", "storage/s2"),
        ("Look here", "storage/s3"),
        ("Of all", ""),
        ("storage/s2 cannot be applied", "storage/s2"),
    }
    assert len(plan_annotations(plan)) == len(touched) + 1


def test_a_stop_that_comes_last_leaves_nothing_to_do() -> None:
    """Ctrl-C came while the last call was under way: all is done, and nobody runs it again."""
    cut = interrupted()
    changes = (Change(at(18), Action.CREATE),)
    done = replace(
        cut, plan=replace(cut.plan, changes=changes), outcomes=cut.outcomes[:1], stop_signal=2
    )
    text = render_report(done, color=False)
    assert "Apply complete! Resources: 1 added, 0 changed, 0 destroyed." in text
    assert "SIGINT stopped the run; calls that had started were finished and recorded." in text
    assert "again" not in text
