"""Each sentence of what a rollout is to do, played in memory."""

from __future__ import annotations

import pytest
from unit.controller.rollouts.rollout_play import DEFAULTS, Outcome, RolloutPlay

from synapse_apply.controller.rows import RolloutState, TargetName, WaveEnd
from synapse_apply.controller.rules.rollouts import is_overdue_for_a_week
from synapse_apply.controller.settings import DAY, Rollout, Wave

WAVES = (
    Wave(("canary-*",), soak=1800.0),
    Wave(labels={"tier": "standard"}, max_parallel=2, max_failures=1),
    Wave(("prod-*",), approve=True),
)
ALL = Rollout("all", "acme", WAVES)
LABELS = {f"eu-{n}": {"tier": "standard"} for n in range(1, 5)}
NAMES = ("canary-a", *LABELS, "prod-a", "prod-b")
TWO = Rollout("two", "acme", (Wave(("a",)), Wave(("b",))))


def push(play: RolloutPlay, version: str, *touched: str) -> None:
    """A head at which these targets, or all, have inputs of this version."""
    digests = {target.name.target: target.digest for target in play.keyed}
    play.push(digests | dict.fromkeys(touched or NAMES, version), LABELS)


def soak(play: RolloutPlay, name: str = "canary-a") -> None:
    """Good looks at the times of its interval, for half an hour."""
    play.look(name)
    for _ in range(3):
        play.now += DEFAULTS.interval
        play.look(name)


def play_to_the_end(play: RolloutPlay) -> None:
    """Everything is good, and everybody agrees."""
    soak(play)
    for name in LABELS:
        play.look(name)
    if play.require_row().state is RolloutState.WAITING:
        play.approve(3)
    play.look("prod-a", "prod-b")
    assert play.require_row().state is RolloutState.DONE


def test_a_new_head_begins_at_the_first_wave():
    """Who waits for a later wave stays at the revision that it has: a new one at none."""
    play = RolloutPlay(ALL)
    push(play, "v1")
    assert play.list_wanted() == {**dict.fromkeys(NAMES, 0), "canary-a": 1}
    assert play.require_row().description == "wave 1 of 3: 0 of 1 healthy, 1 changing"


def test_who_waits_is_kept_at_the_revision_that_it_has():
    """It is looked at, and its drift is put right, at that revision."""
    play = RolloutPlay(ALL)
    push(play, "v1")
    play_to_the_end(play)
    push(play, "v2")
    run = play.begin_run("prod-a")
    assert (run.target.wanted_commit, run.target.wanted_digest) == ("c1", "v1")
    play.end_run(run, Outcome.APPLIED)
    prod = play.targets[TargetName("acme", "prod-a")]
    assert (prod.wanted_commit, prod.touched_number, prod.head_digest) == ("c1", 2, "v2")


def test_a_wave_closes_when_each_target_looked_good_for_as_long_as_it_soaks():
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
    assert play.require_row().description == "wave 3 of 3 awaits approval: 2 targets"
    play.approve(3)
    play.look("prod-a", "prod-b")
    assert play.require_row().state is RolloutState.DONE
    assert [wave.end for wave in play.waves.values()] == [WaveEnd.EVIDENCE] * 3


@pytest.mark.parametrize("outcome", Outcome)
def test_only_an_empty_look_closes_a_wave(outcome):
    """Held drift aside; an apply shows nothing, only the look after it does."""
    play = RolloutPlay(TWO)
    play.push({"a": "v1", "b": "v1"})
    play.look("a", outcome=outcome)
    is_good = outcome in {Outcome.GOOD, Outcome.HELD_DRIFT}
    assert play.list_wanted()["b"] == int(is_good)


def test_argo_cd_29410():
    """There a wave closed on the status that its application still had of the commit before.

    The look of the older commit is good, and ends after the newer one was moved: it is of other
    inputs, and was claimed before. So is one that begins in the same moment.
    """
    play = RolloutPlay(TWO)
    play.push({"a": "v1", "b": "v1"})
    play.look("a", "b")
    run = play.begin_run("a")
    play.push({"a": "v2", "b": "v2"})
    play.end_run(run, Outcome.GOOD)
    assert play.require_row().wave == 1
    assert play.list_wanted() == {"a": 2, "b": 1}
    # The revert has the inputs of that look again; it is no younger for that.
    run = play.begin_run("a")
    play.push({"a": "v1", "b": "v1"})
    play.end_run(run, Outcome.GOOD)
    assert play.require_row().wave == 1
    play.look("a")
    assert play.list_wanted() == {"a": 3, "b": 3}


