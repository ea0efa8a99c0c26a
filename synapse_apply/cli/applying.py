"""One apply as a person meets it: the plan, the question, progress, the report."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from synapse_apply.cli.approval import FRESH_SECONDS, ask, same
from synapse_apply.cli.face import Face, OutputFailed
from synapse_apply.cli.signals import Stop, leave
from synapse_apply.model.errors import Exit
from synapse_apply.model.plan import Plan
from synapse_apply.model.report import Report
from synapse_apply.planning.situation import Choices
from synapse_apply.session.apply import apply, check
from synapse_apply.session.context import Context, Planned
from synapse_apply.session.plan import plan as make_plan
from synapse_apply.session.preflight import Preflight
from synapse_apply.views.progress import Display, open_progress
from synapse_apply.views.text import render_plan, render_report

if TYPE_CHECKING:
    from synapse_apply.cli.reports import Reports

# Within which a run that is told to stop ends where nobody can tell it once more.
DRAIN_SECONDS = 6.0


@dataclass
class Run:
    """What was asked of this apply; `run` gives its exit code."""

    face: Face
    context: Context
    choices: Choices
    auto_approve: bool = False
    all_or_nothing: bool = False
    adopts: bool = False
    show_unchanged: bool = False
    operation: str = "apply"
    reports: Reports | None = None

    def __post_init__(self) -> None:
        self._preflight = Preflight(self.context)

    def run(self) -> int:
        """Plan, ask, apply, report. Raises what stops it before its first call."""
        if self.auto_approve:
            with self.context.lock("apply"):
                planned = self._plan()
                if not self.may_go(planned.plan):
                    return Exit.ERROR
                return self.carry_out(planned)
        planned = self._plan()
        while self.may_go(planned.plan):
            read_at = self.context.clock.seconds()
            if planned.plan.has_changes and not self._approved(planned.plan):
                return self._cancelled()
            with self.context.lock("apply"):
                again = self._again(planned, self.context.clock.seconds() - read_at)
                if again is None or same(again.plan, planned.plan):
                    return self.carry_out(again or planned)
            planned = again
            self.face.out("\nThe backend or the state changed meanwhile; this is the plan now:\n\n")
            self.show(planned.plan)
        return Exit.ERROR

    def make_plan(self) -> Planned:
        """The plan as things are now, with what else is wrong."""
        return self._preflight.plan(lambda: make_plan(self.context, self.choices))

    def _plan(self) -> Planned:
        planned = self.make_plan()
        self.show(planned.plan)
        return planned

    def show(self, plan: Plan) -> None:
        """The plan, for people; as events where those were asked for."""
        if self.face.in_events:
            from synapse_apply.views.events import finding_event, plan_events

            self.face.events(plan_events(plan))
            self.face.events(finding_event(one.to_json()) for one in plan.diagnostics)
        elif not self.face.as_json:
            color, width = self.face.color_out, self.face.width
            shown = self.show_unchanged
            self.face.out(render_plan(plan, color=color, width=width, show_unchanged=shown))

    def may_go(self, plan: Plan) -> bool:
        """False where the plan that was shown has said it all; raises what is yet to be said."""
        if plan.errored and not self.face.as_json:
            if self.reports:
                self.reports.of_stopped(plan, Exit.ERROR)
            return False
        check(plan, all_or_nothing=self.all_or_nothing)
        return True

    def _again(self, planned: Planned, age: float) -> Planned | None:
        """The plan made anew, when it is old or somebody else wrote to the state."""
        moved = self.context.store.serial() != planned.plan.base.serial
        return self.make_plan() if moved or age > FRESH_SECONDS else None

    def _approved(self, plan: Plan) -> bool:
        where = f"target {plan.base.target}"
        return ask(
            self.face,
            f"Do you want to perform these actions on {where}?",
            "synapse-apply will do what is shown above, and nothing else.",
        )

    def _cancelled(self) -> int:
        self.face.err("Apply cancelled. Nothing was sent.\n")
        return Exit.ERROR

    def carry_out(self, planned: Planned, *, once: bool = False) -> int:
        """Apply under the lock that the caller holds, and report; `once` uses the plan up."""
        if planned.plan.actionable or planned.plan.moved or planned.settled:
            seconds = 0.0 if self.face.on_terminal else DRAIN_SECONDS
            with Stop(self._display(), seconds, self.context.hang_up) as stop:
                report = apply(
                    self.context,
                    planned,
                    stop,
                    stop,
                    until_cut=stop.until_cut,
                    once=once,
                    adopts=self.adopts,
                )
                cut = stop.cut
        else:
            report, cut = Report(planned.plan), False
        extras = {"operation": self.operation, "guards_overridden": self.choices.overridden}
        report = replace(report, extras={**report.extras, **extras})
        try:
            self._tell(report)
        except OutputFailed:
            # All that was done must not go unsaid because nobody can take it where it was to go.
            self.face.err(render_report(report, color=self.face.color_err))
            raise
        finally:
            if self.reports:
                self.reports.of_apply(report)
            if cut:  # past the lock, which ends by itself, and the threads that still wait
                leave(report.exit_code)
        return report.exit_code

    def _display(self) -> Display:
        if not self.face.in_events:
            silent = self.face.as_json  # --json is one document and nothing else
            return open_progress(sys.stderr, color=self.face.color_err, quiet=silent)
        from synapse_apply.views.events import Events

        self.face.events(())  # the version is the first line, also where no plan was shown
        return Events(sys.stdout)

    def _tell(self, report: Report) -> None:
        if self.face.as_json:
            from synapse_apply.views.json import report_document

            if self.face.in_events:
                from synapse_apply.views.events import report_events

                self.face.events(report_events(report))
            self.face.document(report_document(report))
        else:
            self.face.out("\n" + render_report(report, color=self.face.color_out))
