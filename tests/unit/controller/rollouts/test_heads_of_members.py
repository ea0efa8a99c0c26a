"""What a head makes of the rows of targets that are in a rollout, and what a run makes of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import repeat

from unit.controller.rollouts.rollout_play import DEFAULTS, RULE

from synapse_apply.controller.rows import RunCause, TargetName, TargetProgress, TargetRow
from synapse_apply.controller.rules.targets import (
    TargetAtHead,
    target_row_at_revision,
    target_rows_at_head,
)

PROD = TargetName("acme", "prod")
DONE = TargetRow(
    PROD,
    "c1",
    1,
    input_digest="d",
    wanted_digest="d",
    head_digest="d",
    due_at=500.0,
    progress=TargetProgress.DONE,
)


def move(row: TargetRow, digest: str, number: int = 2) -> TargetRow:
    (moved,) = target_rows_at_head(
        [row],
        [TargetAtHead(PROD, RULE, digest)],
        f"c{number}",
        number,
        defaults=DEFAULTS,
        now=100.0,
        chances=repeat(0.5),
        spreads_new_targets=True,
        in_rollouts={PROD},
    )
    return moved


def test_a_head_only_says_what_it_asks_of_a_target_of_a_rollout():
    """It is touched and not moved; when it is looked at stands, as does what it waits for."""
    held = replace(DONE, progress=TargetProgress.HELD)
    assert move(held, "new") == replace(held, head_digest="new", touched_number=2)
    assert move(DONE, "d") == DONE


def test_what_was_moved_before_and_is_not_asked_for_any_more_is_touched():
    """Live with older inputs that the head has again, but wanted at others meanwhile."""
    between = replace(DONE, wanted_commit="c2", wanted_number=2, wanted_digest="other")
    assert move(between, "d", 3).touched_number == 3


def test_a_target_that_comes_back_has_no_revision_until_it_is_moved():
    """Its number never goes back; it is there, and nothing of what it had before is applied."""
    gone = replace(DONE, is_gone=True)
    assert move(gone, "d") == replace(
        DONE, wanted_commit="", wanted_digest="", touched_number=2, due_at=500.0
    )


def test_the_same_head_has_other_inputs_for_another_version_of_the_program():
    """What it has moved already follows at once, as without a rollout."""
    moved = move(DONE, "newer version", 1)
    assert (moved.wanted_digest, moved.head_digest) == ("newer version", "newer version")
    assert (moved.due_at, moved.due_cause) == (100.0, RunCause.PUSH)


def test_a_failure_at_an_older_revision_says_nothing_of_a_newer_one():
    """What else is known of the same inputs stays known."""
    failing = replace(DONE, progress=TargetProgress.FAILING)
    assert target_row_at_revision(failing, "c2", 2, "d").progress is TargetProgress.OPEN
    assert target_row_at_revision(DONE, "c2", 2, "d").progress is TargetProgress.DONE
    assert target_row_at_revision(DONE, "c2", 2, "e").progress is TargetProgress.OPEN
