"""Runs the tasks of a plan in dependency order; a failure skips what depends on it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from synapse_apply.applying import failures
from synapse_apply.applying.execute import execute, seal
from synapse_apply.applying.second_look import look_again, may_show, pauses
from synapse_apply.applying.task import NotBegun, Task, Tools, together
from synapse_apply.applying.verify import verify
from synapse_apply.model.address import Address
from synapse_apply.model.observed import Observed
from synapse_apply.model.plan import Action
from synapse_apply.model.ports import Executor
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.verification import Verdict, Verified


class Applier:
    """One apply. `stop` is asked before each start: a reason drains what is in flight and ends."""

    def __init__(
        self,
        tasks: Sequence[Task],
        tools: Tools,
        live: Mapping[Address, Observed],
        stop: Callable[[], str] = lambda: "",
    ) -> None:
        """`live` are the objects that exist before the first call, by address."""
        self._tasks = {task.address: task for task in tasks}
        self._live = dict(live)
        # What is made by another task's call, by that task.
        self._carried = {one.carries.address: one.address for one in tasks if one.carries}
        # Jobs that are followed: which one it is is recorded, so nothing of it is in doubt.
        self._jobs: dict[Address, str] = {}
        self._under_way: set[Address] = set()
        saw, follows = self._live.__setitem__, self._jobs.__setitem__
        self._tools = replace(tools, saw=saw, follows=follows)
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
        # Last calls that are never taken back; None where what went before did not end well.
        self._sealed: dict[Address, Outcome | None] = {}
        # Creates of unknown outcome that are looked up once more when all else is done.
        self._doubtful: set[Address] = set()
        self._pauses = pauses(tools, stop)

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What became of each task that acts, in the plan's order."""
        return tuple(outcome for at in self._tasks for outcome in self._told(at))

    @property
    def verified(self) -> tuple[Verified, ...]:
        """What became of the runs, in the plan's order."""
        return tuple(self._verified[at] for at in self._tasks if at in self._verified)

    def run(self, executor: Executor) -> None:
        """Do every task that can be done."""
        self._tools = replace(self._tools, place=executor, stops=self._stop)
        ready = deque(address for address in self._tasks if not self._waiting[address])
        while ready:
            self._work_off(ready, executor)
            ready.extend(self._look_again())

    def close(self) -> None:
        """Give all that did not end an outcome: nobody waits for it any more.

        What was under way may have been done; all else was not tried.
        """
        for address in sorted(self._under_way):
            if address in self._tools.begun:
                self._cut(self._tasks[address])
        for task in self._tasks.values():
            self._skip(task, self._stop() or "the run was stopped")

    def _told(self, address: Address) -> Iterator[Outcome]:
        """What became of the task; of its last call apart where that did not end well."""
        first, last = self._outcomes.get(address), self._sealed.get(address)
        if first is not None and last is not None and last.result is Result.DONE:
            yield replace(first, diagnostics=(*first.diagnostics, *last.diagnostics))
            return
        yield from (outcome for outcome in (first, last) if outcome is not None)

    def _work_off(self, ready: deque[Address], executor: Executor) -> None:
        """Do what is ready and what becomes so, until nothing is left or the run shall end."""
        running = 0
        while ready or running:
            while ready and executor.room and not self._stop():
                address = ready.popleft()
                if not self._is_over(self._tasks[address]):
                    self._under_way.add(address)
                    executor.submit(address, self._work(self._tasks[address]))
                    running += 1
            if not running:
                ready.clear()
                return
            ended = executor.wait()
            running -= 1
            ready.extend(self._settle(*ended))

    def _look_again(self) -> list[Address]:
        """Settle what nobody saw the end of, waiting a little; what may start now."""
        begun = self._tools.clock.seconds()
        freed: list[Address] = []
        for address in sorted(self._doubtful):
            self._tools.progress.started(address, self._tasks[address].change.action.value)
        while self._doubtful and not self._stop():
            for address in [at for at in self._tasks if at in self._doubtful]:
                task, before = self._tasks[address], self._outcomes[address]
                if self._carried.get(address) in self._doubtful:
                    continue
                outcome = look_again(task, self._tools, self._live, before)
                if outcome.result is Result.DONE:
                    self._looked(address, outcome, begun)
                    freed += self._keep(outcome)
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
        verb, result = outcome.action.value, outcome.result.value
        self._tools.progress.finished(address, verb, result, seconds, outcome.remote_id)

    def _is_over(self, task: Task) -> bool:
        sealed = not task.seals or task.address in self._sealed
        return sealed and not self._is_to_act(task) and not self._is_to_run(task)

    def _is_to_act(self, task: Task) -> bool:
        return task.acts and task.address not in self._outcomes

    def _is_to_run(self, task: Task) -> bool:
        return task.change.verification is not None and task.address not in self._verified

    def _work(self, task: Task) -> Callable[[], tuple[Outcome, ...] | Outcome | Verified]:
        tools, live = self._tools, self._live
        if self._is_to_act(task):
            return lambda: execute(task, tools, live)

        def last() -> Outcome | Verified:
            tools.take_place(task.address)
            if self._is_to_run(task):
                return verify(task, tools, live, self._stop)
            return seal(task, tools, live)

        return last

    def _settle(self, address: Address, result: Any) -> Iterable[Address]:
        """Keep the outcomes; give what may start now."""
        task = self._tasks[address]
        self._under_way.discard(address)
        if isinstance(result, NotBegun):
            return []
        if not self._is_to_act(task):
            return self._settle_rest(task, result)
        outcomes = result if isinstance(result, tuple) else self._broken(task, result)
        # What came along first: it is over by itself, not by what becomes of what carried it.
        return [at for outcome in reversed(outcomes) for at in self._keep(outcome)]

    def _keep(self, outcome: Outcome) -> Iterable[Address]:
        address = outcome.address
        task = self._tasks[address]
        self._outcomes[address] = outcome
        if outcome.result is Result.UNKNOWN and may_show(task, self._tools, self._live):
            self._doubtful.add(address)
            return []
        if outcome.result is not Result.DONE:
            self._skip_dependents(address)
            return []
        return self._freed(address) if self._is_over(task) else [address]

    def _settle_rest(self, task: Task, result: Any) -> Iterable[Address]:
        """Keep what became of a run or a last call; where it did not end well nothing follows."""
        if self._is_to_run(task):
            verified = result if isinstance(result, Verified) else self._broken_run(task, result)
            self._verified[task.address] = verified
            well = verified.is_well
        else:
            last = result if isinstance(result, Outcome) else self._broken(task, result)[0]
            self._sealed[task.address] = last
            well = last.result is Result.DONE
        if well:
            return self._freed(task.address) if self._is_over(task) else [task.address]
        self._skip_dependents(task.address)
        return []

    def _freed(self, address: Address) -> list[Address]:
        """What waited for this address alone."""
        freed = []
        for dependent in self._dependents.get(address, ()):
            if self._carried.get(dependent) == address:
                continue  # its own outcome frees it
            self._waiting[dependent].discard(address)
            if not self._waiting[dependent]:
                freed.append(dependent)
        return freed

    def _skip_dependents(self, address: Address) -> None:
        """Skip all that depends on it, however far, without recursion; its own run, too."""
        run = self._verified.get(address)
        what = self._tasks[address].change.action.value
        what = "verification" if run is not None and not run.is_well else what
        because = f"its {what} did not end well"
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
        if self._is_to_run(task):
            self._verified[address] = Verified(address, Verdict.SKIPPED, diagnostics=told)
        if not self._is_over(task):
            alone = address not in self._outcomes
            skipped = Outcome(address, task.change.action, Result.SKIPPED, diagnostics=told)
            self._sealed[address] = skipped if alone else None

    def _cut(self, task: Task) -> None:
        """The run ends before this one's answer; its intent is on disk for the next run."""
        address, told = task.address, (failures.cut_off(task),)
        if self._is_to_act(task):
            for one in together(task):
                self._outcomes[one.address] = Outcome(
                    one.address, one.change.action, Result.UNKNOWN, diagnostics=told
                )
        elif not self._is_to_run(task):
            self._sealed[address] = Outcome(
                address, Action.UPDATE, Result.UNKNOWN, diagnostics=told
            )
        elif job := self._jobs.get(address):
            self._verified[address] = Verified(address, Verdict.RUNNING, job=job)
        else:
            self._verified[address] = Verified(address, Verdict.UNKNOWN, diagnostics=told)

    @staticmethod
    def _broken(task: Task, failure: Any) -> tuple[Outcome, ...]:
        """An exception nobody expected: a call may be open, so its outcome is unknown."""
        sends = task.change.action is not Action.FORGET
        result = Result.UNKNOWN if sends else Result.FAILED
        return tuple(
            Outcome(
                one.address,
                one.change.action,
                result,
                diagnostics=(failures.internal(one, failure),),
            )
            for one in together(task)
        )

    @staticmethod
    def _broken_run(task: Task, failure: Any) -> Verified:
        told = failures.internal(task, failure)
        return Verified(task.address, Verdict.UNKNOWN, diagnostics=(told,))
