"""The fault schedule: its shape, its counters, its page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from synapse_apply.emulator.faults.rules import (
    ACTION_KINDS,
    FaultSchedule,
    FaultsError,
    parse_valid_rules_or_raise_all,
    read_valid_fault_document,
)

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "schemas/v1/faults.schema.json").read_text())
PAGE = (ROOT / "docs/faults.md").read_text()

GOOD: list[dict[str, Any]] = [
    {"do": {"latency": 0.5}},
    {"match": {}, "do": {"hang": 1}},
    {"match": {"method": "PUT", "path": "/plugins/*"}, "do": {"hang": 1, "commit": "after"}},
    {"match": {"nth": 1}, "do": {"status": 429, "retry_after": 1.5}},
    {"match": {"from": 2}, "do": {"status": 503, "commit": "after"}},
    {"match": {"from": 2, "to": 3}, "do": {"status": 404, "commit": "before"}},
    {"match": {"to": 3}, "do": {"reset": "before"}},
    {"do": {"truncate": 0}},
    {"do": {"slow": 1}},
    {"do": {"page_shift": "insert"}},
    {"do": {"bucket": 200}},
    {"do": {"bucket": 1, "retry_after": 1}},
    {"do": {"cut": 0}},
    {"do": {"cut": 1000, "wait": 0.5}},
    {"do": {"narrow": 1000}},
]
BAD: list[Any] = [
    [],
    {},
    {"do": {}},
    {"do": {"latency": 1, "hang": 1}},
    {"do": {"latency": -1}},
    {"do": {"latency": "1"}},
    {"do": {"hang": True}},
    {"do": {"explode": 1}},
    {"do": {"status": 200}},
    {"do": {"status": 600}},
    {"do": {"status": 429, "commit": "after"}},
    {"do": {"status": 503, "commit": "during"}},
    {"do": {"status": 503, "retry_after": "soon"}},
    {"do": {"reset": "during"}},
    {"do": {"reset": "before", "commit": "after"}},
    {"do": {"truncate": -1}},
    {"do": {"slow": 0}},
    {"do": {"page_shift": "update"}},
    {"do": {"cut": -1}},
    {"do": {"narrow": 0}},
    {"do": {"narrow": 10, "wait": 1}},
    {"do": {"bucket": 0}},
    {"do": {"bucket": 1, "wait": 1}},
    {"do": {"cut": 1, "wait": "long"}},
    {"do": {"reset": "before", "wait": 1}},
    {"do": {"latency": 1}, "when": 1},
    {"match": [], "do": {"latency": 1}},
    {"match": {"method": "FETCH"}, "do": {"latency": 1}},
    {"match": {"path": 1}, "do": {"latency": 1}},
    {"match": {"nth": 0}, "do": {"latency": 1}},
    {"match": {"nth": 1, "from": 1}, "do": {"latency": 1}},
    {"match": {"first": 1}, "do": {"latency": 1}},
]


@pytest.mark.parametrize("rule", GOOD, ids=json.dumps)
def test_schema_and_server_take_what_is_right(rule: dict[str, Any]) -> None:
    """Both accept it, and the server gives it back as it was."""
    document = {"rules": [rule]}
    jsonschema.validate(document, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert FaultSchedule(parse_valid_rules_or_raise_all(document)).as_dict()["rules"] == [rule]


@pytest.mark.parametrize("rule", BAD, ids=json.dumps)
def test_schema_and_server_refuse_what_is_wrong(rule: Any) -> None:
    """Neither accepts it, and the message names the rule."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"rules": [rule]}, SCHEMA, cls=jsonschema.Draft202012Validator)
    with pytest.raises(FaultsError, match=r"rules\[0\]: "):
        parse_valid_rules_or_raise_all({"rules": [rule]})


def test_every_wrong_rule_is_told() -> None:
    """One message with all findings."""
    with pytest.raises(FaultsError, match=r"'why'.*rules\[0\].*rules\[2\]"):
        parse_valid_rules_or_raise_all({"why": 1, "rules": [{}, GOOD[0], {"do": {"slow": 0}}]})


@pytest.mark.parametrize("text", ["[]", "{}", "nonsense", '{"rules": {}}'])
def test_a_file_that_is_no_schedule(tmp_path: Path, text: str) -> None:
    """It is an error in words."""
    (tmp_path / "faults.json").write_text(text)
    with pytest.raises(FaultsError):
        read_valid_fault_document(tmp_path / "faults.json")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The message names it."""
    with pytest.raises(FaultsError, match=r"none\.json: No such file"):
        read_valid_fault_document(tmp_path / "none.json")


def test_rules_count_by_themselves_and_the_first_due_acts() -> None:
    """Counting does not depend on who acts."""
    schedule = FaultSchedule(
        parse_valid_rules_or_raise_all(
            {
                "rules": [
                    {"match": {"method": "POST", "nth": 2}, "do": {"status": 503}},
                    {"match": {"path": "/a/*", "from": 2, "to": 3}, "do": {"status": 504}},
                ]
            }
        )
    )
    asked = [("POST", "/a/1"), ("POST", "/a/2/b"), ("GET", "/a/3"), ("GET", "/a/4"), ("GET", "/b")]
    took = [schedule.count_request_in_all_rules_and_get_first_due(*one) for one in asked]
    assert [rule and rule.action.value for rule in took] == [None, 503, 504, None, None]
    assert [count["seen"] for count in schedule.as_dict()["counts"]] == [2, 4]
    schedule.replace_rules({"rules": []})
    assert schedule.count_request_in_all_rules_and_get_first_due("POST", "/a/1") is None


def test_the_page_says_it_all() -> None:
    """Each deed stands on it, and every example is one that the server takes."""
    for deed in ACTION_KINDS:
        assert f'{{"{deed}":' in PAGE
    examples = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    rows = [
        {"rules": [{"do": json.loads(do)}]}
        for do in re.findall(r"^\| `(\{.*?\})` \|", PAGE, re.MULTILINE)
    ]
    assert len(examples) == 2
    assert len(rows) == 16
    for document in [*map(json.loads, examples), *rows]:
        jsonschema.validate(document, SCHEMA, cls=jsonschema.Draft202012Validator)
        parse_valid_rules_or_raise_all(document)
