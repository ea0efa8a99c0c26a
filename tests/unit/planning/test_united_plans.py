"""Several reviewed plans as one: which row counts, and that no row is done that none of them has."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort
from unit.planning.test_laws import objects
from unit.planning.test_stale_rows import NEW, OLD, reasons, rules, saved, widget
from unit.planning.world import Data, situation

from synapse_apply import Plan
from synapse_apply.model.address import Address
from synapse_apply.model.plan import Action, Change
from synapse_apply.model.project import MovedAddress
from synapse_apply.planning.narrow import narrow_plan, unite_plans
from synapse_apply.planning.planner import build_plan
from synapse_apply.planning.rows import has_same_effect, plain_run, with_ids_created_meanwhile

A, B = widget(OLD), widget(OLD)
STILL = widget(OLD, OLD)
OTHER = widget(OLD, {**OLD, "note": "other"})


def apply_reviewed(plans: list[dict[str, Data]], now: dict[str, Data]) -> dict[str, Change]:
    """The rows that are left of the plan of now, under the union of these plans."""
    united = unite_plans([saved(objects) for objects in plans])
    rows = narrow_plan(united, build_plan(situation(now)), reviewed=True).changes
    return {str(change.address): change for change in rows}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_merges_that_do_not_meet(order: tuple[int, int]) -> None:
    """Each plan has the other's row as unchanged: both rows go, whichever was merged first."""
    plans = [{"widget/a": A, "widget/b": STILL}, {"widget/a": STILL, "widget/b": B}]
    rows = apply_reviewed([plans[index] for index in order], {"widget/a": A, "widget/b": B})
    assert [(row.action, row.is_refused) for row in rows.values()] == [(Action.UPDATE, False)] * 2


def test_an_address_that_the_newer_plan_does_not_list() -> None:
    """It was made before the older one's object was declared: the reviewed row goes."""
    rows = apply_reviewed([{"widget/n": {"spec": NEW}}, {}], {"widget/n": {"spec": NEW}})
    assert rows["widget/n"].action is Action.CREATE
    assert not rows["widget/n"].is_refused


@pytest.mark.parametrize(("plans", "goes"), [((A, OTHER), False), ((OTHER, A), True)])
def test_the_newer_of_two_rows_counts(plans: tuple[Data, Data], goes: bool) -> None:
    """What is due is a row that the newer plan shows, or it is refused with what differs."""
    row = apply_reviewed([{"widget/a": each} for each in plans], {"widget/a": A})["widget/a"]
    assert row.is_refused != goes
    if not goes:
        assert reasons(row) == [
            "it differs from the reviewed plan",
            'note: planned "other", was "old", is now "old" and would become "new"',
        ]


def test_the_sum_of_two_rows_is_a_row_nobody_saw() -> None:
    """Two merges changed a field each of one object: neither plan shows what would be sent."""
    one = {"config": {"size": "l"}, "note": "old"}
    both = {"config": {"size": "l"}, "note": "new"}
    plans = [{"widget/a": A}, {"widget/a": widget(OLD, one)}]
    row = apply_reviewed(plans, {"widget/a": widget(OLD, both)})["widget/a"]
    assert rules(row) == ["stale"]
    stacked = [plans[1], {"widget/a": widget(OLD, both)}]
    assert not apply_reviewed(stacked, {"widget/a": widget(OLD, both)})["widget/a"].is_refused


def test_a_newer_plan_that_refuses() -> None:
    """Its reader saw that nothing would be done: nothing is, also where an older plan has the row."""
    plain = saved({"widget/a": A})
    stopped = saved({"widget/a": A}, open_intents={"widget/a": "update"})
    fresh = build_plan(situation({"widget/a": A}))
    (row,) = narrow_plan(unite_plans([plain, stopped]), fresh, reviewed=True).changes
    assert rules(row) == ["stale"]
    (row,) = narrow_plan(unite_plans([stopped, plain]), fresh, reviewed=True).changes
    assert not row.is_refused


def test_a_row_that_no_plan_has() -> None:
    """Changed by a merge that has no plan: refused, and the others go."""
    plans = [
        {"widget/a": A, "widget/b": STILL, "widget/c": STILL},
        {"widget/a": STILL, "widget/b": B, "widget/c": STILL},
    ]
    rows = apply_reviewed(plans, {"widget/a": A, "widget/b": B, "widget/c": OTHER})
    assert [rules(rows[f"widget/{name}"]) for name in "abc"] == [[], [], ["unreviewed"]]
    assert reasons(rows["widget/c"]) == ["no reviewed plan contains it"]


