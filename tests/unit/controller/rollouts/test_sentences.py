"""Each sentence of what a rollout is to do, played in memory."""

from __future__ import annotations

from unit.controller.rollouts.rollout_play import Outcome, RolloutPlay

from synapse_apply.controller.rollout_rows import RolloutState
from synapse_apply.controller.settings import Rollout, Wave

WAVES = (
    Wave(("canary-*",), soak=1800.0),
    Wave(labels={"tier": "standard"}, max_parallel=2, max_failures=1),
    Wave(("prod-*",), approve=True),
)
ALL = Rollout("all", "acme", WAVES)
LABELS = {f"eu-{n}": {"tier": "standard"} for n in range(1, 5)}
NAMES = ("canary-a", *LABELS, "prod-a", "prod-b")


def push(play: RolloutPlay, version: str, *touched: str) -> None:
    """A head at which these targets, or all, have inputs of this version."""
    digests = {target.name.target: target.digest for target in play.keyed}
    play.push(digests | dict.fromkeys(touched or NAMES, version), LABELS)


def test_a_new_head_begins_at_the_first_wave() -> None:
    """Who waits for a later wave stays at the revision that it has: a new one at none."""
    play = RolloutPlay(ALL)
    push(play, "v1")
    assert play.list_wanted() == {**dict.fromkeys(NAMES, 0), "canary-a": 1}
    assert play.require_row().description == "wave 1 of 3: 0 of 1 shown, 1 changing"


def test_a_wave_closes_when_each_target_looked_good_for_as_long_as_it_soaks() -> None:
    """Only then the next one opens, and not more of it are moved than may be in change."""
    play = RolloutPlay(ALL)
    push(play, "v1")
    play.look("canary-a")
    for _ in range(3):
        assert play.list_wanted()["eu-1"] == 0
        play.now += 600.0
        play.look("canary-a")
    assert play.list_wanted() == {**dict.fromkeys(NAMES, 0), "canary-a": 1, "eu-1": 1, "eu-2": 1}
    play.look("eu-2")
    play.look("eu-3", "eu-1", "eu-4")
    assert play.require_row().state is RolloutState.WAITING
    assert play.require_row().description == "wave 3 of 3 waits for approval: 2 targets"
    play.approve(3)
    play.look("prod-a", "prod-b")
    assert play.require_row().state is RolloutState.DONE


def test_too_many_failures_stop_a_rollout() -> None:
    """Targets count, not their failures; it goes on when a person says so."""
    play = RolloutPlay(ALL)
    push(play, "v1")
    play.skip(1)
    play.look("eu-1", "eu-1", outcome=Outcome.FAILURE)
    assert play.require_row().state is RolloutState.RUNNING
    play.look("eu-2", outcome=Outcome.FAILURE)
    row = play.require_row()
    assert row.state is RolloutState.STOPPED
    assert row.state_reason == "2 targets of wave 2 failed: eu-1, eu-2"
    play.look("eu-1", "eu-2")
    assert play.list_wanted()["eu-3"] == 0
    play.resume()
    assert play.list_wanted()["eu-3"] == 1
