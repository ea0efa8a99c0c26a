"""JSON documents keep their shape, pass their schemas and hold what programs rely on."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from unit.views.golden_files import check_golden
from unit.views.plan_samples import ERROR, PLANS, WARNING
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
        ("validate", "findings"), ("state show", "findings"),
    ],
)  # fmt: skip
def test_a_failure_has_the_shape_of_its_command(command, name):
    """A command that ends before it has a plan prints what its readers expect, and why."""
    document = json.loads(
        format_redacted_json_document(failure_document(command, [ERROR], 5, tool_version="1"))
    )
    require_closed_shape(document, name)
    assert (document["exit_code"], len(document["diagnostics"])) == (5, 1)


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


def test_secrets_are_null_and_marked():
    """Where Terraform prints a secret there is null, with its path in the sensitive tree."""
    row = by_address(plan_document(PLANS["everything"]))["storage/데이터-호수"]
    assert row["change"]["after"]["configuration"]["access_key_id"] is None
    assert row["change"]["after_sensitive"]["configuration"]["access_key_id"] is True


def test_json_text_cannot_steer_a_terminal():
    """Escapes keep the value for a reader and harmless for a terminal, lone surrogates included."""
    value = {"key": "\x1b[31m\u202e\ud800\U000e0001 ##[error]x\n::error::y"}
    text = format_redacted_json_document(value)
    assert text.encode("utf-8").endswith(b"}\n")
    assert not {"\x1b", "\u202e", "\ud800", "\U000e0001"} & set(text)
    assert "##[" not in text
    assert json.loads(text) == value
