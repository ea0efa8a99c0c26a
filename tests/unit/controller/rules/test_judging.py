"""What is done of a plan: nothing unapproved, nothing without what it needs, nothing past a guard."""

from __future__ import annotations

import os
from dataclasses import replace

from counting import calls_of
from hypothesis import given, settings
from hypothesis import strategies as st

from synapse_apply.controller.planned_rows import (
    ApplyTerms,
    HoldReason,
    Judgement,
    PlannedRow,
    RowAction,
    RowCause,
)
from synapse_apply.controller.rules.judging import judge_rows

ADDRESSES = [f"plugin.{letter}" for letter in "abcdefg"]
ROW_DIGESTS = [f"row1:{address}" for address in ADDRESSES]
GUARDS = ["adopt", "mass-missing", "policy:freeze"]
ALL_CAUSES = frozenset(RowCause)
ALL_ACTIONS = frozenset(RowAction) - {RowAction.GUARD}
AUTO = ApplyTerms(ALL_CAUSES, ALL_ACTIONS)
laws = settings(max_examples=2000 if os.environ.get("SYNAPSE_APPLY_TEST_DEEP") else 15)


def make_row(
    address: str, *causes: RowCause, action: RowAction = RowAction.UPDATE, needs: str = ""
) -> PlannedRow:
    return PlannedRow(f"row1:{address}", address, action, causes, tuple(needs.split()))


def make_guard(name: str, needs: str = "", limit: int = 0) -> PlannedRow:
    row = make_row(name, action=RowAction.GUARD, needs=needs)
    return replace(row, limit=limit)


def approve(terms: ApplyTerms, *addresses: str) -> ApplyTerms:
    return replace(terms, approvals={f"row1:{one}": (f"approval-{one}",) for one in addresses})


def list_permitted(judgement: Judgement) -> list[str]:
    return [row.address for row in judgement.permitted_rows]


def list_held(judgement: Judgement) -> dict[str, HoldReason]:
    return {held.row.address: held.reason for held in judgement.held_rows}


@st.composite
def plans(draw: st.DrawFn) -> list[PlannedRow]:
    addresses = draw(st.lists(st.sampled_from(ADDRESSES), unique=True))
    rows = [
        PlannedRow(
            f"row1:{address}",
            address,
            draw(st.sampled_from(sorted(ALL_ACTIONS, key=lambda action: action.value))),
            tuple(draw(st.lists(st.sampled_from(RowCause), max_size=2, unique=True))),
            tuple(draw(st.lists(st.sampled_from(ADDRESSES), max_size=2))),
            refusal=draw(st.sampled_from(["", "", "", "some-rule"])),
            is_waiting=draw(st.integers(0, 7)) == 0,
            is_outcome_unknown=draw(st.integers(0, 7)) == 0,
            also=tuple(draw(st.sets(st.sampled_from([RowAction.UPDATE, RowAction.VERIFY])))),
        )
        for address in addresses
    ]
    guards = [
        replace(
            make_guard(
                name, " ".join(draw(st.lists(st.sampled_from(ADDRESSES), max_size=3))), limit
            ),
            is_waiting=name == "policy:freeze" and limit == 0,
        )
        for name in draw(st.lists(st.sampled_from(GUARDS), unique=True, max_size=2))
        for limit in [draw(st.integers(0, 2))]
    ]
    return draw(st.permutations([*rows, *guards]))


@st.composite
def some_terms(draw: st.DrawFn) -> ApplyTerms:
    approved = draw(st.lists(st.sampled_from([*ADDRESSES, *GUARDS]), unique=True))
    terms = ApplyTerms(
        draw(st.frozensets(st.sampled_from(RowCause))),
        draw(st.frozensets(st.sampled_from(sorted(ALL_ACTIONS, key=lambda one: one.value)))),
        rejected=draw(st.frozensets(st.sampled_from(ROW_DIGESTS), max_size=2)),
    )
    return approve(terms, *approved)


