"""Runs that were announced: which job is theirs, and what a record remembers of them."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from synapse_apply.applying.following import look
from synapse_apply.kinds.compare import same
from synapse_apply.kinds.descriptor import Proof, ResourceType
from synapse_apply.kinds.job_lists import JobOwners
from synapse_apply.kinds.proof import MARK, digest_of
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired
from synapse_apply.model.errors import RemoteError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import Job, job_of
from synapse_apply.model.ports import Api, StateStore
from synapse_apply.model.state import Intent, IntentState, Record
from synapse_apply.model.values import leaves
from synapse_apply.model.verification import RUN, LastRun, Verdict

_NAMED = 5
# How the audit tells of a run that has a job: seen to start, looked up, or said by the user.
_HAS_JOB = ("done", "settled: done", "settled by hand: job ")
# Asked of the server, whose idea of a time without zone nobody knows; and how wrong a clock may be.
_ZONES, _SKEW = timedelta(days=1), timedelta(minutes=15)


@frozen
class Trail:
    """What a backend's jobs tell of a run: the one that is its own, else those that may be."""

    job: Job | None = None
    maybe: tuple[Job, ...] = ()

    @property
    def names(self) -> str:
        """The jobs that may be it: `job 12 or job 13`."""
        more = len(self.maybe) - _NAMED
        names = [f"job {job.id}" for job in self.maybe[:_NAMED]]
        return " or ".join([*names, *([f"one of {more} more"] if more > 0 else [])])


def recorded_jobs(records: Mapping[Address, Record]) -> dict[str, Address]:
    """The job of each record's last run, and whose it is."""
    runs = {address: LastRun.of(record.verification) for address, record in records.items()}
    return {last.job: address for address, last in runs.items() if last is not None and last.job}


def known_jobs(store: StateStore) -> frozenset[str]:
    """Jobs of runs that are settled, those started by hand too: none is that of an open run."""
    told = {
        entry.remote_id
        for entry in store.audit()
        if entry.verb == RUN and entry.remote_id and entry.result.startswith(_HAS_JOB)
    }
    return frozenset(told) | set(recorded_jobs(store.read().records))


def look_for(api: Api, proof: Proof, intent: Intent, known: Container[str]) -> Trail:
    """The trail of an announced run; `known` are the jobs of others.

    RemoteError when the jobs cannot be listed.
    """
    owners, maybe = JobOwners(api), []

    def may_be(job: Job) -> bool:
        if job.id in known or not _may_be(job, intent):
            return False
        whole = owners.complete(job)
        return not owners.is_anothers(whole, intent.remote_id) and _may_be(whole, intent)

    for raw in proof.jobs(api, intent.remote_id, _time(intent.sent_at) - _ZONES):
        job = _job(raw)
        if "context" not in raw and may_be(job):
            job = look(api, job.id)  # an item of a list may be short
        if job.context.get(MARK) == intent.id:
            return Trail(job)
        if may_be(job):
            maybe.append(job)
    return Trail(None, tuple(maybe))


def _job(raw: Mapping[str, Any]) -> Job:
    try:
        return job_of(raw)
    except ValueError:
        raise RemoteError("the list of jobs holds something that is no job") from None


def _may_be(job: Job, intent: Intent) -> bool:
    """Whether nothing shows that a job is another's.

    Its context may come back in part or not at all, so only what was not sent tells.
    """
    if intent.version and job.version and job.version != intent.version:
        return False
    created = _time_with_zone(job.created)
    if created is not None and created < _time(intent.sent_at) - _SKEW:
        return False
    return MARK not in job.context and all(
        path in intent.fields and same(intent.fields[path], value)
        for path, value in leaves(job.context).items()
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _time_with_zone(text: str) -> datetime | None:
    try:
        found = _time(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def noted(
    record: Record, verdict: Verdict, *, job: str = "", parameters: str = "", at: str = ""
) -> Record:
    """The record with this as its last run."""
    last = LastRun(verdict, job, parameters, record.digest or "", at)
    return replace(record, verification=last.to_json())


def started(
    intent: Intent, record: Record | None, job: str, at: str
) -> tuple[Intent, Record | None]:
    """An announced run that has this job, closed; and the record that will follow it."""
    closed = replace(intent, state=IntentState.DONE, remote_id=job)
    if record is None:  # forgotten meanwhile: nothing is left to be verified
        return closed, None
    running = noted(record, Verdict.RUNNING, job=job, parameters=intent.digest or "", at=at)
    return closed, running


def unverified(record: Record, kind: ResourceType, desired: Desired | None, at: str) -> Record:
    """The record of an object that was taken over: no run is due for it until its own change."""
    if kind.proof is None:
        return record
    verify = desired.verify if desired is not None else None
    body = kind.proof.body(desired.spec, verify) if desired and verify is not None else None
    parameters = digest_of(body) if body is not None else ""
    return noted(record, Verdict.UNVERIFIED, parameters=parameters, at=at)
