"""No wave closes on what is not its own, whatever happens in whatever order."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from unit.controller.rollouts.rollout_play import BegunRun, Outcome
from unit.controller.rollouts.watched_play import WatchedPlay

from synapse_apply.controller.rows import RolloutState, TargetName
from synapse_apply.controller.rules.rollouts import find_soak_end
from synapse_apply.controller.settings import Rollout, Wave

NAMES = ("a1", "a2", "b1", "b2", "b3", "c1")
VERSIONS = "xyz"
_OPEN_STATES = {RolloutState.RUNNING, RolloutState.STOPPED}
soaks = st.sampled_from([0.0, 300.0, 1500.0])


class RolloutMachine(RuleBasedStateMachine):
    """Heads, runs, time and people in any order; the watched play fails where a law is broken."""

    @initialize(
        new_head=st.sampled_from(["replace", "queue"]),
        soak=soaks,
        max_parallel=st.sampled_from([None, 1, 2]),
        max_failures=st.integers(0, 1),
        approve=st.booleans(),
    )
    def begin(self, **values: object) -> None:
        waves = (
            Wave(("a*",), soak=values["soak"]),
            Wave(
                ("b*",),
                max_parallel=values["max_parallel"],
                max_failures=values["max_failures"],
            ),
            Wave(("c*",), approve=values["approve"]),
        )
        rollout = Rollout("all", "acme", waves, values["new_head"])
        self.play = WatchedPlay(rollout)
        self.digests = dict.fromkeys(NAMES, "x")
        self.runs: dict[str, BegunRun] = {}
        self.play.push(self.digests)

    @rule(changes=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VERSIONS), max_size=4))
    def push(self, changes: dict[str, str]) -> None:
        self.digests |= changes
        self.play.push(self.digests)

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        if len(self.digests) > 1 and name in self.digests:
            del self.digests[name]
            self.runs.pop(name, None)
            self.play.push(self.digests)

    @rule()
    def compare_again(self) -> None:
        self.play.compare()

    @rule(name=st.sampled_from(NAMES))
    def begin_run(self, name: str) -> None:
        if name in self.list_names():
            self.runs[name] = self.play.begin_run(name)

    @precondition(lambda self: self.runs)
    @rule(number=st.integers(0, 5), outcome=st.sampled_from(Outcome))
    def end_run(self, number: int, outcome: Outcome) -> None:
        name = list(self.runs)[number % len(self.runs)]
        self.play.end_run(self.runs.pop(name), outcome)

    @rule(outcome=st.sampled_from([Outcome.GOOD, Outcome.GOOD, Outcome.FAILURE]))
    def look_at_all(self, outcome: Outcome) -> None:
        for name in self.list_names():
            self.play.look(name, outcome=outcome, seconds=1.0)

    @rule(seconds=st.sampled_from([1.0, 290.0, 600.0, 86400.0, -3600.0]))
    def pass_time(self, seconds: float) -> None:
        self.play.now = max(self.play.now + seconds, 1.0)

    @precondition(lambda self: self.play.require_row().state is RolloutState.WAITING)
    @rule()
    def approve(self) -> None:
        self.play.approve(self.play.require_row().wave)

    @precondition(lambda self: self.play.require_row().state is RolloutState.STOPPED)
    @rule()
    def resume(self) -> None:
        self.play.resume()

    @precondition(lambda self: self.play.require_row().state in _OPEN_STATES)
    @rule()
    def skip(self) -> None:
        self.play.skip(self.play.require_row().wave)

    @precondition(lambda self: not self.play.require_row().state.is_over)
    @rule()
    def abort(self) -> None:
        self.play.abort()

    def list_names(self) -> list[str]:
        return [
            name.target
            for name, target in self.play.targets.items()
            if not target.is_gone and target.wanted_commit and name.target not in self.runs
        ]

    def teardown(self) -> None:
        """With every run good, at the times at which they are due, the last head comes to all."""
        if not hasattr(self, "play"):
            return
        play = self.play
        for run in self.runs.values():
            play.end_run(run, Outcome.GOOD)
        self.runs.clear()
        for _ in range(200):
            row = play.require_row()
            if row.state.is_over and row.number == play.number:
                break
            if row.state is RolloutState.WAITING:
                play.approve(row.wave)
            elif row.state is RolloutState.STOPPED:
                play.resume()
            else:
                due_at, name = min((self.find_due_time(name), name) for name in self.list_names())
                play.now = max(play.now, due_at)
                play.look(name)
        row = play.require_row()
        assert row.number == play.number
        assert row.state.is_over
        if row.state is RolloutState.DONE:
            assert {t.wanted_number for t in play.targets.values() if not t.is_gone} == {row.number}

    def find_due_time(self, name: str) -> float:
        """When a target is looked at: when it is due, or to end its soak."""
        target_name = TargetName("acme", name)
        member = self.play.members[target_name]
        wave = self.play.rollout.waves[member.wave - 1]
        due_at = self.play.targets[target_name].due_at
        soak_end = find_soak_end(member, wave)
        return due_at if soak_end is None else min(due_at, soak_end)


RolloutMachine.TestCase.settings = settings(
    max_examples=1500 if os.environ.get("SYNAPSE_APPLY_TEST_DEEP") else 15,
    stateful_step_count=25,
    deadline=None,
)
test_no_law_is_broken_whatever_happens = RolloutMachine.TestCase


@pytest.mark.parametrize(
    ("soak", "events"), [(0.0, "x y begin good drift"), (300.0, "y look failure wait")]
)
def test_no_order_of_heads_and_runs_closes_a_wave_on_older_evidence(soak, events):
    """Every order of five events of one target: heads, runs that begin and end, time."""
    rollout = Rollout("all", "acme", (Wave(("a",), soak=soak, max_failures=9), Wave(("b",))))
    play = WatchedPlay(rollout)
    play.push({"a": "x", "b": "x"})
    assert count_closed_in_every_order(play, None, events.split(), length=5) > 50


def count_closed_in_every_order(
    play: WatchedPlay, run: BegunRun | None, events: list[str], length: int
) -> int:
    """Go on with every order of so many events; how many waves were closed in all of them."""
    if length == 0:
        return play.closed_count
    closed_count = 0
    for event in events:
        # Orders that begin alike are played once until they part.
        branch = play.copy()
        branch_run = play_event(branch, run, event)
        closed_count += count_closed_in_every_order(branch, branch_run, events, length - 1)
    return closed_count


def play_event(play: WatchedPlay, run: BegunRun | None, event: str) -> BegunRun | None:
    """Let an event of the target `a` happen; its run that is under way afterwards."""
    if event in VERSIONS:
        play.push({"a": event, "b": event})
    elif event == "begin":
        return run or play.begin_run("a")
    elif event == "wait":
        play.now += 400.0
    elif event == "look":
        play.look("a")
    elif event == "failure":
        play.look("a", outcome=Outcome.FAILURE)
    elif run is not None:
        play.end_run(run, Outcome(event))
        return None
    return run
