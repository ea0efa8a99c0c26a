"""Which approvals count: fresh, unused, of enough people, none of whom wrote what is approved."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort

from synapse_apply.controller.planned_rows import ApplyTerms, PlannedRow, RowAction, RowCause
from synapse_apply.controller.rows import ApprovalRow, TargetName
from synapse_apply.controller.rules.access import (
    Person,
    build_apply_terms,
    can_approve,
    count_approvals_of_row,
    describe_approvals,
    is_author,
)
from synapse_apply.controller.rules.judging import is_stricter, judge_rows, merge_rules
from synapse_apply.controller.settings import (
    DAY,
    Access,
    AccessRule,
    ApprovalRule,
    AutoRule,
    Mode,
    ProxyAccess,
    Right,
    SecretName,
    TargetRule,
)

ROW = PlannedRow("row1:a", "plugin.a", RowAction.UPDATE, (RowCause.GIT,))
NOW = 100 * DAY
ONE = TargetRule("*", Mode.APPROVE)
TWO = TargetRule("*", Mode.APPROVE, approvals=2)
NOT_AUTHOR = TargetRule("*", Mode.APPROVE, not_author=True)
PROXY = ProxyAccess("X-User", "X-Secret", SecretName("env", "PROXY"))
ACCESS = Access(
    PROXY,
    {name: SecretName("env", name.upper()) for name in ("ops", "ann", "bob", "ci")},
    (AccessRule(("group:sre",), frozenset({Right.APPROVE}), ("acme/*",)),),
)


def make_approval(
    who: str, *, age: float = 60.0, digest: str = "row1:a", used_at: float = 0.0
) -> ApprovalRow:
    name = TargetName("acme", "prod")
    when = NOW - age
    return ApprovalRow(f"{who}@{when}", name, digest, ROW, who, when, used_at, groups=("sre",))


def is_approved(rule: TargetRule, *approvals: ApprovalRow, authors: tuple[str, ...] = ()) -> bool:
    return (
        "row1:a"
        in build_apply_terms(rule, approvals, now=NOW, access=ACCESS, authors=authors).approvals
    )


def test_what_each_mode_may_do_without_asking():
    """Observe nothing, approve what was approved alone, auto what its rule lists, too."""
    approval = make_approval("proxy:ann")
    auto = AutoRule(frozenset({RowCause.GIT}), frozenset({RowAction.UPDATE}))
    assert build_apply_terms(TargetRule("*"), [approval], now=NOW, access=ACCESS) == ApplyTerms()
    approved = {"row1:a": (approval.id,)}
    assert build_apply_terms(ONE, [approval], now=NOW, access=ACCESS) == ApplyTerms(
        approvals=approved
    )
    rule = TargetRule("*", Mode.AUTO, auto=auto)
    terms = build_apply_terms(rule, [approval], now=NOW, access=ACCESS)
    assert terms == ApplyTerms(auto.causes, auto.actions, approved)


@pytest.mark.parametrize(
    ("approvals", "one", "two"),
    [
        ([], False, False),
        ([make_approval("proxy:ann")], True, False),
        ([make_approval("proxy:ann"), make_approval("proxy:bob")], True, True),
        ([make_approval("proxy:ann"), make_approval("token:ops")], True, True),
        ([make_approval("proxy:ann"), make_approval("proxy:ann", age=5)], True, False),
        ([make_approval("proxy:ann"), make_approval("proxy:Ann")], True, False),
        ([make_approval("proxy:ann"), make_approval("token:ann")], True, False),
        ([make_approval("proxy:ann", age=7 * DAY)], False, False),
        ([make_approval("proxy:ann", age=7 * DAY - 1)], True, False),
        ([make_approval("proxy:ann", age=-8 * DAY)], True, False),
        ([make_approval("proxy:ann", used_at=5.0)], False, False),
        ([make_approval("proxy:ann", used_at=5.0), make_approval("proxy:ann", age=5)], True, False),
        ([make_approval("proxy:ann", digest="row1:b")], False, False),
    ],
)
def test_how_many_people_approved(approvals, one, two):
    """Each person once, for seven days, and no approval that was used."""
    assert is_approved(ONE, *approvals) is one
    assert is_approved(TWO, *approvals) is two


@pytest.mark.parametrize(
    ("who", "author", "is_same"),
    [
        ("proxy:ann", "ann@acme.example", True),
        ("proxy:Ann", "Ann", True),
        ("proxy:ann@acme.example", "Ann@Acme.example", True),
        ("proxy:ann@acme.example", "ann", True),
        ("proxy:ann", "12345+ann@users.noreply.github.com", True),
        ("token:ann", "ann@acme.example", True),
        ("proxy:ann", "joann@acme.example", False),
        ("proxy:ann", "Ann Lee", False),
        ("proxy:bob", "ann@acme.example", False),
        ("proxy:acme.example", "ann@acme.example", False),
    ],
)
def test_who_is_an_author(who, author, is_same):
    """By name or address, or what stands before the `@`, without regard to case."""
    assert is_author(ACCESS, who, ["Someone Else", author]) is is_same
    approval = make_approval(who)
    assert is_approved(NOT_AUTHOR, approval, authors=(author,)) is not is_same
    assert is_approved(ONE, approval, authors=(author,))


@pytest.mark.parametrize(
    ("who", "other", "are_two"),
    [
        ("proxy:ann@acme.example", "token:ann", False),
        ("token:Ann", "proxy:ANN@acme.example", False),
        ("proxy:12345+ann@users.noreply.github.com", "token:ann", False),
        ("proxy:ann@acme.example", "proxy:ann@other.example", False),
        ("proxy:cat@acme.example", "token:ci", False),
        ("proxy:cat", "token:ci", False),
        ("proxy:ann@acme.example", "token:ci", True),
        ("proxy:ann@acme.example", "proxy:joann@acme.example", True),
        ("proxy:ci", "token:ci", True),
        ("proxy:bob@acme.example", "token:ann", True),
    ],
)
def test_two_approvals_are_of_two_people(who, other, are_two):
    """An address is who its name is, and a token whose it is said to be, in either order."""
    access = replace(ACCESS, persons={"ci": "Cat@acme.example"})
    approvals = [make_approval(who), make_approval(other, age=5)]
    for ordered in (approvals, approvals[::-1]):
        terms = build_apply_terms(TWO, ordered, now=NOW, access=access)
        assert ("row1:a" in terms.approvals) is are_two


def test_a_token_of_an_author_approves_nothing():
    """Whose token it is counts for `not_author`, too, and its own name no more."""
    access = replace(ACCESS, persons={"ci": "cat@acme.example"})
    assert is_author(access, "token:ci", ["Cat"])
    assert not is_author(access, "token:ci", ["ci"])
    terms = build_apply_terms(
        NOT_AUTHOR, [make_approval("token:ci")], now=NOW, access=access, authors=("cat",)
    )
    assert not terms.approvals


def test_all_unused_approvals_of_a_row_are_used_up():
    """Also an author's, which does not count now and would permit the row again later."""
    approvals = [make_approval("proxy:ann"), make_approval("proxy:bob"), make_approval("proxy:cat")]
    old = [make_approval("proxy:dan", age=8 * DAY), make_approval("proxy:eve", used_at=1.0)]
    terms = build_apply_terms(
        NOT_AUTHOR, [*approvals, *old], now=NOW, access=ACCESS, authors=("ann",)
    )
    assert sorted(terms.approvals["row1:a"]) == sorted(approval.id for approval in approvals)


