"""A controller with a rollout that is killed at any write ends where one that was not would."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from contract.controller.loop.rollout_world import (
    ALL,
    ANN,
    CANARIES,
    PROD,
    STANDARD,
    TARGETS,
    WAVE_2,
    RolloutWorld,
)
from contract.controller.loop.test_killed import KilledError, MortalStore

from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.ports import ActionRefused
from synapse_apply.controller.rows import RolloutRow, RolloutState

DEEP = os.environ.get("SYNAPSE_APPLY_TEST_DEEP")
EVERY_NTH = 2 if DEEP else 380
SOAK = 300.0
STEPS = 14


class RolloutLife:
    """Heads that soak, fail, are mended, approved and aborted; each step is a process of its own."""

    def __init__(self, folder: Path, writes_left: int) -> None:
        folder.mkdir()
        waves = (replace(CANARIES, soak=SOAK), STANDARD, replace(PROD, approve=True))
        self.world = RolloutWorld(folder, replace(ALL, waves=waves))
        self.world.store.close()
        self.store = MortalStore(folder)
        self.store.writes_left = writes_left
        self.world.store = self.store
        # When each was written, by the world's clock.
        self.written: list[tuple[str, float]] = []

    def live(self) -> None:
        with closing(self.store):
            self._live()
            self.end = self._describe()

    def _live(self) -> None:
        world = self.world
        world.push("c1")
        self._go_on(approve=True)
        world.push("c2")
        world.failing.update(f"{name} c2" for name in WAVE_2)
        self._go_on(approve=True)
        assert world.describe_rollout() == "c2 wave 2 stopped"
        world.push("c3", "eu-1", "eu-2", "prod-1")
        self._go_on(approve=True)
        assert world.describe_rollout() == "c3 wave 3 done"
        world.push("c4")
        self._go_on(approve=False)
        self._act(
            lambda loop: loop.get_people_actions().abort_rollout_or_refuse(ANN, "all", 4, "no")
        )
        self._go_on(approve=True)

    def _go_on(self, *, approve: bool) -> None:
        for _ in range(STEPS):
            self._act(lambda loop: loop.run_once())
            self.world.workers.is_closed = False
            if approve and self.world.rollout.state is RolloutState.WAITING:
                self._act(partial(approve_wave, self.world.rollout))
            self.world.clock.advance(70)
            self.written += [(text, self.world.clock.wall) for text in self.world.take_writes()]

    def _act(self, work: Callable[[ControllerLoop], object]) -> None:
        """Do something in a process, and once more in a new one where it was killed in its middle."""
        loop = self.world.build_loop()
        try:
            work(loop)
        except KilledError:
            # Nothing of a process that was killed runs, or writes, beside the next one.
            assert loop._tasks.wait_until_idle(60)
            self.store.writes_left = 10**9
            self.world.workers.is_closed = False
            with suppress(ActionRefused):
                work(self.world.build_loop())

    def _describe(self) -> object:
        world = self.world
        waves = [world.store.list_waves("all", number) for number in (1, 2, 3, 4)]
        return (
            sorted(text for text, _ in self.written),
            world.live,
            world.list_wanted(),
            world.describe_rollout(),
            [[(wave.wave, wave.end, wave.approved_by) for wave in rows] for rows in waves],
            # How many changes are told of depends on which runs could be recorded.
            {commit: text.partition(":")[0] for commit, text in world.forge.describe().items()},
            sorted({row.id: f"{row.event} {row.fields['rollout']}" for row in world.inbox.messages}.values()),
        )  # fmt: skip


def approve_wave(rollout: RolloutRow, loop: ControllerLoop) -> None:
    actions = loop.get_people_actions()
    actions.approve_wave_or_refuse(ANN, "all", rollout.number, rollout.wave)


def check_order(written: list[tuple[str, float]]) -> None:
    """What is written to a later wave comes a soak after the canary, and after the wave before."""
    times: dict[str, list[float]] = {}
    for text, when in written:
        times.setdefault(text, []).append(when)
    assert all(len(found) == 1 for found in times.values()), times
    for commit in ("c1", "c2"):
        canary = times[f"canary-1 {commit}"][0]
        later = [
            times[f"{name} {commit}"][0] for name in TARGETS[1:] if f"{name} {commit}" in times
        ]
        assert all(when - canary >= SOAK for when in later)
    assert times["prod-1 c3"][0] >= max(times["eu-1 c3"][0], times["eu-2 c3"][0])


def test_killed_at_every_write_a_rollout_ends_as_one_that_was_not(tmp_path):
    """The same writes, each once and in order, the same waves, ends and messages."""
    unharmed = RolloutLife(tmp_path / "unharmed", 10**9)
    unharmed.live()
    check_order(unharmed.written)
    assert unharmed.store.write_count > 100
    for writes in range(3, unharmed.store.write_count, EVERY_NTH):
        killed = RolloutLife(tmp_path / f"{writes}", writes)
        killed.live()
        assert killed.end == unharmed.end, writes
        check_order(killed.written)
