"""How a command works on several targets: one after the other, one report, the worst exit code.

A target that fails stops no other one that is only read. Of an apply every plan is shown before one
question: nothing is sent anywhere while a plan has an error or a guard stops it, and the next
target is not begun after one that did not end well, unless --keep-going is given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import click

from synapse_apply import Invocation, OpenTarget, Plan, __version__
from synapse_apply.cli.console import Console, TargetSection, ask_approval, require_approval_way
from synapse_apply.cli.errors import build_failure_findings, print_failure
from synapse_apply.cli.help_pages import Terminated, format_command_name
from synapse_apply.cli.options import END_OF_COMMAND, open_target, take_stdout
from synapse_apply.cli.reports import Reports, ReportSource, raise_findings_if_any
from synapse_apply.library.opening import invocations_of_targets
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import Exit, SynapseApplyError, advising
from synapse_apply.views import ci
from synapse_apply.views.json.documents import TargetPart, build_targets_document
from synapse_apply.views.markdown.budget import MarkdownPart, render_targets_markdown

CommandBody = Callable[..., int]

# Of these a name of one target is asked for: why.
_OPTIONS_OF_ONE_TARGET: Mapping[str, str] = {
    "out": "a saved plan is for one target",
    "written": "it edits the files of one target",
    "plan": "a saved plan knows its target",
    "reviewed": "a reviewed plan is for one target",
    "lineage": "each state has its own",
    "key_file": "it creates the key of one state",
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
            option = (
                "a PLAN"
                if name == "plan"
                else f"--{name.replace('written', 'write').replace('_', '-')}"
            )
            raise click.UsageError(f"{option} works only with one target (-t NAME): {reason}.")
    if console.as_events:
        raise click.UsageError(
            f"--json-lines works only with one target (-t NAME). For several targets, `{command}"
            " --json` prints one document."
        )
    reports = TargetsReports.from_parameters(parameters, invocation, command, selectors)
    if reports is not None:
        console = reports.reports.console
    try:
        invocations = invocations_of_targets(invocation, selectors)
        if reports is not None:
            raise_findings_if_any(reports.misplaced_findings)
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
        require_approval_way(console, is_approved=bool(parameters["auto_approve"]))
        if not parameters["auto_approve"]:
            with ExitStack() as closing:
                return _PlannedApply(run, closing).ask_and_apply(invocations)
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
        """Whether no other target is to be begun after the last one, which ended with this code."""
        is_stopped = code in _SIGNAL_CODES or self.sections[-1].was_stopped
        return is_stopped or (not self.keeps_going and code != Exit.OK)

    def run_one(self, invocation: Invocation, **more: Any) -> int:
        """Run the body for one target, below its heading; a failure is printed and gives a code."""
        section = self.add_section(invocation)
        console = self.build_section_console(section)
        parameters = {**self.parameters, **more, "console": console}
        try:
            section.exit_code = self.body(invocation=invocation, **parameters)
        except (*END_OF_COMMAND, click.exceptions.Exit):
            raise
        except (KeyboardInterrupt, Terminated) as end:
            section.exit_code = print_failure(end, console, self.command)
            raise type(end) from None  # without its notes, which are of this target alone
        except Exception as failure:  # noqa: BLE001 - the failure of one target, not of the command
            section.exit_code = self.print_failure_of_target(failure, section)
        return section.exit_code

    def add_section(self, invocation: Invocation) -> TargetSection:
        """A new section, below its heading where text is printed."""
        told = self.sections[0].told if self.sections else set[str]()
        section = TargetSection(str(invocation.target), told=told)
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
    return line + (f" Not started: {', '.join(not_begun)}." if not_begun else "")


@dataclass
class TargetsReports:
    """The requested reports of a command that works on several targets."""

    reports: Reports
    html_files: Sequence[str]
    selectors: Sequence[str]
    misplaced_findings: Sequence[Diagnostic]

    @classmethod
    def from_parameters(
        cls,
        parameters: Mapping[str, Any],
        invocation: Invocation,
        command: str,
        selectors: Sequence[str],
    ) -> TargetsReports | None:
        """The reports that the parsed options ask for, None for none; usage errors."""
        requests: Sequence[tuple[str, str]] = parameters.get("report_requests") or ()
        if not requests:
            return None
        console: Console = parameters["console"]
        if any(file == "-" for _, file in requests):
            console = take_stdout(console)
        if ("html", "-") in requests:
            raise click.UsageError(
                "HTML for several targets is one page per target: specify a file."
            )
        against = parameters.get("against") or ""
        reports, misplaced = Reports(
            requests, console, invocation, command, against=against
        ).split_off_misplaced()
        html_files = [file for kind, file in reports.requests if kind == "html"]
        others = [request for request in reports.requests if request[0] != "html"]
        return cls(replace(reports, requests=others), html_files, selectors, misplaced)

    def write_all(
        self,
        sections: Sequence[TargetSection],
        not_begun: Sequence[str],
        document: Mapping[str, Any],
        exit_code: int,
    ) -> int:
        """Write every report; returns the exit code, or that of an error where one failed.

        `document` is the JSON of the command, which has no parts where text was printed.
        """
        sources = [s.report_source for s in sections if s.report_source is not None]
        # The sums of the step outputs, "" where one is not known; the worst exit code.
        texts_by_name: dict[str, list[str]] = {}
        for source in sources:
            for name, text in source.outputs.items():
                texts_by_name.setdefault(name, []).append(text)
        summed = {
            name: str(sum(map(int, texts))) if all(text.isdigit() for text in texts) else ""
            for name, texts in texts_by_name.items()
        }
        has_changes = "true" in texts_by_name.get("has_changes", ())
        joined_source = ReportSource(
            lambda: _fill_in_missing(document, sections),
            lambda budget: render_targets_markdown(
                [
                    MarkdownPart(
                        one.target,
                        one.exit_code,
                        one.report_source.outputs if one.report_source else {},
                        one.report_source.markdown if one.report_source else None,
                    )
                    for one in sections
                ],
                not_begun,
                self.reports.command,
                " ".join(self.selectors),
                budget=budget,
            ),
            lambda: "",
            lambda: [remark for source in sources for remark in source.annotations()],
            lambda: _sum_counts([source.counts() for source in sources]),
            {
                **summed,
                "exit_code": str(exit_code),
                "has_changes": str(has_changes).lower(),
            },
            lambda: [
                remark
                for source in sources
                for remark in (source.touched_annotations or source.annotations)()
            ],
        )
        code = self.reports.write_reports_of_source(joined_source, exit_code)
        for file, section in product(map(Path, self.html_files), sections):
            if section.report_source is not None:
                path = file.with_name(f"{file.stem}.{section.target}{file.suffix}")
                page = replace(self.reports, requests=[("html", str(path))])
                if page.write_reports_of_source(section.report_source, Exit.OK) != Exit.OK:
                    code = Exit.ERROR
        return code


def _fill_in_missing(
    document: Mapping[str, Any], sections: Sequence[TargetSection]
) -> dict[str, Any]:
    """The document of all, with what each target's report has in place of what was not printed."""
    parts = [
        {
            **part,
            "document": part["document"]
            or (section.report_source.document() if section.report_source else None),
        }
        for part, section in zip(document["targets"], sections, strict=True)
    ]
    return {**document, "targets": parts}