def test_the_page_says_who_counts_and_who_does_not():
    """How many of how many, by whom, and why another one does not count."""
    rule = replace(TWO, not_author=True)
    approvals = [
        make_approval("proxy:ann"),
        make_approval("proxy:bob"),
        make_approval("proxy:cat", age=8 * DAY),
        make_approval("proxy:dan", digest="row1:b"),
    ]
    count = count_approvals_of_row(rule, approvals, ROW, now=NOW, access=ACCESS, authors=("Bob",))
    assert not count.is_enough
    assert describe_approvals(count) == (
        "1 of 2 approvals, by proxy:ann; the approval by proxy:bob does not count: they are an "
        "author of the commits; the approval by proxy:cat does not count: it is older than 7 days"
    )
    nobody = count_approvals_of_row(ONE, [], ROW, now=NOW, access=ACCESS)
    assert describe_approvals(nobody) == "0 of 1 approval"


def test_what_was_rejected_is_not_approved():
    """Whatever approvals are left of it."""
    terms = build_apply_terms(
        ONE, [make_approval("proxy:ann")], now=NOW, access=ACCESS, rejected={"row1:a"}
    )
    assert not terms.approvals
    rule = TargetRule("*", Mode.AUTO)
    terms = build_apply_terms(rule, (), now=NOW, access=ACCESS, rejected={"row1:a"})
    assert terms == ApplyTerms(rule.auto.causes, rule.auto.actions, rejected=frozenset({"row1:a"}))


