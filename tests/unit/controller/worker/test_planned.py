"""Which rows of a plan are decided about, and what a row says."""

from __future__ import annotations

from typing import Any

import pytest
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

GIT, DRIFT, SECRET = (RowCause.GIT,), (RowCause.DRIFT,), (RowCause.SECRET,)
SIZE_3 = {"name": "a", "size": 3}
SIZE_4 = {"name": "a", "size": 4}
SIZE_5 = {"name": "a", "size": 5}
EDITION = {"line": "y", "version": "1.0.0"}


def list_rows(objects: dict[str, Any], **choices: Any) -> dict[str, PlannedRow]:
    rows = list_planned_rows(build_plan(situation(objects, **choices)))
    return {row.address: row for row in rows}


def list_row(item: dict[str, Any], address: str = "widget/a", **choices: Any) -> PlannedRow:
    (row,) = list_rows({address: item}, **choices).values()
    return row


@pytest.mark.parametrize(
    ("item", "choices", "action", "causes", "summary"),
    [
        ({"spec": {"name": "a"}}, {}, RowAction.CREATE, GIT, "create"),
        ({"spec": {"name": "a"}, "live": {"name": "a"}}, {}, RowAction.ADOPT, GIT, "adopt id 1"),
        (
            {"spec": SIZE_4, "live": SIZE_3},
            {},
            RowAction.ADOPT,
            GIT,
            "adopt id 1, update size",
        ),
        (
            {"spec": SIZE_4, "live": SIZE_3, "record": {"applied": SIZE_3}},
            {},
            RowAction.UPDATE,
            GIT,
            "update size",
        ),
        (
            {"spec": SIZE_3, "live": SIZE_4, "record": {"applied": SIZE_3}},
            {},
            RowAction.UPDATE,
            DRIFT,
            "update size",
        ),
        (
            {"spec": SIZE_4, "live": SIZE_5, "record": {"applied": SIZE_3}},
            {},
            RowAction.UPDATE,
            GIT + DRIFT,
            "update size",
        ),
        (
            {"spec": {"name": "a"}, "record": {}, "id": 7},
            {},
            RowAction.RECREATE,
            DRIFT,
            "recreate: it is missing",
        ),
        (
            {"live": {"name": "a"}, "record": {}, "id": 7},
            {"prune": True},
            RowAction.DELETE,
            GIT,
            "delete id 7",
        ),
    ],
)
def test_what_a_row_does_and_why(item, choices, action, causes, summary):
    others = {"gadget/other": {"spec": {"name": "o"}, "live": {"name": "o"}, "record": {}}}
    (row,) = list_rows({"widget/a": item, **others}, **choices).values()
    assert (row.action, row.causes, row.summary) == (action, causes, summary)
    assert row.also == ((RowAction.UPDATE,) if ", update" in summary else ())
    assert row.digest.startswith("row1:")
    assert not (row.refusal)
    assert not (row.needs)
    assert not (row.is_waiting)


def test_a_secret_that_changed_is_a_cause_of_its_own():
    spec = {"name": "a", "hook": {"$secret": "new"}}
    row = list_row(
        {
            "spec": spec,
            "record": {"applied": {"name": "a", "hook": {"$mac": "old"}}},
            "live": {"name": "a"},
        }
    )
    assert row.causes == SECRET
    assert "new" not in repr(row)


@pytest.mark.parametrize(
    ("declared", "recorded", "is_of_git"),
    [
        ({"$secret": "new", "place": "p1"}, {"$mac": "old", "place": "p1"}, False),
        ({"$secret": "new", "place": "p2"}, {"$mac": "old", "place": "p1"}, True),
        # In the manifest, or in a file of the repository.
        ({"$secret": "new", "place": ""}, {"$mac": "old", "place": ""}, True),
        # Of a state of an older version.
        ({"$secret": "new", "place": "p1"}, {"$mac": "old", "place": ""}, True),
    ],
)
def test_a_secret_of_another_place_is_of_git(declared, recorded, is_of_git):
    spec, applied = {"name": "a", "hook": declared}, {"name": "a", "hook": recorded}
    row = list_row({"spec": spec, "record": {"applied": applied}, "live": {"name": "a"}})
    assert row.causes == (GIT if is_of_git else ()) + SECRET


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


def test_a_missing_object_is_of_git_where_it_would_not_be_what_it_was():
    """Another field, one less, another package, another run."""
    record = {"applied": SIZE_3}
    assert list_row({"spec": SIZE_3, "record": record, "id": 7}).causes == DRIFT
    assert list_row({"spec": SIZE_4, "record": record, "id": 7}).causes == GIT + DRIFT
    assert list_row({"spec": {"name": "a"}, "record": record, "id": 7}).causes == GIT + DRIFT
    edition = {"spec": EDITION, "id": 7, "package": {"digest": "d1"}}
    was = {"digest": "d1", "applied": EDITION}
    for item, causes in (
        ({"record": was}, DRIFT),
        ({"record": {**was, "digest": "d2"}}, GIT + DRIFT),
        ({"record": was, "verify": {}}, GIT + DRIFT),
        ({"record": {**was, "run": {"result": "passed", "of": {}}}, "verify": {}}, DRIFT),
        (
            {
                "record": {**was, "run": {"result": "passed", "of": {}}},
                "verify": {"parameters": {"x": 1}},
            },
            GIT + DRIFT,
        ),
    ):
        assert list_row({**edition, **item}, "edition/y@1.0.0").causes == causes, item


