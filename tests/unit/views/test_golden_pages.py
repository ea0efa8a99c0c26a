"""What only machines read at once is reviewed too: pages, outputs, counts, history, failures."""

from __future__ import annotations

import contextlib
import io
import re

import pytest
from unit.views.golden_files import check_golden
from unit.views.plan_samples import ERROR, PLANS, WARNING
from unit.views.report_samples import REPORTS

from synapse_apply import PastRun
from synapse_apply.cli.console import Console
from synapse_apply.cli.texts.state import print_run_with_calls, print_runs_table
from synapse_apply.model.state import AuditEntry
from synapse_apply.views import ci
from synapse_apply.views.html.reports import (
    render_findings_html,
    render_plan_html,
    render_report_html,
)
from synapse_apply.views.json.documents import failure_document, format_redacted_json_document
from synapse_apply.views.text.record import render_unexported

PAGES = {
    "plan-everything": lambda: render_plan_html(
        PLANS["everything"], run_url="https://ci.example/1"
    ),
    "plan-verify": lambda: render_plan_html(PLANS["verify"]),
    "report-everything": lambda: render_report_html(REPORTS["everything"]),
    "report-not-verified": lambda: render_report_html(REPORTS["not-verified"]),
    "findings": lambda: render_findings_html([ERROR, WARNING], "validate", target="prod"),
}


@pytest.mark.parametrize("name", PAGES)
def test_pages(name: str) -> None:
    """The body of each page, an element a line; style and script have files of their own."""
    body = re.sub(r"(?s).*<body>|<script>.*?</script>", "", PAGES[name]())
    check_golden(f"{name}.html", re.sub(r"(?<=>)(?=<(?!/))", "\n", body))


def test_outputs_and_counts() -> None:
    """What GitHub and GitLab are told of a plan and of an apply, as it is written."""
    plan, report = PLANS["everything"], REPORTS["everything"]
    told = [
        ci.format_outputs_file(ci.build_plan_outputs(plan, 2), "END"),
        ci.format_outputs_file(ci.build_report_outputs(report), "END"),
        ci.format_outputs_file(ci.planless_outputs(1), "END"),
        format_redacted_json_document(ci.count_plan_changes(plan)),
        format_redacted_json_document(ci.count_done_changes(report)),
    ]
    check_golden("outputs.txt", "".join(told))


def test_history() -> None:
    """Runs in a table, and the calls of one."""
    call = AuditEntry(
        "2026-11-24T12:00:00.000000Z", "who@host", "https://ci.example/1", "plan-1",
        "plugin/데이터", "create", "7", "req-1", "done", "", "0123456789abcdef",
    )  # fmt: skip
    upload = AuditEntry(*[getattr(call, name) for name in call.__slots__][:4], "release/x@1",
                        "create", "", "req-2", "failed", "pkg1:sha256:00ff")  # fmt: skip
    run = PastRun("plan-1", (call, upload))
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print_runs_table(Console(color="never", environ={}), [run])
        print_run_with_calls(Console(color="never", environ={}), run)
    check_golden("history.txt", out.getvalue())


def test_what_an_export_leaves_out() -> None:
    """Two headings, a line a thing."""
    check_golden(
        "export-rest.txt",
        render_unexported([("plugin/x", "a key")], [("storage y (id 1)", "a name")]),
    )


@pytest.mark.parametrize("command", ["plan", "apply", "drift", "validate"])
def test_failures(command: str) -> None:
    """What a program reads where a command ended before it had anything to tell."""
    document = failure_document(command, [ERROR], 1, tool_version="0.1.0")
    check_golden(f"failure-{command}.json", format_redacted_json_document(document))
