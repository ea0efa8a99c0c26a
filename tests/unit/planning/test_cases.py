"""Every case of tests/cases/plan: declared, live and recorded in, the plan's rows out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from unit.planning.world import situation

from synapse_apply import Plan
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.plan import Action, Change
from synapse_apply.planning.drift import build_drift_report
from synapse_apply.planning.planner import build_plan

FOLDER = Path(__file__).parents[2] / "cases" / "plan"


def _cases() -> Iterator[Any]:
    for file in sorted(FOLDER.glob("*.yaml")):
        for case in yaml.load(file.read_text("utf-8"), yaml.CSafeLoader):
            yield pytest.param(case, id=f"{file.stem}: {case['name']}")


def _row(change: Change) -> dict[str, Any]:
    """A row as cases write it; what is empty is left out."""
    row: dict[str, Any] = {"action": change.action.value}
    row["fields"] = {
        format_field_path(
            field.path
        ): f"{field.cause.value}{f' ({field.note})' if field.sensitive else ''}"
        for field in change.fields
    }
    row["held"] = [format_field_path(field.path) for field in change.held]
    row["refused"] = [refusal.rule for refusal in change.refusals]
    row["notes"] = list(change.notes)
    row["rebase"] = change.rebase
    row["superseded"] = change.superseded
    row["verify"] = change.verification.reason if change.verification else ""
    return {name: value for name, value in row.items() if value}


def _expected(row: Any) -> dict[str, Any]:
    full = {"action": row} if isinstance(row, str) else dict(row)
    fields = full.get("fields")
    if isinstance(fields, list):
        full["fields"] = dict.fromkeys(fields, "none")
    return full


def _drift(made: Plan, case: dict[str, Any]) -> dict[str, Any]:
    """What drifted as cases write it: fields with recorded, live and cause; what waits."""
    found = build_drift_report(
        made, situation(case["objects"], **case.get("choices", {})).resources
    )
    told: dict[str, Any] = {}
    for one in found.objects:
        fields = {
            format_field_path(field.path): f"{field.cause.value} ({field.note})"
            if field.sensitive
            else f"{field.before} -> {field.after} {field.cause.value}"
            for field in one.fields
        }
        told[str(one.address)] = (
            "gone" if one.is_missing else fields or f"remade as {one.replacement_id}"
        )
    waiting = [str(address) for address in found.pending_addresses]
    return {**told, **({"waiting": waiting} if waiting else {})}


def _check_words(made: Plan, words: list[str]) -> None:
    """Texts that must stand somewhere in reasons, ways out, findings or guards."""
    texts = [text for c in made.changes for r in c.refusals for text in (r.reason, *r.ways_out)]
    texts += [text for d in made.diagnostics for text in (d.summary, d.detail, d.hint)]
    texts += [text for trip in made.guards for text in (trip.summary, trip.detail)]
    for word in words:
        assert any(word in text for text in texts), (word, texts)


@pytest.mark.parametrize("case", list(_cases()))
def test_case(case: dict[str, Any]) -> None:
    """The plan has the rows, findings, guards and words that the case tells."""
    made = build_plan(situation(case["objects"], **case.get("choices", {})))
    expected = case["plan"]
    rows = {str(change.address): _row(change) for change in made.changes}
    wanted = {address: _expected(row) for address, row in expected.get("rows", {}).items()}
    assert rows == wanted
    if "order" in case:
        assert list(rows) == case["order"]
    errors = [finding.summary for finding in made.diagnostics if finding.is_error]
    warnings = [finding.summary for finding in made.diagnostics if not finding.is_error]
    assert errors == expected.get("errors", [])
    assert warnings == expected.get("warnings", [])
    assert [trip.name for trip in made.guards] == expected.get("guards", [])
    _check_words(made, expected.get("words", []))
    if "drift" in case:
        assert _drift(made, case) == case["drift"]
    for change in made.changes:
        says_what = change.fields or change.replaces_package
        assert change.action is not Action.UPDATE or says_what, "an update without a path"
