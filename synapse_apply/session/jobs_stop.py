"""Use case: stop a job. API v2 alone can; the call is sent once."""

from __future__ import annotations

from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.errors import (
    Conflict,
    Effect,
    Forbidden,
    InputError,
    NotFound,
    OutcomeUnknown,
    RemoteError,
    words,
)
from synapse_apply.model.job import Job, job_of
from synapse_apply.session.reach import Reach, absent, note

_TOO_OLD = 405
_AGENT_TROUBLE = frozenset({502, 503, 504})
_LISTED = "`synapse-apply jobs list` shows those there are."


def find_running(reach: Reach, job_id: str) -> Job:
    """The job that can be stopped; InputError where there is none, or this API stops none."""
    jobs_of = reach.kind("release")[1].jobs_of
    if jobs_of is None or jobs_of(reach.api, job_id) is reach.api:
        detail = f"Target {reach.target.name} uses API v1, which has no call that stops a job."
        if jobs_of is not None:
            detail = f"{job_id!r} is an id of API v1, which has no call that stops a job."
        raise InputError.of(
            "API v1 cannot stop a job",
            f"{detail} A report of `stopped` would stop nothing.",
            "Stop it in the product; or let the target say `api: v2` and give the job's UUID.",
        )
    try:
        job = job_of(reach.api.v2.get_job(job_id))
    except NotFound as failure:
        raise absent("job", job_id, failure, _LISTED) from None
    except ValueError as problem:
        raise RemoteError(f"GET jobs/{job_id}/: {problem}") from None
    if job.status.ended:
        raise InputError.of(
            "The job has ended",
            f"Job {job_id} {job.status.value}; there is nothing to stop.",
            f"`synapse-apply jobs get {job_id}` shows how.",
        )
    return job


def stop(reach: Reach, job: Job) -> tuple[Job, Diagnostic | None]:
    """Stop it; the job after that, and a warning if there is one.

    InputError for what the server refuses, OutcomeUnknown where nobody can tell what became of it.
    """
    address = f"job/{job.id}"
    try:
        answer = reach.api.v2.stop_job(job.id)
    except RemoteError as failure:
        unknown = failure.effect is Effect.UNKNOWN
        note(reach, "stop", address, job.id, "unknown" if unknown else "failed")
        raise (_lost(job, failure) if unknown else _explain_refusal(job, failure)) from None
    noted = note(reach, "stop", address, job.id, "done")
    try:
        return job_of(answer), noted
    except ValueError:
        return job, noted


def _lost(job: Job, failure: RemoteError) -> OutcomeUnknown:
    detail = words(failure)
    if failure.status_code in _AGENT_TROUBLE:
        detail = f"The backend had trouble with the agent that runs it: {detail}"
    return OutcomeUnknown(
        error(
            "Nobody can tell whether the job was stopped",
            detail,
            f"It is not sent again. Look: `synapse-apply jobs get {job.id}`.",
            request_id=failure.request_id,
        )
    )


def _explain_refusal(job: Job, failure: RemoteError) -> InputError:
    summary, hint = "The job was not stopped", "Try again."
    if isinstance(failure, Conflict):
        summary, hint = "The job has ended", f"`synapse-apply jobs get {job.id}` shows how."
    elif isinstance(failure, NotFound):
        summary = "The job has no agent that could stop it"
        hint = "The job is there, and no agent of it was found: look at its agent in the product."
    elif isinstance(failure, Forbidden):
        summary = "This token may not stop the job"
        hint = "The job's owner may, and owners and administrators of the workspace."
    elif failure.status_code == _TOO_OLD:
        summary, hint = "This backend stops no jobs", "It is too old for it: use the product."
    elif failure.status_code in _AGENT_TROUBLE:
        summary, hint = "The agent of the job does not answer", "Look at the agent, then try again."
    return InputError(error(summary, words(failure), hint, request_id=failure.request_id))
