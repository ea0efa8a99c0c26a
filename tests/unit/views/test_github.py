"""What GitHub Actions reads: annotations, outputs.

No text of others can be a command of its own.
"""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort
from unit.views import plan_samples as samples
from unit.views.golden_files import check_golden
from unit.views.hostile import CANARY, LONG, PLANS, STEERING, report_on, stuffed
from unit.views.report_samples import REPORTS

from synapse_apply.model.diagnostic import Position, error_finding, warning_finding
from synapse_apply.model.report import Result
from synapse_apply.views.ci import (
    build_plan_outputs,
    build_report_outputs,
    finding_annotations,
    format_annotation_commands,
    format_outputs_file,
    plan_annotations,
    planless_outputs,
    report_annotations,
    with_file_names,
)

COMMAND = re.compile(
    r"::(?P<level>error|warning|notice) (?P<properties>[^:]*)::(?P<message>[^\r\n]*)", re.ASCII
)
PROPERTY = re.compile(r"(file|line|col|title)=([^,:\r\n]*)")


def parsed(text):
    """The commands as the runner reads them; nothing else may be in the text."""
    found = []
    for line in text.split("\n")[:-1]:
        match = COMMAND.fullmatch(line)
        assert match, line
        pairs = [PROPERTY.fullmatch(part) for part in match["properties"].split(",")]
        assert all(pairs), line
        facts = {pair[1]: unescaped(pair[2]) for pair in pairs}
        assert len(facts) == len(pairs), line
        found.append((match["level"], facts, unescaped(match["message"])))
    return found


def unescaped(text):
    """The other half of the documented escapes."""
    for code, char in {"3A": ":", "2C": ",", "0D": "\r", "0A": "\n", "25": "%"}.items():
        text = text.replace(f"%{code}", char)
    return text


def test_annotations_of_a_plan():
    """Findings and refusals are at file, line and column; guards are told without one."""
    text = format_annotation_commands(plan_annotations(samples.PLANS["everything"]))
    check_golden("plan-everything.annotations.txt", text)
    level, facts, message = parsed(text)[0]
    assert level == "error"
    assert facts == {
        "file": "manifests/storages.yaml",
        "line": "14",
        "col": "5",
        "title": "storage/raw-data cannot be updated",
    }
    assert message.startswith("this API cannot change a storage\nWay out: change it in Synapse")


def test_annotations_of_an_apply():
    """What failed is told with its request id."""
    text = format_annotation_commands(report_annotations(REPORTS["everything"]))
    check_golden("report-everything.annotations.txt", text)
    assert "Request id: req-3" in {line for _, _, said in parsed(text) for line in said.split("\n")}


def test_a_verification_that_failed_is_an_annotation():
    """At the manifest of its release, with what can be done."""
    said = parsed(format_annotation_commands(report_annotations(REPORTS["not-verified"])))
    assert any(kind == "error" and "verif" in str(props).lower() for kind, props, _ in said), said


def test_a_failure_is_shown_where_its_resource_is_declared():
    """A finding without a place takes the place of its resource's manifest."""
    plan = samples.plan(
        samples.REFUSED_UNKNOWN,
        diagnostics=(warning_finding("Odd", address=str(samples.REFUSED_UNKNOWN.address)),),
    )
    assert plan_annotations(plan)[0].position == Position("manifests/plugins.yaml", 3, 1)


def test_ten_of_each_kind():
    """GitHub drops what is beyond ten without a word: the tenth says how many more there are."""
    found = [error_finding(f"e{n}") for n in range(12)] + [
        warning_finding(f"w{n}") for n in range(10)
    ]
    told = parsed(format_annotation_commands(finding_annotations(found)))
    assert [level for level, _, _ in told].count("error") == 10
    assert told[9][2] == "3 more: see the summary or the log"
    assert [facts["title"] for level, facts, _ in told if level == "warning"] == [
        f"w{n}" for n in range(10)
    ]


@effort(20, 800)
@given(PLANS, st.sampled_from(Result))
def test_no_text_is_a_command_of_its_own(plan, result):
    """Whatever names and messages hold, each line is one of our commands, and no secret is there."""
    assert_ours(format_annotation_commands(plan_annotations(plan)))
    assert_ours(format_annotation_commands(report_annotations(report_on(plan, result))))


def test_very_long_texts_are_shortened():
    """100 KB in every place, and an annotation stays of a size the runner takes."""
    for text in LONG:
        told = format_annotation_commands(plan_annotations(stuffed(text)))
        assert_ours(told)
        assert max(map(len, told.split("\n"))) < 40_000


def assert_ours(text):
    assert len(parsed(text)) == text.count("\n") <= 20
    assert CANARY not in text
    assert "##[" not in text
    assert not STEERING.search(text)
    text.encode()


def test_files_are_named_as_in_the_repository():
    """A working folder below the checkout is put before each name."""
    found = finding_annotations(
        [error_finding("x", position=Position("m/a,b.yaml", 2, 1)), error_finding("y")]
    )
    text = format_annotation_commands(with_file_names(found, {"m/a,b.yaml": "infra/m/a,b.yaml"}))
    assert text.startswith("::error file=infra/m/a%2Cb.yaml,line=2,col=1,title=x::")


def test_outputs():
    """Counts, exit code and whether there is anything to do, for plans, applies and failures."""
    assert build_plan_outputs(samples.PLANS["everything"], 2) == {
        "add": "4", "change": "2", "destroy": "1", "import": "2", "forget": "1", "refused": "2",
        "verify": "0", "exit_code": "2", "has_changes": "true",
    }  # fmt: skip
    assert build_plan_outputs(samples.PLANS["no-changes"], 0)["has_changes"] == "false"
    assert build_plan_outputs(samples.PLANS["refused-only"], 0)["has_changes"] == "true"
    done = build_report_outputs(REPORTS["everything"])
    assert (done["add"], done["failed"], done["unknown"], done["exit_code"]) == ("1", "1", "1", "7")
    assert build_plan_outputs(samples.PLANS["verify"], 2)["verify"] == "2"
    ran = build_report_outputs(REPORTS["not-verified"])
    assert (ran["verify"], ran["not_verified"]) == ("0", "5")
    assert planless_outputs(1) == {"exit_code": "1", "has_changes": "false"}


def test_outputs_are_delimited():
    """The form that takes any value: a name, a delimiter, the value, the delimiter."""
    assert format_outputs_file({"add": "3", "x": "y"}, "D") == "add<<D\n3\nD\nx<<D\ny\nD\n"
