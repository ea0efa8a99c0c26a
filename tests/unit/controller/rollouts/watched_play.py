"""A played rollout that is watched: a simple model of its laws, made of what happened alone.

The model knows no row of a rollout. It has the inputs of each target at each head, the order in
which targets came to other inputs, and the runs: under which inputs each was claimed, and how it
ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

from unit.controller.rollouts.rollout_play import DEFAULTS, BegunRun, Outcome, RolloutPlay

from synapse_apply.controller.rows import RolloutState, TargetName, TargetRow, WaveEnd
from synapse_apply.controller.rules.rollouts import RolloutStep, find_wave_number_or_none
from synapse_apply.controller.settings import Rollout

GOOD_OUTCOMES = {Outcome.GOOD, Outcome.HELD_DRIFT}
LONGEST_GAP = 1.5 * DEFAULTS.interval


class EndedRun(NamedTuple):
    """A run that ended: when it was claimed and ended, in the order of all that happens."""

    claimed: int
    ended: int
    digest: str
    outcome: Outcome
    began_at: float
    ended_at: float


class WatchedPlay(RolloutPlay):
    """Fails as soon as a law is broken."""

    def __init__(self, rollout: Rollout) -> None:
        super().__init__(rollout)
        self._order = 0
        self._digests: dict[tuple[int, str], str] = {}
        self._changed: dict[TargetName, int] = {}
        self._claims: dict[tuple[TargetName, int], int] = {}
        self._runs: dict[TargetName, tuple[EndedRun, ...]] = {}
        self._begun: dict[int, int] = {}
        self._resumed = 0
        self._skipped: set[tuple[int, int]] = set()
        self.closed_count = 0

    def push(
        self, digests: Mapping[str, str], labels: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        self._digests |= {(self.number + 1, name): text for name, text in digests.items()}
        super().push(digests, labels)

    def begin_run(self, name: str) -> BegunRun:
        run = super().begin_run(name)
        self._claims[run.target.name, run.epoch] = self._count()
        return run

    def end_run(self, run: BegunRun, outcome: Outcome) -> None:
        name = run.target.name
        ended = EndedRun(
            self._claims[name, run.epoch],
            self._count(),
            run.target.wanted_digest,
            outcome,
            run.began_at,
            self.now,
        )
        self._runs[name] = (*self._runs.get(name, ()), ended)
        super().end_run(run, outcome)

    def skip(self, wave: int, reason: str = "urgent") -> None:
        self._skipped.add((self.require_row().number, wave))
        super().skip(wave, reason)

    def resume(self) -> None:
        self._resumed = self._count()
        super().resume()

    def _count(self) -> int:
        self._order += 1
        return self._order

    def _put_target(self, row: TargetRow) -> None:
        before = self.targets.get(row.name)
        super()._put_target(row)
        if before is None or before.wanted_digest != row.wanted_digest:
            self._changed[row.name] = self._count()

    def _take_step(self) -> RolloutStep:
        row = self.require_row()
        self._begun.setdefault(row.number, self._count())
        wanted = {name: (t.wanted_number, t.wanted_digest) for name, t in self.targets.items()}
        counts = {wave: self._count_in_change(wave) for wave in self._list_waves()}
        failed = self._count_failed(row.wave)
        step = super()._take_step()
        for wave in step.waves:
            if wave.end is WaveEnd.EVIDENCE:
                self.closed_count += 1
                self._check_closed_wave(wave.number, wave.wave)
        moved = {t.name for t in step.targets}
        for name in moved:
            self._check_moved_target(name, row.number)
        changed = {n for n in moved if wanted[n][1] != self.targets[n].wanted_digest}
        for wave, count in counts.items():
            limit = self.rollout.waves[wave - 1].max_parallel
            if limit is not None and (row.number, wave) not in self._skipped:
                assert self._count_in_change(wave) <= max(limit, count)
        settings = self.rollout.waves[row.wave - 1]
        if row.state is not RolloutState.WAITING and (row.number, row.wave) not in self._skipped:
            assert failed <= settings.max_failures or not changed, "it goes on with failures"
        assert not changed or not row.state.is_over
        return step

    def _check_closed_wave(self, number: int, wave: int) -> None:
        """Each target has shown what it has to, of this revision and since it has it."""
        soak = self.rollout.waves[wave - 1].soak
        for name in self._list_targets(wave):
            target, digest = self.targets[name], self._digests[number, name.target]
            assert (target.wanted_number, target.wanted_digest) == (number, digest)
            streak = self._list_good_streak(name)
            assert streak, f"{name} has shown nothing of {number}"
            assert {run.digest for run in streak} == {digest}
            gaps = [
                min(max(after.began_at - before.ended_at, 0.0), LONGEST_GAP)
                for before, after in pairwise(streak)
            ]
            assert sum(gaps) >= soak - 1e-6

    def _check_moved_target(self, name: TargetName, number: int) -> None:
        """Every wave before its own is closed for this revision."""
        assert self.targets[name].wanted_number == number
        wave = self._find_wave(name)
        assert all(
            self.waves[number, earlier].end is not WaveEnd.NONE for earlier in range(1, wave)
        )

    def _list_own_runs(self, name: TargetName) -> list[EndedRun]:
        """The runs that were claimed since the target has its inputs."""
        since = self._changed.get(name, 0)
        return [run for run in self._runs.get(name, ()) if run.claimed > since]

    def _list_good_streak(self, name: TargetName) -> list[EndedRun]:
        streak: list[EndedRun] = []
        for run in self._list_own_runs(name):
            streak = [*streak, run] if run.outcome in GOOD_OUTCOMES else []
        return streak

    def _count_in_change(self, wave: int) -> int:
        return sum(
            self.targets[name].wanted_digest != ""
            and not any(run.outcome in GOOD_OUTCOMES for run in self._list_own_runs(name))
            for name in self._list_targets(wave)
        )

    def _count_failed(self, wave: int) -> int:
        """The targets of a wave that failed with the inputs of this revision."""
        number = self.require_row().number
        begun = self._begun[number]
        count = 0
        for name in self._list_targets(wave):
            runs = self._list_own_runs(name)
            failures = [run.ended for run in runs if run.outcome is Outcome.FAILURE]
            goods = [run.ended for run in runs if run.outcome in GOOD_OUTCOMES]
            has_inputs = self.targets[name].wanted_digest == self._digests.get(
                (number, name.target)
            )
            last = max(failures, default=0)
            is_mended = last < begun and any(last < good < begun for good in goods)
            count += has_inputs and last > self._resumed and not is_mended
        return count

    def _list_waves(self) -> range:
        return range(1, len(self.rollout.waves) + 1)

    def _find_wave(self, name: TargetName) -> int:
        wave = find_wave_number_or_none(self.rollout, name.target, {})
        assert wave is not None
        return wave

    def _list_targets(self, wave: int) -> list[TargetName]:
        """The targets of a wave that each head has from the rollout's revision on."""
        numbers = range(self.require_row().number, self.number + 1)
        return [
            name
            for name, target in self.targets.items()
            if not target.is_gone
            and self._find_wave(name) == wave
            and all((number, name.target) in self._digests for number in numbers)
        ]
