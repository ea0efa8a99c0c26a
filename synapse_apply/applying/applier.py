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
from synapse_apply.applying.verify import verify
from synapse_apply.model.address import Address
from synapse_apply.model.observed import Observed
from synapse_apply.model.plan import Action
from synapse_apply.model.ports import Executor
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.verification import Verdict, Verified


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
        # Runs are steps of their own, made when all else of their address is done.
        self._verified: dict[Address, Verified] = {}
        # Creates of unknown outcome that are looked up once more when all else is done.
        self._doubtful: set[Address] = set()
        self._pauses = pauses(tools, stop)

    @property
    def verified(self) -> tuple[Verified, ...]:
        """What became of the runs, in the plan's order."""
        return tuple(self._verified[at] for at in self._tasks if at in self._verified)

    def run(self, executor: Executor) -> tuple[Outcome, ...]:
        """Do every task that can be done; an outcome for each that acts, in the plan's order."""
        ready = deque(address for address in self._tasks if not self._waiting[address])
        while ready:
            self._work_off(ready, executor)
            ready.extend(self._look_again())
        for task in self._tasks.values():
            self._skip(task, "the run was stopped")
        return tuple(self._outcomes[at] for at in self._tasks if at in self._outcomes)

    def _work_off(self, ready: deque[Address], executor: Executor) -> None:
        """Do what is ready and what becomes so, until nothing is left or the run shall end."""
        running = 0
        while ready or running:
            while ready and executor.room and not self._stop():
                address = ready.popleft()
                if not self._is_over(self._tasks[address]):
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
                    del self._outcomes[address]
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

    def _is_over(self, task: Task) -> bool:
        due = task.change.verification is not None
        return not self._is_to_act(task) and (not due or task.address in self._verified)

    def _is_to_act(self, task: Task) -> bool:
        return task.acts and task.address not in self._outcomes

    def _work(self, task: Task) -> Callable[[], Outcome | Verified]:
        if self._is_to_act(task):
            return lambda: execute(task, self._tools, self._live)
        return lambda: verify(task, self._tools, self._live, self._stop)

    def _settle(self, address: Address, result: Any) -> Iterable[Address]:
        """Keep the outcome; give what may start now."""
        task = self._tasks[address]
        if not self._is_to_act(task):
            return self._settle_run(task, result)
        outcome = result if isinstance(result, Outcome) else self._broken(task, result)
        self._outcomes[address] = outcome
        if outcome.result is Result.UNKNOWN and may_show(task, self._tools, self._live):
            self._doubtful.add(address)
            return []
        if outcome.result is not Result.DONE:
            self._skip_dependents(address)
            return []
        return self._freed(address) if self._is_over(task) else [address]

    def _settle_run(self, task: Task, result: Any) -> Iterable[Address]:
        """Keep what became of a run; where it did not end well its dependents do not start."""
        verified = result if isinstance(result, Verified) else self._broken_run(task, result)
        self._verified[task.address] = verified
        if verified.is_well:
            return self._freed(task.address)
        self._skip_dependents(task.address)
        return []

    def _freed(self, address: Address) -> list[Address]:
        """What waited for this address alone."""
        freed = []
        for dependent in self._dependents.get(address, ()):
            self._waiting[dependent].discard(address)
            if not self._waiting[dependent]:
                freed.append(dependent)
        return freed

    def _skip_dependents(self, address: Address) -> None:
        """Skip all that depends on it, however far, without recursion; its own run, too."""
        because = f"its {self._tasks[address].change.action.value} did not end well"
        self._skip(self._tasks[address], because)
        queue = deque([address])
        while queue:
            failed = queue.popleft()
            for dependent in self._dependents.get(failed, ()):
                if not self._is_over(self._tasks[dependent]):
                    self._skip(self._tasks[dependent], f"it depends on {failed}")
                    queue.append(dependent)

    def _skip(self, task: Task, because: str) -> None:
        """What of a task is not over is not tried."""
        if self._is_over(task):
            return
        address, told = task.address, (failures.skipped(task, because),)
        if self._is_to_act(task):
            action = task.change.action
            self._outcomes[address] = Outcome(address, action, Result.SKIPPED, diagnostics=told)
        if not self._is_over(task):
            self._verified[address] = Verified(address, Verdict.SKIPPED, diagnostics=told)

    @staticmethod
    def _broken(task: Task, failure: Any) -> Outcome:
        """An exception nobody expected: a call may be open, so its outcome is unknown."""
        sends = task.change.action is not Action.FORGET
        result = Result.UNKNOWN if sends else Result.FAILED
        told = failures.internal(task, failure)
        return Outcome(task.address, task.change.action, result, diagnostics=(told,))

    @staticmethod
    def _broken_run(task: Task, failure: Any) -> Verified:
        told = failures.internal(task, failure)
        return Verified(task.address, Verdict.UNKNOWN, diagnostics=(told,))
