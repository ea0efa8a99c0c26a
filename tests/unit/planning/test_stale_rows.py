"""Rows of a saved plan on the plan made anew: the cases of tests/cases/stale.yaml, and laws."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from laws.effort import effort
from unit.planning.test_laws import objects
from unit.planning.world import Data, situation

from synapse_apply import Plan
from synapse_apply.model.codec import plan_from_json, plan_to_json
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.model.plan import Action, Change
from synapse_apply.planning.narrow import narrow_plan, unite_plans
from synapse_apply.planning.planner import build_plan

CASES = yaml.safe_load(
    (Path(__file__).parents[2] / "cases" / "stale.yaml").read_text(encoding="utf-8")
)["cases"]
NEW = {"config": {"size": "s"}, "note": "new"}
OLD = {"config": {"size": "s"}, "note": "old"}


def saved(found: dict[str, Data], **choices: Any) -> Plan:
    """The plan of a situation as its file has it."""
    text = format_canonical_json(plan_to_json(build_plan(situation(found, **choices))))
    return plan_from_json(json.loads(text))


def fitted(
    before: Plan | dict[str, Data],
    now: dict[str, Data],
    *,
    reviewed: bool = False,
    **choices: Any,
) -> dict[str, Change]:
    """The rows of the one situation, or of a plan, that are left on the other."""
    fresh = build_plan(situation(now, **choices))
    kept = saved(before, **choices) if isinstance(before, dict) else before
    made = narrow_plan(kept, fresh, reviewed=reviewed)
    return {str(change.address): change for change in made.changes}


def widget(live: Data | None = None, spec: Data = NEW, **more: Any) -> dict[str, Any]:
    """A recorded widget whose declared note goes from old to new."""
    data: dict[str, Any] = {"spec": spec, "record": {"applied": OLD}, **more}
    if live is not None:
        data["live"] = live
    return data


UPDATE = {"widget/a": widget(OLD)}


def reasons(row: Change) -> list[str]:
    return [line.strip() for refusal in row.refusals for line in refusal.reason.split("\n")]


def rules(row: Change) -> list[str]:
    return [refusal.rule for refusal in row.refusals]


def read(row: Change) -> dict[str, Any]:
    """A row as cases write it; what is empty is left out."""
    run = row.verification
    told = {
        "action": row.action.value,
        "rules": rules(row),
        "reasons": reasons(row),
        "notes": list(row.notes),
        "is_rebased": row.rebase,
        "run": run.reason if run else "",
        "job": run.job if run else "",
    }
    return {name: value for name, value in told.items() if value}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_what_is_left_of_a_row(case: dict[str, Any]) -> None:
    """In each row of the case; `true` stands for any words."""
    now = case["now"] if "now" in case else {**case["before"], **case["same"]}
    choices, plans = case.get("choices", {}), [saved(found) for found in case.get("plans", ())]
    before = unite_plans(plans) if plans else case["before"]
    made = fitted(before, now, reviewed=bool(plans) or "is_reviewed" in case, **choices)
    assert made.keys() == case["rows"].keys()
    for address, expected in case["rows"].items():
        told = read(made[address])
        any_words = {name for name, value in expected.items() if value is True and told.get(name)}
        assert told == {**expected, **{name: told[name] for name in any_words}}


def test_nothing_moved() -> None:
    """The same rows, under the saved id; a reviewed plan lends no id."""
    kept, fresh = replace(saved(UPDATE), id="saved"), build_plan(situation(UPDATE))
    assert narrow_plan(kept, fresh, reviewed=False) == replace(fresh, id="saved")
    assert narrow_plan(kept, fresh, reviewed=True) == fresh
    assert fresh.changes[0].action is Action.UPDATE


def test_it_is_refused_now() -> None:
    """Its own refusal stays beside ours, an unknown outcome above all."""
    fresh = build_plan(situation(UPDATE, open_intents={"widget/a": "update"}))
    (row,) = narrow_plan(saved(UPDATE), fresh, reviewed=False).changes
    assert rules(row) == ["stale", "outcome-unknown"]
    assert any(refusal.outcome_unknown for refusal in row.refusals)


def test_it_was_refused_and_is_not_now() -> None:
    """What the plan showed as refused is not done."""
    before = saved(UPDATE, open_intents={"widget/a": "update"})
    (row,) = narrow_plan(before, build_plan(situation(UPDATE)), reviewed=False).changes
    assert rules(row) == ["stale"]
    assert "the plan refused it, and now the action would be update" in reasons(row)


def test_what_is_known_after_apply_is_known_by_now() -> None:
    """An apply that ended half-way made the plugin: its release is still what was reviewed."""
    package = {"package": {"digest": f"pkg1:sha256:{'aa' * 32}"}}
    spec = {"plugin": {"$ref": "plugin/p"}, "version": "1.0.0"}
    plugin: Data = {"spec": {"name": "P", "code": "p"}}
    release: Data = {"spec": spec, "depends_on": ["plugin/p"], **package}
    planned = {"plugin/p": plugin, "release/p@1.0.0": release}
    made = {**plugin, "live": plugin["spec"], "record": {"applied": plugin["spec"]}}
    for reviewed in (True, False):
        rows = fitted(planned, {**planned, "plugin/p": made}, reviewed=reviewed)
        assert rules(rows["release/p@1.0.0"]) == []
        assert rows["release/p@1.0.0"].action is Action.CREATE
        assert "nothing is left to do" in rows["plugin/p"].notes[0]
    another = {**release, "spec": {**spec, "plugin": "7"}}
    rows = fitted(planned, {"plugin/p": made, "release/p@1.0.0": another}, reviewed=True)
    assert rules(rows["release/p@1.0.0"]) == ["stale"]


def test_guards_of_rows_that_are_left_out() -> None:
    """A guard on a row that is not done stops nothing; one on a row that is done does."""
    found = {"widget/a": {"spec": OLD, "live": OLD}}
    fresh = build_plan(situation(found, adopt=False))
    assert [trip.name for trip in fresh.guards] == ["adopt"]
    assert narrow_plan(saved({}), fresh, reviewed=False).guards == ()
    assert narrow_plan(saved(found), fresh, reviewed=False).guards == fresh.guards


BLIND = {"$secret": None, "why": "unset"}


@pytest.mark.parametrize(
    ("planned", "now", "is_same"),
    [
        ({"$secret": "s"}, {"$secret": "s"}, True),
        ({"$secret": "s"}, {"$secret": "s", "place": "p2"}, True),
        ({"$secret": "s"}, {"$secret": "t"}, False),
        # Of another state key: the places tell.
        ({"$secret": "s"}, {"$secret": "t", "key": "k2"}, True),
        ({"$secret": "s"}, {"$secret": "t", "key": "k2", "place": "p2"}, False),
        (BLIND, {"$secret": "s"}, True),
        (BLIND, {"$secret": "s", "place": "p2"}, False),
        ({**BLIND, "place": ""}, {"$secret": "s", "place": ""}, True),
        ({**BLIND, "place": ""}, {"$secret": "s", "place": "", "from": "file"}, False),
        ({**BLIND, "from": "literal"}, {**BLIND, "from": "literal"}, True),
    ],
)
def test_which_secret_a_reviewed_row_sends(planned: Data, now: Data, is_same: bool) -> None:
    before, after = (
        {"widget/a": {"spec": {**NEW, "config": {"key": secret}}}} for secret in (planned, now)
    )
    assert fitted(before, after, reviewed=True)["widget/a"].is_refused is not is_same


def test_a_reviewed_plan_of_an_earlier_version() -> None:
    """It does not say where a secret comes from: of such a row the digest decides, else nothing."""
    seeing, blind, plain = (
        {"widget/a": {"spec": {**NEW, **more}}}
        for more in ({"config": {"key": {"$secret": "s"}}}, {"config": {"key": BLIND}}, {})
    )

    def is_refused(found: dict[str, Data], now: dict[str, Data]) -> bool:
        text = format_canonical_json(plan_to_json(build_plan(situation(found))))
        older = plan_from_json(json.loads(re.sub(r'"reference":"[^"]*",?', "", text)))
        fresh = build_plan(situation(now))
        return narrow_plan(older, fresh, reviewed=True).changes[0].is_refused

    assert not is_refused(seeing, seeing)
    assert not is_refused(plain, plain)
    assert is_refused(blind, seeing)


def test_many_fields_are_cut() -> None:
    """Twenty lines are enough to see that it is another object."""
    many = {f"k{n:02}": n for n in range(40)}
    now = {"widget/a": widget({**OLD, "config": {**many, "size": "s"}}, {**NEW, "config": many})}
    before = {"widget/a": widget({**OLD, "config": {}}, {**NEW, "config": many})}
    told = reasons(fitted(before, now)["widget/a"])
    assert len(told) == 22
    assert told[-1].startswith("and ")


def unpublished() -> dict[str, Data]:
    data = {"spec": {"line": "y", "version": "1.0.0"}, "package": {"digest": "d1"}}
    return {"edition/y@1.0.0": {**data, "verify": {"parameters": {"q": 1}}}}


def test_a_planned_run_comes_back_from_its_file() -> None:
    """Body, digest, reason and rules of a run are in a saved plan as they were planned."""
    assert saved(unpublished()) == build_plan(situation(unpublished()))
    assert saved(unpublished()).changes[0].verification is not None


def test_a_release_whose_run_was_not_planned_is_refused() -> None:
    """Planned with --no-verify, then reviewed with runs: a reader did not see them."""
    silent = saved(unpublished(), verify=False)
    assert silent.changes[0].verification is None
    (row,) = narrow_plan(silent, build_plan(situation(unpublished())), reviewed=True).changes
    assert "it would now be verified, which was not planned" in reasons(row)


@effort(20, 800)
@given(objects())
def test_a_plan_applied_at_once_is_the_plan(found: dict[str, Data]) -> None:
    """Law: on an unchanged world a saved or reviewed plan loses no row and gains none."""
    fresh = build_plan(situation(found, prune=True))
    kept = saved(found, prune=True)
    assert narrow_plan(kept, fresh, reviewed=False) == fresh
    assert narrow_plan(kept, fresh, reviewed=True) == fresh


@effort(20, 800)
@given(objects(), objects())
def test_never_more_than_was_planned(before: dict[str, Data], now: dict[str, Data]) -> None:
    """Law: what is done on a changed world was planned, and is what apply would do now."""
    kept, fresh = saved(before, prune=True), build_plan(situation(now, prune=True))
    planned = {change.address: change for change in kept.changes}
    would = {change.address: change for change in fresh.changes}
    for reviewed in (False, True):
        for change in narrow_plan(kept, fresh, reviewed=reviewed).changes:
            if change.has_unrefused_call_or_run or (
                change.action is not Action.NO_OP and not change.is_refused
            ):
                assert change == would[change.address]
                if not change.superseded:
                    assert planned[change.address].action is change.action
                    assert not planned[change.address].is_refused
