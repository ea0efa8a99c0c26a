"""Which rows are made where only some of a plan are permitted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from counting import calls_of
from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort
from unit.planning.test_laws import objects
from unit.planning.world import Data, situation

from synapse_apply import Plan
from synapse_apply.model.address import Address
from synapse_apply.model.job import Verification
from synapse_apply.model.plan import Action, Change, GuardViolation
from synapse_apply.model.project import MovedAddress
from synapse_apply.planning.narrow import (
    PermittedRows,
    has_work_without_permission,
    list_decidable_changes,
    list_needed_addresses,
    narrow_to_permitted_rows,
)
from synapse_apply.planning.planner import build_plan

A, B, C = (Address.parse(f"widget/{name}") for name in "abc")
CREATES: dict[str, Data] = {
    "widget/a": {"spec": {"note": "a"}},
    "widget/b": {"spec": {"note": "b"}, "depends_on": ["widget/a"]},
    "widget/c": {"spec": {"note": "c"}},
}


def narrow(plan: Plan, *permitted: Address, overridden: tuple[str, ...] = ()) -> Plan:
    rows = PermittedRows(frozenset(permitted), frozenset(overridden))
    return narrow_to_permitted_rows(plan, rows, "run-1")


def made(plan: Plan) -> set[Address]:
    """The addresses for which something is done, be it only a record."""
    return {change.address for change in plan.actionable_changes}


def notes(plan: Plan, address: Address) -> str:
    return " ".join(
        note for change in plan.changes if change.address == address for note in change.notes
    )


def test_others_are_left_as_they_are() -> None:
    """They stay in the plan, with a note; the plan has the id of the run."""
    narrowed = narrow(build_plan(situation(CREATES)), A)
    assert narrowed.id == "run-1"
    assert made(narrowed) == {A}
    assert notes(narrowed, C) == "it is not allowed at this time: left unchanged"
    assert {change.address for change in narrowed.changes} == {A, B, C}


def test_what_needs_another_row_waits_for_it() -> None:
    """A dependent alone is not made, also where the other is refused or only updated."""
    fresh = build_plan(situation(CREATES))
    assert made(narrow(fresh, B, C)) == {C}
    assert notes(narrow(fresh, B), B) == (
        "it needs widget/a, which this apply leaves out: left unchanged"
    )
    assert made(narrow(fresh, A, B)) == {A, B}
    update = {
        **CREATES,
        "widget/a": {
            "spec": {"note": "a"},
            "live": {"note": "old"},
            "record": {"applied": {"note": "old"}},
        },
    }
    assert made(narrow(build_plan(situation(update)), B)) == set()
    both = {**CREATES, "widget/b": {**CREATES["widget/b"], "depends_on": ["widget/a", "widget/c"]}}
    both["widget/c"] = {"spec": {"note": "c"}, "live": {"note": "c"}, "record": None}
    left_out = notes(narrow(build_plan(situation(both)), B), B)
    assert left_out == "it needs widget/a, which this apply leaves out: left unchanged"
    same = {**CREATES, "widget/a": {"spec": {"note": "a"}, "live": {"note": "a"}, "record": None}}
    assert made(narrow(build_plan(situation(same)), B)) == {B}


def test_what_one_call_makes_goes_together() -> None:
    """Neither the owner alone nor its member alone."""
    fresh = build_plan(situation({name: CREATES[name] for name in ("widget/a", "widget/c")}))
    owner, member = fresh.changes
    pair = replace(
        fresh,
        changes=(
            replace(owner, extras={"carries": "widget/c"}),
            replace(member, extras={"carried_by": "widget/a"}),
        ),
    )
    assert made(narrow(pair, A)) == made(narrow(pair, C)) == set()
    assert made(narrow(pair, A, C)) == {A, C}
    assert list_needed_addresses(pair.changes[0]) == (C,)
    assert list_needed_addresses(pair.changes[1]) == (A,)


def test_guards_judge_what_is_left() -> None:
    """One that counts lets fewer rows pass; one of the whole target must be named; a policy never."""
    counting = GuardViolation("policy:few", "Too many", rows=(A, C), limit=1)
    whole = GuardViolation("mass-missing", "Many are missing")
    fresh = replace(build_plan(situation(CREATES)), guards=(counting, whole))
    assert narrow(fresh, A).guards == (whole,)
    assert narrow(fresh, A, C).guards == (counting, whole)
    assert narrow(fresh, A, C, overridden=("mass-missing", "policy:few")).guards == (counting,)
    assert narrow(fresh, A, overridden=("mass-missing",)).guards == ()


def test_what_needs_no_permission() -> None:
    """Renames, records of what is so already, and runs that are only followed are made anyway."""
    rebase: dict[str, Data] = {
        "widget/a": {
            "spec": {"note": "new"},
            "live": {"note": "new"},
            "record": {"applied": {"note": "old"}},
        },
        "widget/c": CREATES["widget/c"],
    }
    fresh = build_plan(situation(rebase))
    assert has_work_without_permission(fresh)
    assert list_decidable_changes(fresh) == fresh.changes[1:]
    assert made(narrow(fresh)) == {A}
    assert made(narrow(fresh, C)) == {A, C}
    fresh = build_plan(situation({"widget/c": CREATES["widget/c"]}))
    assert not has_work_without_permission(fresh)
    moved = replace(fresh, moved=(MovedAddress(B, C),))
    assert has_work_without_permission(moved)
    guards = (GuardViolation("all-missing", "Every recorded object is missing"),)
    assert not has_work_without_permission(replace(moved, guards=guards))
    assert narrow(moved).moved == moved.moved
    run = Verification({}, "p", "never verified")
    row = replace(fresh.changes[0], address=A, action=Action.NO_OP, fields=(), verification=run)
    due = replace(fresh, changes=(row,))
    assert list_decidable_changes(due) == (row,)
    assert made(narrow(due)) == set()
    followed = replace(fresh, changes=(replace(row, verification=replace(run, job="12")),))
    assert has_work_without_permission(followed)
    assert list_decidable_changes(followed) == ()
    assert made(narrow(followed)) == {A}


@pytest.mark.parametrize("approval_id", ["", "a b", "../x", "a/b", "x" * 101, "shared key"])
def test_an_odd_id_of_an_approval_is_refused(approval_id: str) -> None:
    """It becomes a key of the state, and a file's name in some."""
    with pytest.raises(ValueError, match="an approval's id"):
        PermittedRows(approvals={A: (approval_id,)})


