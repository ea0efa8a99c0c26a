"""How several targets are applied: every plan is shown before one question, then one at a time.

Nothing is sent anywhere while a plan has an error or a guard stops it, and the next target is not
begun after one that did not end well: --keep-going is for those who want the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import click

from synapse_apply import Invocation, OpenTarget, Plan, check
from synapse_apply.cli.console import OutputFailedError, TargetSection
from synapse_apply.cli.flows.apply_run import ConsoleObserver
from synapse_apply.cli.flows.approval import ask_approval, require_approval_way
from synapse_apply.cli.flows.command_target import build_plan_keywords, open_command_target
from synapse_apply.cli.flows.several_targets import TargetsRun
from synapse_apply.cli.help_pages import Terminated
from synapse_apply.model.errors import Exit, SynapseApplyError

_OPTIONS_OF_APPLY = frozenset(
    (
        *("console", "report_requests", "show_unchanged", "plan", "reviewed", "allow_unsigned"),
        *("auto_approve", "all_or_nothing", "adopt", "allow_replace", "wait"),
    )
)


def apply_to_targets(run: TargetsRun, invocations: Sequence[Invocation]) -> int:
    """Apply each target after the other; returns the worst exit code."""
    auto_approve = bool(run.parameters["auto_approve"])
    require_approval_way(run.console, is_approved=auto_approve)
    if auto_approve:
        return run.run_all(invocations)
    with ExitStack() as closing:
        return _PlannedApply(run, closing).ask_and_apply(invocations)


class _PlannedApply:
    """The plans of several targets, which one person approves at once."""

    def __init__(self, run: TargetsRun, closing: ExitStack) -> None:
        """`closing` closes the targets, which stay open from their plan to their apply."""
        self._run = run
        self._closing = closing
        self._planned: list[tuple[Invocation, OpenTarget, Plan]] = []
        self._failed: list[TargetSection] = []

    def ask_and_apply(self, invocations: Sequence[Invocation]) -> int:
        """Show every plan, ask once, and apply what was shown; returns the worst exit code."""
        run, names = self._run, [str(invocation.target) for invocation in invocations]
        for invocation in invocations:
            self._plan_target(invocation)
        if self._failed and not run.keeps_going:
            code = Exit.select_exit_code(*(section.exit_code for section in self._failed))
            run.console.write_stderr("\nNothing was sent to any target.\n")
            return run.finish(names, code)
        if any(plan.is_applyable for _, _, plan in self._planned) and not self._ask():
            run.console.write_stderr("Apply cancelled. Nothing was sent.\n")
            return run.finish(names, Exit.ERROR)
        # From here on each target has the section of its apply, below that of its plan.
        run.sections[:] = self._failed
        try:
            for invocation, target, plan in self._planned:
                if run.must_stop_after(run.run_one(invocation, approved=(target, plan))):
                    break
        except (KeyboardInterrupt, Terminated):
            run.finish(self._begun_first(names))
            raise
        return run.finish(self._begun_first(names))

    def _begun_first(self, names: Sequence[str]) -> list[str]:
        """All targets, those that had a turn before those that had none."""
        begun = [section.target for section in self._run.sections]
        return [*begun, *(name for name in names if name not in begun)]

    def _plan_target(self, invocation: Invocation) -> None:
        """Plan one target and print it; what is wrong with it is printed and remembered."""
        run = self._run
        section = run.add_section(invocation)
        observer = ConsoleObserver(
            run.build_section_console(section), show_unchanged=run.parameters["show_unchanged"]
        )
        try:
            target = self._closing.enter_context(open_command_target(invocation))
            # The options of `OpenTarget.plan`, as an apply that asks has them.
            parameters = self._run.parameters
            keywords = build_plan_keywords(
                {name: value for name, value in parameters.items() if name not in _OPTIONS_OF_APPLY}
            )
            adopt = parameters["adopt"]
            plan = target.plan(**{**keywords, "adopt": True if adopt is None else adopt})
            observer.show_plan(plan)
            check(plan, all_or_nothing=run.parameters["all_or_nothing"])
        except (click.ClickException, click.Abort, BrokenPipeError, OutputFailedError):
            raise
        except (KeyboardInterrupt, Terminated):
            raise
        except Exception as failure:  # noqa: BLE001 - the failure of one target, not of the command
            if isinstance(failure, SynapseApplyError) and failure.plan and failure.plan.has_errors:
                section.exit_code = failure.exit_code  # its errors stand in the plan
            else:
                section.exit_code = run.print_failure_of_target(failure, section)
            self._failed.append(section)
            return
        self._planned.append((invocation, target, plan))

    def _ask(self) -> bool:
        names = [plan.base.target for _, _, plan in self._planned if plan.is_applyable]
        return ask_approval(
            self._run.console,
            f"Do you want to perform these actions on {len(names):,} targets, {', '.join(names)}?",
            "synapse-apply will do what is shown above, one target after the other, and stop "
            "before the next one where one fails."
            if not self._run.keeps_going
            else "synapse-apply will do what is shown above, one target after the other.",
        )
