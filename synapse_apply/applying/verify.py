"""When a verification run counts as passed or failed; how it is started once and recorded.

A run whose answer was lost is searched by its job's mark and never started again: what the
backend cannot tell stays open for the next run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

from synapse_apply.applying import messages
from synapse_apply.applying import run_messages as words
from synapse_apply.applying.logs.following import (
    FollowOptions,
    poll_deferred_run_until_result_or_last_envelope,
    poll_job_until_end_timeout_or_stop,
)
from synapse_apply.applying.recheck_unknown import sleep_and_yield_after_each_recheck_pause
from synapse_apply.applying.runs import (
    RunCandidates,
    build_closed_run_intent_and_record,
    list_job_ids_of_runs_with_known_job,
    search_run_candidates,
    with_last_run_replaced,
)
from synapse_apply.applying.step import ApplyTools, LiveObjects, Step
from synapse_apply.applying.steps.request_body import build_declared_fields_without_final_call
from synapse_apply.applying.write_intents import acquire_slot_and_write_stamped_intents_in_time
from synapse_apply.kinds.descriptor import VerificationSpec
from synapse_apply.kinds.run_body import (
    extract_context_or_empty,
    extract_version_or_empty,
    with_run_mark_if_body_has_context,
)
from synapse_apply.model.coding.json_types import ServerAnswer
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import (
    Effect,
    Invalid,
    NotFound,
    RemoteError,
    StateError,
    SynapseApplyError,
)
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import (
    Job,
    JobStatus,
    derive_run_result_status_or_completed,
    parse_job_requiring_usable_id,
)
from synapse_apply.model.plan import Action
from synapse_apply.model.state import Intent, IntentState, Record
from synapse_apply.model.values import flatten
from synapse_apply.model.verification import RUN_VERB, RunStatus, Verification, VerificationResult

# The verb in reports of progress.
VERB = "verify"
_LINES = 10  # of a failed job's log, as in the example of the API page


def start_or_follow_verification_run(
    step: Step, tools: ApplyTools, live: LiveObjects, should_stop: Callable[[], object]
) -> VerificationResult:
    """Start the run that is due, or follow its job; errors become a VerificationResult."""
    started_at = tools.clock.monotonic_seconds()
    tools.progress.report_start(step.address, VERB)
    try:
        verified = _VerificationRun.from_step(
            step, tools, live, should_stop
        ).start_or_follow_run_to_verdict()
    except SynapseApplyError as failure:
        verified = VerificationResult(
            step.address, RunStatus.FAILED, diagnostics=failure.diagnostics
        )
    seconds = tools.clock.monotonic_seconds() - started_at
    tools.progress.report_end(step.address, VERB, verified.status.value, seconds)
    return replace(verified, seconds=seconds)


@frozen
class _StateWriteFailure:
    """Why the outcome of a run could not be recorded, and the file that has it ("" for none)."""

    diagnostic: Diagnostic
    recovery_file: str


@frozen
class _VerificationRun:
    """One verification run of the release in `record`, whose object is `owner`."""

    step: Step
    tools: ApplyTools
    should_stop: Callable[[], object]
    verification: Verification
    proof: VerificationSpec
    owner: str
    record: Record

    @classmethod
    def from_step(
        cls, step: Step, tools: ApplyTools, live: LiveObjects, should_stop: Callable[[], object]
    ) -> _VerificationRun:
        """The run that a step's plan asks for; ValueError where it asks for none."""
        verification, proof = step.change.verification, step.type.verification_spec
        record = tools.store.find_record(step.address)
        if verification is None or proof is None or record is None:
            raise ValueError(f"{step.address} cannot be verified, yet its plan says so")
        owner = str(build_declared_fields_without_final_call(step, live)[proof.owner_field,])
        return cls(step, tools, should_stop, verification, proof, owner, record)

    def start_or_follow_run_to_verdict(self) -> VerificationResult:
        """Start the run unless its job is known, follow it, and return the result."""
        if self.verification.job:
            return self._follow_job_and_try_to_record_end(self.verification.job, fresh=False)
        owner, runs_as = self.owner, self.step.binding.resolve_run_owner
        if runs_as is not None:
            try:
                # Runs are of API v1, which may know the object by another id.
                owner = runs_as(self.tools.api, owner)
            except RemoteError as failure:
                return self._build_verification_result(
                    RunStatus.FAILED, words.build_refused_run_diagnostic(self.step, failure, {})
                )
        return self._send_run_and_follow_to_result(owner)

    def _send_run_and_follow_to_result(self, owner: str) -> VerificationResult:
        """Announce and send the run; `owner` is the id that the run's call uses."""
        (intent,) = acquire_slot_and_write_stamped_intents_in_time(
            self.tools, self._build_run_intent(owner)
        )
        try:
            answer = self.proof.send_run(
                self.tools.api,
                owner,
                with_run_mark_if_body_has_context(self.verification.body, intent.id),
            )
        except RemoteError as failure:
            if failure.effect is Effect.NONE:
                return self._record_refused_run(intent, failure)
            return self._search_job_of_lost_answer_and_follow(intent, failure)
        request_id = self.tools.last_request_id()
        # The call is done, whatever the answer is: from here on nothing may start a second run.
        try:
            job = parse_job_requiring_usable_id(answer).id
        except ValueError:
            return self._record_result_of_answer_without_job(intent, owner, answer, request_id)
        except RemoteError as failure:
            # An id that cannot be used. The job has the run's mark, by which it is looked for.
            return self._search_job_of_lost_answer_and_follow(intent, failure)
        return self._record_job_and_follow(intent, job, request_id)

    def _build_run_intent(self, owner: str) -> Intent:
        return Intent(
            id=str(uuid4()),
            plan_id=self.tools.plan_id,
            address=self.step.address,
            verb=RUN_VERB,
            api=self.step.binding.api,
            natural_key=self.record.natural_key,
            remote_id=owner,
            fields=flatten(extract_context_or_empty(self.verification.body)),
            digest=self.verification.parameters,
            version=extract_version_or_empty(self.verification.body),
            deadline=self.tools.max_call_seconds(0),
            # Else the change before the run has used them up.
            approvals=self.tools.approvals.get(self.step.address, ())
            if self.step.change.action is Action.NO_OP
            else (),
        )

    def _record_refused_run(self, intent: Intent, failure: RemoteError) -> VerificationResult:
        """Record a run that was certainly not started; refused parameters count as a failed run.

        SKIPPED for one that was not let out.
        """
        unsent_reason = self.tools.explain_unsent_call_or_empty(failure)
        record, is_invalid = self.record, isinstance(failure, Invalid)
        if is_invalid:
            record = self._build_signed_record_of_run(RunStatus.FAILED)
        closed = replace(intent, state=IntentState.FAILED, remote_id="")
        request_id = failure.request_id or ""
        reason, write_failure = (
            words.build_refused_run_diagnostic(self.step, failure, self.verification.body),
            self._close_run_intent_or_explain_failure(closed, record, request_id),
        )
        if write_failure:
            return self._build_unrecorded_result(
                RunStatus.FAILED, write_failure, reason, request_id=request_id
            )
        if unsent_reason:
            return self._build_verification_result(
                RunStatus.SKIPPED, messages.build_skipped_diagnostic(self.step, unsent_reason)
            )
        tolerated = is_invalid and self.verification.tolerates_failure
        return self._build_verification_result(
            RunStatus.FAILED, reason, request_id=request_id, tolerated=tolerated
        )

    def _record_result_of_answer_without_job(
        self, intent: Intent, owner: str, answer: ServerAnswer, request_id: str
    ) -> VerificationResult:
        """Record a run whose answer has no job, but its result or a ticket for it."""
        with suppress(RemoteError):  # the envelope with the ticket is then judged
            answer = self._poll_result_if_answer_is_ticket(owner, answer)
        status = derive_run_result_status_or_completed(answer)
        has_failed = status is not JobStatus.COMPLETED
        verdict = RunStatus.FAILED if has_failed else RunStatus.PASSED
        diagnostics = (words.build_bad_answer_diagnostic(self.step, status),) if has_failed else ()
        if not status.has_ended and self.should_stop():
            # It was not waited for until its end, so it has neither passed nor failed.
            verdict = RunStatus.UNKNOWN
            diagnostics = (words.build_stopped_before_result_diagnostic(self.step),)
        closed = replace(intent, state=IntentState.DONE, remote_id="")
        if write_failure := self._close_run_intent_or_explain_failure(
            closed, self._build_signed_record_of_run(verdict), request_id
        ):
            return self._build_unrecorded_result(
                RunStatus.UNKNOWN, write_failure, *diagnostics, request_id=request_id
            )
        tolerated = has_failed and self.verification.tolerates_failure
        return self._build_verification_result(
            verdict, *diagnostics, request_id=request_id, tolerated=tolerated
        )

    def _poll_result_if_answer_is_ticket(self, owner: str, answer: ServerAnswer) -> ServerAnswer:
        """Poll for the result of a ticket; any other answer is returned as it is."""
        api, body = self.tools.api, self.verification.body
        return poll_deferred_run_until_result_or_last_envelope(
            lambda question: self.proof.send_run(api, owner, question),
            body,
            answer,
            self._build_follow_options(),
        )

    # The job is recorded before it is followed. A lost one is searched for by its mark, and a job
    # that nothing shows to be another's stops the release instead of starting a second run.
    def _record_job_and_follow(
        self, intent: Intent, job: str, request_id: str, *diagnostics: Diagnostic
    ) -> VerificationResult:
        """Record the run's job at once, then follow it."""
        closed, record = build_closed_run_intent_and_record(
            intent, self.record, job, self.tools.clock.utc_now()
        )
        if write_failure := self._close_run_intent_or_explain_failure(closed, record, request_id):
            return self._build_unrecorded_result(
                RunStatus.UNKNOWN, write_failure, job=job, request_id=request_id
            )
        verified = self._follow_job_and_try_to_record_end(job, fresh=True)
        all_diagnostics = (*diagnostics, *verified.diagnostics)
        return replace(verified, request_id=request_id, diagnostics=all_diagnostics)

    def _search_job_of_lost_answer_and_follow(
        self, intent: Intent, failure: RemoteError
    ) -> VerificationResult:
        """Search the job of a run whose answer was lost; only a job with our mark is proof."""
        pauses_left = sleep_and_yield_after_each_recheck_pause(self.tools, self.should_stop)
        while True:
            candidates = RunCandidates()
            with suppress(RemoteError, StateError):
                settled_jobs = list_job_ids_of_runs_with_known_job(self.tools.store)
                candidates = search_run_candidates(self.tools.api, self.proof, intent, settled_jobs)
            if candidates.job is not None:
                job, request_id = candidates.job.id, failure.request_id or ""
                diagnostic = words.build_recovered_run_warning(self.step, failure, job)
                return self._record_job_and_follow(intent, job, request_id, diagnostic)
            if candidates.possible_jobs or next(pauses_left, pauses_left) is pauses_left:
                break
        diagnostic = words.build_unknown_run_diagnostic(self.step, failure, candidates)
        return self._build_verification_result(
            RunStatus.UNKNOWN, diagnostic, request_id=failure.request_id or ""
        )

    def _follow_job_and_try_to_record_end(self, job_id: str, *, fresh: bool) -> VerificationResult:
        """Follow a job until it ends, and record the result; `fresh` if this run has started it."""
        tools, address = self.tools, self.step.address
        tools.on_job_followed(address, job_id)
        jobs_read: list[Job] = []

        def on_job(job: Job) -> None:
            jobs_read[:] = [job]
            tools.progress.report_job(address, job)

        try:
            job = poll_job_until_end_timeout_or_stop(
                tools.api, job_id, self._build_follow_options(), on_job
            )
        except RemoteError as failure:
            # It was there once, so it was deleted, and will not come back.
            if isinstance(failure, NotFound) and (jobs_read or not fresh):
                return self._record_ended_run_or_report_running(
                    RunStatus.FAILED, job_id, words.build_missing_job_diagnostic(self.step, job_id)
                )
            if self.should_stop():  # the read was aborted because the run shall end
                return self._build_verification_result(RunStatus.RUNNING, job=job_id)
            # A job that was just started may not be visible yet.
            diagnostic = words.build_unreadable_job_diagnostic(self.step, job_id, str(failure))
            return self._build_verification_result(RunStatus.RUNNING, diagnostic, job=job_id)
        if job.status is JobStatus.COMPLETED:
            return self._record_ended_run_or_report_running(RunStatus.PASSED, job_id)
        if job.status.has_ended:
            diagnostic = words.build_failed_run_diagnostic(self.step, f"Job {job_id}", job.status)
            return self._record_ended_run_or_report_running(
                RunStatus.FAILED,
                job_id,
                diagnostic,
                logs=self._read_last_log_lines_or_reason(job_id),
            )
        if self.should_stop():
            return self._build_verification_result(RunStatus.RUNNING, job=job_id)
        diagnostic = words.build_timed_out_diagnostic(self.step, job, self.verification.timeout)
        return self._record_ended_run_or_report_running(RunStatus.TIMED_OUT, job_id, diagnostic)

    def _build_follow_options(self) -> FollowOptions:
        tools, due = self.tools, self.verification
        clock = tools.clock.monotonic_seconds
        return FollowOptions(
            due.poll_interval, due.timeout, tools.sleep, clock, lambda: bool(self.should_stop())
        )

    def _read_last_log_lines_or_reason(self, job_id: str) -> tuple[str, ...]:
        try:
            # Read as a stream: the log of a job that went wrong may be larger than memory.
            lines = deque(self.tools.api.iterate_job_console_logs(job_id), maxlen=_LINES)
        except NotFound:
            return ("(the backend has no log of it)",)
        except RemoteError as failure:
            return (f"(the log could not be read: {str(failure).removesuffix('.')})",)
        return tuple(map(_format_log_line, lines))

    def _record_ended_run_or_report_running(
        self, verdict: RunStatus, job: str, *diagnostics: Diagnostic, logs: tuple[str, ...] = ()
    ) -> VerificationResult:
        """Record how the run ended; if that fails, the record still names the job to follow."""
        try:
            self.tools.store.write_records(self._build_signed_record_of_run(verdict, job))
        except StateError as problem:
            diagnostics = (
                words.build_unrecorded_run_diagnostic(self.step, job),
                *problem.diagnostics,
            )
            return self._build_verification_result(RunStatus.RUNNING, *diagnostics, job=job)
        tolerated = verdict is not RunStatus.PASSED and self.verification.tolerates_failure
        return self._build_verification_result(
            verdict, *diagnostics, job=job, logs=logs, tolerated=tolerated
        )

    def _build_signed_record_of_run(self, verdict: RunStatus, job: str = "") -> Record:
        moment = self.tools.clock.utc_now()
        new_record = with_last_run_replaced(
            self.record, verdict, job=job, parameters=self.verification.parameters, moment=moment
        )
        return self.tools.sign_record(new_record)

    def _build_verification_result(
        self, verdict: RunStatus, *diagnostics: Diagnostic, **extra_fields: Any
    ) -> VerificationResult:
        if self.record.replaced_at and verdict is RunStatus.PASSED:
            diagnostics = (*diagnostics, words.build_run_of_replaced_warning(self.step))
        return VerificationResult(
            self.step.address, verdict, diagnostics=diagnostics, **extra_fields
        )

    def _build_unrecorded_result(
        self,
        verdict: RunStatus,
        write_failure: _StateWriteFailure,
        *diagnostics: Diagnostic,
        **extra_fields: Any,
    ) -> VerificationResult:
        return self._build_verification_result(
            verdict,
            *diagnostics,
            write_failure.diagnostic,
            recovery_file=write_failure.recovery_file,
            **extra_fields,
        )

    def _close_run_intent_or_explain_failure(
        self, intent: Intent, record: Record | None, request_id: str
    ) -> _StateWriteFailure | None:
        """Close the run's intent with its record; returns why that failed, None if it did not."""
        tools, result, moment = self.tools, intent.state.value, self.tools.clock.utc_now()
        entry = tools.actor.build_audit_entry(
            intent, result, moment=moment, plan_id=tools.plan_id, request_id=request_id
        )
        try:
            tools.store.close_ended_intent(intent, record, entry)
        except StateError as problem:
            recovery_file = tools.write_recovery_file(intent, record, entry)
            return _StateWriteFailure(
                messages.build_unrecorded_call_diagnostic(
                    intent, recovery_file, tools.target, problem
                ),
                recovery_file,
            )
        return None


def _format_log_line(entry: Any) -> str:
    """A log entry as one line: `TIME: MESSAGE` as on the API page, or plain text as it is."""
    if isinstance(entry, dict):
        return f"{entry.get('timestamp', '')}: {entry.get('message', '')}".removeprefix(": ")
    return str(entry)
