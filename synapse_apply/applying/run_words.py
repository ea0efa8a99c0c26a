"""What to tell people about a run that did not end well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.applying.runs import Trail
from synapse_apply.applying.task import Task
from synapse_apply.kinds.run_forms import list_lacking
from synapse_apply.model.diagnostic import Diagnostic, error, warning
from synapse_apply.model.error_body import field_errors
from synapse_apply.model.errors import Invalid, RemoteError, recourse
from synapse_apply.model.job import Job, JobStatus
from synapse_apply.model.values import Reference

_ENDED = {JobStatus.STOPPED: "was stopped"}
_FOLLOWED = "Apply again: the next run follows the same job and starts none."


def _told(task: Task, summary: str, detail: str, hint: str, request_id: str = "") -> Diagnostic:
    """An error, or a warning where the manifest says that such a run only warns."""
    due = task.change.verification
    made = warning if due is not None and due.tolerant else error
    return made(
        summary,
        detail,
        hint,
        address=str(task.address),
        position=task.desired.place(("verify",)) if task.desired else None,
        request_id=request_id or None,
    )


def _mend(task: Task) -> str:
    """The two ways on: what is published stays as it is."""
    proof, spec = task.type.proof, task.desired.spec if task.desired else {}
    owner = spec.get(proof.owner) if proof is not None else None
    bump = "raise the version"
    if proof is not None and isinstance(owner, Reference):
        bump = proof.mend.format(owner=owner.address.name)
    return f"Parameters wrong: edit spec.verify. Code wrong: {bump}."


def _published(task: Task) -> str:
    spec = task.desired.spec if task.desired else {}
    version = spec.get(task.type.version, task.address.name)
    if task.binding.delete is not None:
        return f"{version} is published."
    return f"{version} is published and cannot be withdrawn on {task.binding.api}."


def failed(task: Task, what: str, status: JobStatus) -> Diagnostic:
    """The run ended, and not well; `what` is `Job 12`, or the run where there was no job."""
    detail = f"{what} {_ENDED.get(status, status.value)}. {_published(task)}"
    return _told(task, "The verification failed", detail, _mend(task))


def answered_badly(task: Task, status: JobStatus) -> Diagnostic:
    """The run was answered with its result, which is not a good one."""
    if status.ended:
        return failed(task, "The run", status)
    detail = (
        f"The run was started and answered without a job and without a result: it is "
        f"{status.value}, and there is nothing to follow it by any further. {_published(task)}"
    )
    hint = "Verify it by an action that runs as a job (`method: job` in config.yaml)."
    return _told(task, "The verification cannot be followed", detail, hint)


def timed_out(task: Task, job: Job, seconds: float) -> Diagnostic:
    """The job had not ended when the time was up."""
    detail = (
        f"Job {job.id} was still {job.status.value} after {seconds:g} s, and may go on. "
        f"{_published(task)}"
    )
    hint = f"{_FOLLOWED} If it needs longer: raise spec.verify.timeout."
    due = task.change.verification
    if due is not None and due.tolerant:
        hint = f"`synapse-apply verify {task.address}` follows it."
    return _told(task, "The verification did not end in time", detail, hint)


def gone(task: Task, job: str) -> Diagnostic:
    """The job that was followed is not there any more."""
    detail = f"Job {job} is not there any more, and nobody saw how it ended."
    return _told(
        task, "The verification cannot be followed", detail, "Apply again to start another."
    )


def out_of_sight(task: Task, job: str, why: str) -> Diagnostic:
    """Looking at the job failed; the job goes on."""
    return error(
        "The verification cannot be followed now",
        f"Looking at job {job} failed: {why.removesuffix('.')}. The job itself may go on.",
        _FOLLOWED,
        address=str(task.address),
    )


def refused(task: Task, failure: RemoteError, body: Mapping[str, Any]) -> Diagnostic:
    """The server did not start the run, for which `body` was sent."""
    detail = f"The run of {task.address} was not started: {_answered(failure)}."
    if isinstance(failure, Invalid):
        summary, hint = "The verification was refused", _mend(task)
        if lacking := list_lacking(failure, body):
            names = " and ".join(f"an {name}" for name in lacking)
            fields = " and ".join(f"`{name}:`" for name in lacking)
            summary, hint = f"This backend wants {names}", f"Add {fields} to spec.verify."
        return _told(task, summary, detail, hint, failure.request_id or "")
    return error(
        "The verification could not be started",
        detail,
        recourse(failure, "apply again", "Apply again; nothing is uploaded twice."),
        address=str(task.address),
        request_id=failure.request_id,
    )


def _answered(failure: RemoteError) -> str:
    """The status and the server's words: a run carries no secret that they could quote."""
    if not failure.status_code:
        return str(failure).removesuffix(".")
    texts = [
        f"{'.'.join(map(str, path))}: {' '.join(words)}" if path else " ".join(words)
        for path, words in field_errors(failure.detail).items()
    ]
    said = f": {'; '.join(texts)[:300].removesuffix('.')}" if texts else ""
    return f"the backend answered {failure.status_code}{said}"


def unknown(task: Task, failure: RemoteError, trail: Trail) -> Diagnostic:
    """Nobody saw whether the run was started."""
    maybe = f" {trail.names[:1].upper()}{trail.names[1:]} may be it." if trail.maybe else ""
    detail = f"The run of {task.address} was sent, and no job came back: {_answered(failure)}."
    return error(
        "The outcome of a run is unknown",
        f"{detail} It may have been started all the same.{maybe}",
        "Apply again: the next run looks for its job before it starts anything.",
        address=str(task.address),
        request_id=failure.request_id,
    )


def unrecorded(task: Task, job: str) -> Diagnostic:
    """The job has ended, and the state could not be told."""
    return error(
        "The state could not be told how a run ended",
        f"Job {job} of {task.address} has ended, and is recorded as running.",
        f"Settle what keeps the state from being written. {_FOLLOWED}",
        address=str(task.address),
    )


def found(task: Task, failure: RemoteError, job: str) -> Diagnostic:
    """The answer was lost, and the job was found."""
    return warning(
        "An answer was lost and looked up",
        f"The run of {task.address} was sent, and no job came back: {_answered(failure)}. Job "
        f"{job} has its mark, so it was started, once.",
        address=str(task.address),
        request_id=failure.request_id,
    )