def _sum_counts(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """The sums; no counts where a target has none, since a sum without it would be wrong."""
    if not counts or ci.NO_COUNTS in counts:
        return ci.NO_COUNTS
    total: Counter[str] = Counter()
    for target_counts in counts:
        total.update(target_counts)
    return {name: total[name] for name in counts[0]}


_OPTIONS_OF_APPLY = frozenset(
    (
        *("console", "report_requests", "show_unchanged", "plan", "reviewed", "allow_unsigned"),
        *("auto_approve", "all_or_nothing", "adopt", "allow_replace", "wait"),
    )
)


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
        with advising("Nothing was sent to any target."):
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
        from synapse_apply import check
        from synapse_apply.cli.observer import ConsoleObserver

        run = self._run
        section = run.add_section(invocation)
        observer = ConsoleObserver(
            run.build_section_console(section), show_unchanged=run.parameters["show_unchanged"]
        )
        try:
            target = self._closing.enter_context(open_target(invocation))
            # The options of `OpenTarget.plan`, as an apply that asks has them.
            parameters = self._run.parameters
            keywords = {n: value for n, value in parameters.items() if n not in _OPTIONS_OF_APPLY}
            plan = target.plan(**keywords, adopt=parameters["adopt"] in {None, True})
            observer.show_plan(plan)
            check(plan, all_or_nothing=run.parameters["all_or_nothing"])
        except (*END_OF_COMMAND, KeyboardInterrupt, Terminated):
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
            "synapse-apply will perform exactly the actions shown above, one target after the "
            "other. If a target fails, the next target does not start."
            if not self._run.keeps_going
            else (
                "synapse-apply will perform exactly the actions shown above, one target after "
                "the other."
            ),
        )
