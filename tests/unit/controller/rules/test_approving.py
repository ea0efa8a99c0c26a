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
    build_apply_terms,
    count_approvals_of_row,
    describe_approvals,
    is_author,
)
from synapse_apply.controller.settings import (
    DAY,
    Access,
    AccessRule,
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
    count = count_approvals_of_row(
        rule, approvals, "row1:a", now=NOW, access=ACCESS, authors=("Bob",)
    )
    assert not count.is_enough
    assert describe_approvals(count) == (
        "1 of 2 approvals, by proxy:ann; the approval by proxy:bob does not count: they are an "
        "author of the commits; the approval by proxy:cat does not count: it is older than 7 days"
    )
    nobody = count_approvals_of_row(ONE, [], "row1:a", now=NOW, access=ACCESS)
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
    count = count_approvals_of_row(
        rule, approvals, "row1:a", now=NOW, access=ACCESS, authors=("bob",)
    )
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
    count = count_approvals_of_row(ONE, [approval], "row1:a", now=NOW, access=access)
    assert [left.reason for left in count.left_out] == ["they no longer have the right `approve`"]
    assert count.approval_ids == (approval.id,)
