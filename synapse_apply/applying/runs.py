"""Which job belongs to an announced run."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from synapse_apply.applying.logs import read_job
from synapse_apply.applying.records import with_last_run
from synapse_apply.kinds.compare import is_same_value
from synapse_apply.kinds.descriptor import Api, VerificationSpec
from synapse_apply.kinds.job_lists import JobOwners, parse_zoned_time_or_none
from synapse_apply.kinds.run_body import RUN_MARK_KEY
from synapse_apply.model.address import Address
from synapse_apply.model.errors import NotFound, RemoteError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import RUN_VERB, Job, LastRun, RunStatus, parse_job
from synapse_apply.model.ports import StateStore
from synapse_apply.model.state import Intent, IntentState, Record
from synapse_apply.model.values import flatten

_MAX_NAMED = 5
# Results in audit entries of runs that have a job: started, looked up, or named by the user.
_HAS_JOB = ("done", "settled: done", "settled by hand: job ")
# Margins for a server's time filter, whose time zone is not known, and for wrong clocks.
_ZONES, _SKEW = timedelta(days=1), timedelta(minutes=15)


@frozen
class RunCandidates:
    """The job of a run, which has its mark, else the jobs that may be it."""

    job: Job | None = None
    possible: tuple[Job, ...] = ()

    @property
    def names(self) -> str:
        """The possible jobs as text, such as `job 12 or job 13`."""
        hidden_count = len(self.possible) - _MAX_NAMED
        names = [f"job {job.id}" for job in self.possible[:_MAX_NAMED]]
        return " or ".join([*names, *([f"one of {hidden_count} more"] if hidden_count > 0 else [])])


def jobs_of_last_runs(records: Mapping[Address, Record]) -> dict[str, Address]:
    """The address of each recorded last run, by its job's id."""
    return {
        run.job: address
        for address, record in records.items()
        if (run := LastRun.from_json_or_none(record.verification)) is not None and run.job
    }


def known_jobs(store: StateStore) -> frozenset[str]:
    """Ids of jobs that the state knows to be of a run, ended or not: none is an open run's."""
    settled_jobs = {
        entry.remote_id
        for entry in store.list_audit_entries_newest_first()
        if entry.verb == RUN_VERB and entry.remote_id and entry.result.startswith(_HAS_JOB)
    }
    return frozenset(settled_jobs) | set(jobs_of_last_runs(store.read_state().records))


def find_job(
    api: Api, proof: VerificationSpec, intent: Intent, of_others: Container[str]
) -> RunCandidates:
    """The job with the mark of an announced run, else the jobs that may be it.

    `of_others` are ids of jobs that belong to other runs. Raises RemoteError where the jobs cannot
    be listed.
    """
    owners, possible = JobOwners(api), []

    def is_candidate(job: Job) -> bool:
        if job.id in of_others or not _may_be_of_run(job, intent):
            return False
        full_job = owners.with_plugin_of_release(job)
        return not owners.runs_other_plugin(full_job, intent.remote_id) and _may_be_of_run(
            full_job, intent
        )

    since = datetime.fromisoformat(intent.sent_at) - _ZONES
    for raw in proof.list_jobs(api, intent.remote_id, since):
        try:
            job = parse_job(raw)
        except ValueError:
            raise RemoteError("the list of jobs holds something that is not a job") from None
        if "context" not in raw and is_candidate(job):
            # The context has the run's mark, so it is worth a request of its own.
            job = read_job(api, job.id)  # items of a list may lack fields
        if job.context.get(RUN_MARK_KEY) == intent.id:
            return RunCandidates(job)
        if is_candidate(job):
            possible.append(job)
    return RunCandidates(None, tuple(possible))


def _may_be_of_run(job: Job, intent: Intent) -> bool:
    """Whether nothing shows that a job without a mark belongs to another run.

    A server may return a job's context in part or not at all, so only a value that was not sent
    rules a job out.
    """
    if intent.version and job.version and job.version != intent.version:
        return False
    created = parse_zoned_time_or_none(job.created)
    if created is not None and created < datetime.fromisoformat(intent.sent_at) - _SKEW:
        return False
    return RUN_MARK_KEY not in job.context and all(
        path in intent.fields and is_same_value(intent.fields[path], value)
        for path, value in flatten(job.context).items()
    )


def explain_other_job(
    api: Api, job_id: str, intent: Intent, find_earliest: Callable[[], datetime]
) -> str:
    """Why a job cannot be that of an announced run, as part of a sentence; "" where it may be.

    `find_earliest` is asked after the job was read: before that time no server can have made it.
    Raises RemoteError where the job cannot be read.
    """
    owners = JobOwners(api)
    try:
        job = owners.with_plugin_of_release(read_job(api, job_id))
    except NotFound:
        return "is not there, or is hidden"
    created = parse_zoned_time_or_none(job.created)
    if job.context.get(RUN_MARK_KEY) == intent.id:
        return ""
    if owners.runs_other_plugin(job, intent.remote_id):
        return f"runs plugin {job.plugin_code or job.plugin}"
    if created is not None and created < find_earliest():
        return f"was created at {job.created}, and the run was sent at {intent.sent_at}"
    if intent.version and job.version and job.version != intent.version:
        return f"runs version {job.version}"
    return "" if _may_be_of_run(job, intent) else "was started with other parameters"


def with_job(
    intent: Intent, record: Record | None, job: str, moment: str
) -> tuple[Intent, Record | None]:
    """The closed intent of a run that has a job, and its record with the run as running."""
    closed = replace(intent, state=IntentState.DONE, remote_id=job)
    if record is None:  # the object was forgotten meanwhile, so there is nothing to record
        return closed, None
    parameters = intent.digest or ""
    return closed, with_last_run(
        record, RunStatus.RUNNING, job=job, parameters=parameters, moment=moment
    )
