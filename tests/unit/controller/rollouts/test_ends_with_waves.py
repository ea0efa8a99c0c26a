"""How a revision ends that comes to its targets wave by wave, and what statuses say meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from synapse_apply.controller.rows import (
    RevisionEnd,
    RevisionProgress,
    RevisionRow,
    RolloutRow,
    RolloutState,
    StatusState,
    TargetName,
    TargetProgress,
    TargetRow,
)
from synapse_apply.controller.rules.revisions import (
    build_changed_revisions,
    build_target_status_text,
)

COMMIT = "1a2b3c4" + "0" * 33
HEAD = RevisionRow("acme", 4, COMMIT, 1.0)
DONE = RevisionProgress(12, 12)
SOME_DONE = RevisionProgress(12, 3, later_wave_count=9)
RUNNING = RolloutRow(
    "acme",
    "all",
    4,
    COMMIT,
    2.0,
    3,
    description="wave 1 of 3: 2 of 3 healthy, 1 awaiting approval: dev",
)
STOPPED = replace(
    RUNNING, state=RolloutState.STOPPED, description="stopped: wave 1 of 3: 0 of 3 healthy"
)
ABORTED = replace(
    RUNNING, state=RolloutState.ABORTED, description="aborted in wave 1 of 3 by proxy:ann: no"
)


def end_head(progress: RevisionProgress, *rollouts: RolloutRow) -> RevisionRow:
    (revision,) = build_changed_revisions(
        [HEAD], progress, is_keyed=True, now=9.0, rollouts=rollouts
    )
    return revision


@pytest.mark.parametrize(
    ("rollout", "end", "words", "is_final"),
    [
        (RUNNING, RevisionEnd.NONE, RUNNING.description, False),
        (
            replace(RUNNING, state=RolloutState.WAITING, description="wave 2 of 3 waits"),
            RevisionEnd.NONE,
            "wave 2 of 3 waits",
            False,
        ),
        (STOPPED, RevisionEnd.FAILURE, STOPPED.description, False),
        (
            replace(RUNNING, number=3, commit="9" * 40),
            RevisionEnd.NONE,
            f"after 9999999: {RUNNING.description}",
            False,
        ),
        (replace(STOPPED, number=3), RevisionEnd.NONE, f"after 1a2b3c4: {STOPPED.description}", False),
    ],
)  # fmt: skip
def test_the_head_says_how_far_its_waves_are(rollout, end, words, is_final):
    """Pending without limit of time, red while it is stopped; also behind one that goes first."""
    revision = end_head(SOME_DONE, rollout)
    assert (revision.end, revision.is_final) == (end, is_final)
    assert revision.description == f"3 of 12 done, 9 in later waves; {words}"


def test_a_stopped_revision_turns_green_when_it_goes_on_to_its_end():
    red = end_head(SOME_DONE, STOPPED)
    (pending,) = build_changed_revisions(
        [red], SOME_DONE, is_keyed=True, now=10.0, rollouts=[RUNNING]
    )
    assert pending.end is RevisionEnd.NONE
    ended = replace(RUNNING, state=RolloutState.DONE)
    (green,) = build_changed_revisions([pending], DONE, is_keyed=True, now=11.0, rollouts=[ended])
    assert (green.end, green.is_final) == (RevisionEnd.SUCCESS, True)


def test_what_is_live_everywhere_is_pending_until_it_has_soaked():
    """What fails, or is aborted, in the soak is red; a commit that concerns nobody is green."""
    soaking = replace(RUNNING, description="wave 3 of 3: 1 of 2 healthy, 1 soaking")
    revision = end_head(DONE, soaking)
    assert revision.end is RevisionEnd.NONE
    assert revision.description == "12 of 12 done; wave 3 of 3: 1 of 2 healthy, 1 soaking"
    assert end_head(DONE, STOPPED).end is RevisionEnd.FAILURE
    assert end_head(DONE, ABORTED).end is RevisionEnd.FAILURE
    for rollout in (soaking, STOPPED, ABORTED):
        assert end_head(RevisionProgress(), rollout).end is RevisionEnd.SUCCESS


def test_an_aborted_revision_is_red_for_good():
    """Also where a newer head waits for it: it does not end as that one does."""
    words = "3 of 12 done, 9 in later waves; aborted in wave 1 of 3 by proxy:ann: no"
    revision = end_head(SOME_DONE, ABORTED)
    assert (revision.end, revision.is_final) == (RevisionEnd.FAILURE, True)
    assert revision.description == words.replace(", 9 in later waves", "")
    newest = RevisionRow("acme", 5, "5" * 40, 8.0)
    overtaken = replace(HEAD, overtaken_by=newest.commit)
    changed = build_changed_revisions(
        [newest, overtaken], RevisionProgress(2, 0), is_keyed=True, now=9.0, rollouts=[ABORTED]
    )
    assert [row.end for row in changed] == [RevisionEnd.NONE, RevisionEnd.FAILURE]
    assert changed[1].is_final


def test_a_rollout_that_has_ended_says_nothing():
    done = replace(RUNNING, state=RolloutState.DONE)
    assert end_head(RevisionProgress(12, 3), done).description == "3 of 12 done"


def test_the_status_of_a_target_says_that_it_waits_for_its_wave():
    """Whatever it shows at the revision that it has; one that the head does not touch waits not."""
    target = TargetRow(
        TargetName("acme", "prod"),
        "c3",
        3,
        wanted_digest="old",
        head_digest="new",
        touched_number=4,
        progress=TargetProgress.FAILING,
    )
    status = build_target_status_text(target, HEAD, "https://page.example")
    assert status.state is StatusState.PENDING
    assert status.description == "waiting for its wave of the rollout"
    untouched = replace(target, head_digest="old", touched_number=3)
    status = build_target_status_text(untouched, HEAD, "https://page.example")
    assert status.state is StatusState.SUCCESS