def test_a_look_of_the_same_inputs_counts_if_it_was_claimed_after_the_move():
    """A target that comes into a rollout with nothing to do needs no apply, only a younger look."""
    play = RolloutPlay(Rollout("late", "acme", (Wave(("other",)),)))
    play.push({"a": "v1", "b": "v1", "other": "v1"})
    play.look("a", "b")
    run = play.begin_run("a")
    play.rollout, play.row, play.members = TWO, None, {}
    play.compare()
    play.end_run(run, Outcome.GOOD)
    assert play.require_row().wave == 1
    play.look("a")
    assert play.require_row().wave == 2


def test_what_has_nothing_to_change_waits_for_no_other():
    """`max_parallel` is of targets in change."""
    play = RolloutPlay(Rollout("late", "acme", (Wave(("other",)),)))
    names = ("a", "b", "c")
    play.push(dict.fromkeys((*names, "other"), "v1"))
    play.look(*names)
    play.rollout = Rollout("all", "acme", (Wave(names, max_parallel=1),))
    play.row, play.members = None, {}
    play.compare()
    assert all(member.moved_at for member in play.members.values())
    play.push(dict.fromkeys((*names, "other"), "v2"))
    assert sorted(play.list_wanted().items())[:3] == [("a", 2), ("b", 1), ("c", 1)]


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome.HELD, "0 of 2 healthy, 1 awaiting approval: a, 1 changing"),
        (Outcome.DRIFT, "0 of 2 healthy, 1 drifted: a, 1 changing"),
        (Outcome.FAILURE, "0 of 2 healthy, 1 failing: a, 1 changing"),
        (Outcome.GOOD, "1 of 2 healthy, 1 changing"),
    ],
)
def test_a_wave_says_what_keeps_it_open(outcome, words):
    """Also of a target that a newer head does not touch, before it is looked at again."""
    play = RolloutPlay(Rollout("all", "acme", (Wave(("a", "b"), max_failures=1),)))
    play.push({"a": "v1", "b": "v1"})
    assert play.require_row().description == "wave 1 of 1: 0 of 2 healthy, 2 changing"
    for version in ("v1", "v2"):
        play.look("a", outcome=outcome)
        assert play.require_row().description == f"wave 1 of 1: {words}"
        play.push({"a": "v1", "b": version})
        assert play.require_row().description == f"wave 1 of 1: {words}"


def test_the_soak_counts_only_between_good_looks():
    """Drift and failures begin it anew; of a long time that nobody looked only a part counts."""
    play = RolloutPlay(Rollout("all", "acme", (Wave(("a",), soak=1800.0, max_failures=1),)))
    play.push({"a": "v1"})
    (name,) = play.members
    soak(play, "a")
    assert play.require_row().state is RolloutState.DONE
    play.push({"a": "v2"})
    for outcome in (Outcome.DRIFT, Outcome.FAILURE):
        play.look("a", outcome=Outcome.GOOD)
        play.now += 600.0
        play.look("a")
        assert play.members[name].soaked == 600.0
        play.look("a", outcome=outcome)
        assert play.members[name].soaked == 0.0
    play.look("a")
    play.now += 3 * DAY
    play.look("a")
    assert play.members[name].soaked == 900.0
    play.now -= 7200.0
    play.look("a")
    assert play.members[name].soaked == 900.0
    play.now += 900.0
    play.look("a")
    assert play.require_row().state is RolloutState.DONE


def test_the_time_of_a_look_is_no_soak():
    """Between the end of one look and the beginning of the next."""
    play = RolloutPlay(Rollout("all", "acme", (Wave(("a",), soak=100.0),)))
    play.push({"a": "v1"})
    play.look("a", seconds=80.0)
    play.look("a", seconds=80.0)
    assert play.require_row().description == "wave 1 of 1: 0 of 1 healthy, 1 soaking"


