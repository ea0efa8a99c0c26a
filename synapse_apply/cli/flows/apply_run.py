"""What a person sees of an apply: the plan, the question, progress, the report."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from synapse_apply import ApplyObserver
from synapse_apply.cli.console import Console, OutputFailedError
from synapse_apply.cli.flows.approval import ask_approval
from synapse_apply.cli.flows.countdown import build_wait_callback
from synapse_apply.cli.signals import StoppableProgress, exit_immediately
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import Exit, InputError, NotApproved
from synapse_apply.model.plan import Plan
from synapse_apply.model.report import Report
from synapse_apply.model.state import Intent
from synapse_apply.views.text.plan import render_plan, render_report
from synapse_apply.views.text.progress import Display, choose_display

if TYPE_CHECKING:
    from synapse_apply import OpenTarget
    from synapse_apply.cli.reports import Reports

# Within which a run that is told to stop ends where nobody can tell it once more.
DRAIN_SECONDS = 6.0


class ConsoleObserver(ApplyObserver):
    """Prints an apply on a console, asks for approval there, and stops it on a signal."""

    def __init__(
        self, console: Console, reports: Reports | None = None, *, show_unchanged: bool = False
    ) -> None:
        """`reports` are written in addition to what is printed."""
        self._console = console
        self._reports = reports
        self._show_unchanged = show_unchanged
        self._stop: StoppableProgress | None = None
        self._wait = build_wait_callback(console, time.sleep)

    def replace_reports(self, reports: Reports) -> None:
        """Write these reports in place of those it was made with."""
        self._reports = reports

    def run(self, apply: Callable[[], Report]) -> int:
        """Call `apply`, which uses this observer; returns the exit code.

        Raises what stopped it, except for the errors of a printed plan and a declined approval:
        the user has seen these.
        """
        try:
            return apply().exit_code
        except NotApproved:
            self._console.write_stderr("Apply cancelled. Nothing was sent.\n")
            return Exit.ERROR
        except InputError as problem:
            plan = problem.plan
            if plan is None or not plan.has_errors or self._console.as_json:
                raise
            if self._reports:
                self._reports.report_stopped_plan(plan, Exit.ERROR)
            return Exit.ERROR

    def run_approved_plan(
        self, target: OpenTarget, plan: Plan, *, all_or_nothing: bool, wait: bool
    ) -> int:
        """Apply a plan that was shown and approved before; returns the exit code.

        Raises what stopped it, which nobody has seen yet.
        """
        report = target.apply(plan, all_or_nothing=all_or_nothing, wait=wait, observer=self)
        return report.exit_code

    def confirm(self, plan: Plan) -> bool:
        """Ask the person at the terminal; True for `yes`."""
        target_text = f"target {plan.base.target}"
        return ask_approval(
            self._console,
            f"Do you want to perform these actions on {target_text}?",
            "synapse-apply will do what is shown above, and nothing else.",
        )

    def show_plan(self, plan: Plan) -> None:
        """Print the plan as text, or as events with --json-lines."""
        if self._console.as_events:
            from synapse_apply.views.json.events import build_finding_event, iter_change_events

            self._console.write_events(iter_change_events(plan))
            self._console.write_events(
                build_finding_event(finding.to_json()) for finding in plan.diagnostics
            )
        elif not self._console.as_json:
            color, width = self._console.is_output_colored, self._console.terminal_width
            shows_unchanged = self._show_unchanged
            self._console.write_output(
                render_plan(plan, color=color, width=width, show_unchanged=shows_unchanged)
            )

    def show_changed_plan(self, plan: Plan) -> None:
        """Print the plan that replaces the approved one."""
        self._console.write_output(
            "\nThe backend or the state changed meanwhile; this is the plan now:\n\n"
        )
        self.show_plan(plan)

    def show_warnings(self, warnings: Sequence[Diagnostic]) -> None:
        """Print warnings on stderr."""
        self._console.write_findings(warnings)

    def wait(self, seconds: float, open_calls: Sequence[Intent], longest: float) -> None:
        """Wait with a countdown."""
        self._wait(seconds, open_calls, longest)

    @contextmanager
    def watch_calls(self, hang_up: Callable[[str], None]) -> Iterator[StoppableProgress]:
        """Show progress on stderr, and let signals end the apply early."""
        # At a terminal a person can send a second signal; in CI nobody can.
        seconds = 0.0 if self._console.is_interactive else DRAIN_SECONDS
        if self._console.as_events:
            self._console.write_version_line_once()  # also before any plan
        with StoppableProgress(self._build_display(), seconds, hang_up) as self._stop:
            yield self._stop

    def _build_display(self) -> Display:
        if not self._console.as_events:
            is_silent = self._console.as_json  # --json is one document and nothing else
            return choose_display(
                sys.stderr, color=self._console.is_stderr_colored, silent=is_silent
            )
        from synapse_apply.views.json.events import EventWriter

        return EventWriter(sys.stdout)

    def show_report(self, report: Report) -> None:
        """Print the report, and write the requested report files.

        Ends the process where a second signal cut the apply short.
        """
        try:
            if self._console.as_json:
                from synapse_apply.views.json.documents import report_document

                if self._console.as_events:
                    from synapse_apply.views.json.events import iter_summary_event

                    self._console.write_events(iter_summary_event(report))
                self._console.write_or_keep_document(report_document(report))
            else:
                self._console.write_output(
                    "\n" + render_report(report, color=self._console.is_output_colored)
                )
        except OutputFailedError:
            # All that was done must not go unsaid because nobody can take it where it was to go.
            self._console.write_stderr(render_report(report, color=self._console.is_stderr_colored))
            raise
        finally:
            if self._reports:
                self._reports.report_apply(report)
            # Past the lock, which ends by itself, and the threads that still wait.
            if self._stop is not None and self._stop.was_cut:
                exit_immediately(report.exit_code)