@laws
@given(plans(), some_terms())
def test_nothing_is_permitted_that_the_terms_do_not_permit(rows, terms):
    """Each permitted row is approved, or covered with all of its actions and causes."""
    judgement = judge_rows(rows, terms)
    for row in judgement.permitted_rows:
        causes = row.causes or (RowCause.GIT,)
        is_covered = {row.action, *row.also} <= terms.actions and set(causes) <= terms.causes
        assert row.action is not RowAction.GUARD
        assert is_covered or row.digest in terms.approvals
        assert not row.refusal
        assert not row.is_waiting
        assert not row.is_outcome_unknown
        assert row.digest not in terms.rejected


@laws
@given(plans(), some_terms())
def test_nothing_is_permitted_that_needs_what_is_not_done(rows, terms):
    """What a permitted row needs is permitted, too, or not in the plan."""
    judgement = judge_rows(rows, terms)
    permitted = set(list_permitted(judgement))
    planned = {row.address for row in rows if row.action is not RowAction.GUARD}
    for row in judgement.permitted_rows:
        assert (set(row.needs) & planned) <= permitted


@laws
@given(plans(), some_terms())
def test_no_guard_that_nobody_approved_is_passed(rows, terms):
    """What is permitted violates no guard but the overridden ones, and those are no policy's."""
    judgement = judge_rows(rows, terms)
    permitted = set(list_permitted(judgement))
    for guard in rows:
        if guard.action is not RowAction.GUARD:
            continue
        counted = permitted & set(guard.needs) if guard.needs else permitted
        is_violated = len(counted) > (guard.limit if guard.needs else 0)
        assert is_violated == (guard.address in judgement.overridden_guards)
        if is_violated:
            assert guard.digest in terms.approvals
            assert not guard.address.startswith("policy:")


def test_a_row_that_names_no_cause_is_there_because_git_asks_for_it():
    """And one that names a cause is not."""
    rows = [make_row("plugin.a"), make_row("plugin.b", RowCause.DRIFT)]
    for cause, permitted in ((RowCause.GIT, "plugin.a"), (RowCause.DRIFT, "plugin.b")):
        terms = ApplyTerms(frozenset({cause}), ALL_ACTIONS)
        assert list_permitted(judge_rows(rows, terms)) == [permitted]


@laws
@given(plans(), some_terms())
def test_each_row_becomes_one_thing_in_any_order(rows, terms):
    """Permitted, held, refused or waiting; and the order of the rows decides nothing."""
    judgement = judge_rows(rows, terms)
    parts = [
        *judgement.permitted_rows,
        *(held.row for held in judgement.held_rows if held.row.action is not RowAction.GUARD),
        *judgement.refused_rows,
        *(row for row in judgement.waiting_rows if row.action is not RowAction.GUARD),
    ]
    others = [row for row in rows if row.action is not RowAction.GUARD]
    assert sorted(row.address for row in parts) == sorted(row.address for row in others)
    again = judge_rows(rows[::-1], terms)
    assert set(list_permitted(again)) == set(list_permitted(judgement))
    assert list_held(again) == list_held(judgement)
    assert judge_rows(rows, terms) == judgement


@laws
@given(plans(), some_terms(), st.sampled_from([*ADDRESSES, *GUARDS]))
def test_an_approval_takes_nothing_away(rows, terms, address):
    """Where no guard interferes, one approval more permits what was permitted, and maybe more."""
    rows = [row for row in rows if row.action is not RowAction.GUARD]
    more = replace(terms, approvals={**terms.approvals, f"row1:{address}": ("more",)})
    before, after = (set(list_permitted(judge_rows(rows, one))) for one in (terms, more))
    assert before <= after
    assert after - before <= {address} | {row.address for row in rows if row.needs}


@laws
@given(plans(), some_terms())
def test_approvals_are_used_where_their_row_is_done(rows, terms):
    """Those of permitted rows and overridden guards, and no others."""
    judgement = judge_rows(rows, terms)
    done = {f"row1:{one}" for one in (*list_permitted(judgement), *judgement.overridden_guards)}
    assert set(judgement.used_approvals) == done & set(terms.approvals)