def test_what_a_head_does_not_touch_is_closed_at_once():
    """Targets with the same inputs keep what they have shown, and wait for nobody."""
    play = RolloutPlay(ALL)
    push(play, "v1")
    play_to_the_end(play)
    push(play, "v2", "eu-3")
    assert play.list_wanted() == {
        **dict.fromkeys(("canary-a", *LABELS), 2),
        **dict.fromkeys(("prod-a", "prod-b"), 1),
    }
    play.look("eu-3")
    # Nothing changes in the last wave: nobody is asked.
    assert play.require_row().state is RolloutState.DONE


def test_evidence_stays_over_heads_that_do_not_touch_the_target():
    """Also while it soaks; a newer head does not begin that anew."""
    play = RolloutPlay(ALL)
    push(play, "v1")
    play.look("canary-a")
    for version in ("v2", "v3", "v4"):
        play.now += 600.0
        play.look("canary-a")
        push(play, version, "prod-a")
    assert play.require_row().wave == 2


def test_a_revert_inherits_nothing_where_other_inputs_were_between():
    """What was never moved had no others."""
    play = RolloutPlay(TWO)
    play.push({"a": "v1", "b": "v1"})
    play.look("a", "b")
    play.push({"a": "v2", "b": "v2"})
    play.push({"a": "v1", "b": "v1"})
    assert play.list_wanted() == {"a": 3, "b": 1}
    play.look("a")
    assert play.require_row().state is RolloutState.DONE


def test_a_head_waits_in_the_queue_and_only_the_newest_does():
    """The one that is under way goes on with its own targets and inputs."""
    play = RolloutPlay(Rollout("two", "acme", TWO.waves, "queue"))
    play.push({"a": "v1", "b": "v1"})
    play.push({"a": "v2", "b": "v2", "new": "v2"})
    play.push({"a": "v3", "b": "v3", "new": "v3"})
    assert (play.require_row().number, play.list_wanted()["a"]) == (1, 1)
    play.look("a")
    assert play.targets[TargetName("acme", "b")].wanted_digest == "v1"
    play.look("b")
    assert (play.require_row().number, play.list_wanted()["a"]) == (3, 3)
    play.push({"a": "v4", "b": "v4"})
    play.abort()
    assert (play.require_row().number, play.list_wanted()["a"]) == (4, 4)


def test_a_stopped_rollout_holds_no_newer_head_up():
    """It is mended by a commit, in the queue as well; what still fails stops that again."""
    play = RolloutPlay(Rollout("two", "acme", TWO.waves, "queue"))
    play.push({"a": "v1", "b": "v1"})
    play.look("a", outcome=Outcome.FAILURE)
    play.push({"a": "v1", "b": "v2"})
    assert play.require_row().state is RolloutState.STOPPED
    assert play.list_wanted() == {"a": 1, "b": 0}
    play.push({"a": "v3", "b": "v3"})
    assert play.require_row().state is RolloutState.RUNNING
    assert play.list_wanted()["a"] == 3


def test_a_failure_that_is_mended_is_not_held_against_the_next_head():
    play = RolloutPlay(Rollout("two", "acme", (Wave(("a",), max_failures=1), Wave(("b",)))))
    play.push({"a": "v1", "b": "v1"})
    play.look("a", outcome=Outcome.FAILURE)
    play.look("a")
    assert play.members[TargetName("acme", "a")].failed_at
    play.push({"a": "v1", "b": "v2"})
    assert not play.members[TargetName("acme", "a")].failed_at


def test_targets_join_and_leave_with_a_revision():
    """A new one takes part in its wave; one that is removed stays as it is, and is waited for no more."""
    play = RolloutPlay(TWO)
    play.push({"a": "v1"})
    play.look("a")
    assert play.require_row().state is RolloutState.DONE
    play.push({"a": "v2", "b": "v2"})
    assert play.list_wanted() == {"a": 2, "b": 0}
    play.push({"b": "v2"})
    assert play.list_wanted() == {"a": 2, "b": 3}
    assert play.targets[TargetName("acme", "a")].is_gone
    play.push({"a": "v2", "b": "v2"})
    # What it had before it was gone is not applied again by the way.
    assert play.list_wanted()["a"] == 4


def test_a_target_that_comes_back_is_wanted_nowhere_until_its_wave_comes():
    play = RolloutPlay(TWO)
    play.push({"a": "v1", "b": "v1"})
    play.look("a", "b")
    play.push({"a": "v1"})
    play.push({"a": "v2", "b": "v1"})
    back = play.targets[TargetName("acme", "b")]
    assert (back.wanted_commit, back.is_gone, back.touched_number) == ("", False, 3)