@effort(15, 600)
@given(
    st.lists(
        st.builds(
            make_approval,
            st.sampled_from(["proxy:ann", "proxy:bob", "token:ops", "proxy:ANN"]),
            age=st.sampled_from([0.0, DAY, 7 * DAY, 9 * DAY]),
            used_at=st.sampled_from([0.0, 0.0, 5.0]),
        ),
        max_size=6,
    ),
    st.integers(1, 3),
    st.booleans(),
)
def test_more_approvals_never_permit_less(approvals, needed, not_author):
    """What is said to be enough is what permits; and one more approval takes nothing away."""
    rule = TargetRule("*", Mode.APPROVE, approvals=needed, not_author=not_author)
    seen = [
        is_approved(rule, *approvals[:count], authors=("bob",))
        for count in range(len(approvals) + 1)
    ]
    assert seen == sorted(seen)
    count = count_approvals_of_row(rule, approvals, ROW, now=NOW, access=ACCESS, authors=("bob",))
    assert count.is_enough is seen[-1]
    if not_author:
        assert "proxy:bob" not in count.who_counts


@pytest.mark.parametrize(
    ("who", "access"),
    [
        ("proxy:ann", replace(ACCESS, rules=())),
        ("proxy:ann", replace(ACCESS, proxy=None)),
        ("token:ops", replace(ACCESS, tokens={})),
        ("token:ops", None),
        (
            "token:ops",
            replace(ACCESS, rules=(replace(ACCESS.rules[0], rights=frozenset({Right.PAUSE})),)),
        ),
        ("token:ops", replace(ACCESS, rules=(replace(ACCESS.rules[0], targets=("acme/dev-*",)),))),
    ],
)
def test_whose_right_was_taken_away_since_does_not_count(who, access):
    """Rules count as they are when a row is done; its approval is used up all the same."""
    approval = make_approval(who)
    assert is_approved(ONE, approval)
    assert build_apply_terms(ONE, [approval], now=NOW, access=access).approvals == {}
    count = count_approvals_of_row(ONE, [approval], ROW, now=NOW, access=access)
    assert [left.reason for left in count.left_out] == ["they no longer have the right `approve`"]
    assert count.approval_ids == (approval.id,)


def plan_row(address: str, action: RowAction = RowAction.UPDATE, **more: object) -> PlannedRow:
    return PlannedRow(f"row1:{address}", address, action, (RowCause.GIT,), **more)


CREATED = plan_row("release/yolo@1", RowAction.CREATE, is_irreversible=True)
CHANGED = plan_row("plugin/yolo", labels=("team=vision", "tier=gold"))
DELETED = plan_row("storage/raw", RowAction.DELETE, is_irreversible=True)
GUARD_ROW = plan_row("mass-missing", RowAction.GUARD)
LISTED = TargetRule(
    "*",
    Mode.APPROVE,
    approval_lists=(
        (
            ApprovalRule(actions=frozenset({RowAction.GUARD}), who=("token:ops",)),
            ApprovalRule(kind="release", irreversible=True, who=("group:leads",), count=2),
            ApprovalRule(labels={"team": "vis*"}, who=("group:vision", "proxy:ann")),
            ApprovalRule(kind="plugin", labels={"team": "audio"}, count=5),
            ApprovalRule(irreversible=False),
        ),
    ),
)
LEADS, VISION, NOBODY = frozenset({"leads"}), frozenset({"vision"}), frozenset[str]()


def given(row: PlannedRow, who: str, groups: frozenset[str]) -> ApprovalRow:
    name, when = TargetName("acme", "prod"), NOW - 60
    return ApprovalRow(who, name, row.digest, row, who, when, groups=(*sorted(groups), "sre"))


