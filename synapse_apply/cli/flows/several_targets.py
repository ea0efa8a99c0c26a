"""How a command works on several targets: one after the other, one report, the worst exit code.

A target that fails stops no other one that is only read. An apply stops before the next target,
unless --keep-going is given: what went wrong in one may go wrong in all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import click

from synapse_apply import Invocation, __version__
from synapse_apply.cli.console import Console, OutputFailedError, TargetSection
from synapse_apply.cli.errors import build_failure_findings, print_failure
from synapse_apply.cli.flows.targets_report import TargetsReports
from synapse_apply.cli.help_pages import Terminated, format_command_name
from synapse_apply.library.opening import invocations_of_targets
from synapse_apply.model.errors import Exit, SynapseApplyError
from synapse_apply.views.json.targets import TargetPart, build_targets_document

CommandBody = Callable[..., int]

# Of these a name of one target is asked for: why.
_OPTIONS_OF_ONE_TARGET: Mapping[str, str] = {
    "out": "a saved plan is of one target",
    "written": "it edits the files of one target",
    "accept": "it edits the files of one target",
    "plan": "a saved plan knows its target",
    "reviewed": "a reviewed plan is of one target",
}
_SIGNAL_CODES = (Exit.SIGINT, Exit.SIGTERM)


def run_on_targets(
    body: CommandBody,
    invocation: Invocation,
    selectors: Sequence[str],
    parameters: Mapping[str, Any],
) -> int:
    """Run a command's body for each target that the selectors mean; returns the worst exit code.

    `parameters` are the body's, `console` among them.
    """
    command = format_command_name(click.get_current_context())
    console: Console = parameters["console"]
    # A usage error for an option that means one target, and for --json-lines.
    for name, reason in _OPTIONS_OF_ONE_TARGET.items():
        if parameters.get(name):
            option = "a PLAN" if name == "plan" else f"--{name.replace('written', 'write')}"
            raise click.UsageError(f"{option} goes with one target, -t NAME: {reason}.")
    if console.as_events:
        raise click.UsageError(
            f"--json-lines goes with one target, -t NAME. `{command}` of several prints one "
            "document with --json."
        )
    reports = TargetsReports.from_parameters(parameters, invocation, command, selectors)
    if reports is not None:
        console = reports.console
    try:
        invocations = invocations_of_targets(invocation, selectors)
        if reports is not None:
            reports.raise_misplaced()
    except SynapseApplyError as failure:
        if not console.as_json:
            raise
        findings, code = build_failure_findings(failure)
        console.write_or_keep_document(
            build_targets_document(
                command, (), (), code, tool_version=__version__, diagnostics=findings
            )
        )
        return code
    body_parameters = {key: value for key, value in parameters.items() if key != "keep_going"}
    keeps_going = bool(parameters.get("keep_going", True))
    run = TargetsRun(body, command, console, body_parameters, reports, keeps_going)
    if command == "apply":
        from synapse_apply.cli.flows.apply_targets import apply_to_targets

        return apply_to_targets(run, invocations)
    return run.run_all(invocations)


@dataclass
class TargetsRun:
    """A command's run on several targets: what each of them gave, in the order of their turns."""

    body: CommandBody
    command: str
    console: Console
    parameters: Mapping[str, Any]
    reports: TargetsReports | None
    keeps_going: bool = True
    sections: list[TargetSection] = field(default_factory=list)

    def run_all(self, invocations: Sequence[Invocation]) -> int:
        """Run the body for each target, then write what is for all; returns the worst exit code.

        A signal ends all: what was begun is written before it is raised.
        """
        names = [str(invocation.target) for invocation in invocations]
        try:
            for invocation in invocations:
                if self.must_stop_after(self.run_one(invocation)):
                    break
        except (KeyboardInterrupt, Terminated):
            self.finish(names)
            raise
        return self.finish(names)

    def must_stop_after(self, code: int) -> bool:
        """Whether no other target is to be begun after one that ended with this code."""
        return code in _SIGNAL_CODES or (not self.keeps_going and code != Exit.OK)

    def run_one(self, invocation: Invocation, **more: Any) -> int:
        """Run the body for one target, below its heading; a failure is printed and gives a code."""
        section = self.add_section(invocation)
        console = self.build_section_console(section)
        parameters = {**self.parameters, **more, "console": console}
        try:
            section.exit_code = self.body(invocation=invocation, **parameters)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except (BrokenPipeError, OutputFailedError):
            raise
        except (KeyboardInterrupt, Terminated) as end:
            section.exit_code = print_failure(end, console, self.command)
            raise
        except Exception as failure:  # noqa: BLE001 - the failure of one target, not of the command
            section.exit_code = self.print_failure_of_target(failure, section)
        return section.exit_code

    def add_section(self, invocation: Invocation) -> TargetSection:
        """A new section, below its heading where text is printed."""
        section = TargetSection(str(invocation.target))
        if not self.console.as_json:
            gap = "\n" if self.sections else ""
            self.console.write_output(f"{gap}==> {section.target} <==\n")
        self.sections.append(section)
        return section

    def build_section_console(self, section: TargetSection) -> Console:
        """The console that a body gets for one target."""
        return replace(self.console, section=section, typed_target=section.target)

    def print_failure_of_target(self, failure: Exception, section: TargetSection) -> int:
        """Print a failure with the name of the target it is of; returns the exit code."""
        if isinstance(failure, SynapseApplyError):
            failure.diagnostics = tuple(
                finding.with_changes(target=finding.target or section.target)
                for finding in failure.diagnostics
            )
        return print_failure(failure, self.build_section_console(section), self.command)

    def finish(self, names: Sequence[str], code: int | None = None) -> int:
        """Write what is for all targets; returns the worst exit code, or `code` where it is given.

        `names` are all targets that were meant.
        """
        not_begun = names[len(self.sections) :]
        codes = [section.exit_code for section in self.sections]
        worst = Exit.select_exit_code(*codes) if code is None else code
        parts = [TargetPart(s.target, s.exit_code, s.document) for s in self.sections]
        document = build_targets_document(
            self.command, parts, not_begun, worst, tool_version=__version__
        )
        if self.console.as_json:
            self.console.write_or_keep_document(document)
        else:
            self.console.write_output(f"\n{_format_totals(self.sections, not_begun)}\n")
        if self.reports is None:
            return worst
        return self.reports.write_all(self.sections, not_begun, document, worst)


def _format_totals(sections: Sequence[TargetSection], not_begun: Sequence[str]) -> str:
    """A line for the end: how many targets, and which did not end with 0."""
    line = f"Targets: {len(sections) + len(not_begun):,}."
    for code in Exit.PRECEDENCE:
        names = [section.target for section in sections if section.exit_code == code]
        if names and code != Exit.OK:
            line += f" Exit code {code}: {', '.join(names)}."
    return line + (f" Not begun: {', '.join(not_begun)}." if not_begun else "")
