"""What `controller audit` prints: who did what, and whether the chain holds."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from synapse_apply.cli.console import Console
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import Exit
from synapse_apply.model.phrases import format_count_and_noun

if TYPE_CHECKING:
    from synapse_apply.controller.audit_report import AuditReport
    from synapse_apply.controller.rows import AuditRow

_ROW_DIGEST = re.compile(r"(row1:[0-9a-f]{12})[0-9a-f]{52}")


def print_audit_report(
    console: Console, report: AuditReport, mask: Callable[[str], str] = str
) -> int:
    """Print the rows and what is wrong with the chain; ERROR for a chain that does not hold.

    `mask` takes the token out of what another server says.
    """
    findings = _list_chain_findings(report)
    code = Exit.ERROR if findings else Exit.OK
    if console.as_json:
        console.write_or_keep_document(_build_audit_document(report, findings, code, mask))
        return code
    _print_rows(console, report, mask)
    console.write_findings(findings)
    if not findings:
        newest = report.newest_row
        end = f", the newest of {_format_time(newest.time)} {newest.digest}" if newest else ""
        rows = format_count_and_noun(report.row_count, "row")
        console.write_output(f"The chain holds: {rows}{end}.\n")
    return code


def _list_chain_findings(report: AuditReport) -> list[Diagnostic]:
    findings = []
    if (wrong := report.first_wrong_row) is not None:
        findings.append(
            error_finding(
                "The audit was changed",
                f"Row {wrong.number} of {_format_time(wrong.time)}"
                f" is not what the rows before it "
                "make it: it was changed, or rows before it were taken out.",
                "Compare it with a backup, and with the digests in the controller's log.",
            )
        )
    if not report.has_expected_digest:
        findings.append(
            error_finding(
                "The audit has no row with the expected digest",
                f"It has {format_count_and_noun(report.row_count, 'row')}, and none with it.",
                "Its end was cut off, or it is the audit of another controller: compare it with a "
                "backup.",
            )
        )
    return findings


def _print_rows(console: Console, report: AuditReport, mask: Callable[[str], str]) -> None:
    from synapse_apply.views.text.tables import render_table

    if not report.rows:
        console.write_output("No row of the audit is about that.\n")
        return
    rows = [
        (
            row.number,
            _format_time(row.time),
            *map(mask, (row.who, row.action, row.subject, _ROW_DIGEST.sub(r"\1...", row.detail))),
        )
        for row in report.rows
    ]
    headers = ("row", "when", "who", "what", "target", "detail")
    console.write_output(render_table(headers, rows, color=console.is_output_colored) + "\n")


def _build_audit_document(
    report: AuditReport, findings: list[Diagnostic], code: int, mask: Callable[[str], str]
) -> dict[str, object]:
    newest, wrong = report.newest_row, report.first_wrong_row
    return {
        "apiVersion": "synapse-apply/v1",
        "kind": "AuditReport",
        "items": [_build_row_document(row, mask) for row in report.rows],
        "total": report.row_count,
        "newest": newest and {"number": newest.number, "digest": mask(newest.digest)},
        "first_wrong": wrong and wrong.number,
        "diagnostics": [finding.to_json() for finding in findings],
        "exit_code": code,
    }


def _build_row_document(row: AuditRow, mask: Callable[[str], str]) -> dict[str, object]:
    texts = {name: mask(value) for name, value in asdict(row).items() if isinstance(value, str)}
    return {"number": row.number, "time": _format_time(row.time), **texts}


def _format_time(when: float) -> str:
    """A time in UTC, to the second; the number itself where no calendar has it."""
    try:
        return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{when}"
