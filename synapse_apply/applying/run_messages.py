"""What is reported of a verification run that failed or is in doubt."""

from __future__ import annotations

from synapse_apply.applying.runs import RunCandidates
from synapse_apply.applying.step import Step
from synapse_apply.kinds.run_forms import list_inputs_refused_as_missing
from synapse_apply.model.coding.json_types import RequestBody
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.errors import Invalid, RemoteError, advise_on_failure
from synapse_apply.model.job import Job, JobStatus
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.remote.error_body import HTML_PAGE, parse_field_errors
from synapse_apply.model.values import Reference

_STATUS_TEXTS = {JobStatus.STOPPED: "was stopped"}
_FOLLOW_HINT = "Apply again: the next run follows the same job and starts none."


def _build_run_error_or_warning_if_tolerated(
    step: Step, summary: str, detail: str, hint: str, request_id: str = ""
) -> Diagnostic:
    """A finding about a run: an error, or a warning where the manifest tolerates failures."""
    due = step.change.verification
    # `on_failure: warn` in the manifest: a failed run does not fail the apply.
    severity = warning_finding if due is not None and due.tolerates_failure else error_finding
    return severity(
        summary,
        detail,
        hint,
        address=str(step.address),
        position=step.desired.find_position(("verify",)) if step.desired else None,
        request_id=request_id or None,
    )


def _build_hint_on_parameters_or_code(step: Step) -> str:
    """The hint after a failed run: change the parameters, or publish a new version."""
    proof, spec = step.type.verification_spec, step.desired.spec if step.desired else {}
    owner = spec.get(proof.owner_field) if proof is not None else None
    repair: str | Command = "raise the version"
    # With an owner of this project a command can make the next version.
    if proof and proof.build_repair_command and isinstance(owner, Reference):
        repair = proof.build_repair_command(owner.address)
    return Text("Parameters wrong: edit spec.verify. Code wrong: ", repair, ".")


def _say_version_is_published(step: Step) -> str:
    spec = step.desired.spec if step.desired else {}
    version = spec.get(step.type.version_field, step.address.name)
    if step.binding.delete_object is not None:
        return f"{version} is published."
    return f"{version} is published and cannot be withdrawn on {step.binding.api}."


def build_failed_run_diagnostic(step: Step, run_name: str, status: JobStatus) -> Diagnostic:
    """The finding for a run that failed; `run_name` is `Job 12`, or `The run` without a job."""
    detail = (
        f"{run_name} {_STATUS_TEXTS.get(status, status.value)}. {_say_version_is_published(step)}"
    )
    return _build_run_error_or_warning_if_tolerated(
        step, "The verification failed", detail, _build_hint_on_parameters_or_code(step)
    )


def build_bad_answer_diagnostic(step: Step, status: JobStatus) -> Diagnostic:
    """The finding for a run whose direct answer is a failure, or no result."""
    # A run without a job that failed is reported as one with a job.
    if status.has_ended:
        return build_failed_run_diagnostic(step, "The run", status)
    detail = (
        f"The run was started and answered without a job and without a result: it is "
        f"{status.value}, and there is nothing to follow it by any further. "
        f"{_say_version_is_published(step)}"
    )
    hint = "Verify it by an action that runs as a job (`method: job` in config.yaml)."
    return _build_run_error_or_warning_if_tolerated(
        step, "The verification cannot be followed", detail, hint
    )


def build_stopped_before_result_diagnostic(step: Step) -> Diagnostic:
    """The finding for a run without a job that still went on when this apply was stopped."""
    return _build_run_error_or_warning_if_tolerated(
        step,
        "The result of the verification is not known",
        "The run was started, and had no result yet when this command was stopped. "
        f"{_say_version_is_published(step)}",
        "Apply again: it is run once more.",
    )


def build_timed_out_diagnostic(step: Step, job: Job, seconds: float) -> Diagnostic:
    """The finding for a job that did not end within `seconds`."""
    detail = (
        f"Job {job.id} was still {job.status.value} after {seconds:g} s, and may go on. "
        f"{_say_version_is_published(step)}"
    )
    hint = f"{_FOLLOW_HINT} If it needs longer: raise spec.verify.timeout."
    due = step.change.verification
    # An apply does not follow a timed-out run again if its failure is tolerated.
    if due is not None and due.tolerates_failure:
        hint = Text(Command("verify", step.address), " follows it.")
    return _build_run_error_or_warning_if_tolerated(
        step, "The verification did not end in time", detail, hint
    )


