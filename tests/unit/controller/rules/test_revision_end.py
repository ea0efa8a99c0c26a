"""How revisions end: each announced one has one end, in words of at most 140 characters."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapse_apply.controller.rows import RevisionEnd, RevisionProgress, RevisionRow, StatusState
from synapse_apply.controller.rules.revisions import (
    build_changed_revisions,
    build_overtaken_revision,
    build_status_text,
)
from synapse_apply.model.diagnostic import error_finding

HEAD = RevisionRow("acme", 2, "2222222aaaaaaa", 0.0)
NONE, SUCCESS, FAILURE, ERROR = RevisionEnd


def end_head(progress: RevisionProgress, *, is_keyed: bool = True) -> RevisionRow:
    changed = build_changed_revisions([HEAD], progress, is_keyed=is_keyed, now=9.0)
    return changed[0] if changed else HEAD


@pytest.mark.parametrize(
    ("progress", "end", "words"),
    [
        (RevisionProgress(), SUCCESS, "affects no target"),
        (RevisionProgress(12, 3), NONE, "3 of 12 done"),
        (
            RevisionProgress(12, 3, 1, ("prod-eu",)),
            FAILURE,
            "3 of 12 done, 1 failing: prod-eu",
        ),
        (
            RevisionProgress(12, 3, 5, ("a", "b", "c")),
            FAILURE,
            "3 of 12 done, 5 failing: a, b, c, 2 more",
        ),
        (RevisionProgress(2, 2, change_count=3), SUCCESS, "planned only: 3 changes"),
        (RevisionProgress(1, 1, change_count=1), SUCCESS, "planned only: 1 change"),
        (
            RevisionProgress(2, 2, change_count=4, refused_count=1),
            SUCCESS,
            "planned only: 4 changes, 1 refused",
        ),
        (RevisionProgress(2, 2), SUCCESS, "planned only: no changes, 2 targets"),
        (
            RevisionProgress(12, 3, held_count=1, held_names=("prod-eu",)),
            NONE,
            "3 of 12 done, 1 awaiting approval: prod-eu",
        ),
        (
            RevisionProgress(12, 3, waiting_count=4, waiting_names=("a", "b", "c")),
            NONE,
            "3 of 12 done, 4 waiting: a, b, c, 1 more",
        ),
        (
            RevisionProgress(9, 3, 1, ("x",), held_count=1, held_names=("y",)),
            FAILURE,
            "3 of 9 done, 1 failing: x, 1 awaiting approval: y",
        ),
        (
            RevisionProgress(2, 2, applied_count=2, applied_row_count=5),
            SUCCESS,
            "applied: 5 changes",
        ),
        (RevisionProgress(2, 2, applied_count=2), SUCCESS, "applied: no changes, 2 targets"),
        (
            RevisionProgress(3, 3, change_count=2, applied_count=1, applied_row_count=1),
            SUCCESS,
            "applied: 1 change; planned only: 2 changes",
        ),
    ],
)
def test_the_head_sums_its_targets_up(progress, end, words):
    """Red at the first failure, green when all that it touched was planned."""
    revision = end_head(progress)
    assert (revision.end, revision.description) == (end, words)
    assert revision.is_final == (end is SUCCESS)
    assert revision.ended_at == (0.0 if end is NONE else 9.0)


def test_before_the_targets_are_known_it_is_pending():
    """Also where no target is known to be concerned yet."""
    revision = end_head(RevisionProgress(), is_keyed=False)
    status = build_status_text(revision, "https://page.example/x")
    assert (status.state, status.description) == (
        StatusState.PENDING,
        "waiting for the first check",
    )


def test_a_retry_that_succeeds_turns_it_green():
    """And then it is final: what fails later is no matter of this commit."""
    red = end_head(RevisionProgress(2, 1, 1, ("prod",)))
    (green,) = build_changed_revisions([red], RevisionProgress(2, 2), is_keyed=True, now=10.0)
    assert (green.end, green.ended_at, green.is_final) == (SUCCESS, 10.0, True)


def test_a_commit_that_cannot_be_used_is_red_for_good():
    """The text names what is wrong."""
    broken = replace(HEAD, finding=error_finding("Duplicate key"))
    (ended,) = build_changed_revisions([broken], RevisionProgress(), is_keyed=False, now=1.0)
    assert (ended.end, ended.is_final) == (FAILURE, True)
    assert ended.description == "unusable: Duplicate key"


def overtake(*ends: RevisionEnd) -> list[RevisionRow]:
    """Revisions with these ends, newest first, each overtaken by the next; then HEAD."""
    older = [
        build_overtaken_revision(
            RevisionRow("acme", 1 - index, f"{index}", 0.0, end=end), HEAD.commit, is_forced=False
        )
        for index, end in enumerate(ends)
    ]
    return [HEAD, *(row for row in older if not row.is_final)]


def test_what_was_overtaken_while_open_ends_without_a_verdict():
    """At once, whatever becomes of the next head; forges have no word for that but success."""
    rows = overtake(NONE, NONE)
    head, *older = build_changed_revisions(
        rows, RevisionProgress(2, 1, 1, ("prod",)), is_keyed=True, now=1.0
    )
    assert (head.end, head.is_final) == (FAILURE, False)
    assert {(row.end_word, row.is_final, row.ended_at) for row in older} == {
        ("overtaken", True, 1.0)
    }
    status = build_status_text(older[0], "https://page.example")
    assert (status.state, status.description) == (StatusState.SUCCESS, "overtaken by 2222222")


def test_what_followed_a_later_head_until_now_follows_it_no_more():
    """In a store of a version that had it end as the next head does."""
    following = replace(
        overtake(NONE)[1], end=FAILURE, description="failed with 2222222: 0 of 1 done"
    )
    (ended,) = build_changed_revisions([following], RevisionProgress(), is_keyed=True, now=1.0)
    assert (ended.end_word, ended.description) == ("overtaken", "overtaken by 2222222")


def test_what_was_overtaken_while_red_stays_red():
    """It is not among the open ones any more."""
    assert overtake(FAILURE) == [HEAD]
    assert overtake(ERROR) == [HEAD]


def test_what_was_forced_away_ends_with_an_error():
    """What it had overtaken has no verdict."""
    away = build_overtaken_revision(RevisionRow("acme", 1, "1", 0.0), HEAD.commit, is_forced=True)
    before = replace(RevisionRow("acme", 0, "0", 0.0), overtaken_by="1")
    changed = build_changed_revisions(
        [HEAD, away, before], RevisionProgress(3), is_keyed=True, now=1.0
    )
    assert [(row.number, row.end, row.is_final) for row in changed] == [
        (2, NONE, False),
        (1, ERROR, True),
        (0, NONE, True),
    ]


@given(
    st.builds(
        RevisionProgress,
        st.integers(0, 10**6),
        st.integers(0, 10**6),
        st.integers(0, 10**6),
        st.lists(st.integers(0, 80).map("n".__mul__), max_size=3).map(tuple),
    )
)
def test_descriptions_are_short_and_updates_come_to_rest(progress):
    """At most 140 characters; the same facts change nothing twice."""
    rows = overtake(NONE, NONE)
    changed = {
        row.number: row for row in build_changed_revisions(rows, progress, is_keyed=True, now=1.0)
    }
    rows = [changed.get(row.number, row) for row in rows]
    assert all(len(row.description) <= 140 for row in rows)
    still_open = [row for row in rows if not row.is_final]
    assert build_changed_revisions(still_open, progress, is_keyed=True, now=2.0) == []
