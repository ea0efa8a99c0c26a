"""Commands in what people are told: each names the target that its reader has chosen.

A command that is printed is copied. Where a target was named by `-t`, it must be named there too,
or the command would meet another backend, or none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from synapse_apply.model.checkup import CheckResult, Checkup
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.plan import Change, GuardViolation, Plan, Refusal
from synapse_apply.model.report import Report

# These know no target.
COMMANDS_WITHOUT_TARGET = frozenset({"completion", "init", "new", "emulator", "schema", "version"})
# Texts set commands off by backticks.
_COMMAND_PATTERN = re.compile(r"`synapse-apply ([a-z]+)([^`]*)`")
_TARGET_OPTION_NAME = re.compile(r"\s(-t|--target)\b")
_TARGET_OPTION = re.compile(r"(?:^|\s)-t\s+(?:'[^']*'|\S+)")


def add_target_to_commands(text: str, target: str) -> str:
    """A text whose commands name the target; "" leaves them as they are."""
    return add_options_to_commands(text, f"-t {target}") if target else text


def add_options_to_commands(text: str, options: str) -> str:
    """A text whose commands have these options, too; "" leaves them as they are."""
    if not options or "`synapse-apply " not in text:
        return text
    return _COMMAND_PATTERN.sub(lambda match: _add_options_to_match(match, options), text)


def _add_options_to_match(match: re.Match[str], options: str) -> str:
    if match[1] in COMMANDS_WITHOUT_TARGET:
        return match[0]
    arguments, target_option = match[2], _TARGET_OPTION.search(options)
    if target_option is not None and arguments.endswith(
        target_option[0].strip()
    ):  # by whoever knew the target alone
        arguments = arguments.removesuffix(target_option[0].strip()).rstrip()
    elif _TARGET_OPTION_NAME.search(arguments):
        options = _TARGET_OPTION.sub("", options).strip()
    return f"`synapse-apply {match[1]}{arguments} {options}".rstrip() + "`"


def add_target_to_findings(findings: Iterable[Diagnostic], target: str) -> tuple[Diagnostic, ...]:
    """Findings whose commands name the target."""
    return tuple(
        finding.with_changes(
            detail=add_target_to_commands(finding.detail, target),
            hint=add_target_to_commands(finding.hint, target),
        )
        if target
        else finding
        for finding in findings
    )


def add_target_to_plan(plan: Plan, target: str) -> Plan:
    """A plan whose commands name the target."""
    if not target:
        return plan
    return replace(
        plan,
        changes=tuple(_add_target_to_change(change, target) for change in plan.changes),
        guards=tuple(_add_target_to_guard(guard, target) for guard in plan.guards),
        diagnostics=add_target_to_findings(plan.diagnostics, target),
    )


def add_target_to_report(report: Report, target: str) -> Report:
    """What became of things, with commands that name the target; its plan is left as it is."""
    if not target:
        return report
    return replace(
        report,
        outcomes=tuple(
            replace(outcome, diagnostics=add_target_to_findings(outcome.diagnostics, target))
            if outcome.diagnostics
            else outcome
            for outcome in report.outcomes
        ),
        verification_results=tuple(
            replace(outcome, diagnostics=add_target_to_findings(outcome.diagnostics, target))
            for outcome in report.verification_results
        ),
    )


def add_target_to_checkup(checkup: Checkup, target: str) -> Checkup:
    """What was found by looking at a target, with commands that name it."""
    if not target:
        return checkup
    sections = tuple(
        (title, tuple(_add_target_to_check(row, target) for row in rows))
        for title, rows in checkup.sections
    )
    return replace(checkup, sections=sections)


def add_target_to_refusal(refusal: Refusal, target: str) -> Refusal:
    """A refusal whose ways out name the target."""
    ways_out = tuple(add_target_to_commands(text, target) for text in refusal.ways_out)
    return replace(
        refusal, reason=add_target_to_commands(refusal.reason, target), ways_out=ways_out
    )


def _add_target_to_check(check_result: CheckResult, target: str) -> CheckResult:
    return replace(
        check_result,
        summary=add_target_to_commands(check_result.summary, target),
        detail=add_target_to_commands(check_result.detail, target),
        hint=add_target_to_commands(check_result.hint, target),
        findings=add_target_to_findings(check_result.findings, target),
    )


def _add_target_to_change(change: Change, target: str) -> Change:
    if not (change.refusals or change.notes):
        return change
    return replace(
        change,
        refusals=tuple(add_target_to_refusal(refusal, target) for refusal in change.refusals),
        notes=tuple(add_target_to_commands(note, target) for note in change.notes),
    )


def _add_target_to_guard(guard: GuardViolation, target: str) -> GuardViolation:
    return replace(guard, detail=add_target_to_commands(guard.detail, target))
