"""Proves what was published by running it: announced, started once, followed to its end.

A run whose answer was lost is looked for by its job and never started a second time: what the
backend cannot tell stays open for the next run (design section 7).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

from synapse_apply.applying import failures
from synapse_apply.applying import run_words as words
from synapse_apply.applying.announce import announced
from synapse_apply.applying.body import wanted
from synapse_apply.applying.following import Pace, follow, follow_ticket
from synapse_apply.applying.runs import Trail, known_jobs, look_for, noted, started
from synapse_apply.applying.second_look import pauses
from synapse_apply.applying.task import Live, Task, Tools
from synapse_apply.kinds.descriptor import Proof
from synapse_apply.kinds.proof import context_of, marked, version_of
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
from synapse_apply.model.job import Job, JobStatus, job_of, judge_result
from synapse_apply.model.state import Intent, IntentState, Record
from synapse_apply.model.values import leaves
from synapse_apply.model.verification import RUN, Verdict, Verification, Verified

# How progress is told of it.
VERB = "verify"
_LINES = 10  # as the API page's own loop prints


def verify(task: Task, tools: Tools, live: Live, stop: Callable[[], object]) -> Verified:
    """Make the run that is due, or follow the one that goes on; every way to end is a Verified."""
    begun = tools.clock.seconds()
    tools.progress.started(task.address, VERB)
    try:
        verified = _Run.of(task, tools, live, stop).verdict()
    except SynapseApplyError as failure:
        verified = Verified(task.address, Verdict.FAILED, diagnostics=failure.diagnostics)
    seconds = tools.clock.seconds() - begun
    tools.progress.finished(task.address, VERB, verified.verdict.value, seconds)
    return replace(verified, seconds=seconds)


@frozen
class _Broken:
    """Why the state could not be told how a call ended, and the file that keeps it ("": none)."""

    why: Diagnostic
    kept: str


@frozen
class _Run:
    """One run; `owner` is the remote id of what is run, `record` the one that is proved."""

    task: Task
    tools: Tools
    stop: Callable[[], object]
    due: Verification
    proof: Proof
    owner: str
    record: Record

    @classmethod
    def of(cls, task: Task, tools: Tools, live: Live, stop: Callable[[], object]) -> _Run:
        due, proof = task.change.verification, task.type.proof
        record = tools.store.record(task.address)
        if due is None or proof is None or record is None:
            raise ValueError(f"{task.address} cannot be verified, yet its plan says so")
        owner = str(wanted(task, live)[proof.owner,])
        return cls(task, tools, stop, due, proof, owner, record)

    def verdict(self) -> Verified:
        """Start it where no job is known, then follow."""
        if self.due.job:
            return self._followed(self.due.job, fresh=False)
        owner, runs_as = self.owner, self.task.binding.runs_as
        if runs_as is not None:
            try:
                owner = runs_as(self.tools.api, owner)
            except RemoteError as failure:
                return self._said(Verdict.FAILED, words.refused(self.task, failure, {}))
        return self._start(owner)

    def _start(self, owner: str) -> Verified:
        """`owner` as the calls of a run know it."""
        (intent,) = announced(self.tools, self._intent(owner))
        try:
            answer = self.proof.run(self.tools.api, owner, marked(self.due.body, intent.id))
        except RemoteError as failure:
            if failure.effect is Effect.NONE:
                return self._refused(intent, failure)
            return self._look_for(intent, failure)
        request_id = self.tools.request_id()
        try:
            job = job_of(answer).id
        except ValueError:
            return self._answered(intent, owner, answer, request_id)
        return self._go_on(intent, job, request_id)

    def _intent(self, owner: str) -> Intent:
        return Intent(
            id=str(uuid4()),
            plan_id=self.tools.plan_id,
            address=self.task.address,
            verb=RUN,
            api=self.task.binding.api,
            natural_key=self.record.natural_key,
            remote_id=owner,
            fields=leaves(context_of(self.due.body)),
            digest=self.due.parameters,
            version=version_of(self.due.body),
            deadline=self.tools.longest_call(0),
        )

    def _refused(self, intent: Intent, failure: RemoteError) -> Verified:
        """Certainly not started. Parameters that the server refuses are remembered as failed."""
        record, judged = self.record, isinstance(failure, Invalid)
        if judged:
            record = self._noted(Verdict.FAILED)
        closed = replace(intent, state=IntentState.FAILED, remote_id="")
        request_id = failure.request_id or ""
        why, broken = (
            words.refused(self.task, failure, self.due.body),
            self._settle(closed, record, request_id),
        )
        if broken:
            return self._untold(Verdict.FAILED, broken, why, request_id=request_id)
        tolerated = judged and self.due.tolerant
        return self._said(Verdict.FAILED, why, request_id=request_id, tolerated=tolerated)

    def _answered(
        self, intent: Intent, owner: str, answer: Mapping[str, Any], request_id: str
    ) -> Verified:
        """The answer names no job: it is the direct result of a run, or a ticket for it."""
        with suppress(RemoteError):  # then the ticket is all that is known of it
            answer = self._redeem(owner, answer)
        ended = judge_result(answer)
        badly = ended is not JobStatus.COMPLETED
        verdict = Verdict.FAILED if badly else Verdict.PASSED
        told = (words.answered_badly(self.task, ended),) if badly else ()
        closed = replace(intent, state=IntentState.DONE, remote_id="")
        if broken := self._settle(closed, self._noted(verdict), request_id):
            return self._untold(Verdict.UNKNOWN, broken, *told, request_id=request_id)
        tolerated = badly and self.due.tolerant
        return self._said(verdict, *told, request_id=request_id, tolerated=tolerated)

    def _redeem(self, owner: str, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """The result that a ticket is for; any other answer as it is."""
        api, body = self.tools.api, self.due.body
        return follow_ticket(
            lambda question: self.proof.run(api, owner, question), body, answer, self._pace()
        )

    def _go_on(self, intent: Intent, job: str, request_id: str, *told: Diagnostic) -> Verified:
        """Record at once which job it is, then follow it."""
        closed, record = started(intent, self.record, job, self.tools.clock.now())
        if broken := self._settle(closed, record, request_id):
            return self._untold(Verdict.UNKNOWN, broken, job=job, request_id=request_id)
        verified = self._followed(job, fresh=True)
        told_all = (*told, *verified.diagnostics)
        return replace(verified, request_id=request_id, diagnostics=told_all)

    def _look_for(self, intent: Intent, failure: RemoteError) -> Verified:
        """Nobody saw the answer. A job with our mark is proof; that there is none is not, yet."""
        waits = pauses(self.tools, self.stop)
        while True:
            trail = Trail()
            with suppress(RemoteError, StateError):
                known = known_jobs(self.tools.store)
                trail = look_for(self.tools.api, self.proof, intent, known)
            if trail.job is not None:
                job, request_id = trail.job.id, failure.request_id or ""
                told = words.found(self.task, failure, job)
                return self._go_on(intent, job, request_id, told)
            if trail.maybe or next(waits, waits) is waits:
                break
        told = words.unknown(self.task, failure, trail)
        return self._said(Verdict.UNKNOWN, told, request_id=failure.request_id or "")

    def _followed(self, job_id: str, *, fresh: bool) -> Verified:
        """Look at a job until it ends; `fresh` when this run started it."""
        tools, address = self.tools, self.task.address
        tools.follows(address, job_id)
        looks: list[Job] = []

        def seen(job: Job) -> None:
            looks[:] = [job]
            tools.progress.looked(address, job)

        try:
            job = follow(tools.api, job_id, self._pace(), seen)
        except RemoteError as failure:
            if isinstance(failure, NotFound) and (looks or not fresh):
                return self._ended(Verdict.FAILED, job_id, words.gone(self.task, job_id))
            if self.stop():  # what was asked for is given up when a run is told to end
                return self._said(Verdict.RUNNING, job=job_id)
            # A job that was started just now may be slow to show.
            told = words.out_of_sight(self.task, job_id, str(failure))
            return self._said(Verdict.RUNNING, told, job=job_id)
        if job.status is JobStatus.COMPLETED:
            return self._ended(Verdict.PASSED, job_id)
        if job.status.ended:
            told = words.failed(self.task, f"Job {job_id}", job.status)
            return self._ended(Verdict.FAILED, job_id, told, logs=self._logs(job_id))
        if self.stop():
            return self._said(Verdict.RUNNING, job=job_id)
        told = words.timed_out(self.task, job, self.due.timeout)
        return self._ended(Verdict.TIMED_OUT, job_id, told)

    def _pace(self) -> Pace:
        tools, due = self.tools, self.due
        clock = tools.clock.seconds
        return Pace(due.poll_interval, due.timeout, tools.pause, clock, lambda: bool(self.stop()))

    def _logs(self, job_id: str) -> tuple[str, ...]:
        try:
            lines = deque(self.tools.api.iterate_job_console_logs(job_id), maxlen=_LINES)
        except NotFound:
            return ("(the backend has no log of it)",)
        except RemoteError as failure:
            return (f"(the log could not be read: {str(failure).removesuffix('.')})",)
        return tuple(map(_line, lines))

    def _ended(
        self, verdict: Verdict, job: str, *told: Diagnostic, logs: tuple[str, ...] = ()
    ) -> Verified:
        """Remember how it ended; where that fails the record still says which job to follow."""
        try:
            self.tools.store.put(self._noted(verdict, job))
        except StateError as broken:
            told = (words.unrecorded(self.task, job), *broken.diagnostics)
            return self._said(Verdict.RUNNING, *told, job=job)
        tolerated = verdict is not Verdict.PASSED and self.due.tolerant
        return self._said(verdict, *told, job=job, logs=logs, tolerated=tolerated)

    def _noted(self, verdict: Verdict, job: str = "") -> Record:
        at = self.tools.clock.now()
        made = noted(self.record, verdict, job=job, parameters=self.due.parameters, at=at)
        return self.tools.sign(made)

    def _said(self, verdict: Verdict, *told: Diagnostic, **more: Any) -> Verified:
        return Verified(self.task.address, verdict, diagnostics=told, **more)

    def _untold(
        self, verdict: Verdict, broken: _Broken, *told: Diagnostic, **more: Any
    ) -> Verified:
        return self._said(verdict, *told, broken.why, unrecorded=broken.kept, **more)

    def _settle(self, intent: Intent, record: Record | None, request_id: str) -> _Broken | None:
        """Tell the state how the call ended; gives why it could not be told, None when it was."""
        tools, result, at = self.tools, intent.state.value, self.tools.clock.now()
        entry = tools.actor.audit(
            intent, result, at=at, plan_id=tools.plan_id, request_id=request_id
        )
        try:
            tools.store.settle(intent, record, entry)
        except StateError as broken:
            kept = tools.keep_aside(intent, record, entry)
            return _Broken(failures.unrecorded(intent, kept, tools.target, broken), kept)
        return None


def _line(entry: Any) -> str:
    """A log entry as the API page prints it; other servers write plain lines."""
    if isinstance(entry, dict):
        return f"{entry.get('timestamp', '')}: {entry.get('message', '')}".removeprefix(": ")
    return str(entry)
