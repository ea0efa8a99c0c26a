"""Whom the leader has work on targets that are due: the threads of its own process."""

from __future__ import annotations

from typing import Protocol, cast

from synapse_apply.controller.loop.claiming import ClaimedTarget, claim_if_due
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.loop.running import RunCounts
from synapse_apply.controller.loop.tasks import BackgroundTasks
from synapse_apply.controller.loop.working import look_and_apply
from synapse_apply.controller.rows import RunCause, TargetName, TargetRow
from synapse_apply.controller.rules.turns import choose_due_targets

LOOK = "look"
ROUND_SECONDS = 1.0
# More than there are workers: which of these are looked at first, the workers choose by which of
# their processes are warm.
MAX_LOOKS = 16
_LISTED_PER_LOOK = 8
# Every end of a look wakes a round; what became due a moment ago can wait for the next list.
_LIST_SECONDS = 1.0


class Dispatcher(Protocol):
    """How the leader has due targets worked on."""

    def dispatch_due(self, now: float) -> None:
        """Have targets that are due worked on, as many as there is room for; waits for none.

        `now` is the wall clock.
        """
        ...

    @property
    def seconds_to_next_round(self) -> float:
        """Seconds after which there may be more to do, though nothing wakes the rounds."""
        ...


class ThreadDispatcher:
    """Works on targets in threads of this process; for the thread of the rounds."""

    def __init__(
        self, parts: LoopParts, tasks: BackgroundTasks, counts: RunCounts, max_looks: int
    ) -> None:
        self._parts = parts
        self._tasks = tasks
        self._counts = counts
        self._max_looks = max_looks
        self._candidates: list[TargetRow] = []
        self._listed_at: float | None = None

    def dispatch_due(self, now: float) -> None:
        """See Dispatcher."""
        running = cast("list[TargetRow]", self._tasks.list_subjects_of_running(LOOK))
        if len(running) >= self._max_looks or self._parts.is_stopping:
            return
        due = [row for row in self._list_candidates(now) if self._may_begin(row)]
        has_many = len(self._parts.settings.sources) > 1
        for row in choose_due_targets(due, running, self._max_looks, has_many_sources=has_many):
            self._candidates.remove(row)
            claimed = claim_if_due(self._parts, row.name)
            if claimed is not None:
                self._start_work(claimed)

    @property
    def seconds_to_next_round(self) -> float:
        """See Dispatcher: each end of a look wakes the rounds."""
        return ROUND_SECONDS

    def _may_begin(self, _row: TargetRow) -> bool:
        """Whether a target that is due may be claimed at all."""
        return True

    def _list_candidates(self, now: float) -> list[TargetRow]:
        """Targets that were due a second ago at most and are not begun; those due now where few."""
        counter = self._parts.clock.read_counter()
        is_old = self._listed_at is None or counter - self._listed_at >= _LIST_SECONDS
        if is_old or len(self._candidates) < self._max_looks:
            with self._parts.write() as writer:
                due = writer.list_due_unclaimed_targets_by_turn(
                    now, _LISTED_PER_LOOK * self._max_looks
                )
            self._candidates, self._listed_at = list(due), counter
        return self._candidates

    def _start_work(self, claimed: ClaimedTarget) -> None:
        def look() -> None:
            look_and_apply(self._parts, claimed, self._counts)

        self._tasks.start_task((LOOK, claimed.row.name), look, claimed.row)


class SingleRoundDispatcher(ThreadDispatcher):
    """Works once on each target, and once more after an apply: for a run with `--once`."""

    def __init__(
        self, parts: LoopParts, tasks: BackgroundTasks, counts: RunCounts, max_looks: int
    ) -> None:
        super().__init__(parts, tasks, counts, max_looks)
        self._begun: set[tuple[TargetName, str, bool]] = set()

    def _may_begin(self, row: TargetRow) -> bool:
        return _work_key(row) not in self._begun

    def _start_work(self, claimed: ClaimedTarget) -> None:
        self._begun.add(_work_key(claimed.row))
        super()._start_work(claimed)


def _work_key(row: TargetRow) -> tuple[TargetName, str, bool]:
    """What a run with `--once` does once: a look with these inputs, and one after their apply."""
    return row.name, row.wanted_digest, row.due_cause is RunCause.APPLIED
