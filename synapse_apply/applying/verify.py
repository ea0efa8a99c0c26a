"""When a verification run counts as passed or failed; how it is started once and recorded.

A run whose answer was lost is searched by its job's mark and never started again: what the
backend cannot tell stays open for the next run.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any
from uuid import uuid4

from synapse_apply.applying import messages
from synapse_apply.applying.body import declared_fields
from synapse_apply.applying.logs import FollowOptions, poll_deferred_run, poll_job
from synapse_apply.applying.records import with_last_run
from synapse_apply.applying.run import Run
from synapse_apply.applying.settle import RunCandidates, find_job, known_jobs, with_job
from synapse_apply.applying.step import Step
from synapse_apply.kinds.run_body import extract_context_or_empty, with_run_mark_if_body_has_context
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import (
    Effect,
    Invalid,
    NotFound,
    RemoteError,
    StateError,
    SynapseApplyError,
)
from synapse_apply.model.frozen import replace
from synapse_apply.model.job import (
    RUN_VERB,
    Job,
    JobStatus,
    RunStatus,
    VerificationResult,
    derive_run_status,
    parse_job,
)
from synapse_apply.model.json_types import ServerAnswer
from synapse_apply.model.plan import Action
from synapse_apply.model.state import Intent, IntentState, Record
from synapse_apply.model.values import flatten

# The verb in reports of progress.
VERB = "verify"
_LINES = 10  # of a failed job's log, as in the example of the API page


def verify(run: Run, step: Step) -> VerificationResult:
    """Start the run that is due, or follow its job; errors become a VerificationResult."""
    started_at = run.seconds()
    run.progress.report_start(step.address, VERB)
    try:
        verified = _Verifying(run, step).start_or_follow()
    except SynapseApplyError as failure:
        verified = VerificationResult(
            step.address, RunStatus.FAILED, diagnostics=failure.diagnostics
        )
    seconds = run.seconds() - started_at
    run.progress.report_end(step.address, VERB, verified.status.value, seconds)
    return replace(verified, seconds=seconds)


class _Verifying:
    """One verification run of what a step has published, as its record has it."""

    def __init__(self, run: Run, step: Step) -> None:
        """ValueError where the step's plan asks for no run."""
        due, proof = step.change.verification, step.type.verification_spec
        record = run.ledger.store.find_record(step.address)
        if due is None or proof is None or record is None:
            raise ValueError(f"{step.address} cannot be verified, although the plan verifies it")
        self._run, self._step, self._due = run, step, due
        self._proof, self._record, self._request_id = proof, record, ""
        # The id of the object that is run.
        self._owner = str(declared_fields(step, run.backend)[proof.owner_field,])

    def start_or_follow(self) -> VerificationResult:
        """Start the run unless its job is known, follow it, and return the result."""
        if self._due.job:
            return self._follow(self._due.job, fresh=False)
        # Nothing showed what the create of this apply has published.
        if self._record.is_package_untold and self._step.change.action is not Action.NO_OP:
            untold = "it is unknown whose package is published"
            return self._result(RunStatus.SKIPPED, messages.skipped(self._step, untold))
        resolve, api = self._step.binding.resolve_run_owner, self._run.backend.api
        if resolve is not None:
            try:
                # Runs are of API v1, which may know the object by another id.
                self._owner = resolve(api, self._owner)
            except RemoteError as failure:
                refused = messages.run_refused(self._step, failure, {})
                return self._result(RunStatus.FAILED, refused)
        (self._intent,) = self._run.announce(self._new_intent())
        marked_body = with_run_mark_if_body_has_context(self._due.body, self._intent.id)
        try:
            answer = self._proof.send_run(api, self._owner, marked_body)
        except RemoteError as failure:
            return (self._refused if failure.effect is Effect.NONE else self._search_job)(failure)
        self._request_id = self._run.backend.request_id()
        # The call is done, whatever the answer is: from here on nothing may start a second run.
        try:
            job = parse_job(answer).id
        except ValueError:
            return self._answered_without_job(answer)
        except RemoteError as failure:
            # An id that cannot be used. The job has the run's mark, by which it is looked for.
            return self._search_job(failure)
        return self._started(job)

    def _new_intent(self) -> Intent:
        run, step, body = self._run, self._step, self._due.body
        # Else the change before the run has used them up.
        is_first = step.change.action is Action.NO_OP
        return Intent(
            id=str(uuid4()),
            plan_id=run.ledger.plan_id,
            address=step.address,
            verb=RUN_VERB,
            api=step.binding.api,
            natural_key=self._record.natural_key,
            remote_id=self._owner,
            fields=flatten(extract_context_or_empty(body)),
            digest=self._due.parameters,
            version=str(body.get("version", "")),
            deadline=run.backend.longest_call(0),
            approvals=run.gate.approvals.get(step.address, ()) if is_first else (),
        )

    def _refused(self, failure: RemoteError) -> VerificationResult:
        """Record a run that was certainly not started; refused parameters count as a failed run.

        SKIPPED for one that was not let out.
        """
        self._request_id = failure.request_id or ""
        unsent_reason = self._run.gate.why_unsent(failure)
        is_invalid = isinstance(failure, Invalid)
        record = self._ended_record(RunStatus.FAILED) if is_invalid else self._record
        refused = messages.run_refused(self._step, failure, self._due.body)
        if unrecorded := self._close(IntentState.FAILED, record):
            return self._result(RunStatus.FAILED, refused, **unrecorded)
        if unsent_reason:
            return self._result(RunStatus.SKIPPED, messages.skipped(self._step, unsent_reason))
        tolerated = is_invalid and self._due.tolerates_failure
        return self._result(RunStatus.FAILED, refused, tolerated=tolerated)

    def _answered_without_job(self, answer: ServerAnswer) -> VerificationResult:
        """Record a run whose answer has no job, but its result or a ticket for it."""
        step, api, proof = self._step, self._run.backend.api, self._proof
        with suppress(RemoteError):  # the envelope with the ticket is then judged
            answer = poll_deferred_run(
                lambda question: proof.send_run(api, self._owner, question),
                self._due.body,
                answer,
                self._pace(),
            )
        status = derive_run_status(answer)
        has_failed = status is not JobStatus.COMPLETED
        verdict, findings = RunStatus.PASSED, list[Diagnostic]()
        if not status.has_ended and self._run.gate.stop_reason():
            # It was not waited for until its end, so it has neither passed nor failed.
            verdict = RunStatus.UNKNOWN
            findings.append(messages.run_finding("run stopped", step))
        elif has_failed:
            verdict = RunStatus.FAILED
            findings.append(
                # A run without a job that failed is reported as one with a job.
                messages.run_failed(step, "The run", status)
                if status.has_ended
                else messages.run_finding("run without job", step, status=status.value)
            )
        if unrecorded := self._close(IntentState.DONE, self._ended_record(verdict)):
            return self._result(RunStatus.UNKNOWN, *findings, **unrecorded)
        tolerated = has_failed and self._due.tolerates_failure
        return self._result(verdict, *findings, tolerated=tolerated)

    # The job is recorded before it is followed. A lost one is searched for by its mark, and a job
    # that nothing shows to be another's stops the release instead of starting a second run.
    def _started(self, job: str, *findings: Diagnostic) -> VerificationResult:
        """Record the run's job at once, then follow it."""
        _, record = with_job(self._intent, self._record, job, self._run.ledger.clock.utc_now())
        if unrecorded := self._close(IntentState.DONE, record, job):
            return self._result(RunStatus.UNKNOWN, job=job, **unrecorded)
        verified = self._follow(job, fresh=True)
        return replace(verified, diagnostics=(*findings, *verified.diagnostics))

    def _search_job(self, failure: RemoteError) -> VerificationResult:
        """Search the job of a run whose answer was lost; only a job with our mark is proof."""
        run, address, intent = self._run, self._step.address, self._intent
        self._request_id = failure.request_id or ""
        answer = messages.run_answer(failure)
        pauses_left = run.pauses(run.gate.stop_reason)
        while True:
            candidates = RunCandidates()
            with suppress(RemoteError, StateError):
                of_others = known_jobs(run.ledger.store)
                candidates = find_job(run.backend.api, self._proof, intent, of_others)
            if candidates.job is not None:
                job = candidates.job.id
                recovered = messages.finding(
                    "run recovered", address, job=job, answer=answer, request_id=self._request_id
                )
                return self._started(job, recovered)
            if candidates.possible or next(pauses_left, pauses_left) is pauses_left:
                break
        names = candidates.names
        possible = f" {names[:1].upper()}{names[1:]} may belong to this run." if names else ""
        unknown = messages.finding(
            "run unknown", address, answer=answer, possible=possible, request_id=self._request_id
        )
        return self._result(RunStatus.UNKNOWN, unknown)

    def _follow(self, job_id: str, *, fresh: bool) -> VerificationResult:
        """Follow a job until it ends, and record the result; `fresh` if this run has started it."""
        run, step = self._run, self._step
        run.followed[step.address] = job_id
        jobs_read: list[Job] = []

        def on_job(job: Job) -> None:
            jobs_read[:] = [job]
            run.progress.report_job(step.address, job)

        try:
            job = poll_job(run.backend.api, job_id, self._pace(), on_job)
        except RemoteError as failure:
            # It was there once, so it was deleted, and will not come back.
            if isinstance(failure, NotFound) and (jobs_read or not fresh):
                missing = messages.run_finding("job missing", step, job=job_id)
                return self._ended(RunStatus.FAILED, job_id, missing)
            if run.gate.stop_reason():  # the read was aborted because the run shall end
                return self._result(RunStatus.RUNNING, job=job_id)
            # A job that was just started may not be visible yet.
            reason = str(failure).removesuffix(".")
            unreadable = messages.finding("job unreadable", step.address, job=job_id, reason=reason)
            return self._result(RunStatus.RUNNING, unreadable, job=job_id)
        if job.status is JobStatus.COMPLETED:
            return self._ended(RunStatus.PASSED, job_id)
        if job.status.has_ended:
            failed = messages.run_failed(step, f"Job {job_id}", job.status)
            return self._ended(RunStatus.FAILED, job_id, failed, logs=self._last_lines(job_id))
        if run.gate.stop_reason():
            return self._result(RunStatus.RUNNING, job=job_id)
        hint: str = f"{messages.FOLLOW} If the run needs more time, raise spec.verify.timeout."
        # An apply does not follow a timed-out run again if its failure is tolerated.
        if self._due.tolerates_failure:
            hint = Text(Command("verify", step.address), " follows it.")
        timed_out = messages.run_finding(
            "run timed out",
            step,
            job=job.id,
            status=job.status.value,
            seconds=f"{self._due.timeout:g}",
            next=hint,
        )
        return self._ended(RunStatus.TIMED_OUT, job_id, timed_out)

    def _pace(self) -> FollowOptions:
        run, due = self._run, self._due
        return FollowOptions(
            due.poll_interval,
            due.timeout,
            run.sleep,
            run.ledger.clock.monotonic_seconds,
            lambda: bool(run.gate.stop_reason()),
        )

    def _last_lines(self, job_id: str) -> tuple[str, ...]:
        """The end of a job's log, or why it cannot be read."""
        try:
            # Read as a stream: the log of a job that went wrong may be larger than memory.
            lines = deque(self._run.backend.api.iterate_job_console_logs(job_id), maxlen=_LINES)
        except NotFound:
            return ("(the backend has no log of it)",)
        except RemoteError as failure:
            return (f"(the log could not be read: {str(failure).removesuffix('.')})",)
        return tuple(map(_format_line, lines))

    def _ended(
        self, verdict: RunStatus, job: str, *findings: Diagnostic, logs: tuple[str, ...] = ()
    ) -> VerificationResult:
        """Record how the run ended; if that fails, the record still names the job to follow."""
        try:
            self._run.ledger.store.write_records(self._ended_record(verdict, job))
        except StateError as problem:
            unrecorded = messages.finding("run unrecorded", self._step.address, job=job)
            return self._result(RunStatus.RUNNING, unrecorded, *problem.diagnostics, job=job)
        tolerated = verdict is not RunStatus.PASSED and self._due.tolerates_failure
        return self._result(verdict, *findings, job=job, logs=logs, tolerated=tolerated)

    def _ended_record(self, verdict: RunStatus, job: str = "") -> Record:
        """The record with this run as the last one, signed."""
        ledger = self._run.ledger
        return ledger.sign(
            with_last_run(
                self._record,
                verdict,
                job=job,
                parameters=self._due.parameters,
                moment=ledger.clock.utc_now(),
            )
        )

    def _close(self, state: IntentState, record: Record | None, job: str = "") -> dict[str, Any]:
        """Close the run's intent with its record; fields of the result where that failed."""
        ledger = self._run.ledger
        closed = replace(self._intent, state=state, remote_id=job)
        entry = ledger.entry(closed, state.value, self._request_id)
        unrecorded = ledger.close(closed, record, entry)
        return unrecorded._asdict() if unrecorded is not None else {}

    def _result(
        self,
        verdict: RunStatus,
        *findings: Diagnostic,
        finding: Diagnostic | None = None,
        **fields: Any,
    ) -> VerificationResult:
        """The result; `finding` comes last."""
        if self._record.replaced_at and verdict is RunStatus.PASSED:
            findings = (*findings, messages.finding("run of replaced", self._step.address))
        if finding is not None:
            findings = (*findings, finding)
        return VerificationResult(
            self._step.address,
            verdict,
            request_id=self._request_id,
            diagnostics=findings,
            **fields,
        )


def _format_line(entry: Any) -> str:
    """A log entry as one line: `TIME: MESSAGE` as on the API page, or plain text as it is."""
    if isinstance(entry, dict):
        return f"{entry.get('timestamp', '')}: {entry.get('message', '')}".removeprefix(": ")
    return str(entry)