def build_missing_job_diagnostic(step: Step, job: str) -> Diagnostic:
    """The finding for a followed job that no longer exists."""
    detail = f"Job {job} is not there any more, and nobody saw how it ended."
    return _build_run_error_or_warning_if_tolerated(
        step, "The verification cannot be followed", detail, "Apply again to start another."
    )


def build_unreadable_job_diagnostic(step: Step, job: str, reason: str) -> Diagnostic:
    """The finding for a job that cannot be read now, and may still run."""
    return error_finding(
        "The verification cannot be followed now",
        f"Looking at job {job} failed: {reason.removesuffix('.')}. The job itself may go on.",
        _FOLLOW_HINT,
        address=str(step.address),
    )


def build_refused_run_diagnostic(step: Step, failure: RemoteError, body: RequestBody) -> Diagnostic:
    """The finding for a run that the server refused to start; `body` is what was sent."""
    detail = f"The run of {step.address} was not started: {_format_failure_answer(failure)}."
    if isinstance(failure, Invalid):
        summary, hint = "The verification was refused", _build_hint_on_parameters_or_code(step)
        # Backends differ in which inputs a run needs, so the hint names those that this one wants.
        if lacking := list_inputs_refused_as_missing(failure, body):
            names = " and ".join(f"an {name}" for name in lacking)
            fields = " and ".join(f"`{name}:`" for name in lacking)
            summary, hint = f"This backend requires {names}", f"Add {fields} to spec.verify."
        return _build_run_error_or_warning_if_tolerated(
            step, summary, detail, hint, failure.request_id or ""
        )
    return error_finding(
        "The verification could not be started",
        detail,
        advise_on_failure(failure, "apply again", "Apply again; nothing is uploaded twice."),
        address=str(step.address),
        request_id=failure.request_id,
    )


def _format_failure_answer(failure: RemoteError) -> str:
    """The status and the server's words, which may be shown, since a run holds no secret."""
    if not failure.status_code:
        return str(failure).removesuffix(".")
    if str(failure.detail).startswith(HTML_PAGE):
        return f"the edge answered {failure.status_code} with {failure.detail}"
    texts = [
        f"{format_field_path(path)}: {' '.join(words)}" if path else " ".join(words)
        for path, words in parse_field_errors(failure.detail).items()
    ]
    server_words = f": {'; '.join(texts)[:300].removesuffix('.')}" if texts else ""
    return f"the backend answered {failure.status_code}{server_words}"


def build_unknown_run_diagnostic(
    step: Step, failure: RemoteError, candidates: RunCandidates
) -> Diagnostic:
    """The finding for a run of which it is not known whether it was started."""
    possible_text = (
        f" {candidates.possible_jobs_text[:1].upper()}{candidates.possible_jobs_text[1:]} may "
        f"be it."
        if candidates.possible_jobs
        else ""
    )
    answer = _format_failure_answer(failure)
    detail = f"The run of {step.address} was sent, and no job came back: {answer}."
    return error_finding(
        "The outcome of a run is unknown",
        f"{detail} It may have been started anyway.{possible_text}",
        "Apply again: the next run looks for its job before it starts anything.",
        address=str(step.address),
        request_id=failure.request_id,
    )


def build_unrecorded_run_diagnostic(step: Step, job: str) -> Diagnostic:
    """The finding for a job that has ended, and whose result could not be recorded."""
    return error_finding(
        "The result of a run could not be recorded",
        f"Job {job} of {step.address} has ended, and is recorded as running.",
        f"Fix what keeps the state from being written. {_FOLLOW_HINT}",
        address=str(step.address),
    )


def build_run_of_replaced_warning(step: Step) -> Diagnostic:
    """The warning about a run that passed after its package was replaced under one version."""
    return warning_finding(
        "This run is no proof",
        f"The package of {step.address} was replaced, and an agent may have kept an earlier one.",
        "Publish a new version, and verify that.",
        address=str(step.address),
    )


def build_recovered_run_warning(step: Step, failure: RemoteError, job: str) -> Diagnostic:
    """The warning for a lost answer, where the job was found by its mark."""
    answer = _format_failure_answer(failure)
    return warning_finding(
        "A lost answer was looked up",
        f"The run of {step.address} was sent, and no job came back: {answer}. "
        f"Job {job} has its mark, so it was started, once.",
        address=str(step.address),
        request_id=failure.request_id,
    )
