"""In which order steps run, what a failure skips, and what is looked up again at the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from synapse_apply.applying import messages
from synapse_apply.applying.recheck_unknown import (
    can_look_show_effect,
    settle_unknown_call_if_done,
    sleep_and_yield_after_each_recheck_pause,
)
from synapse_apply.applying.run_step import execute_final_call, execute_step_and_companion
from synapse_apply.applying.step import ApplyTools, Step, StepNotStarted, list_step_and_companion
from synapse_apply.applying.verify import start_or_follow_verification_run
from synapse_apply.model.address import Address
from synapse_apply.model.observed import Observed
from synapse_apply.model.plan import Action
from synapse_apply.model.ports import Executor
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.verification import RunStatus, VerificationResult


class Scheduler:
    """Runs the steps of one apply.

    `stop_reason` is called before each start; with a reason nothing more is started, and what
    is in progress is waited for.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        tools: ApplyTools,
        live: Mapping[Address, Observed],
        stop_reason: Callable[[], str] = lambda: "",
    ) -> None:
        """`live` are the objects that exist before the first call."""
        self._tasks = {step.address: step for step in steps}
        # A copy, since the steps add what they make.
        self._live = dict(live)
        # The owner of each object that is created by another step's call.
        self._owner_of_companion = {
            step_with_companion.companion.address: step_with_companion.address
            for step_with_companion in steps
            if step_with_companion.companion
        }
        # The jobs that are followed; they are recorded, so an interrupted one is not unknown.
        self._followed_jobs: dict[Address, str] = {}
        self._running: set[Address] = set()
        on_observed, on_job_followed = self._live.__setitem__, self._followed_jobs.__setitem__
        # Worker threads report through these; a single item of a dict is set atomically.
        self._tools = replace(tools, on_observed=on_observed, on_job_followed=on_job_followed)
        self._stop_reason = stop_reason
        self._predecessors = {
            step.address: {address for address in step.predecessors if address in self._tasks}
            for step in steps
        }
        self._dependents: dict[Address, list[Address]] = {}
        for address, predecessors in self._predecessors.items():
            for predecessor in predecessors:
                self._dependents.setdefault(predecessor, []).append(address)
        self._outcomes: dict[Address, Outcome] = {}
        # Results of verification runs, which start when all else of their address is done.
        self._verifications: dict[Address, VerificationResult] = {}
        # Outcomes of final calls; None where an earlier call of the step did not succeed.
        self._final_outcomes: dict[Address, Outcome | None] = {}
        # Creates of unknown outcome, which are looked up again when all else is done.
        self._unknown_calls: set[Address] = set()
        self._pauses = sleep_and_yield_after_each_recheck_pause(tools, stop_reason)

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """The outcomes of all steps that act, in the plan's order."""
        return tuple(
            outcome
            for address in self._tasks
            for outcome in self._iter_outcomes_with_final_call_merged(address)
        )

    @property
    def verifications(self) -> tuple[VerificationResult, ...]:
        """The results of verification runs, in the plan's order."""
        return tuple(
            self._verifications[address]
            for address in self._tasks
            if address in self._verifications
        )

    def run_all_until_stop(self, executor: Executor) -> None:
        """Run all steps, as far as their predecessors succeed and nothing stops the apply."""
        self._tools = replace(self._tools, slot=executor, stop_reason=self._stop_reason)
        ready = deque(address for address in self._tasks if not self._predecessors[address])
        while ready:
            self._run_ready_and_released_until_stop(ready, executor)
            ready.extend(self._recheck_unknown_calls_until_steps_can_start())

    def give_unfinished_steps_an_outcome(self) -> None:
        """Give every unfinished step an outcome: UNKNOWN for one in progress, else SKIPPED.

        Called when the apply is interrupted and its threads are no longer waited for.
        """
        # Steps that still wait for a slot have sent nothing, so they are skipped, not unknown.
        for address in sorted(self._running):
            if address in self._tools.started_addresses:
                self._record_interrupted_as_unknown_or_running(self._tasks[address])
        for step in self._tasks.values():
            self._set_skipped_outcomes_where_missing(
                step, self._stop_reason() or "the run was stopped"
            )

    def _iter_outcomes_with_final_call_merged(self, address: Address) -> Iterator[Outcome]:
        """The step's outcome; that of its final call is separate where it did not succeed."""
        main_outcome, final_outcome = self._outcomes.get(address), self._final_outcomes.get(address)
        if (
            main_outcome is not None
            and final_outcome is not None
            and final_outcome.result is Result.DONE
        ):
            yield replace(
                main_outcome, diagnostics=(*main_outcome.diagnostics, *final_outcome.diagnostics)
            )
            return
        yield from (outcome for outcome in (main_outcome, final_outcome) if outcome is not None)

    def _run_ready_and_released_until_stop(self, ready: deque[Address], executor: Executor) -> None:
        """Run ready steps and those that they release, until none is left or a stop is due."""
        running = 0
        while ready or running:
            while ready and executor.has_room and not self._stop_reason():
                address = ready.popleft()
                if not self._has_all_outcomes(self._tasks[address]):
                    self._running.add(address)
                    executor.submit(address, self._build_work_of_next_stage(self._tasks[address]))
                    running += 1
            # Ready steps that are left here are stopped ones: they are skipped at the end.
            if not running:
                ready.clear()
                return
            finished = executor.wait_for_result()
            running -= 1
            ready.extend(self._record_result_and_list_startable(*finished))

    def _recheck_unknown_calls_until_steps_can_start(self) -> list[Address]:
        """Look creates of unknown outcome up with pauses; returns steps that may start now."""
        started_at = self._tools.clock.monotonic_seconds()
        startable: list[Address] = []
        for address in sorted(self._unknown_calls):
            self._tools.progress.report_start(address, self._tasks[address].change.action.value)
        while self._unknown_calls and not self._stop_reason():
            for address in [
                candidate for candidate in self._tasks if candidate in self._unknown_calls
            ]:
                step, previous = self._tasks[address], self._outcomes[address]
                # A companion is only looked up once its owner is found, as its key contains the
                # owner's id.
                if self._owner_of_companion.get(address) in self._unknown_calls:
                    continue
                outcome = settle_unknown_call_if_done(step, self._tools, self._live, previous)
                if outcome.result is Result.DONE:
                    self._end_recheck_and_report(address, outcome, started_at)
                    startable += self._record_outcome_and_list_startable(outcome)
            # Steps that can start now come first; the look-ups go on when these are done.
            if startable or next(self._pauses, self) is self:
                break
        if not startable:
            for address in sorted(self._unknown_calls):
                self._end_recheck_and_report(address, self._outcomes[address], started_at)
                self._skip_rest_of_step_and_all_dependents(address)
        return startable

    def _end_recheck_and_report(
        self, address: Address, outcome: Outcome, started_at: float
    ) -> None:
        self._unknown_calls.remove(address)
        seconds = self._tools.clock.monotonic_seconds() - started_at
        verb, result = outcome.action.value, outcome.result.value
        self._tools.progress.report_end(address, verb, result, seconds, outcome.remote_id)

    def _has_all_outcomes(self, step: Step) -> bool:
        is_final_call_over = not step.has_final_call or step.address in self._final_outcomes
        return (
            is_final_call_over
            and not self._needs_write(step)
            and not self._needs_verification(step)
        )

    def _needs_write(self, step: Step) -> bool:
        return step.has_call_or_record_write and step.address not in self._outcomes

    def _needs_verification(self, step: Step) -> bool:
        return step.change.verification is not None and step.address not in self._verifications

    def _build_work_of_next_stage(
        self, step: Step
    ) -> Callable[[], tuple[Outcome, ...] | Outcome | VerificationResult]:
        tools, live = self._tools, self._live
        if self._needs_write(step):
            return lambda: execute_step_and_companion(step, tools, live)

        def run_final_stage() -> Outcome | VerificationResult:
            tools.acquire_slot_and_mark_started_or_raise_not_started(step.address)
            if self._needs_verification(step):
                return start_or_follow_verification_run(step, tools, live, self._stop_reason)
            return execute_final_call(step, tools, live)

        return run_final_stage

    def _record_result_and_list_startable(self, address: Address, result: Any) -> Iterable[Address]:
        """Store the result of finished work; returns addresses that may start now."""
        step = self._tasks[address]
        self._running.discard(address)
        # The apply is stopping; `give_unfinished_steps_an_outcome` or the final skip gives the step
        # its outcome.
        if isinstance(result, StepNotStarted):
            return []
        if not self._needs_write(step):
            return self._record_last_stage_and_list_startable(step, result)
        outcomes = (
            result
            if isinstance(result, tuple)
            else self._build_outcomes_of_internal_error(step, result)
        )
        # The companion first: it is finished by its own outcome, not by its owner's.
        return [
            startable
            for outcome in reversed(outcomes)
            for startable in self._record_outcome_and_list_startable(outcome)
        ]

    def _record_outcome_and_list_startable(self, outcome: Outcome) -> Iterable[Address]:
        address = outcome.address
        step = self._tasks[address]
        self._outcomes[address] = outcome
        # Dependents are not skipped yet, since a later look-up may find the object.
        if outcome.result is Result.UNKNOWN and can_look_show_effect(step, self._tools, self._live):
            self._unknown_calls.add(address)
            return []
        if outcome.result is not Result.DONE:
            self._skip_rest_of_step_and_all_dependents(address)
            return []
        return (
            self._release_and_list_startable_dependents(address)
            if self._has_all_outcomes(step)
            else [address]
        )

    def _record_last_stage_and_list_startable(self, step: Step, result: Any) -> Iterable[Address]:
        """Store the result of a run or a final call; returns addresses that may start now."""
        if self._needs_verification(step):
            verification = (
                result
                if isinstance(result, VerificationResult)
                else self._build_verification_of_internal_error(step, result)
            )
            self._verifications[step.address] = verification
            has_succeeded = verification.is_acceptable
        else:
            final_outcome = (
                result
                if isinstance(result, Outcome)
                else self._build_outcomes_of_internal_error(step, result)[0]
            )
            self._final_outcomes[step.address] = final_outcome
            has_succeeded = final_outcome.result is Result.DONE
        if has_succeeded:
            return (
                self._release_and_list_startable_dependents(step.address)
                if self._has_all_outcomes(step)
                else [step.address]
            )
        self._skip_rest_of_step_and_all_dependents(step.address)
        return []

    def _release_and_list_startable_dependents(self, address: Address) -> list[Address]:
        """The dependents for which this address was the last predecessor."""
        startable = []
        for dependent in self._dependents.get(address, ()):
            if self._owner_of_companion.get(dependent) == address:
                continue  # released by its own outcome
            self._predecessors[dependent].discard(address)
            if not self._predecessors[dependent]:
                startable.append(dependent)
        return startable

    def _skip_rest_of_step_and_all_dependents(self, address: Address) -> None:
        """Skip all direct and indirect dependents, and what is left of the step itself."""
        verification = self._verifications.get(address)
        failed_part = self._tasks[address].change.action.value
        failed_part = (
            "verification"
            if verification is not None and not verification.is_acceptable
            else failed_part
        )
        reason = f"its {failed_part} did not succeed"
        self._set_skipped_outcomes_where_missing(self._tasks[address], reason)
        # In breadth, so that each is told the nearest step that failed.
        queue = deque([address])
        while queue:
            failed = queue.popleft()
            for dependent in self._dependents.get(failed, ()):
                if not self._has_all_outcomes(self._tasks[dependent]):
                    self._set_skipped_outcomes_where_missing(
                        self._tasks[dependent], f"it depends on {failed}"
                    )
                    queue.append(dependent)

    def _set_skipped_outcomes_where_missing(self, step: Step, reason: str) -> None:
        """Give each unfinished part of a step a SKIPPED outcome."""
        if self._has_all_outcomes(step):
            return
        address, diagnostics = step.address, (messages.build_skipped_diagnostic(step, reason),)
        if self._needs_write(step):
            action = step.change.action
            self._outcomes[address] = Outcome(
                address, action, Result.SKIPPED, diagnostics=diagnostics
            )
        if self._needs_verification(step):
            self._verifications[address] = VerificationResult(
                address, RunStatus.SKIPPED, diagnostics=diagnostics
            )
        if not self._has_all_outcomes(step):
            is_only_outcome = address not in self._outcomes
            skipped = Outcome(address, step.change.action, Result.SKIPPED, diagnostics=diagnostics)
            self._final_outcomes[address] = skipped if is_only_outcome else None

    def _record_interrupted_as_unknown_or_running(self, step: Step) -> None:
        """Give an interrupted step an UNKNOWN outcome; its intent is stored for the next run."""
        address, diagnostics = step.address, (messages.build_interrupted_diagnostic(step),)
        if self._needs_write(step):
            for created_step in list_step_and_companion(step):
                self._outcomes[created_step.address] = Outcome(
                    created_step.address,
                    created_step.change.action,
                    Result.UNKNOWN,
                    diagnostics=diagnostics,
                )
        elif not self._needs_verification(step):
            self._final_outcomes[address] = Outcome(
                address, Action.UPDATE, Result.UNKNOWN, diagnostics=diagnostics
            )
        elif job := self._followed_jobs.get(address):
            self._verifications[address] = VerificationResult(address, RunStatus.RUNNING, job=job)
        else:
            self._verifications[address] = VerificationResult(
                address, RunStatus.UNKNOWN, diagnostics=diagnostics
            )

    @staticmethod
    def _build_outcomes_of_internal_error(step: Step, failure: Any) -> tuple[Outcome, ...]:
        """Outcomes for an unexpected exception: UNKNOWN, as a call may be open."""
        # Forgetting sends nothing.
        is_call = step.change.action is not Action.FORGET
        result = Result.UNKNOWN if is_call else Result.FAILED
        return tuple(
            Outcome(
                created_step.address,
                created_step.change.action,
                result,
                diagnostics=(messages.build_internal_error_diagnostic(created_step, failure),),
            )
            for created_step in list_step_and_companion(step)
        )

    @staticmethod
    def _build_verification_of_internal_error(step: Step, failure: Any) -> VerificationResult:
        diagnostic = messages.build_internal_error_diagnostic(step, failure)
        return VerificationResult(step.address, RunStatus.UNKNOWN, diagnostics=(diagnostic,))
