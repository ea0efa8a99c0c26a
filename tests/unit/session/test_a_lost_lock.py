"""When another run took the state over, nothing more is started and the report says so."""

from __future__ import annotations

from synapse_apply.model.errors import Exit
from synapse_apply.model.plan import Base, Plan
from synapse_apply.model.report import Report
from synapse_apply.model.state import Binding
from synapse_apply.views.text import render_report


def test_the_report_of_a_run_that_lost_its_lock() -> None:
    """Exit 6, and words for it: what was done before stands."""
    plan = Plan("p", "2026-01-01T00:00:00Z", "1", Base("prod", Binding("https://x"), "l", 1))
    report = Report(plan, lock_lost=True)

    assert report.exit_code == Exit.LOCKED
    text = render_report(report, color=False)
    assert "Apply incomplete!" in text
    assert "The lock on the state was lost to another run; nothing was started after." in text