def test_a_fix_reaches_the_targets_that_are_in_change():
    """They keep their places of `max_parallel`; no other one comes beside them."""
    play = RolloutPlay(Rollout("all", "acme", (Wave(max_parallel=1, max_failures=1),)))
    play.push({"a": "v0", "b": "v0"})
    play.look("a")
    play.look("b", outcome=Outcome.FAILURE)
    play.push({"a": "v1", "b": "v1"})
    assert play.list_wanted() == {"a": 1, "b": 2}
    play.look("b")
    assert play.list_wanted() == {"a": 2, "b": 2}


def test_a_wave_without_targets_closes_by_itself():
    play = RolloutPlay(Rollout("three", "acme", (Wave(("no",), approve=True), *TWO.waves)))
    play.push({"a": "v1", "b": "v1"})
    assert play.require_row().wave == 2


def test_too_many_failures_stop_a_rollout():
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
    assert row.description.startswith("stopped: wave 2 of 3: 0 of 4 healthy, 2 failing: eu-1, eu-2")
    play.look("eu-1", "eu-2")
    assert play.list_wanted()["eu-3"] == 0
    play.resume()
    assert play.list_wanted()["eu-3"] == 1


def test_a_skipped_wave_leaves_no_target_behind():
    """What of it still waited for others is moved with it, and the next wave begins."""
    play = RolloutPlay(ALL)
    push(play, "v1")
    play.skip(1, "the fix is urgent")
    play.skip(2)
    assert play.list_wanted() == {
        **dict.fromkeys(("canary-a", *LABELS), 1),
        "prod-a": 0,
        "prod-b": 0,
    }
    skipped = play.waves[1, 1]
    assert (skipped.end, skipped.closed_by) == (WaveEnd.SKIPPED, "proxy:ann")
    assert skipped.reason == "the fix is urgent"


def test_an_approval_is_for_one_wave_of_one_revision():
    """The next head asks again."""
    play = RolloutPlay(ALL)
    for version in ("v1", "v2"):
        push(play, version)
        soak(play)
        play.look(*LABELS)
        assert play.require_row().state is RolloutState.WAITING
        play.approve(3)
        assert play.require_row().state is RolloutState.RUNNING


def test_an_aborted_revision_goes_no_further_and_the_next_head_begins_anew():
    """Nothing is rolled back by itself."""
    play = RolloutPlay(TWO)
    play.push({"a": "v1", "b": "v1"})
    play.look("a", "b")
    play.push({"a": "v2", "b": "v2"})
    play.abort("it breaks the imports")
    play.look("a")
    play.compare()
    assert play.list_wanted() == {"a": 2, "b": 1}
    assert play.require_row().description == (
        "aborted in wave 1 of 2 by proxy:ann: it breaks the imports"
    )
    play.push({"a": "v3", "b": "v3"})
    assert play.list_wanted() == {"a": 3, "b": 1}


def test_a_rollout_that_does_not_come_to_its_last_wave_says_so_after_a_week():
    """However many heads took its place meanwhile; one that reached it begins to count anew."""
    play = RolloutPlay(TWO, now=1000.0)
    for day in range(9):
        play.push({"a": f"v{day}", "b": f"v{day}"})
        assert is_overdue_for_a_week(play.require_row(), play.now) is (day > 7)
        play.now += DAY
    play.look("a", "b")
    assert play.require_row().state is RolloutState.DONE
    play.now += 30 * DAY
    play.push({"a": "last", "b": "last"})
    assert not is_overdue_for_a_week(play.require_row(), play.now)


def test_other_waves_begin_anew_at_the_same_head():
    """What was shown stays; what was said of waves whose targets are others now does not count."""
    play = RolloutPlay(ALL)
    push(play, "v1")
    play_to_the_end(play)
    waves = (WAVES[0], Wave(("prod-b",), approve=True), *WAVES[1:])
    play.rollout = Rollout("all", "acme", waves)
    play.compare()
    assert play.require_row().state is RolloutState.DONE
    assert [play.waves[1, wave].approved_by for wave in (2, 4)] == ["", ""]
    assert play.list_wanted() == dict.fromkeys(NAMES, 1)
