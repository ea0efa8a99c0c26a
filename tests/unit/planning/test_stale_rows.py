"""Rows of a saved plan on the plan made anew: true, moved (and how), gone, new, or done already."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from laws.effort import effort
from unit.planning.test_laws import objects
from unit.planning.world import Data, situation

from synapse_apply import Plan
from synapse_apply.model.codec import plan_from_json, plan_to_json
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.model.plan import Action, Change
from synapse_apply.planning.narrow import narrow_plan
from synapse_apply.planning.planner import build_plan

OLD = {"config": {"size": "s"}, "note": "old"}
NEW = {"config": {"size": "s"}, "note": "new"}


def saved(found: dict[str, Data], **choices: Any) -> Plan:
    """The plan of a situation as its file has it."""
    text = format_canonical_json(plan_to_json(build_plan(situation(found, **choices))))
    return plan_from_json(json.loads(text))


def fitted(
    before: dict[str, Data], now: dict[str, Data], *, reviewed: bool = False, **choices: Any
) -> dict[str, Change]:
    """The rows of the one situation that are left on the other."""
    fresh = build_plan(situation(now, **choices))
    made = narrow_plan(saved(before, **choices), fresh, reviewed=reviewed)
    return {str(change.address): change for change in made.changes}


def widget(live: Data | None = None, spec: Data = NEW, **more: Any) -> dict[str, Any]:
    """A recorded widget whose declared note goes from old to new."""
    data: dict[str, Any] = {"spec": spec, "record": {"applied": OLD}, **more}
    if live is not None:
        data["live"] = live
    return data


def reasons(row: Change) -> list[str]:
    return [line.strip() for refusal in row.refusals for line in refusal.reason.split("\n")]


def rules(row: Change) -> list[str]:
    return [refusal.rule for refusal in row.refusals]


UPDATE = {"widget/a": widget(OLD)}


def test_nothing_moved() -> None:
    """The same rows, under the saved id; a reviewed plan lends no id."""
    kept, fresh = replace(saved(UPDATE), id="saved"), build_plan(situation(UPDATE))
    assert narrow_plan(kept, fresh, reviewed=False) == replace(fresh, id="saved")
    assert narrow_plan(kept, fresh, reviewed=True) == fresh
    assert fresh.changes[0].action is Action.UPDATE


def test_planned_was_is_now() -> None:
    """A field that the plan changes moved."""
    row = fitted(UPDATE, {"widget/a": widget({**OLD, "note": "hand"})})["widget/a"]
    assert row.action is Action.UPDATE
    assert rules(row) == ["stale"]
    assert reasons(row) == [
        "it changed since it was planned",
        'note: planned "new", was "old", is now "hand"',
    ]


def test_a_field_the_plan_does_not_change_moved() -> None:
    """It drifted: the fresh plan would set it back, which nobody saw."""
    row = fitted(UPDATE, {"widget/a": widget({**OLD, "config": {"size": "l"}})})["widget/a"]
    assert reasons(row)[1:] == ['config.size: planned "s", was "s", is now "l"']


def test_a_field_that_is_not_ours_moved() -> None:
    """Nobody declares it and nobody recorded it: the row is true."""
    row = fitted(UPDATE, {"widget/a": widget({**OLD, "size": 2})})["widget/a"]
    assert not row.is_refused


def test_the_manifest_wants_something_else() -> None:
    """Only with a reviewed plan: what would be done now is told as well."""
    other = {"widget/a": widget(OLD, {**NEW, "note": "other"})}
    row = fitted(UPDATE, other, reviewed=True)["widget/a"]
    assert reasons(row) == [
        "it differs from the reviewed plan",
        'note: planned "new", was "old", is now "old" and would become "other"',
    ]


def test_another_object() -> None:
    """Deleted and made again outside: another id."""
    row = fitted(UPDATE, {"widget/a": widget(OLD, id="7", found_by="key")})["widget/a"]
    assert "id: was 1, is now 7" in reasons(row)


def test_it_is_missing_now() -> None:
    """A planned update of what is gone makes nothing."""
    row = fitted(UPDATE, {"widget/a": widget()})["widget/a"]
    assert row.action is Action.UPDATE
    assert reasons(row)[1] == "planned update, now the object is missing"


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


def test_done_already() -> None:
    """It is as it was wanted: a note, and the record learns of it."""
    row = fitted(UPDATE, {"widget/a": widget(NEW)})["widget/a"]
    assert row.action is Action.NO_OP
    assert row.rebase
    assert row.notes == ("update was planned, and nothing is left to do",)


def test_rows_the_plan_does_not_have() -> None:
    """Left out of a saved plan with a note; refused where rows are reviewed."""
    before = {**UPDATE, "widget/b": widget(OLD, OLD)}
    now = {**UPDATE, "widget/b": widget(OLD, {**OLD, "note": "b"})}
    row = fitted(before, now)["widget/b"]
    assert row.action is Action.NO_OP
    assert row.notes == ("not in this plan (update would be needed now): left unchanged",)
    assert not row.rebase
    row = fitted(before, now, reviewed=True)["widget/b"]
    assert rules(row) == ["unreviewed"]


def test_dependents_of_a_stale_row() -> None:
    """What needs a row that is not done is not done, however far it is."""
    chain = {
        "widget/a": widget(OLD),
        "widget/b": {"spec": {"note": "b"}, "depends_on": ["widget/a"]},
        "widget/c": {"spec": {"note": "c"}, "depends_on": ["widget/b"]},
        "widget/d": {"spec": {"note": "d"}},
    }
    moved = {**chain, "widget/a": widget({**OLD, "note": "hand"})}
    rows = fitted(chain, moved)
    assert [rules(rows[f"widget/{name}"]) for name in "abcd"] == [["stale"]] * 3 + [[]]
    assert reasons(rows["widget/b"]) == ["it needs widget/a, which this apply leaves out"]
    assert reasons(rows["widget/c"]) == ["it needs widget/b, which this apply leaves out"]


def test_dependents_of_what_is_missing_and_not_planned() -> None:
    """The object it needs vanished; this plan does not make it again."""
    chain = {
        "widget/a": widget(OLD, OLD),
        "widget/b": {"spec": {"note": "b"}, "depends_on": ["widget/a"]},
    }
    rows = fitted(chain, {**chain, "widget/a": widget(None, OLD)}, recreate=True)
    assert rows["widget/a"].action is Action.NO_OP
    assert reasons(rows["widget/b"]) == ["it needs widget/a, which this apply leaves out"]


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


def test_gone() -> None:
    """Neither declared nor recorded: stale, unless it was to end."""
    create = {"widget/a": {"spec": NEW}}
    row = fitted(create, {}, reviewed=True)["widget/a"]
    assert reasons(row) == ["it is no longer declared or recorded"]
    delete = {"widget/a": {"live": OLD, "record": {"applied": OLD}}}
    row = fitted(delete, {}, prune=True)["widget/a"]
    assert row.action is Action.NO_OP
    assert row.notes == ("delete was planned, but the state no longer records it",)


def test_guards_of_rows_that_are_left_out() -> None:
    """A guard on a row that is not done stops nothing; one on a row that is done does."""
    found = {"widget/a": {"spec": OLD, "live": OLD}}
    fresh = build_plan(situation(found, adopt=False))
    assert [trip.name for trip in fresh.guards] == ["adopt"]
    assert narrow_plan(saved({}), fresh, reviewed=False).guards == ()
    assert narrow_plan(saved(found), fresh, reviewed=False).guards == fresh.guards


def test_a_secret_that_could_not_be_checked() -> None:
    """A plan made without secrets is true where they are at hand; values are no part of it."""
    blind = {"widget/a": {"spec": {**NEW, "config": {"key": {"$secret": None, "why": "unset"}}}}}
    seeing = {"widget/a": {"spec": {**NEW, "config": {"key": {"$secret": "s"}}}}}
    assert not fitted(blind, seeing)["widget/a"].is_refused
    assert not fitted(seeing, blind)["widget/a"].is_refused


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


def test_a_secret_that_moved() -> None:
    """Told without any value."""
    spec = {**NEW, "config": {"key": {"$secret": "s"}}}
    record = {"applied": {**OLD, "config": {"key": {"$mac": "s"}}}}
    live = {**OLD, "config": {"key": {"$mac": "s"}}}
    before = {"widget/a": {"spec": spec, "live": live, "record": record}}
    now = {"widget/a": {**before["widget/a"], "live": {**OLD, "config": {"key": {"$mac": "t"}}}}}
    row = fitted(before, now)["widget/a"]
    assert reasons(row)[1:] == ["config.key: (sensitive), planned left unchanged, now sent"]


def test_many_fields_are_cut() -> None:
    """Twenty lines are enough to see that it is another object."""
    many = {f"k{n:02}": n for n in range(40)}
    now = {"widget/a": widget({**OLD, "config": {**many, "size": "s"}}, {**NEW, "config": many})}
    before = {"widget/a": widget({**OLD, "config": {}}, {**NEW, "config": many})}
    told = reasons(fitted(before, now)["widget/a"])
    assert len(told) == 22
    assert told[-1].startswith("and ")


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
