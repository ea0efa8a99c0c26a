"""How a process takes part in a controller: alone, or as one of several that share a store."""

from __future__ import annotations

from typing import Protocol

from synapse_apply.controller.loop.leading.dispatching import (
    MAX_LOOKS,
    Dispatcher,
    SingleRoundDispatcher,
    ThreadDispatcher,
)
from synapse_apply.controller.loop.leading.leader import Leader, SoleLeader
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.loop.running import RunCounts
from synapse_apply.controller.loop.tasks import BackgroundTasks


class Engine(Protocol):
    """What of the loop differs where several processes share the store."""

    @property
    def leader(self) -> Leader:
        """Whether this process leads."""
        ...

    def build_dispatcher(
        self, parts: LoopParts, tasks: BackgroundTasks, counts: RunCounts, *, is_once: bool
    ) -> Dispatcher:
        """How this process, while it leads, has due targets worked on."""
        ...

    def start_taking_part(
        self, parts: LoopParts, tasks: BackgroundTasks, counts: RunCounts, *, is_once: bool
    ) -> None:
        """Take part from now on: work that any process of the controller can do begins in tasks."""
        ...

    def stop_taking_work(self) -> None:
        """Begin no work any more that another process can do."""
        ...

    def close(self) -> None:
        """Take part no more; what was claimed is let go."""
        ...


class SoleEngine:
    """The Engine of a process that has its store alone, and works in threads of its own."""

    def __init__(self, max_looks: int = MAX_LOOKS) -> None:
        """`max_looks` are begun at most at a time."""
        self._max_looks = max_looks
        self._leader = SoleLeader()

    @property
    def leader(self) -> Leader:
        return self._leader

    def build_dispatcher(
        self, parts: LoopParts, tasks: BackgroundTasks, counts: RunCounts, *, is_once: bool
    ) -> Dispatcher:
        """See Engine."""
        dispatcher = SingleRoundDispatcher if is_once else ThreadDispatcher
        return dispatcher(parts, tasks, counts, self._max_looks)

    def start_taking_part(
        self, parts: LoopParts, tasks: BackgroundTasks, counts: RunCounts, *, is_once: bool
    ) -> None:
        """Nothing: the rounds begin all work."""

    def stop_taking_work(self) -> None:
        """Nothing: the rounds have ended."""

    def close(self) -> None:
        """Nothing: the next start lets go of what was claimed."""
