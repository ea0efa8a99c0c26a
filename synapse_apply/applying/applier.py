"""Runs the tasks of a plan in dependency order; a failure skips what depends on it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from synapse_apply.applying import failures
from synapse_apply.applying.execute import execute
from synapse_apply.applying.second_look import look_again, may_show, pauses
from synapse_apply.applying.task import Task, Tools
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import error
from synapse_apply.model.observed import Observed
from synapse_apply.model.plan import Action
from synapse_apply.model.ports import Executor
from synapse_apply.model.report import Outcome, Result


class Applier:
    """One apply. `stop` is asked before each start: True drains what is in flight and ends."""

    def __init__(
        self,
        tasks: Sequence[Task],
        tools: Tools,
        live: Mapping[Address, Observed],
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """`live` are the objects that exist before the first call, by address."""
        self._tasks = {task.address: task for task in tasks}
        self._live = dict(live)
        self._tools = replace(tools, saw=self._live.__setitem__)
        self._stop = stop
        self._waiting = {
            task.address: {address for address in task.after if address in self._tasks}
            for task in tasks
        }
        self._dependents: dict[Address, list[Address]] = {}
        for address, before in self._waiting.items():
            for earlier in before:
                self._dependents.setdefault(earlier, []).append(address)
        self._outcomes: dict[Address, Outcome] = {}
        # Creates of unknown outcome that are looked up once more when all else is done.
        self._doubtful: set[Address] = set()
        self._pauses = pauses(tools, stop)

    def run(self, executor: Executor) -> tuple[Outcome, ...]:
        """Do every task that can be done; an outcome for each, in the plan's order."""
        ready = deque(address for address in self._tasks if not self._waiting[address])
        while ready:
            self._work_off(ready, executor)
            ready.extend(self._look_again())
        for address, task in self._tasks.items():
            if address not in self._outcomes:
                self._skip(task, "the run was stopped")
        return tuple(self._outcomes[address] for address in self._tasks)

    def _work_off(self, ready: deque[Address], executor: Executor) -> None:
        """Do what is ready and what becomes so, until nothing is left or the run shall end."""
        running = 0
        while ready or running:
            while ready and executor.room and not self._stop():
                address = ready.popleft()
                if address not in self._outcomes:
                    executor.submit(address, self._work(self._tasks[address]))
                    running += 1
            if not running:
                ready.clear()
                return
            address, result = executor.wait()
            running -= 1
            ready.extend(self._settle(address, result))

    def _look_again(self) -> list[Address]:
        """Settle what nobody saw the end of, waiting a little; what may start now."""
        begun = self._tools.clock.seconds()
        freed: list[Address] = []
        for address in sorted(self._doubtful):
            self._tools.progress.started(address, self._tasks[address].change.action.value)
        while self._doubtful and not self._stop():
            for address in sorted(self._doubtful):
                task, before = self._tasks[address], self._outcomes[address]
                outcome = look_again(task, self._tools, self._live, before)
                if outcome.result is Result.DONE:
                    self._looked(address, outcome, begun)
                    freed += self._settle(address, outcome)
            if freed or next(self._pauses, self) is self:
                break
        if not freed:
            for address in sorted(self._doubtful):
                self._looked(address, self._outcomes[address], begun)
                self._skip_dependents(address)
        return freed

    def _looked(self, address: Address, outcome: Outcome, begun: float) -> None:
        self._doubtful.remove(address)
        seconds = self._tools.clock.seconds() - begun
        self._tools.progress.finished(address, outcome.action.value, outcome.result.value, seconds)

    def _work(self, task: Task) -> Callable[[], Outcome]:
        return lambda: execute(task, self._tools, self._live)

    def _settle(self, address: Address, result: Any) -> Iterable[Address]:
        """Keep the outcome; give what may start now."""
        task = self._tasks[address]
        outcome = result if isinstance(result, Outcome) else self._broken(task, result)
        self._outcomes[address] = outcome
        if outcome.result is Result.UNKNOWN and may_show(task, self._tools, self._live):
            self._doubtful.add(address)
            return []
        if outcome.result is not Result.DONE:
            self._skip_dependents(address)
            return []
        freed = []
        for dependent in self._dependents.get(address, ()):
            self._waiting[dependent].discard(address)
            if not self._waiting[dependent]:
                freed.append(dependent)
        return freed

    def _skip_dependents(self, address: Address) -> None:
        """Skip all that depends on it, however far, without recursion."""
        queue = deque([address])
        while queue:
            failed = queue.popleft()
            for dependent in self._dependents.get(failed, ()):
                if dependent not in self._outcomes:
                    self._skip(self._tasks[dependent], f"it depends on {failed}")
                    queue.append(dependent)

    def _skip(self, task: Task, because: str) -> None:
        self._outcomes[task.address] = Outcome(
            task.address,
            task.change.action,
            Result.SKIPPED,
            diagnostics=(failures.skipped(task, because),),
        )

    @staticmethod
    def _broken(task: Task, failure: Any) -> Outcome:
        """An exception nobody expected: a call may be open, so its outcome is unknown."""
        sends = task.change.action is not Action.FORGET
        return Outcome(
            task.address,
            task.change.action,
            Result.UNKNOWN if sends else Result.FAILED,
            diagnostics=(
                error(
                    "An internal error stopped this resource",
                    f"{type(failure).__name__} while working on {task.address}.",
                    "Apply again: open calls are looked up first. Please report this.",
                    address=str(task.address),
                ),
            ),
        )
