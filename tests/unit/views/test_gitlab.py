"""What GitLab shows in a merge request: counts, and findings at lines of files."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from laws.effort import effort
from unit.views import plan_samples as samples
from unit.views.golden_files import check_golden
from unit.views.hostile import CANARY, LONG, PLANS, STEERING, stuffed
from unit.views.report_samples import REPORTS

from synapse_apply.model.diagnostic import Position, error_finding
from synapse_apply.views.ci import (
    NO_COUNTS,
    build_issues,
    count_done_changes,
    count_plan_changes,
    finding_annotations,
    plan_annotations,
)
from synapse_apply.views.json.documents import format_redacted_json_document

SEVERITIES = {"info", "minor", "major", "critical", "blocker"}


def test_counts_of_the_widget():
    """Those of the Plan: line; of an apply, what was done."""
    assert count_plan_changes(samples.PLANS["everything"]) == {
        "create": 4,
        "update": 2,
        "delete": 1,
    }
    assert count_done_changes(REPORTS["everything"]) == {
        "create": 1,
        "update": 2,
        "delete": 1,
    }
    assert count_plan_changes(samples.PLANS["empty"]) == {
        "create": 0,
        "update": 0,
        "delete": 0,
    }


def test_a_plan_that_failed_has_no_counts():
    """The widget then says that the report could not be made, instead of three zeros."""
    assert count_plan_changes(samples.PLANS["errored"]) == NO_COUNTS == {}


def test_code_quality_of_a_plan():
    """Findings and refusals that have a place, as the golden file."""
    text = format_redacted_json_document(
        build_issues(plan_annotations(samples.PLANS["everything"]))
    )
    check_golden("plan-everything.codequality.json", text)


def test_a_fingerprint_outlives_a_move():
    """Lines above a finding come and go, and it is the same finding; another one is not."""
    here = error_finding("No", "because", position=Position("a.yaml", 3, 1), address="plugin/x")
    moved = replace(here, position=Position("a.yaml", 30, 7), detail="because of line 30")
    other = replace(here, address="plugin/y")
    prints = [
        issue["fingerprint"]
        for found in ([here], [moved], [other], [here, here])
        for issue in build_issues(finding_annotations(found))
    ]
    assert prints[0] == prints[1] == prints[3]
    assert len(set(prints)) == 3


def assert_sound(text):
    for issue in json.loads(text):
        assert issue.keys() == {"description", "check_name", "fingerprint", "severity", "location"}
        assert issue["severity"] in SEVERITIES
        assert issue["location"]["lines"]["begin"] >= 1
        assert "\n" not in issue["description"]
        assert len(issue["description"]) < 30_000
        assert not STEERING.search(json.dumps(issue, ensure_ascii=False))
    assert CANARY not in text
    prints = [issue["fingerprint"] for issue in json.loads(text)]
    assert len(prints) == len(set(prints))


@effort(15, 600)
@given(PLANS)
def test_any_plan_gives_sound_issues(plan):
    """Whatever the texts hold, the document has its shape, and each issue a print of its own."""
    assert_sound(format_redacted_json_document(build_issues(plan_annotations(plan))))


def test_very_long_texts_are_shortened():
    """100 KB in every place."""
    for text in LONG:
        assert_sound(format_redacted_json_document(build_issues(plan_annotations(stuffed(text)))))
