"""Several reviewed plans as one: laws, beside the cases of tests/cases/stale.yaml."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort
from unit.planning.test_laws import objects
from unit.planning.test_stale_rows import UPDATE, rules, saved
from unit.planning.world import Data, situation

from synapse_apply import Plan
from synapse_apply.model.address import Address
from synapse_apply.model.plan import Action, Change
from synapse_apply.model.project import MovedAddress
from synapse_apply.planning.narrow import narrow_plan, unite_plans
from synapse_apply.planning.planner import build_plan
from synapse_apply.planning.rows import has_same_effect, plain_run, with_ids_created_meanwhile


def test_a_newer_plan_that_refuses() -> None:
    """Its reader saw that nothing would be done: nothing is, also where an older plan has the row."""
    plain = saved(UPDATE)
    stopped = saved(UPDATE, open_intents={"widget/a": "update"})
    fresh = build_plan(situation(UPDATE))
    (row,) = narrow_plan(unite_plans([plain, stopped]), fresh, reviewed=True).changes
    assert rules(row) == ["stale"]
    (row,) = narrow_plan(unite_plans([stopped, plain]), fresh, reviewed=True).changes
    assert not row.is_refused


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
