"""JSON documents keep their shape, pass their schemas and hold what programs rely on."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from unit.views.golden_files import check_golden
from unit.views.plan_samples import ERROR, PLANS, REFUSED_STORAGE, WARNING, plan
from unit.views.report_samples import REPORTS

from synapse_apply.views.json.documents import (
    diagnostics_document,
    failure_document,
    format_redacted_json_document,
    plan_document,
    report_document,
)

SCHEMAS = Path(__file__).parents[3] / "schemas" / "v1"


def schema(name):
    """A validator for one of our documents."""
    data = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(data)
    return data


def closed(node):
    """The schema with every object that lists properties closed, so that nothing is undeclared."""
    if isinstance(node, list):
        return [closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    shut = {key: closed(value) for key, value in node.items()}
    return (
        {**shut, "additionalProperties": False} if "properties" in node and "type" in node else shut
    )


@cache
def build_closed_validator(name):
    return jsonschema.Draft202012Validator(closed(schema(name)))


def require_closed_shape(document: Any, name: str) -> None:
    """What one of our documents has is declared, and all that must be there is."""
    error = jsonschema.exceptions.best_match(build_closed_validator(name).iter_errors(document))
    assert error is None, error


@pytest.mark.parametrize("name", PLANS)
def test_plan_passes_its_schema(name):
    """Every key of a plan document is declared, required keys are there, types hold."""
    document = json.loads(format_redacted_json_document(plan_document(PLANS[name])))
    require_closed_shape(document, "plan")


@pytest.mark.parametrize("name", REPORTS)
def test_report_passes_its_schema(name):
    """Every key of a report document is declared, required keys are there, types hold."""
    document = json.loads(format_redacted_json_document(report_document(REPORTS[name])))
    require_closed_shape(document, "report")


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("plan", "plan"), ("apply", "report"), ("verify", "report"), ("drift", "drift"),
        ("validate", "findings"), ("state list", "findings"),
    ],
)  # fmt: skip
def test_a_failure_has_the_shape_of_its_command(command, name):
    """A command that ends before it has a plan prints what its readers expect, and why."""
    document = json.loads(
        format_redacted_json_document(failure_document(command, [ERROR], 5, tool_version="1"))
    )
    require_closed_shape(document, name)
    assert (document["exit_code"], len(document["diagnostics"])) == (5, 1)


def test_what_is_refused_is_not_complete():
    """`complete` says the same of a plan, of a report and of its last line."""
    report = report_document(REPORTS["refused"])
    assert (report["complete"], report["exit_code"]) == (False, 5)


def test_golden_documents():
    """The whole documents are as reviewed."""
    check_golden(
        "plan-everything.json", format_redacted_json_document(plan_document(PLANS["everything"]))
    )
    check_golden(
        "report-everything.json",
        format_redacted_json_document(report_document(REPORTS["everything"])),
    )
    check_golden("plan-verify.json", format_redacted_json_document(plan_document(PLANS["verify"])))
    check_golden(
        "report-not-verified.json",
        format_redacted_json_document(report_document(REPORTS["not-verified"])),
    )
    check_golden(
        "diagnostics.json", format_redacted_json_document(diagnostics_document([WARNING, ERROR]))
    )


def by_address(document):
    """Resource changes by address."""
    return {row["address"]: row for row in document["resource_changes"]}


def test_actions_are_terraforms():
    """Adopt is an update or no-op with importing; recreate is a create with a reason."""
    rows = by_address(plan_document(PLANS["everything"]))
    assert rows["storage/archive"]["change"]["actions"] == ["no-op"]
    assert rows["storage/archive"]["change"]["importing"] == {"id": "7"}
    assert rows["plugin/ocr"]["change"]["actions"] == ["update"]
    assert rows["plugin/tracker"]["change"]["actions"] == ["create"]
    assert rows["plugin/tracker"]["action_reason"] == "create_because_missing"
    assert rows["plugin/retired"]["change"]["actions"] == ["forget"]


def test_a_refused_change_does_nothing():
    """What is refused is a no-op to a policy, with what was wanted beside it."""
    document = plan_document(plan(REFUSED_STORAGE))
    row = by_address(document)["storage/raw-data"]
    assert row["change"]["actions"] == ["no-op"]
    assert row["refused_actions"] == ["update"]
    assert len(row["refusals"][0]["ways_out"]) == 3
    assert (document["applyable"], document["complete"]) == (False, False)
    assert document["summary"]["blocked"] == 1


def test_secrets_are_null_and_marked():
    """Where Terraform prints a secret there is null, with its path in the sensitive tree."""
    row = by_address(plan_document(PLANS["everything"]))["storage/데이터-호수"]
    assert row["change"]["after"]["configuration"]["access_key_id"] is None
    assert row["change"]["after_sensitive"]["configuration"]["access_key_id"] is True


def test_drift_is_listed_apart():
    """What moved outside goes from what was recorded to what is live."""
    drift = {row["address"]: row for row in plan_document(PLANS["everything"])["resource_drift"]}
    change = drift["plugin/segmenter"]["change"]
    assert change["before"]["author"] == "Vision"
    assert change["after"]["author"] == "somebody else"
    assert drift["plugin/tracker"]["change"]["actions"] == ["delete"]


def test_causes_join_to_one_word():
    """A resource moved on both sides says both."""
    rows = by_address(plan_document(PLANS["everything"]))
    assert rows["plugin/segmenter"]["cause"] == "both"
    assert rows["storage/raw-data"]["cause"] == "git"
    assert rows["plugin/yolo"]["cause"] is None


def test_a_run_stands_apart_from_the_changes():
    """It has a count of its own and is no drift; a plan of nothing else can be applied."""
    document = plan_document(PLANS["verify-only"])
    assert [row["address"] for row in document["verifications"]] == ["release/ocr@2.0.0"]
    assert document["verifications"][0]["job"] == "12"
    counts = document["summary"]
    assert (counts.pop("verify"), set(counts.values())) == (1, {0})
    assert document["resource_drift"] == []
    assert {row["change"]["actions"][0] for row in document["resource_changes"]} == {"no-op"}
    assert document["applyable"]


def test_json_text_cannot_steer_a_terminal():
    """Escapes keep the value for a reader and harmless for a terminal, lone surrogates included."""
    value = {"key": "\x1b[31m\u202e\ud800\U000e0001 ##[error]x\n::error::y"}
    text = format_redacted_json_document(value)
    assert text.encode("utf-8").endswith(b"}\n")
    assert not {"\x1b", "\u202e", "\ud800", "\U000e0001"} & set(text)
    assert "##[" not in text
    assert json.loads(text) == value


def test_diagnostics_are_counted():
    """validate --json tells at once whether all is well."""
    document = diagnostics_document([WARNING, ERROR])
    assert (document["valid"], document["error_count"], document["warning_count"]) == (False, 1, 1)
    assert diagnostics_document([WARNING])["valid"] is True
