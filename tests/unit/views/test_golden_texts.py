"""Plans, reports and findings look as the golden files say."""

import pytest
from unit.views.golden_files import check_golden
from unit.views.plan_samples import ERROR, PLANS, WARNING
from unit.views.report_samples import REPORTS

from synapse_apply.views.text.findings import render_diagnostics
from synapse_apply.views.text.outcomes import render_report
from synapse_apply.views.text.plan import render_plan


@pytest.mark.parametrize("name", PLANS)
def test_plan_as_plain_text(name):
    """Every sample plan renders as its golden file."""
    check_golden(f"plan-{name}.txt", render_plan(PLANS[name], color=False))


def test_plan_in_colour():
    """Colour marks symbols, headings and findings."""
    check_golden("plan-everything.ansi", render_plan(PLANS["everything"], color=True))


def test_plan_with_all_that_stays():
    """--show-unchanged hides neither a field nor a resource."""
    text = render_plan(PLANS["everything"], color=False, show_unchanged=True)
    check_golden("plan-everything-unchanged.txt", text)
    assert "hidden)" not in text.replace("items hidden)", "")


@pytest.mark.parametrize("name", REPORTS)
def test_report_as_plain_text(name):
    """Every sample report renders as its golden file."""
    check_golden(f"report-{name}.txt", render_report(REPORTS[name], color=False))


def test_report_in_colour():
    """Colour marks what was done and what was not."""
    check_golden("report-everything.ansi", render_report(REPORTS["everything"], color=True))


def test_diagnostics_as_text():
    """A finding says what, where, why and what to do next."""
    check_golden("diagnostics.txt", render_diagnostics([WARNING, ERROR], color=False))


def test_no_diagnostics_are_no_text():
    """Nothing found prints nothing."""
    assert render_diagnostics([], color=True) == ""
