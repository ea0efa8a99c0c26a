"""One apply as a person meets it: the plan, the question, progress, the report."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from synapse_apply.cli.console import Console, OutputFailedError
from synapse_apply.cli.flows.approval import FRESH_SECONDS, are_same_plan, ask_approval
from synapse_apply.cli.signals import StopSignal, exit_immediately
from synapse_apply.model.errors import Exit
from synapse_apply.model.plan import Plan
from synapse_apply.model.report import Report
from synapse_apply.operations.apply import apply, check
from synapse_apply.operations.plan import plan as make_plan
from synapse_apply.operations.preflight import ApplyPreflight
from synapse_apply.planning.plan_input import PlanOptions
from synapse_apply.views.text.plan import render_plan, render_report
from synapse_apply.views.text.progress import Display, choose_progress_display
from synapse_apply.workspace.target_session import PlanResult, TargetSession

if TYPE_CHECKING:
    from synapse_apply.cli.reports import Reports

# Within which a run that is told to stop ends where nobody can tell it once more.
DRAIN_SECONDS = 6.0


@dataclass
class ApplyRun:
    """What was asked of this apply; `plan_and_apply` gives its exit code."""

    console: Console
    session: TargetSession
    plan_options: PlanOptions
    auto_approve: bool = False
    all_or_nothing: bool = False
    adopts_existing: bool = False
    show_unchanged: bool = False
    operation: str = "apply"
    reports: Reports | None = None

    def __post_init__(self) -> None:
        self._preflight = ApplyPreflight(self.session)

    def plan_and_apply(self) -> int:
        """Plan, ask, apply, report. Raises what stops it before its first call."""
        if self.auto_approve:
            with self.session.lock_state("apply"):
                plan_result = self._make_and_show_plan()
                if not self.can_proceed(plan_result.plan):
                    return Exit.ERROR
                return self.apply_and_report(plan_result)
        plan_result = self._make_and_show_plan()
        while self.can_proceed(plan_result.plan):
            read_at = self.session.clock.monotonic_seconds()
            if plan_result.plan.has_changes and not self._ask_for_approval(plan_result.plan):
                return self._report_cancelled()
            with self.session.lock_state("apply"):
                new_result = self._replan_if_outdated(
                    plan_result, self.session.clock.monotonic_seconds() - read_at
                )
                if new_result is None or are_same_plan(new_result.plan, plan_result.plan):
                    return self.apply_and_report(new_result or plan_result)
            plan_result = new_result
            self.console.write_output(
                "\nThe backend or the state changed meanwhile; this is the plan now:\n\n"
            )
            self.show_plan(plan_result.plan)
        return Exit.ERROR

    def make_current_plan(self) -> PlanResult:
        """The plan as things are now, with what else is wrong."""
        return self._preflight.plan_with_checks(lambda: make_plan(self.session, self.plan_options))

    def _make_and_show_plan(self) -> PlanResult:
        plan_result = self.make_current_plan()
        self.show_plan(plan_result.plan)
        return plan_result

    def show_plan(self, plan: Plan) -> None:
        """The plan, for people; as events where those were asked for."""
        if self.console.as_events:
            from synapse_apply.views.json.events import build_finding_event, iter_plan_events

            self.console.write_events(iter_plan_events(plan))
            self.console.write_events(
                build_finding_event(finding.to_json()) for finding in plan.diagnostics
            )
        elif not self.console.as_json:
            color, width = self.console.is_output_colored, self.console.terminal_width
            shows_unchanged = self.show_unchanged
            self.console.write_output(
                render_plan(plan, color=color, width=width, show_unchanged=shows_unchanged)
            )

    def can_proceed(self, plan: Plan) -> bool:
        """False where the plan that was shown has said it all; raises what is yet to be said."""
        if plan.has_errors and not self.console.as_json:
            if self.reports:
                self.reports.write_stopped_plan(plan, Exit.ERROR)
            return False
        check(plan, all_or_nothing=self.all_or_nothing)
        return True

    def _replan_if_outdated(self, plan_result: PlanResult, age_seconds: float) -> PlanResult | None:
        """The plan made anew, when it is old or somebody else wrote to the state."""
        has_moved = self.session.store.read_serial() != plan_result.plan.base.serial
        return self.make_current_plan() if has_moved or age_seconds > FRESH_SECONDS else None

    def _ask_for_approval(self, plan: Plan) -> bool:
        target_text = f"target {plan.base.target}"
        return ask_approval(
            self.console,
            f"Do you want to perform these actions on {target_text}?",
            "synapse-apply will do what is shown above, and nothing else.",
        )

    def _report_cancelled(self) -> int:
        self.console.write_stderr("Apply cancelled. Nothing was sent.\n")
        return Exit.ERROR

    def apply_and_report(self, plan_result: PlanResult, *, uses_up_plan: bool = False) -> int:
        """Apply under the lock that the caller holds, and report.

        `uses_up_plan` uses the plan up.
        """
        if (
            plan_result.plan.actionable_changes
            or plan_result.plan.moved
            or plan_result.resolved_intents
        ):
            seconds = 0.0 if self.console.is_interactive else DRAIN_SECONDS
            with StopSignal(self._open_display(), seconds, self.session.backend.hang_up) as stop:
                report = apply(
                    self.session,
                    plan_result,
                    stop,
                    stop,
                    run_until_cut=stop.run_until_cut,
                    is_single_use=uses_up_plan,
                    may_adopt=self.adopts_existing,
                )
                was_cut = stop.was_cut
        else:
            report, was_cut = Report(plan_result.plan), False
        extras = {"operation": self.operation, "guards_overridden": self.plan_options.overridden}
        report = replace(report, extras={**report.extras, **extras})
        try:
            self._show_report(report)
        except OutputFailedError:
            # All that was done must not go unsaid because nobody can take it where it was to go.
            self.console.write_stderr(render_report(report, color=self.console.is_stderr_colored))
            raise
        finally:
            if self.reports:
                self.reports.write_apply_report(report)
            if was_cut:  # past the lock, which ends by itself, and the threads that still wait
                exit_immediately(report.exit_code)
        return report.exit_code

    def _open_display(self) -> Display:
        if not self.console.as_events:
            is_silent = self.console.as_json  # --json is one document and nothing else
            return choose_progress_display(
                sys.stderr, color=self.console.is_stderr_colored, silent=is_silent
            )
        from synapse_apply.views.json.events import EventWriter

        self.console.write_events(())  # the version is the first line, also where no plan was shown
        return EventWriter(sys.stdout)

    def _show_report(self, report: Report) -> None:
        if self.console.as_json:
            from synapse_apply.views.json.documents import report_document

            if self.console.as_events:
                from synapse_apply.views.json.events import iter_report_events

                self.console.write_events(iter_report_events(report))
            self.console.write_document(report_document(report))
        else:
            self.console.write_output(
                "\n" + render_report(report, color=self.console.is_output_colored)
            )
