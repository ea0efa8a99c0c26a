"""What was looked at and what is wrong, as text for people and JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from synapse_apply.model.checkup import Checkup, Row, Verdict
from synapse_apply.views.cells import cells, pad
from synapse_apply.views.findings import indented
from synapse_apply.views.grammar import plural
from synapse_apply.views.json import FORMAT_VERSION
from synapse_apply.views.pen import Pen
from synapse_apply.views.safety import clean, disarm, told_lines
from synapse_apply.views.tables import WIDEST, render_table

_STYLES = {
    Verdict.OK: "done",
    Verdict.WARNING: "warning",
    Verdict.PROBLEM: "error",
    Verdict.UNCHECKED: "dim",
}
_HEALTH = {
    Verdict.OK: "healthy",
    Verdict.WARNING: "healthy",
    Verdict.PROBLEM: "not healthy",
    Verdict.UNCHECKED: "not checked",
}
_GAP = "  "
_MANY = 3


def render_checkup(checkup: Checkup, *, color: bool) -> str:
    """A line a row by section, the findings' details below theirs, and a last line that counts."""
    pen = Pen(color)
    words = max(cells(verdict.value) for verdict in Verdict)
    names = max((cells(clean(row.check)) for row in checkup.rows), default=0)
    names = min(names, WIDEST)
    lines: list[str] = []
    for title, rows in checkup.sections:
        lines.append(pen(clean(title), "bold"))
        for row in _joined(rows):
            lines += _lines(row, words, names, pen)
        lines.append("")
    lines.append(_sum(checkup, pen))
    return disarm("\n".join(lines) + "\n")


def render_section(title: str, rows: Iterable[Row], *, color: bool) -> str:
    """The rows of one section, under its title."""
    pen, section = Pen(color), list(rows)
    words = max((cells(row.verdict.value) for row in section), default=0)
    names = min(max((cells(clean(row.check)) for row in section), default=0), WIDEST)
    lines = (line for row in section for line in _lines(row, words, names, pen))
    return disarm("\n".join((pen(clean(title), "bold"), *lines)) + "\n")


def section_document(title: str, rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The rows of one section as `doctor --json` has them."""
    head = {"section": title.lower()}
    return [{**head, "check": row.check, "subject": row.subject, **_found(row)} for row in rows]


def checkup_document(checkup: Checkup, *, tool_version: str) -> dict[str, Any]:
    """The document of `doctor --json` (doctor.schema.json)."""
    return {
        **_head(checkup, tool_version),
        "counts": {verdict.value.replace(" ", "_"): checkup.count(verdict) for verdict in Verdict},
        "checks": [
            row for title, rows in checkup.sections for row in section_document(title, rows)
        ],
    }


def render_agents(checkup: Checkup, *, color: bool) -> str:
    """A table with a line an agent."""
    rows = [(row.subject, _HEALTH[row.verdict], row.detail or row.summary) for row in checkup.rows]
    return render_table(("name", "health", "detail"), rows, color=color)


def agents_document(checkup: Checkup, *, tool_version: str) -> dict[str, Any]:
    """The document of `agents check --json` (agents.schema.json)."""
    return {
        **_head(checkup, tool_version),
        "agents": [
            {
                "name": row.subject,
                "healthy": row.verdict in {Verdict.OK, Verdict.WARNING},
                **_found(row),
            }
            for row in checkup.rows
        ],
    }


def _head(checkup: Checkup, tool_version: str) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "tool_version": tool_version,
        "target": checkup.target or None,
        "healthy": checkup.is_well,
        "exit_code": checkup.exit_code,
    }


def _found(row: Row) -> dict[str, Any]:
    return {
        "status": row.verdict.value.replace(" ", "_"),
        "summary": row.summary,
        "detail": row.detail,
        "hint": row.hint,
        "request_id": row.request_id or None,
    }


def _joined(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows that were not checked for one reason as one row, where they are many."""
    for (verdict, why), group in groupby(rows, lambda row: (row.verdict, row.summary)):
        same = list(group)
        if verdict is not Verdict.UNCHECKED or len(same) < _MANY:
            yield from same
        else:
            names = ", ".join(dict.fromkeys(row.check for row in same))
            yield Row.unchecked(f"{len(same)} checks", f"{why}: {names}")


def _lines(row: Row, words: int, names: int, pen: Pen) -> Iterator[str]:
    verdict = pen(pad(row.verdict.value, words), _STYLES[row.verdict])
    name = pad(clean(row.check), names)
    subject = f"{row.subject}: " if row.subject else ""
    yield f"{_GAP}{verdict}{_GAP}{name}{_GAP}{clean(subject + row.summary)}".rstrip()
    below = words + names + 3 * len(_GAP)
    yield from indented(row.detail, below)
    if row.hint:
        head, *rest = told_lines(row.hint)
        yield f"{' ' * below}Hint: {head}"
        yield from (f"{' ' * below}      {line}".rstrip() for line in rest)
    if row.request_id and row.request_id not in row.detail:
        yield " " * below + pen(f"Request id: {clean(row.request_id)}", "dim")


def _sum(checkup: Checkup, pen: Pen) -> str:
    problems, warnings, unchecked = (
        checkup.count(verdict) for verdict in (Verdict.PROBLEM, Verdict.WARNING, Verdict.UNCHECKED)
    )
    parts = [plural(problems, "problem")] if problems else []
    parts += [plural(warnings, "warning")] if warnings else []
    parts += [f"{unchecked} not checked"] if unchecked else []
    if problems:
        return pen(f"{', '.join(parts)}.", "error")
    more = f" ({', '.join(parts)})" if parts else ""
    return pen(f"Nothing is wrong{more}.", "done")
