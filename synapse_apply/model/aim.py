"""Commands in what people are told: each names the target that its reader has chosen.

A command that is printed is copied. Where a target was named by `-t`, it must be named there too,
or the command would meet another backend, or none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from synapse_apply.model.checkup import Checkup, Row
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.plan import Change, GuardTrip, Plan, Refusal
from synapse_apply.model.report import Report

# These know no target.
AIMLESS = frozenset({"completion", "init", "new", "emulator", "schema", "version"})
# Texts set commands off by backticks.
_COMMAND = re.compile(r"`synapse-apply ([a-z]+)([^`]*)`")
_AIMED = re.compile(r"\s(-t|--target)\b")
_TARGET = re.compile(r"(?:^|\s)-t\s+(?:'[^']*'|\S+)")


def aimed(text: str, target: str) -> str:
    """A text whose commands name the target; "" leaves them as they are."""
    return completed(text, f"-t {target}") if target else text


def completed(text: str, options: str) -> str:
    """A text whose commands have these options, too; "" leaves them as they are."""
    if not options or "`synapse-apply " not in text:
        return text
    return _COMMAND.sub(lambda found: _with(found, options), text)


def _with(found: re.Match[str], options: str) -> str:
    if found[1] in AIMLESS:
        return found[0]
    said, mine = found[2], _TARGET.search(options)
    if mine is not None and said.endswith(mine[0].strip()):  # by whoever knew the target alone
        said = said.removesuffix(mine[0].strip()).rstrip()
    elif _AIMED.search(said):
        options = _TARGET.sub("", options).strip()
    return f"`synapse-apply {found[1]}{said} {options}".rstrip() + "`"


def aimed_findings(findings: Iterable[Diagnostic], target: str) -> tuple[Diagnostic, ...]:
    """Findings whose commands name the target."""
    return tuple(
        finding.with_(detail=aimed(finding.detail, target), hint=aimed(finding.hint, target))
        if target
        else finding
        for finding in findings
    )


def aimed_plan(plan: Plan, target: str) -> Plan:
    """A plan whose commands name the target."""
    if not target:
        return plan
    return replace(
        plan,
        changes=tuple(_change(change, target) for change in plan.changes),
        guards=tuple(_guard(guard, target) for guard in plan.guards),
        diagnostics=aimed_findings(plan.diagnostics, target),
    )


def aimed_report(report: Report, target: str) -> Report:
    """What became of things, with commands that name the target; its plan is left as it is."""
    if not target:
        return report
    return replace(
        report,
        outcomes=tuple(
            replace(one, diagnostics=aimed_findings(one.diagnostics, target))
            if one.diagnostics
            else one
            for one in report.outcomes
        ),
        verified=tuple(
            replace(one, diagnostics=aimed_findings(one.diagnostics, target))
            for one in report.verified
        ),
    )


def aimed_checkup(checkup: Checkup, target: str) -> Checkup:
    """What was found by looking at a target, with commands that name it."""
    if not target:
        return checkup
    sections = tuple(
        (title, tuple(_row(row, target) for row in rows)) for title, rows in checkup.sections
    )
    return replace(checkup, sections=sections)


def aimed_refusal(refusal: Refusal, target: str) -> Refusal:
    """A refusal whose ways out name the target."""
    ways = tuple(aimed(way, target) for way in refusal.ways_out)
    return replace(refusal, reason=aimed(refusal.reason, target), ways_out=ways)


def _row(row: Row, target: str) -> Row:
    return replace(
        row,
        summary=aimed(row.summary, target),
        detail=aimed(row.detail, target),
        hint=aimed(row.hint, target),
        findings=aimed_findings(row.findings, target),
    )


def _change(change: Change, target: str) -> Change:
    if not (change.refusals or change.notes):
        return change
    return replace(
        change,
        refusals=tuple(aimed_refusal(refusal, target) for refusal in change.refusals),
        notes=tuple(aimed(note, target) for note in change.notes),
    )


def _guard(guard: GuardTrip, target: str) -> GuardTrip:
    return replace(guard, detail=aimed(guard.detail, target))