def test_why_rows_are_held():
    """In mode auto by what is not covered, in mode approve by the approval, else by what it needs."""
    rows = [
        make_row("drifted", RowCause.GIT, RowCause.DRIFT),
        make_row("gone", RowCause.GIT, action=RowAction.DELETE),
        make_row("above", RowCause.GIT, needs="drifted"),
        make_row("free", RowCause.GIT),
    ]
    terms = ApplyTerms(frozenset({RowCause.GIT}), frozenset({RowAction.UPDATE}))
    assert list_held(judge_rows(rows, terms)) == {
        "drifted": HoldReason.CAUSE,
        "gone": HoldReason.ACTION,
        "above": HoldReason.DEPENDENCY,
    }
    assert list_permitted(judge_rows(rows, terms)) == ["free"]
    held = list_held(judge_rows(rows, ApplyTerms()))
    assert set(held.values()) == {HoldReason.APPROVAL}


def test_a_row_is_held_for_each_action_that_is_not_listed():
    """What is adopted may be updated, too, and what is made verified: a run of an agent."""
    row = replace(
        make_row("a", RowCause.GIT, action=RowAction.ADOPT),
        also=(RowAction.UPDATE, RowAction.VERIFY),
    )
    listed = {RowAction.ADOPT, RowAction.UPDATE, RowAction.VERIFY}
    assert list_permitted(judge_rows([row], ApplyTerms(ALL_CAUSES, frozenset(listed)))) == ["a"]
    for missing, names in (
        ({RowAction.ADOPT}, "adopt"),
        ({RowAction.UPDATE}, "update"),
        ({RowAction.UPDATE, RowAction.VERIFY}, "update, verify"),
    ):
        terms = ApplyTerms(ALL_CAUSES, frozenset(listed - missing))
        (held,) = judge_rows([row], terms).held_rows
        assert (held.reason, held.can_be_approved) == (HoldReason.ACTION, True)
        assert held.detail == f"the action {names} needs approval"
        assert list_permitted(judge_rows([row], approve(terms, "a"))) == ["a"]


def test_what_was_rejected_is_held_whatever_permits_it():
    """With what needs it, also past an approved guard, and where it would wait for something."""
    waiting = replace(make_row("later", RowCause.GIT), refusal="unverified", is_waiting=True)
    rows = [
        make_guard("mass-missing", "no yes"),
        make_row("no", RowCause.GIT),
        make_row("above", RowCause.GIT, needs="no"),
        make_row("yes", RowCause.GIT),
        waiting,
    ]
    terms = replace(AUTO, rejected=frozenset({"row1:no", "row1:later"}))
    for approved in (("mass-missing",), ("mass-missing", "no", "above")):
        judgement = judge_rows(rows, approve(terms, *approved))
        assert list_permitted(judgement) == ["yes"]
        assert [(one.row.address, one.detail) for one in judgement.held_rows] == [
            ("no", "a person rejected it"),
            ("above", "it depends on no, which is not applied"),
            ("later", "a person rejected it"),
        ]
        assert [one.can_be_approved for one in judgement.held_rows] == [True, False, True]
        assert judgement.waiting_rows == ()


def test_what_needs_a_refused_row_is_held():
    """Also by way of another row, and nobody can approve it."""
    refused = replace(make_row("plugin", RowCause.GIT), refusal="immutable")
    rows = [
        make_row("launch", RowCause.GIT, needs="release"),
        make_row("release", RowCause.GIT, needs="plugin"),
        refused,
        make_row("other", RowCause.GIT),
    ]
    judgement = judge_rows(rows, AUTO)
    assert list_permitted(judgement) == ["other"]
    assert [held.can_be_approved for held in judgement.held_rows] == [False, False]
    assert set(list_held(judgement)) == {"launch", "release"}
    assert judgement.refused_rows == (refused,)


