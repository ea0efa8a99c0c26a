"""In which order steps run, what a failure skips, and what is looked up again at the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from time import monotonic, sleep
from typing import Any

from synapse_apply.applying import messages
from synapse_apply.applying.call import can_look_again, carry_out, carry_out_final_call, look_again
from synapse_apply.applying.run import Executor, NotStarted, Run
from synapse_apply.applying.step import Step
from synapse_apply.applying.verify import verify
from synapse_apply.model.address import Address
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.frozen import replace
from synapse_apply.model.job import RunStatus, VerificationResult
from synapse_apply.model.plan import Action
from synapse_apply.model.report import Outcome, Result

_SECONDS_TO_KEEP = 5.0  # for writing answers to a file


class Scheduler:
    """Runs the steps of one apply, each in up to three stages: its write, its run, its final call.

    The run's stop reason is asked before each start; with one nothing more is started, and what is
    in progress is waited for.
    """

    def __init__(self, steps: Sequence[Step], run: Run) -> None:
        """Starts nothing yet."""
        self._run = run
        self._steps = {step.address: step for step in steps}
        # The owner of each object that is created by another step's call.
        self._owners = {step.companion.address: step.address for step in steps if step.companion}
        self._waits_for = {
            step.address: self._steps.keys() & set(step.predecessors) for step in steps
        }
        self._dependents: dict[Address, list[Address]] = {}
        for address, predecessors in self._waits_for.items():
            for predecessor in predecessors:
                self._dependents.setdefault(predecessor, []).append(address)
        self._running: set[Address] = set()
        self._outcomes: dict[Address, Outcome] = {}
        # Results of verification runs, which start when all else of their address is done.
        self._verifications: dict[Address, VerificationResult] = {}
        # Outcomes of final calls; None where an earlier call of the step did not succeed.
        self._finals: dict[Address, Outcome | None] = {}
        # When calls of unknown outcome began, which are looked up again when all else is done.
        self._unknown: dict[Address, float] = {}
        self._pauses = run.pauses(run.gate.stop_reason)

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """The outcomes of all steps that act, in the plan's order.

        That of a final call is separate where it did not succeed.
        """
        outcomes: list[Outcome | None] = []
        for address in self._steps:
            main, final = self._outcomes.get(address), self._finals.get(address)
            if main is not None and final is not None and final.result is Result.DONE:
                diagnostics = (*main.diagnostics, *final.diagnostics)
                main = replace(main, diagnostics=diagnostics, effect=final.effect)
                final = None
            outcomes += [main, final]
        return tuple(outcome for outcome in outcomes if outcome is not None)

    @property
    def verifications(self) -> tuple[VerificationResult, ...]:
        """The results of verification runs, in the plan's order."""
        results = self._verifications
        return tuple(results[address] for address in self._steps if address in results)

    def run_all(self, executor: Executor) -> None:
        """Run all steps, as far as their predecessors succeed and nothing stops the apply."""
        self._run.gate.slot = executor
        ready = deque(address for address in self._steps if not self._waits_for[address])
        while ready:
            self._run_ready(ready, executor)
            ready.extend(self._look_again())

    def end_unfinished(self) -> None:
        """Give every unfinished step an outcome: UNKNOWN for one in progress, else SKIPPED.

        Called when the apply is interrupted and its threads are no longer waited for.
        """
        run = self._run
        run.ledger.waits_no_longer.set()
        # What is answered goes to a file now, and is told as that.
        answered = {self._owners.get(each, each) for each in [*run.ledger.waiting.values()]}
        until = monotonic() + _SECONDS_TO_KEEP
        while any(each in self._running for each in answered) and monotonic() < until:
            sleep(0.01)
        # Steps that still wait for a slot have sent nothing, so they are skipped, not unknown.
        for address in sorted({*self._running} & {*run.gate.started}):
            self._end_interrupted(self._steps[address])
        for step in self._steps.values():
            self._skip_rest(step, self._run.gate.stop_reason() or "the run was stopped")

    def _run_ready(self, ready: deque[Address], executor: Executor) -> None:
        """Run ready steps and those that they release, until none is left or a stop is due."""
        running = 0
        while ready or running:
            while ready and executor.has_room and not self._run.gate.stop_reason():
                step = self._steps[ready.popleft()]
                if stage := self._stage(step):
                    self._running.add(step.address)
                    executor.submit(step.address, partial(self._carry_out, step, stage))
                    running += 1
            # Ready steps that are left here are stopped ones: they are skipped at the end.
            if not running:
                ready.clear()
                return
            address, result = executor.wait_for_result()
            running -= 1
            # Where the apply is stopping, the step gets its outcome at the end.
            if not isinstance(result, NotStarted):
                ready.extend(self._take(self._steps[address], result))
            self._running.discard(address)

    def _stage(self, step: Step) -> str:
        """What is due of a step: its `write`, its `run`, its `final` call; "" where nothing is."""
        address = step.address
        if step.has_call_or_record_write and address not in self._outcomes:
            return "write"
        if step.change.verification is not None and address not in self._verifications:
            return "run"
        return "final" if step.has_final_call and address not in self._finals else ""

    def _carry_out(self, step: Step, stage: str) -> Any:
        run = self._run
        if stage == "write":
            return carry_out(run, step)
        run.gate.take_slot(step.address)
        return verify(run, step) if stage == "run" else carry_out_final_call(run, step)

    def _take(self, step: Step, result: Any) -> list[Address]:
        """Store the result of a stage; returns addresses that may start now."""
        failed, stage = isinstance(result, BaseException), self._stage(step)
        # The apply was cut short meanwhile, and has told of the step as unknown.
        if not stage:
            return []
        if stage == "write":
            outcomes = self._internal_errors(step, result) if failed else result
            # The companion first: it is finished by its own outcome, not by its owner's.
            return [one for outcome in reversed(outcomes) for one in self._take_outcome(outcome)]
        if stage == "run":
            if failed:
                error = messages.internal_error(step, result)
                result = VerificationResult(step.address, RunStatus.UNKNOWN, diagnostics=(error,))
            self._verifications[step.address] = result
            return self._go_on(step, succeeded=result.is_acceptable)
        final = self._internal_errors(step, result)[0] if failed else result
        self._finals[step.address] = final
        return self._go_on(step, succeeded=final.result is Result.DONE)

    def _take_outcome(self, outcome: Outcome) -> list[Address]:
        step = self._steps[outcome.address]
        self._outcomes[outcome.address] = outcome
        # Dependents are not skipped yet, since a later look-up may find the object.
        if outcome.result is Result.UNKNOWN and can_look_again(self._run, step):
            self._unknown[outcome.address] = self._run.seconds() - outcome.seconds
            return []
        return self._go_on(step, succeeded=outcome.result is Result.DONE)

    def _go_on(self, step: Step, *, succeeded: bool) -> list[Address]:
        """After a stage: the step itself, or the dependents whose last predecessor it was."""
        if not succeeded:
            self._skip_others(step)
            return []
        if self._stage(step):
            return [step.address]
        startable = []
        for dependent in self._dependents.get(step.address, ()):
            if self._owners.get(dependent) == step.address:
                continue  # released by its own outcome
            self._waits_for[dependent].discard(step.address)
            if not self._waits_for[dependent]:
                startable.append(dependent)
        return startable

    def _look_again(self) -> list[Address]:
        """Look creates of unknown outcome up with pauses; returns steps that may start now."""
        run, startable = self._run, list[Address]()
        is_looking = not run.gate.stop_reason()
        for address in sorted(self._unknown) if is_looking else ():
            run.progress.report_start(address, self._steps[address].change.action.value)
        while self._unknown and not run.gate.stop_reason():
            for address in [address for address in self._steps if address in self._unknown]:
                # A companion is only looked up once its owner is found, as its key contains the
                # owner's id.
                if self._owners.get(address) in self._unknown:
                    continue
                outcome = self._outcomes[address]
                with suppress(SynapseApplyError):
                    outcome = look_again(run, self._steps[address], outcome)
                if outcome.result is Result.DONE:
                    startable += self._take_outcome(self._end_look(outcome))
            # Steps that can start now come first; the look-ups go on when these are done.
            if startable or next(self._pauses, self) is self:
                break
        if not startable:
            for address in sorted(self._unknown):
                if is_looking:
                    self._outcomes[address] = self._end_look(self._outcomes[address])
                self._skip_others(self._steps[address])
        return startable

    def _end_look(self, outcome: Outcome) -> Outcome:
        """The outcome with the whole duration, which is reported."""
        seconds = self._run.seconds() - self._unknown.pop(outcome.address)
        verb, result = outcome.action.value, outcome.progress_result
        self._run.progress.report_end(outcome.address, verb, result, seconds, outcome.remote_id)
        return replace(outcome, seconds=seconds)

    def _skip_others(self, step: Step) -> None:
        """Skip all direct and indirect dependents, and what is left of the step itself."""
        verification = self._verifications.get(step.address)
        failed_part = step.change.action.value
        if verification is not None and not verification.is_acceptable:
            failed_part = "verification"
        self._skip_rest(step, f"its {failed_part} did not succeed")
        # In breadth, so that each is told the nearest step that failed.
        queue = deque([step.address])
        while queue:
            failed = queue.popleft()
            for dependent in map(self._steps.__getitem__, self._dependents.get(failed, ())):
                if self._stage(dependent):
                    self._skip_rest(dependent, f"it depends on {failed}")
                    queue.append(dependent.address)

    def _skip_rest(self, step: Step, reason: str) -> None:
        """Give each unfinished part of a step a SKIPPED outcome."""
        address = step.address
        while stage := self._stage(step):
            finding = messages.skipped(step, reason)
            if stage == "write":
                self._outcomes[address] = step.outcome(Result.SKIPPED, finding)
            elif stage == "run":
                self._verifications[address] = VerificationResult(
                    address, RunStatus.SKIPPED, diagnostics=(finding,)
                )
            else:
                is_only_outcome = address not in self._outcomes
                self._finals[address] = (
                    step.outcome(Result.SKIPPED, finding) if is_only_outcome else None
                )

    def _end_interrupted(self, step: Step) -> None:
        """Give an interrupted step an UNKNOWN outcome; its intent is stored for the next run."""
        address, backend, stage = step.address, self._run.backend, self._stage(step)
        unknown = messages.unknown_outcome("interrupted", step, backend)
        if stage == "write":
            for created in step.all_created:
                self._outcomes[created.address] = messages.unknown_outcome(
                    "interrupted", created, backend
                )
        elif stage != "run":
            self._finals[address] = replace(unknown, action=Action.UPDATE)
        # A job that is followed is recorded, so that it is not unknown.
        elif job := self._run.followed.get(address):
            self._verifications[address] = VerificationResult(address, RunStatus.RUNNING, job=job)
        else:
            self._verifications[address] = VerificationResult(
                address, RunStatus.UNKNOWN, diagnostics=unknown.diagnostics
            )

    @staticmethod
    def _internal_errors(step: Step, failure: BaseException) -> tuple[Outcome, ...]:
        """Outcomes for an unexpected exception: UNKNOWN, as a call may be open."""
        # Forgetting sends nothing.
        result = Result.FAILED if step.change.action is Action.FORGET else Result.UNKNOWN
        return tuple(
            created.outcome(result, messages.internal_error(created, failure))
            for created in step.all_created
        )