def test_a_merge_that_takes_back_an_older_one() -> None:
    """Nothing is due any more: nothing is done; what was to be made and is gone is told."""
    rows = apply_reviewed([{"widget/a": A}, {"widget/a": STILL}], {"widget/a": STILL})
    assert (rows["widget/a"].action, rows["widget/a"].is_refused) == (Action.NO_OP, False)
    rows = apply_reviewed([{"widget/n": {"spec": NEW}}, {}], {})
    assert reasons(rows["widget/n"]) == ["it is no longer declared or recorded"]


def test_a_change_under_a_name_that_another_merge_gave_up() -> None:
    """The renamed object has a row nobody saw, and the row that was seen has no object."""
    rows = apply_reviewed([{"widget/b": STILL}, {"widget/a": A}], {"widget/b": A})
    assert [rules(rows[f"widget/{name}"]) for name in "ab"] == [["stale"], ["unreviewed"]]


def test_renames_are_those_of_all() -> None:
    """Each once, in the order of the plans."""
    moves = [
        MovedAddress(Address("widget", old), Address("widget", new)) for old, new in ("ab", "cd")
    ]
    plans = [
        Plan("1", "", "", saved({}).base, moved=(moves[0],)),
        Plan("2", "", "", saved({}).base, moved=(moves[1], moves[0])),
    ]
    assert unite_plans(plans).moved == tuple(moves)


@effort(8, 300)
@given(objects())
def test_a_plan_alone_is_itself(found: dict[str, Data]) -> None:
    """Law: also where it is given twice."""
    one = saved(found, prune=True)
    assert unite_plans([one]) == one
    assert unite_plans([one, one]) == one


@effort(8, 300)
@given(st.lists(objects(), min_size=2, max_size=3), objects())
def test_the_order_of_unrelated_plans_does_not_matter(
    before: list[dict[str, Data]], now: dict[str, Data]
) -> None:
    """Law: where no two of them have a row for one address."""
    plans = [saved(found, prune=True) for found in before]
    plans = keep_apart(plans)
    fresh = build_plan(situation(now, prune=True))
    outcomes: list[dict[Address, Any]] = []
    for order in itertools.permutations(plans):
        rows = narrow_plan(unite_plans(order), fresh, reviewed=True).changes
        outcomes.append({row.address: row for row in rows})
    assert all(outcome == outcomes[0] for outcome in outcomes)


def keep_apart(plans: list[Plan]) -> list[Plan]:
    """The plans, each without the rows for addresses that an earlier one has a row for."""
    seen: set[Address] = set()
    kept: list[Plan] = []
    for one in plans:
        rows = tuple(row for row in one.changes if row.address not in seen)
        seen |= {row.address for row in rows if row.is_due or row.is_refused}
        kept.append(Plan(one.id, one.created, one.tool_version, one.base, rows))
    return kept


@effort(10, 400)
@given(st.lists(objects(), min_size=1, max_size=2), objects())
def test_nothing_is_done_that_no_plan_has(
    before: list[dict[str, Data]], now: dict[str, Data]
) -> None:
    """Law: each row that goes is a due row of one of the plans, as it was shown there."""
    plans = [saved(found, prune=True) for found in (*before, now)]
    fresh = build_plan(situation(now, prune=True))
    ids = {change.address: change.remote_id for change in fresh.changes}
    for chosen in (plans[:-1], plans, [plans[-1], *plans[:-1]]):
        for row in narrow_plan(unite_plans(chosen), fresh, reviewed=True).changes:
            if row.is_due:
                assert any(shows(one, row, ids) for one in chosen)


def shows(one: Plan, row: Change, ids: dict[Address, str]) -> bool:
    """Whether a plan has a due row that equals this one, or whose run is all that is left of it."""
    for shown in one.changes:
        if shown.address == row.address and shown.is_due:
            known = with_ids_created_meanwhile(shown, row, ids)
            run_is_left = row.action is Action.NO_OP and plain_run(known) == plain_run(row)
            return has_same_effect(known, row, reviewed=True) or run_is_left
    return False