@effort(38, 1500)
@given(objects(), st.sets(st.sampled_from("abcde")), st.booleans(), st.data())
def test_no_row_outside_of_the_permitted_ones_is_made(
    found: dict[str, Data], names: set[str], prune: bool, data: st.DataObject
) -> None:
    """For any plan: nothing else is made, nothing without what it needs, and no more than can be."""
    fresh = build_plan(situation(found, prune=prune))
    permitted = {change.address for change in fresh.changes if change.address.name in names}
    counted = (
        tuple(sorted(data.draw(st.sets(st.sampled_from(sorted(permitted)))))) if permitted else ()
    )
    limit = data.draw(st.integers(0, 2))
    guarded = replace(fresh, guards=(GuardViolation("policy:n", "n", rows=counted, limit=limit),))
    narrowed = narrow(guarded, *permitted)
    before = {change.address: change for change in fresh.changes}
    acts = {change.address for change in narrowed.changes if change.is_due}
    assert acts <= permitted
    for address in acts:
        assert _find_row(narrowed, address) == before[address]
        for need in list_needed_addresses(before[address]):
            is_due = need in before and (before[need].is_due or before[need].is_refused)
            assert need in acts or not is_due
    # As much as is permitted is made: what was left out is not permitted, or lacks a need.
    for address in permitted - acts:
        if before[address].is_due:
            assert any(
                need not in acts and (before[need].is_due or before[need].is_refused)
                for need in list_needed_addresses(before[address])
                if need in before
            )
    assert bool(narrowed.guards) == (
        (bool(counted) and len(acts & {*counted}) > limit) or not counted
    )
    assert {change.address for change in narrowed.refused_changes} == {
        change.address for change in fresh.refused_changes
    }
    assert not any(change.action is Action.NO_OP and change.fields for change in narrowed.changes)


def _find_row(plan: Plan, address: Address) -> Change:
    (row,) = (change for change in plan.changes if change.address == address)
    return row


def test_a_long_chain_takes_little_time() -> None:
    """Each row needs the one before it, and the first is not permitted."""

    def work(count: int) -> int:
        rows = tuple(
            Change(
                Address("widget", f"w{number}"),
                Action.CREATE,
                depends_on=(Address("widget", f"w{number - 1}"),) if number else (),
            )
            for number in reversed(range(count))
        )
        fresh = replace(build_plan(situation({})), changes=rows)
        permitted = [row.address for row in rows[:-1]]
        assert made(narrow(fresh, *permitted)) == set()
        return calls_of(lambda: narrow(fresh, *permitted))

    assert work(3_000) < 12 * work(300)
