"""When another run took the state over, nothing more is started and the report says so."""

from __future__ import annotations

from synapse_apply.model.address import Address
from synapse_apply.model.errors import Exit
from synapse_apply.model.plan import Action, Plan, PlanBase
from synapse_apply.model.report import Outcome, Report, Result
from synapse_apply.model.state import BackendIdentity
from synapse_apply.views.text.outcomes import render_report

PLAN = Plan(
    "p", "2026-01-01T00:00:00Z", "1", PlanBase("prod", BackendIdentity("https://x"), "l", 1)
)


def test_the_report_of_a_run_that_lost_its_lock() -> None:
    """Exit 6, and words for it: what was done before stands."""
    report = Report(PLAN, lock_lost=True)

    assert report.exit_code == Exit.LOCKED
    text = render_report(report, color=False)
    assert "Apply incomplete!" in text
    assert "The lock on the state was lost to another run; nothing was started after." in text


def test_a_lost_lock_hides_nothing_that_is_worse() -> None:
    """Something was not done: 3. A call may have been done all the same: 7."""
    left = Outcome(Address("storage", "a"), Action.CREATE, Result.SKIPPED)
    failed = Outcome(Address("storage", "c"), Action.CREATE, Result.FAILED)
    unknown = Outcome(Address("storage", "b"), Action.CREATE, Result.UNKNOWN)

    assert Report(PLAN, (left,), lock_lost=True).exit_code == Exit.INCOMPLETE
    assert Report(PLAN, (failed,), lock_lost=True).exit_code == Exit.INCOMPLETE
    assert Report(PLAN, (left, unknown), lock_lost=True).exit_code == Exit.UNKNOWN