@pytest.mark.parametrize(
    ("row", "people", "needed", "is_enough"),
    [
        (CREATED, [], 2, False),
        (CREATED, [("proxy:ann", LEADS)], 2, False),
        (CREATED, [("proxy:ann", LEADS), ("proxy:bob", LEADS)], 2, True),
        (CREATED, [("proxy:ann", LEADS), ("proxy:bob", VISION)], 2, False),
        (CREATED, [("proxy:ann", LEADS), ("proxy:Ann@acme.example", LEADS)], 2, False),
        (CREATED, [("token:ops", NOBODY), ("proxy:ann", LEADS)], 2, False),
        (CHANGED, [("proxy:bob", LEADS)], 1, False),
        (CHANGED, [("proxy:bob", VISION)], 1, True),
        (CHANGED, [("proxy:ann", NOBODY)], 1, True),
        (plan_row("plugin/a", labels=("team=audio",)), [("proxy:bob", LEADS)], 5, False),
        (plan_row("plugin/a", labels=("teams=vision",)), [("proxy:bob", NOBODY)], 1, True),
        (plan_row("plugin/a"), [("proxy:bob", NOBODY)], 1, True),
        # None matches: as many as any, whoever they are.
        (DELETED, [("proxy:bob", LEADS), ("proxy:ann", LEADS)], 5, False),
        (GUARD_ROW, [("proxy:ann", LEADS)], 1, False),
        (GUARD_ROW, [("token:ops", NOBODY)], 1, True),
    ],
)
def test_the_first_entry_that_matches_says_who_approves(row, people, needed, is_enough):
    """And each person counts once."""
    approvals = [given(row, *person) for person in people]
    count = count_approvals_of_row(LISTED, approvals, row, now=NOW, access=ACCESS)
    assert (count.needed_count, count.is_enough) == (needed, is_enough)
    terms = build_apply_terms(LISTED, approvals, [row], now=NOW, access=ACCESS)
    assert (row.digest in terms.approvals) is is_enough
    assert bool(judge_rows([row], terms).permitted_rows) is (is_enough and row is not GUARD_ROW)
    for who, groups in people:
        counts = who in count.who_counts
        is_second = len(people) > 1 and who == "proxy:Ann@acme.example"
        assert can_approve(LISTED, row, Person(who, groups)) is (counts or is_second)


def test_an_approval_that_does_not_count_says_whose_are_needed():
    count = count_approvals_of_row(
        LISTED, [given(CREATED, "proxy:bob", VISION)], CREATED, now=NOW, access=ACCESS
    )
    assert describe_approvals(count) == (
        "0 of 2 approvals; the approval by proxy:bob does not count: the row needs 2 of group:leads"
    )


def test_labels_count_as_they_are_when_the_row_is_applied():
    """Not as they were when it was approved: the digest of the row is the same."""
    approval = given(CHANGED, "proxy:bob", VISION)
    audio = replace(CHANGED, labels=("team=audio",))
    assert build_apply_terms(LISTED, [approval], [CHANGED], now=NOW, access=ACCESS).approvals
    assert not build_apply_terms(LISTED, [approval], [audio], now=NOW, access=ACCESS).approvals


def test_two_names_of_a_backend_need_what_both_lists_say():
    """Whose lists are equal are as strict as each other."""
    other = replace(LISTED, approval_lists=((ApprovalRule(who=("group:data",), count=1),),))
    merged = merge_rules(LISTED, other)
    assert is_stricter(other, LISTED)
    assert is_stricter(LISTED, replace(LISTED, approval_lists=()))
    assert not is_stricter(replace(LISTED, pattern="a"), LISTED)
    people = [("proxy:ann", LEADS), ("proxy:bob", LEADS), ("proxy:eve", frozenset({"data"}))]
    for number in (2, 3):
        approvals = [given(CREATED, *person) for person in people[:number]]
        count = count_approvals_of_row(merged, approvals, CREATED, now=NOW, access=ACCESS)
        assert count.is_enough is (number == 3)
        assert count.needed_count == 3
        assert count.approvers == "2 of group:leads and 1 of group:data"


@pytest.mark.parametrize("irreversible", [True, False])
def test_mode_auto_may_hold_what_cannot_be_undone(irreversible):
    rule = TargetRule("*", Mode.AUTO, auto=AutoRule(irreversible=irreversible))
    judgement = judge_rows([CREATED, CHANGED], build_apply_terms(rule, (), now=NOW, access=ACCESS))
    held = [hold.row for hold in judgement.held_rows]
    assert held == ([] if irreversible else [CREATED])
    assert is_stricter(rule, TargetRule("*", Mode.AUTO)) is not irreversible
