"""Which rows of a plan are decided about, and what a row says: the cases of tests/cases/rows.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import yaml
from unit.planning.world import situation

from synapse_apply.controller.planned_rows import (
    ApplyTerms,
    HoldReason,
    PlannedRow,
    RowAction,
    RowCause,
)
from synapse_apply.controller.rules.judging import judge_rows
from synapse_apply.controller.settings import AutoRule
from synapse_apply.controller.worker.exchange import decode_result, encode_result
from synapse_apply.controller.worker.look import build_result_of_plan, list_planned_rows
from synapse_apply.planning.planner import build_plan

GIT, DRIFT = (RowCause.GIT,), (RowCause.DRIFT,)
SIZE_3 = {"name": "a", "size": 3}
SIZE_4 = {"name": "a", "size": 4}
EDITION = {"line": "y", "version": "1.0.0"}
CASES = yaml.safe_load(
    (Path(__file__).parents[3] / "cases" / "rows.yaml").read_text(encoding="utf-8")
)


def list_rows(objects: Mapping[str, Any], **choices: Any) -> dict[str, PlannedRow]:
    rows = list_planned_rows(build_plan(situation(objects, **choices)))
    return {row.address: row for row in rows}


def list_row(item: dict[str, Any], address: str = "widget/a", **choices: Any) -> PlannedRow:
    (row,) = list_rows({address: item}, **choices).values()
    return row


def read(row: PlannedRow, name: str) -> Any:
    """A value as cases write it."""
    if name == "is_refused":
        return bool(row.refusal)
    value = getattr(row, name)
    if isinstance(value, tuple):
        return [one.value if isinstance(one, Enum) else one for one in value]
    return value.value if isinstance(value, Enum) else value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_what_a_row_does_and_why(case: dict[str, Any]) -> None:
    """In this order, and no other rows; what is neither refused nor waited for says so."""
    rows = list_rows(case["objects"], **case.get("choices", {}))
    assert list(rows) == list(case["rows"])
    for address, expected in case["rows"].items():
        row = rows[address]
        assert row.digest.startswith("row1:")
        assert (says := expected.get("says", "")) in row.refusal_reason + row.summary, says
        usual = {"is_refused": False, "is_waiting": False}
        for name, value in {**usual, **expected}.items():
            assert name == "says" or read(row, name) == value, (address, name)
    assert len({row.digest for row in rows.values()}) == len(rows)


def test_a_secret_stands_in_no_row() -> None:
    spec, applied = {"hook": {"$secret": "new"}}, {"hook": {"$mac": "old"}}
    row = list_row({"spec": spec, "record": {"applied": applied}, "live": {"name": "a"}})
    assert "new" not in repr(row)


@pytest.mark.parametrize(
    ("declared", "recorded", "is_of_git"),
    [
        ({"$secret": "s"}, {"$mac": "s"}, False),
        ({"$secret": "s", "place": ""}, {"$mac": "s", "place": ""}, False),
        ({"$secret": "s"}, {"$mac": "s", "place": ""}, False),
        ({"$secret": "s", "place": "p2"}, {"$mac": "s", "place": "p1"}, True),
        ({"$secret": None, "why": "not set"}, {"$mac": "s"}, False),
        ({"$secret": None, "why": "not set", "place": "p2"}, {"$mac": "s"}, True),
        ({"$secret": None, "why": "no key"}, "", True),
    ],
)
def test_drift_is_of_git_where_its_call_sends_a_secret_of_another_place(
    declared, recorded, is_of_git
):
    """An update of what drifted, and a missing object that is made again."""
    applied = {**SIZE_3, **({"hook": recorded} if recorded else {})}
    item = {"spec": {**SIZE_3, "hook": declared}, "record": {"applied": applied}}
    causes = (GIT if is_of_git else ()) + DRIFT
    assert list_row({**item, "live": SIZE_4}).causes == causes
    assert list_row({**item, "id": 7}).causes == causes


def test_what_is_made_again_is_verified_by_the_same_row():
    """So neither is done by a rule that lists one of them alone."""
    record = {"digest": "d1", "applied": EDITION}
    item = {"spec": EDITION, "package": {"digest": "d1"}, "record": record, "id": 7, "verify": {}}
    row = list_row(item, "edition/y@1.0.0")
    assert row.actions == (RowAction.RECREATE, RowAction.VERIFY)
    for action in row.actions:
        terms = ApplyTerms(frozenset(RowCause), frozenset({action}))
        assert judge_rows([row], terms).permitted_rows == ()
    assert judge_rows(
        [row], ApplyTerms(frozenset(RowCause), frozenset(row.actions))
    ).permitted_rows == (row,)


def test_names_of_rules_are_a_commits_own_and_of_limited_length():
    """Two that begin alike are two guards still."""
    names = ["x" * 5000 + end for end in "ab"]
    rules = [{"rule": "max-changes", "limit": 0, "name": name} for name in names]
    plan = build_plan(situation({"widget/a": {"spec": {"name": "a"}}}, policy=rules))
    result = build_result_of_plan(plan)
    assert decode_result(encode_result(result)) == result
    assert [row.action for row in result.rows] == [RowAction.CREATE] + [RowAction.GUARD] * 2


def test_texts_are_one_line_of_limited_length():
    spec = {"name": "a", "config": {f"key\n{number}" * 100: 1 for number in range(9)}}
    row = list_row({"spec": spec, "live": {"name": "a"}, "record": {"applied": {"name": "a"}}})
    assert row.action is RowAction.UPDATE
    assert len(row.summary) <= 300
    assert "\n" not in row.summary


def test_a_replaced_package_waits_for_a_person_unless_its_action_is_listed():
    """Also in mode auto with its defaults; the row says what it does."""
    fields = {"line": "y", "version": "1.0.0", "draft": True}
    package, record = {"digest": "d2"}, {"digest": "d1"}
    item = {"spec": fields, "live": fields, "package": package, "record": record}
    row = list_row(item, "edition/y@1.0.0", allow_replace=True)
    assert (row.action, row.causes) == (RowAction.REPLACE, GIT)
    assert row.summary == "apply replaces its published package; the id stays"
    defaults = AutoRule()
    (hold,) = judge_rows([row], ApplyTerms(defaults.causes, defaults.actions)).held_rows
    assert (hold.reason, hold.can_be_approved) == (HoldReason.ACTION, True)
    terms = ApplyTerms(defaults.causes, frozenset({RowAction.REPLACE}))
    assert judge_rows([row], terms).permitted_rows == (row,)
    approved = ApplyTerms(defaults.causes, defaults.actions, {row.digest: ("a",)})
    assert judge_rows([row], approved).permitted_rows == (row,)