def test_what_needs_a_waiting_row_waits():
    """Nobody is asked about a row that goes on by itself."""
    waiting = replace(make_row("release", RowCause.GIT), refusal="unverified", is_waiting=True)
    rows = [make_row("launch", RowCause.GIT, needs="release"), waiting]
    judgement = judge_rows(rows, AUTO)
    assert [row.address for row in judgement.waiting_rows] == ["launch", "release"]
    assert not judgement.held_rows


def test_rows_of_one_call_are_done_together_or_not_at_all():
    """They need one another: holding one holds both."""
    rows = [
        make_row("plugin", RowCause.GIT, needs="release"),
        make_row("release", RowCause.DRIFT, needs="plugin"),
    ]
    git = ApplyTerms(frozenset({RowCause.GIT}), ALL_ACTIONS)
    assert not judge_rows(rows, git).permitted_rows
    assert list_permitted(judge_rows(rows, approve(git, "release"))) == ["plugin", "release"]


def test_a_guard_is_shown_with_the_rows_that_it_would_stop():
    """So that they are approved at once, and not the guard a second time after its rows."""
    rows = [make_guard("mass-missing"), make_row("a", RowCause.GIT), make_row("b", RowCause.GIT)]
    held = judge_rows(rows, ApplyTerms()).held_rows
    assert [(one.row.address, one.reason, one.can_be_approved) for one in held] == [
        ("mass-missing", HoldReason.GUARD, True),
        ("a", HoldReason.APPROVAL, True),
        ("b", HoldReason.APPROVAL, True),
    ]
    judgement = judge_rows(rows, approve(ApplyTerms(), "a"))
    assert list_held(judgement)["a"] is HoldReason.GUARD
    judgement = judge_rows(rows, approve(ApplyTerms(), "a", "mass-missing"))
    assert list_permitted(judgement) == ["a"]
    assert judgement.overridden_guards == ("mass-missing",)


def test_a_policy_counts_what_is_done():
    """Two of three rows stay below its limit, so they are done; all three nobody can approve."""
    rows = [make_guard("policy:small", "a b c", 2), *(make_row(one) for one in "abc")]
    assert list_permitted(judge_rows(rows, approve(ApplyTerms(), "a", "b"))) == ["a", "b"]
    judgement = judge_rows(rows, approve(ApplyTerms(), "a", "b", "c", "policy:small"))
    assert not judgement.permitted_rows
    assert not judgement.used_approvals
    assert [held.can_be_approved for held in judgement.held_rows] == [False] * 4


def test_a_freeze_is_waited_for():
    """It ends by itself, so nobody is asked; beside another guard the rows are held by that."""
    freeze = replace(make_guard("policy:freeze", "a"), is_waiting=True)
    rows = [make_row("a", RowCause.GIT), make_row("b", RowCause.GIT), freeze]
    judgement = judge_rows(rows, AUTO)
    assert [row.address for row in judgement.waiting_rows] == ["a", "b", "policy:freeze"]
    assert (judgement.permitted_rows, judgement.held_rows) == ((), ())
    judgement = judge_rows([*rows, make_guard("adopt")], AUTO)
    assert set(list_held(judgement)) == {"a", "b", "adopt"}
    assert list_permitted(judge_rows(rows, approve(ApplyTerms(), "b"))) == ["b"]
    assert "policy:freeze" not in list_held(judge_rows(rows, ApplyTerms()))


def test_it_is_linear_in_the_number_of_rows():
    """A chain of ten times as many rows, whose first is held, is about ten times the work."""
    assert measure_chain(5_000) < 12 * measure_chain(500)


def measure_chain(length: int) -> int:
    """The work of rows that each need the one before."""
    rows = [
        make_row(f"row{number}", RowCause.GIT, needs=f"row{number - 1}")
        for number in range(1, length)
    ]
    rows = [*rows[::-1], make_row("row0", RowCause.DRIFT)]
    git = ApplyTerms(frozenset({RowCause.GIT}), ALL_ACTIONS)
    assert len(judge_rows(rows, git).held_rows) == length
    return calls_of(lambda: judge_rows(rows, git))
