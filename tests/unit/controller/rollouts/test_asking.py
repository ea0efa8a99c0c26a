"""What people may ask of a rollout, and when."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from unit.controller.rollouts.rollout_play import Outcome, RolloutPlay

from synapse_apply.controller.ports import ActionRefused
from synapse_apply.controller.rows import RolloutState
from synapse_apply.controller.rules import rollouts
from synapse_apply.controller.rules.rollouts import describe_wave_to_approve
from synapse_apply.controller.settings import Rollout, Wave

ROLLOUT = Rollout("two", "acme", (Wave(("a",)), Wave(("b",), approve=True)))
ACTIONS: dict[str, Callable[[RolloutPlay], None]] = {
    "approve 1": lambda play: play.approve(1),
    "approve 2": lambda play: play.approve(2),
    "skip 1": lambda play: play.skip(1),
    "skip 2": lambda play: play.skip(2),
    "resume": RolloutPlay.resume,
    "abort": RolloutPlay.abort,
}


def play_until(state: RolloutState) -> RolloutPlay:
    play = RolloutPlay(ROLLOUT)
    play.push({"a": "v1", "b": "v1"})
    if state is RolloutState.STOPPED:
        play.look("a", outcome=Outcome.FAILURE)
    elif state is not RolloutState.RUNNING:
        play.look("a")
    if state is RolloutState.ABORTED:
        play.abort()
    elif state is RolloutState.DONE:
        play.approve(2)
        play.look("b")
    assert play.require_row().state is state
    return play


@pytest.mark.parametrize(
    ("state", "possible"),
    [
        (RolloutState.RUNNING, {"skip 1", "abort"}),
        (RolloutState.STOPPED, {"skip 1", "resume", "abort"}),
        (RolloutState.WAITING, {"approve 2", "abort"}),
        (RolloutState.DONE, set()),
        (RolloutState.ABORTED, set()),
    ],
)
def test_what_can_be_asked_in_each_state(state, possible):
    """All else is refused, and changes nothing."""
    for name, act in ACTIONS.items():
        play = play_until(state)
        before = play.require_row()
        if name in possible:
            act(play)
            assert play.require_row() != before
        else:
            with pytest.raises(ActionRefused):
                act(play)
            assert play.require_row() == before


def test_what_was_shown_of_another_revision_decides_nothing():
    """Each action names the number of the revision whose page was read."""
    row = play_until(RolloutState.WAITING).require_row()
    with pytest.raises(ActionRefused) as refused:
        rollouts.abort_rollout(row, number=row.number - 1, who="token:ops", reason="", now=1.0)
    (finding,) = refused.value.diagnostics
    assert finding.summary == "The rollout now has a different revision"
    assert "controller rollout status two" in str(finding.hint)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (RolloutState.WAITING, "two: awaiting approval. Wave 2 is."),
        (RolloutState.RUNNING, "two: running. No wave is."),
    ],
)
def test_whoever_approves_the_wrong_wave_is_told_which_one_waits(state, reason):
    with pytest.raises(ActionRefused) as refused:
        play_until(state).approve(1)
    assert refused.value.diagnostics[0].summary == "Wave 1 is not awaiting approval"
    assert refused.value.diagnostics[0].detail == reason


def test_whoever_sees_no_target_of_a_wave_is_told_no_number_of_them():
    """Not `0 targets`, as if the wave had none."""
    row = play_until(RolloutState.WAITING).require_row()
    assert describe_wave_to_approve(row, 1) == "wave 2 of 2 awaits approval: 1 target"
    assert describe_wave_to_approve(row, 0) == "wave 2 of 2 awaits approval"
