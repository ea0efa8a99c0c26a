"""What was looked at is shown whole: a row a check, details under it, a last line that counts."""

from __future__ import annotations

import json

import pytest
from unit.views.golden_files import check_golden
from unit.views.test_json_documents import require_closed_shape
from unit.views.test_terminal_safety import EVIL, assert_harmless

from synapse_apply.model.diagnostic import Position, error_finding, warning_finding
from synapse_apply.model.report import CheckResult, Checkup
from synapse_apply.views.json.documents import (
    checkup_document,
    format_redacted_json_document,
)
from synapse_apply.views.text.checkup import render_checkup

MANIFESTS = error_finding(
    "The manifests have 2 errors", "The first: Wrong type (a.yaml:3:1).", "validate"
)
EVERYTHING = Checkup(
    "prod",
    (
        (
            "Project",
            (
                CheckResult.build_ok("tool", "synapse-apply 0.1.0, Python 3.11.7 on Linux x86_64"),
                CheckResult.from_finding(
                    "manifests",
                    MANIFESTS,
                    counted_findings=(error_finding("Wrong type"), error_finding("Unknown")),
                ),
            ),
        ),
        (
            "Backend",
            (
                CheckResult.build_ok("token", "from PROD_TOKEN (token of the target)"),
                CheckResult.from_finding(
                    "backend",
                    error_finding(
                        "The backend does not accept the token",
                        "GET jobs/: 401 Unauthorized.",
                        "Set PROD_TOKEN to one that is valid.",
                        request_id="r-1",
                    ),
                ),
                CheckResult.build_unchecked("tenant", "the backend could not be read"),
                CheckResult.build_unchecked("api", "the backend could not be read"),
                CheckResult.build_unchecked("agent", "the backend could not be read", "gpu-1"),
                CheckResult.build_unchecked("agent", "the backend could not be read", "gpu-2"),
                CheckResult.from_finding(
                    "clock",
                    warning_finding("The clocks do not agree", "12 s.", "Set it.\nThen wait."),
                ),
            ),
        ),
        (
            "State",
            (
                CheckResult.build_ok("state", "/프로젝트/prod.db: 3 records, serial 7"),
                CheckResult.from_finding(
                    "binding", error_finding("Foreign", position=Position("p.yaml", 5, 3))
                ),
                CheckResult.build_unchecked("lineage", "there is no state"),
                CheckResult.build_unchecked("lock", "there is no state"),
            ),
        ),
    ),
)
WELL = Checkup("prod", (("Project", (CheckResult.build_ok("tool", "0.1.0"),)),))


def test_the_whole_text_is_as_reviewed():
    """Sections, aligned rows, details, hints; what was not checked for one reason in one row."""
    check_golden("checkup.txt", render_checkup(EVERYTHING, color=False))
    check_golden("checkup.ansi", render_checkup(EVERYTHING, color=True))


@pytest.mark.parametrize("checkup", [EVERYTHING, WELL])
def test_the_document_passes_its_schema(checkup):
    """Every key is declared, required keys are there, types hold."""
    document = json.loads(
        format_redacted_json_document(checkup_document(checkup, tool_version="0.1.0"))
    )
    require_closed_shape(document, "doctor")


def test_the_documents_are_as_reviewed():
    """Every row stands alone, those not checked too."""
    check_golden(
        "checkup.json",
        format_redacted_json_document(checkup_document(EVERYTHING, tool_version="0.1.0")),
    )


def test_the_last_line_and_the_exit_code_go_together():
    """A problem is 1; warnings and what was not checked are 0 and said."""
    warned = Checkup(
        "prod", (("Project", (CheckResult.from_finding("clock", warning_finding("Apart")),)),)
    )
    last = {
        checkup.exit_code: render_checkup(checkup, color=False).splitlines()[-1]
        for checkup in (EVERYTHING, WELL)
    }
    assert last == {1: "3 problems, 1 warning, 6 not checked.", 0: "No problems found."}
    assert render_checkup(warned, color=False).endswith("No problems found (1 warning).\n")
    assert warned.exit_code == 0


def test_findings_are_those_behind_a_count():
    """Its findings are those of the manifests one by one, where doctor has one row."""
    summaries = [finding.summary for finding in EVERYTHING.findings]
    assert summaries[:2] == ["Wrong type", "Unknown"]
    assert "The manifests have 2 errors" not in summaries
    assert len(summaries) == 5


def test_what_a_server_says_cannot_steer_a_terminal():
    """Names, words, details and hints are shown escaped."""
    finding = error_finding(EVIL, EVIL, EVIL, request_id=EVIL)
    rows = (
        CheckResult.build_ok(EVIL, EVIL, EVIL),
        CheckResult.from_finding(EVIL, finding, EVIL),
        CheckResult.build_unchecked(EVIL, EVIL),
    )
    evil = Checkup(EVIL, ((EVIL, (*rows, *rows[2:] * 3)),))
    assert_harmless(render_checkup(evil, color=False))
