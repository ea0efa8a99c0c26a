"""Which jobs can be stopped, and how: by API v2 alone, with one call that is never repeated."""

from __future__ import annotations

from synapse_apply.live.live_backend import (
    LiveBackend,
    build_not_found_or_hidden_error,
    record_audit_entry_if_state_exists_or_warn,
)
from synapse_apply.model.command import Command, Text
from synapse_apply.model.errors import (
    Conflict,
    Effect,
    Forbidden,
    InputError,
    NotFound,
    OutcomeUnknown,
    RemoteError,
    describe_failure_without_request_id_and_effect,
)
from synapse_apply.model.job import ChangedJob, Job, parse_job_requiring_usable_id

_NOT_SUPPORTED_STATUS = 405
_AGENT_FAILURE_STATUSES = frozenset({502, 503, 504})
_LIST_HINT = Text(Command("jobs list"), " shows those there are.")


def require_stoppable_job(live_backend: LiveBackend, job_id: str) -> Job:
    """Read a job that can be stopped; InputError where there is none, or this API stops none."""
    jobs_of = live_backend.select_binding("release").select_job_calls
    if jobs_of is None or jobs_of(live_backend.api, job_id) is live_backend.api:
        detail = (
            f"Target {live_backend.target.name} uses API v1, which has no call that stops a job."
        )
        hint = "Stop it in Synapse; or let the target say `api: v2` and give the job's UUID."
        if jobs_of is not None:
            detail = f"{job_id!r} is an id of API v1, which has no call that stops a job."
            hint = "Give the job's UUID, as Synapse shows it: API v2 knows jobs by nothing else."
        raise InputError.from_summary(
            "API v1 cannot stop a job",
            f"{detail} A report of `stopped` would stop nothing.",
            hint,
        )
    try:
        job = parse_job_requiring_usable_id(live_backend.api.v2.get_job(job_id))
    except NotFound as failure:
        raise build_not_found_or_hidden_error("job", job_id, failure, _LIST_HINT) from None
    except ValueError as problem:
        raise RemoteError(f"GET jobs/{job_id}/: {problem}") from None
    if job.status.has_ended:
        raise InputError.from_summary(
            "The job has ended",
            f"Job {job_id} {job.status.value}; there is nothing to stop.",
            Text(Command("jobs get", job_id), " shows how."),
        )
    return job


def stop_job_once_and_audit(live_backend: LiveBackend, job: Job) -> ChangedJob:
    """Stop it, once; the job as it was before where the answer shows none.

    InputError for what the server refuses, OutcomeUnknown where its answer was lost.
    """
    address = f"job/{job.id}"
    try:
        answer = live_backend.api.v2.stop_job(job.id)
    except RemoteError as failure:
        is_outcome_unknown = failure.effect is Effect.UNKNOWN
        record_audit_entry_if_state_exists_or_warn(
            live_backend, "stop", address, job.id, "unknown" if is_outcome_unknown else "failed"
        )
        raise (
            _build_outcome_unknown_error(job, failure)
            if is_outcome_unknown
            else _build_refusal_error(job, failure)
        ) from None
    audit_warning = record_audit_entry_if_state_exists_or_warn(
        live_backend, "stop", address, job.id, "done"
    )
    try:
        return ChangedJob(parse_job_requiring_usable_id(answer), audit_warning)
    except ValueError:
        return ChangedJob(job, audit_warning)


def _build_outcome_unknown_error(job: Job, failure: RemoteError) -> OutcomeUnknown:
    detail = describe_failure_without_request_id_and_effect(failure)
    if failure.status_code in _AGENT_FAILURE_STATUSES:
        detail = f"The backend had trouble with the agent that runs it: {detail}"
    return OutcomeUnknown.from_summary(
        "It is not known whether the job was stopped",
        detail,
        Text("It is not sent again. Check: ", Command("jobs get", job.id), "."),
        request_id=failure.request_id,
    )


def _build_refusal_error(job: Job, failure: RemoteError) -> InputError:
    summary, hint = "The job was not stopped", "Try again."
    if isinstance(failure, Conflict):
        summary, hint = "The job has ended", Text(Command("jobs get", job.id), " shows how.")
    elif isinstance(failure, NotFound):
        summary = "The job has no agent that could stop it"
        hint = "The job is there, and no agent of it was found: look at its agent in Synapse."
    elif isinstance(failure, Forbidden):
        summary = "This token may not stop the job"
        hint = "The job's owner may, and owners and administrators of the workspace."
    elif failure.status_code == _NOT_SUPPORTED_STATUS:
        summary, hint = (
            "This backend stops no jobs",
            "It is too old for it: stop the job in Synapse.",
        )
    elif failure.status_code in _AGENT_FAILURE_STATUSES:
        summary, hint = "The agent of the job does not answer", "Look at the agent, then try again."
    return InputError.from_summary(
        summary,
        describe_failure_without_request_id_and_effect(failure),
        hint,
        request_id=failure.request_id,
    )
