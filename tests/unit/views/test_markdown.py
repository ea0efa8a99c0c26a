"""Markdown reports: as the golden files say, by cause, and within a budget."""

from __future__ import annotations

import re

import pytest
from counting import calls_of
from unit.views import plan_samples as samples
from unit.views.forge import read
from unit.views.golden_files import check_golden
from unit.views.report_samples import REPORTS

from synapse_apply import Report
from synapse_apply.model.address import Address
from synapse_apply.model.plan import Action, Cause, Change
from synapse_apply.model.report import Outcome, Result
from synapse_apply.views.markdown.budget import COMMENT_BUDGET, STEP_SUMMARY_BUDGET, SizeBudget
from synapse_apply.views.markdown.report import (
    render_findings_markdown,
    render_plan_markdown,
    render_report_markdown,
)

RUN = "https://github.com/acme/vision/actions/runs/7"


@pytest.mark.parametrize("name", ["everything", "no-changes", "errored", "refused-only", "offline"])
def test_plan_as_markdown(name):
    """Every sample plan renders as its golden file."""
    text = render_plan_markdown(samples.PLANS[name], run_url=RUN)
    read(text)
    check_golden(f"plan-{name}.md", text)


@pytest.mark.parametrize("name", ["complete", "everything", "stopped", "unrecorded", "nothing"])
def test_report_as_markdown(name):
    """What an apply did, its failures with their reasons and request ids, as the golden files."""
    text = render_report_markdown(REPORTS[name])
    read(text)
    check_golden(f"report-{name}.md", text)


def test_findings_as_markdown():
    """A command that ended before it had a plan says why."""
    text = render_findings_markdown([samples.WARNING, samples.ERROR], "plan", target="prod")
    read(text)
    check_golden("diagnostics.md", text)


def sections(text):
    """The addresses in each section, by its title."""
    parts = re.split(r"(?m)^### (.*?) \(\d.*$", text)
    names = re.compile(r"<summary><code>\W*(\S+)</code>")
    return dict(zip(parts[1::2], [names.findall(part) for part in parts[2::2]], strict=True))


def many(count, action=Action.UPDATE, cause=Cause.GIT):
    """Changes with values of some length."""
    return [
        Change(
            Address("plugin", f"{cause.value}-{n}"),
            action,
            fields=tuple(
                samples.moved(
                    f"field_{m}", before="old " * 9, after=f"값 {n} ``` " * 9, cause=cause
                )
                for m in range(4)
            ),
            remote_id=str(n),
            before={},
            after={},
        )
        for n in range(count)
    ]


@pytest.mark.parametrize(
    "budget",
    [COMMENT_BUDGET, STEP_SUMMARY_BUDGET, SizeBudget(8192)],
    ids=["comment", "summary", "8192"],
)
def test_5000_changes_fit(budget):
    """The document is within its budget, every block whole, and says what it left out."""
    drift = many(3, cause=Cause.DRIFT)
    plan = samples.plan(*many(5000), *drift, diagnostics=(samples.WARNING,))
    text = render_plan_markdown(plan, budget=budget, run_url=RUN)
    assert budget.measure(text) <= budget.limit
    assert budget.measure(text) > budget.limit * 0.8
    page = read(text)
    shown = page.tags.count("details")
    if budget is not STEP_SUMMARY_BUDGET:
        assert f"**{5003 - shown:,} not shown here:** [this run](<{RUN}>)" in text
    assert "### This change (5,000)" in text
    found = sections(text)
    if budget.limit > 10_000:
        assert len(found["Drift, not from this change"]) == 3
        assert "A secret is in plain text" in text
    for block in re.findall(r"(?ms)^(`{3,})diff$(.*?)^\1$", text):
        assert block[1].rstrip().endswith("}")


def test_a_report_of_5000_outcomes_fits():
    """So does what an apply did: what failed is shown whole, what was done is counted."""
    changes = many(5000)
    outcomes = [Outcome(c.address, c.action, Result.DONE, c.remote_id) for c in changes]
    outcomes[40:43] = [
        Outcome(c.address, c.action, Result.FAILED, request_id=f"req-{c.remote_id}")
        for c in changes[40:43]
    ]
    text = render_report_markdown(Report(samples.plan(*changes), tuple(outcomes)))
    assert len(text) <= 65_536
    read(text)
    assert all(f"`req-{n}`" in text for n in (40, 41, 42))
    assert "### Done (4,997)" in text
    assert "not shown here" in text


def work(count):
    """How much a summary of so many changes takes."""
    plan = samples.plan(*many(count))
    return calls_of(lambda: render_plan_markdown(plan, budget=SizeBudget(50_000_000)))


def test_work_grows_with_the_number_of_changes():
    """Eight times the changes are about eight times the work, not sixty-four."""
    work(3)  # what is compiled once is none of it
    assert work(400) < 10 * work(50)


def test_a_budget_has_room_for_the_headings():
    """A limit in which nothing fits is a mistake of the caller."""
    with pytest.raises(ValueError, match="8192"):
        SizeBudget(100)