def test_what_concerns_the_state_alone_is_no_row():
    """Nor what is as it should be, nor drift that is kept."""
    followed = {"spec": SIZE_5, "live": SIZE_5, "record": {"applied": SIZE_3}}
    kept = {"spec": SIZE_3, "live": SIZE_4, "record": {"applied": SIZE_3}}
    assert not list_rows({"widget/a": followed, "widget/b": kept | {}}, on_drift="hold")


def test_a_run_that_is_due_is_a_row_and_one_after_a_create_is_part_of_it():
    package = {"digest": "d1"}
    live = {"spec": EDITION, "live": EDITION, "record": {"digest": "d1"}, "package": package}
    row = list_row({**live, "verify": {}}, "edition/y@1.0.0")
    assert (row.action, row.causes, row.summary) == (
        RowAction.VERIFY,
        GIT,
        "verify: never verified",
    )
    row = list_row({"spec": EDITION, "package": package, "verify": {}}, "edition/y@1.0.0")
    assert (row.actions, row.summary) == (
        (RowAction.CREATE, RowAction.VERIFY),
        "create, verify: never verified",
    )


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


def test_a_refused_row_says_why_and_what_would_have_been():
    """By its cause it is a matter of Git, or not."""
    spec = {"name": "a", "serial": "2"}
    record = {"applied": {"name": "a", "serial": "1"}}
    live = {"name": "a", "serial": "1"}
    row = list_row({"spec": spec, "live": live, "record": record})
    assert row.refusal
    assert "serial" in row.refusal_reason + row.summary
    assert not row.is_waiting


@pytest.mark.parametrize(
    ("elsewhere", "is_waiting"),
    [
        ({}, True),
        ({"has": {"edition/y@1.0.0": {"digest": "d1", "result": "running"}}}, True),
        ({"has": {"edition/y@1.0.0": {"digest": "d9", "result": "passed"}}}, False),
        ({"missing": True}, False),
    ],
)
def test_a_verification_that_may_still_come_is_waited_for(elsewhere, is_waiting):
    item = {"spec": EDITION, "package": {"digest": "d1"}}
    row = list_row(item, "edition/y@1.0.0", elsewhere={"staging": elsewhere})
    assert row.refusal
    assert row.is_waiting is is_waiting


def test_a_call_of_which_nobody_knows_is_told():
    row = list_row({"spec": {"name": "a"}}, open_intents={"widget/a": "create name=a"})
    assert row.is_outcome_unknown
    assert not row.is_waiting


def test_a_row_needs_what_it_depends_on_only_where_that_is_a_row():
    """And the other object of one call, both ways."""
    parent = {"$ref": "gadget/p"}
    child = {"spec": {"name": "a", "parent": parent}}
    made = list_rows({"gadget/p": {"spec": {"name": "p"}}, "widget/a": child})
    assert made["widget/a"].needs == ("gadget/p",)
    there = {"spec": {"name": "p"}, "live": {"name": "p"}, "record": {}}
    assert list_rows({"gadget/p": there, "widget/a": child})["widget/a"].needs == ()


def test_guards_come_last_with_the_rows_that_they_count():
    missing = {
        f"widget/{name}": {"spec": {"name": name}, "record": {}, "id": number}
        for number, name in enumerate("abc", 1)
    }
    rows = list_rows(missing, policy=[{"rule": "max-changes", "limit": 2}])
    assert list(rows)[:3] == list(missing)
    tenant, policy = rows["all-missing"], rows["policy:max-changes"]
    assert (tenant.action, tenant.needs, tenant.is_waiting) == (RowAction.GUARD, (), False)
    assert tenant.summary == "Every recorded object is missing"
    assert (policy.needs, policy.limit) == (tuple(missing), 2)
    assert len({row.digest for row in rows.values()}) == len(rows)


def test_a_freeze_with_an_end_is_waited_for():
    freeze = {
        "rule": "freeze",
        "cron": "0 17 * * 5",
        "duration": "63h",
        "timezone": "Europe/Berlin",
    }
    always = {"rule": "freeze", "name": "always", "cron": "0 0 * * *", "duration": "1d"}
    rows = list_rows(
        {"widget/a": {"spec": {"name": "a"}}},
        created="2026-11-28T12:00:00Z",
        policy=[freeze, always],
    )
    assert rows["policy:freeze"].is_waiting
    assert not rows["policy:always"].is_waiting


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
