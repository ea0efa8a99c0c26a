"""What is reported of calls and runs that failed or are in doubt; never a value that was sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from synapse_apply.applying.lookup import Backend
from synapse_apply.applying.step import CREATES, Step
from synapse_apply.kinds.run_forms import list_missing_inputs
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text, fill, import_text
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Severity, error_finding
from synapse_apply.model.errors import (
    Effect,
    Invalid,
    RemoteError,
    StateError,
    advise_on_failure,
    describe_failure,
    has_odd_success,
)
from synapse_apply.model.job import JobStatus
from synapse_apply.model.json_types import RequestBody
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.plan import Action
from synapse_apply.model.remote import HTML_PAGE, format_safe_name, parse_field_errors
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.state import Intent
from synapse_apply.model.values import ABSENT, Reference, SecretRef, flatten, get_at_or_absent

CONFLICT = 409
FORBIDDEN, NOT_ALLOWED = 403, 405
# From here on a status is a refusal, and the body explains it.
CLIENT_ERROR = 400
USELESS_ANSWER = "An answer is of no use"
_LOOK_UP = "Apply again: the next run looks it up before it does anything else."
_LOOK_YOURSELF = (
    "This API cannot look it up. Look in Synapse: if it is there, {import_it}; "
    "if it is not, {absent}."
)
FOLLOW = "Apply again: the next run follows the same job and starts none."
_NO_SUCH_FIELD = "The backend keeps no such field"


class _Message(NamedTuple):
    severity: Severity
    summary: str
    detail: str
    hint: str = ""


_error, _warning = partial(_Message, Severity.ERROR), partial(_Message, Severity.WARNING)

# By rule: summary, detail and hint, with `{names}` of what the caller gives; `{address}` is the
# resource's, `{cause}` the detail of another finding that led to this one.
_MESSAGES: Mapping[str, _Message] = {
    "unknown": _error(
        "The outcome of a call is unknown", "{cause} It may have been done anyway.", "{next}"
    ),
    "secret set since": _error(
        "A secret was set since the plan was made",
        "{names} of {address} has a value that is never read back; the update would clear it. "
        "Nothing was sent.",
        "Declare {names} with a valueFrom other than live, or remove it, and plan again.",
    ),
    "member not shown": _error(
        "The outcome of a call is unknown",
        "{address} was to be made by a call that was done, and the backend does not show it.",
        _LOOK_UP,
    ),
    "interrupted": _error(
        "The outcome of a call is unknown",
        "The run was stopped at once while {address} was under way. It may have been done.",
        "{next}",
    ),
    "slow state": _error(
        "The state is slow",
        "It took {seconds} s to record that {calls} is about to be sent. So it was not sent: the "
        "next run tells by that time whether a call may still be acted on.",
        "Find out what keeps the disk or the database busy, then apply again.",
    ),
    "unrecorded": _error(
        "The outcome of a call could not be recorded",
        "{verb} of {address} has ended (id {id}), and its record could not be written. {problem}.",
        "Fix what keeps the state from being written, then {next}",
    ),
    "skipped": _error("Not tried", "{reason}.", "Apply again once that is resolved."),
    "untold package": _error(
        "Nobody can tell whose package is published",
        "A {verb} is never taken back, so the {verb} of {address} was not sent.",
        "The next plan names what settles that.",
    ),
    "internal error": _error(
        "An internal error stopped this resource",
        "{exception} while working on {address}.",
        "Apply again: open calls are looked up first. Please report this.",
    ),
    # A create whose natural key is taken.
    "exists": _error(
        "The object exists already",
        "{cause} It was made outside since this plan (id {id}). {comparison}",
        "{plan} shows what adopting it would change. If it is yours: {adopt}, or {import_it}.",
    ),
    "exists elsewhere": _error(
        "The object exists already, under another address",
        "{cause} It is {owner} (id {id}) of this state.",
        "Declare it once, or under another name.",
    ),
    "exists unseen": _error(
        "The object exists already, but this token cannot see it",
        "{cause}",
        "Another tenant may own it (plugin codes are global): choose another code, or {import_it} "
        "if you know its id.",
    ),
    "exists unfound": _error(
        "The object exists already, and this API cannot find it",
        "{cause}",
        "If it is yours: {import_it}. It may be another tenant's, too: choose another name or code "
        "then.",
    ),
    "may be taken": _error(
        "The backend refused a {key}: it may be taken by another tenant",
        "{cause} No {kind} that this token sees has this {key}.",
        "Where the backend says that it exists, another tenant has it (a {key} is taken for all "
        "tenants): choose another {key}. Otherwise correct it. Then apply again.",
    ),
    # Verification runs.
    "run failed": _error("The verification failed", "{run} {status}. {published}", "{repair}"),
    "run without job": _error(
        "The verification cannot be followed",
        "The run was started and answered without a job and without a result: it is {status}, and "
        "there is nothing to follow it by any further. {published}",
        "Verify it by an action that runs as a job (`method: job` in config.yaml).",
    ),
    "run stopped": _error(
        "The result of the verification is not known",
        "The run was started, and had no result yet when this command was stopped. {published}",
        "Apply again: it is run once more.",
    ),
    "run timed out": _error(
        "The verification did not end in time",
        "Job {job} was still {status} after {seconds} s, and may go on. {published}",
        "{next}",
    ),
    "job missing": _error(
        "The verification cannot be followed",
        "Job {job} is not there any more, and nobody saw how it ended.",
        "Apply again to start another.",
    ),
    "job unreadable": _error(
        "The verification cannot be followed now",
        "Looking at job {job} failed: {reason}. The job itself may go on.",
        FOLLOW,
    ),
    "run refused": _error("{summary}", "The run of {address} was not started: {answer}.", "{next}"),
    "run unknown": _error(
        "The outcome of a run is unknown",
        "The run of {address} was sent, and no job came back: {answer}. It may have been started "
        "anyway.{possible}",
        "Apply again: the next run looks for its job before it starts anything.",
    ),
    "run unrecorded": _error(
        "The result of a run could not be recorded",
        "Job {job} of {address} has ended, and is recorded as running.",
        f"Fix what keeps the state from being written. {FOLLOW}",
    ),
    # Dry runs.
    "dry run acted on": _error(
        "The backend acted on a dry run",
        "The {call} was to be checked only, and it was done: {reason}. Nothing more was tried.",
        "Plan without --server-dry-run, which this backend does not know: the new plan shows what "
        "is there now.",
    ),
    "dry run in doubt": _error(
        "A dry run may have been acted on",
        "The {call} was to be checked only: {reason}, and it is not known whether it was done. "
        "Nothing more was tried.",
        "Look at {address} in Synapse, then plan without --server-dry-run.",
    ),
    # Warnings of calls.
    "recovered": _warning(
        "{what} answer was looked up",
        "{cause} The object is there as it was sent, so the call was done.",
    ),
    "recovered: untold": _warning(
        "{what} answer was looked up",
        "{cause} The object is there, and nothing shows whether it has our package: somebody else "
        "may have published this version meanwhile.",
        "The next plan names what settles that.",
    ),
    "looked up": _warning(
        "The outcome of a call was looked up",
        "Nobody saw how {verb} of {address} ended, but {found} when it was looked up again (id "
        "{id}): the call was done{reason}.",
    ),
    "resent": _warning(
        "An update was sent twice",
        "The server did not say whether it acted on the first try ({failure}), and {address} did "
        "not show it as done. The first try may still act, and set back what somebody changes "
        "meanwhile. Until it cannot any more, an apply gives no field that it sent another value.",
    ),
    "published already": _warning(
        "The object exists already, with the same content",
        "{cause} Its digest is that of our package, so it is recorded as published.",
    ),
    "adopted": _warning(
        "The object exists already, and was adopted",
        "{address} was made outside since this plan (id {id}). All that was to be sent is so "
        "already, so it is ours from now on.{bytes}",
    ),
    "not read back": _warning(
        "A write could not be read back",
        "{address} was written, but reading it back failed: {failure}.",
        "The next plan compares it.",
    ),
    "another shown": _warning(
        "The answer to a call showed another object",
        "It had another {names} than {address}. The object with the id that it gave was read and "
        "looked up so: it is as it was sent.",
    ),
    "dropped and kept": _warning(
        "The server kept a field that was dropped",
        "{field} of {address} is no longer declared, and it is still there.",
        "It stays recorded as ours until the server shows it gone.",
    ),
    "not taken": _warning(
        "The server did not take a field as it was sent",
        "{field} of {address} was sent as {sent}, the server has {answered}.",
        "It is recorded as the server has it and compared from there on.",
    ),
    "unkept": _warning(
        _NO_SUCH_FIELD,
        "This backend keeps no `{field}` of a {kind}.",
        "Remove it, or leave it: it is not compared until the backend shows it.",
    ),
    "of the package": _warning(
        _NO_SUCH_FIELD,
        "This backend keeps no `{field}` of a {kind} as it is sent: it has another in its place, "
        "which may be that of the package.",
        "Remove it, or leave it: what the backend has in its place is no difference.",
    ),
    # Verification runs.
    "run of replaced": _warning(
        "This run is no proof",
        "The package of {address} was replaced, and an agent may have kept an earlier one.",
        "Publish a new version, and verify that.",
    ),
    "run recovered": _warning(
        "A lost answer was looked up",
        "The run of {address} was sent, and no job came back: {answer}. Job {job} has its mark, so "
        "it was started, once.",
    ),
    # Dry runs.
    "dry run not done": _warning(
        "The backend does not say that it made a dry run",
        "The {call} was to be checked only: {reason}. It was not done, and nothing more was tried.",
    ),
    "not tried": _warning(
        "Not every call was tried on the backend",
        "{calls} not tried: {reasons}.",
        "What the backend says to these shows when they are applied.",
    ),
    "no dry run": _warning(
        "The backend does not say that it makes dry runs",
        "Asked for a dry run of a change of nothing, it answered without saying that it was one. "
        "It may act on a dry run, so that no call was tried.",
        "Plan without --server-dry-run.",
    ),
}


def finding(
    rule: str,
    address: Address | None,
    *,
    cause: Diagnostic | None = None,
    request_id: str | None = None,
    path: FieldPath | None = None,
    of_backend: bool = False,
    **fields: Any,
) -> Diagnostic:
    """The finding of a rule; `request_id` is by default that of its cause."""
    fields["address"] = address
    if cause is not None:
        fields["cause"], request_id = cause.detail, request_id or cause.request_id
    severity, summary, detail, hint = _MESSAGES[rule]
    return Diagnostic(
        severity,
        fill(summary, fields),
        fill(detail, fields),
        fill(hint, fields),
        address=None if address is None else str(address),
        request_id=request_id or None,
        path=path,
        of_backend=of_backend,
    )


def conflict(rule: str, step: Step, cause: Diagnostic, **fields: Any) -> Diagnostic:
    """The finding of a refused create, where it is known what has the natural key."""
    command = Command("import", step.address, fields.get("id", "ID"))
    found = finding(rule, step.address, cause=cause, import_it=command, **fields)
    return cause.with_changes(summary=found.summary, detail=found.detail, hint=found.hint)


def failed(step: Step, failure: RemoteError, marks: SecretMarks, call_verb: str = "") -> Diagnostic:
    """The finding for a failed call, with the server's words on fields that are not secret.

    `call_verb` is that of the call, where it is not the step's action.
    """
    refused = failure.status_code >= CLIENT_ERROR
    cause = answer(step, failure, marks) if refused else describe_failure(failure)
    is_answered = has_odd_success(failure)
    verb = "was answered, and the answer is of no use" if is_answered else "failed"
    sentence = f"{call_verb or step.change.action.value} of {step.address} {verb}: {cause}"
    summary = "The backend refused a call" if failure.status_code else "A call was not made"
    if failure.effect is not Effect.NONE:
        # Where the call may have had an effect, it cannot be said that it was not made.
        summary = USELESS_ANSWER if is_answered else "A call failed"
    return error_finding(
        summary,
        sentence.rstrip(".") + ".",
        _advise(step, failure),
        address=str(step.address),
        position=step.desired.position if step.desired else None,
        request_id=failure.request_id,
    )


def _advise(step: Step, failure: RemoteError) -> str:
    usual = advise_on_failure(failure, "apply again", "Apply again; what was done is recorded.")
    # 405: this API version cannot change objects of this kind, whatever the request says.
    if failure.status_code == NOT_ALLOWED and step.binding.read_only_advice:
        return step.binding.read_only_advice
    if failure.status_code == CLIENT_ERROR and step.change.action in CREATES:
        # Some fields can only be refused for one reason, which the kind knows.
        field_names = [str(path[0]) for path in parse_field_errors(failure.detail) if path]
        hints = dict.fromkeys(
            filter(None, map(step.binding.advice_by_refused_field.get, field_names))
        )
        if hints:
            return " ".join(hints)
    if failure.status_code == FORBIDDEN and step.change.action is Action.UPDATE:
        return Text(
            usual,
            " If it is another tenant's or the platform's own, it is not yours: "
            "remove it from the manifests, and ",
            Command("state rm", step.address),
            ".",
        )
    return usual


def answer(step: Step, failure: RemoteError, marks: SecretMarks, call: str = "") -> str:
    """The status of an answer, with the server's words on fields that are not secret."""
    if str(failure.detail).startswith(HTML_PAGE):
        page = HTML_PAGE if _has_secret_fields(step) else failure.detail
        return f"the edge answered {failure.status_code}{call} with {page}"
    words = "; ".join(_safe_words(step, failure.detail, marks))
    return f"the backend answered {failure.status_code}{call}" + (f": {words}" if words else "")


def _safe_words(step: Step, detail: Any, marks: SecretMarks) -> Iterator[str]:
    """The server's words; if secrets were sent, only those on fields that hold none.

    Words on the whole request, or on an unknown field, may quote any part of it. The name of a
    refused field is always shown, where it looks like a field's name.
    """
    has_secrets, is_withheld = _has_secret_fields(step), False
    for path, texts in parse_field_errors(detail).items():
        if has_secrets and not _is_safe_to_quote(step, path, marks):
            if name := format_safe_name(path):
                yield f"{name} was refused"
            is_withheld = True
            continue
        # A server's text may be long.
        text = " ".join(texts)[:300]
        yield f"{format_field_path(path)}: {text}" if path else text
    if is_withheld:
        yield "(the rest of the message is not shown: it may quote a secret)"


def _has_secret_fields(step: Step) -> bool:
    return any(isinstance(value, SecretRef) for value in flatten(step.spec).values())


def _is_safe_to_quote(step: Step, path: FieldPath, marks: SecretMarks) -> bool:
    """Whether the server's words on a field may be shown: it is known and holds no secret."""
    if not path or path[0] not in step.binding.fields:
        return False
    if marks.is_secret(step.address.kind, step.spec, path):
        return False
    declared = get_at_or_absent(step.spec, path)
    # A map may contain a secret, and words on it could quote any part of it.
    if isinstance(declared, Mapping | SecretRef):
        return False
    # A nested path that is not declared is not known to hold no secret.
    return len(path) == 1 or declared is not ABSENT


def unknown_outcome(
    rule: str, step: Step, backend: Backend, cause: Diagnostic | None = None, request_id: str = ""
) -> Outcome:
    """The outcome of a call of which nobody knows whether it was done, with its next step."""
    is_untellable = step.change.action in CREATES and not backend.proves_absence(
        step, backend.key(step)
    )
    import_it = import_text(step.address, is_recorded=step.change.action is Action.RECREATE)
    absent = Command("state settle", step.address, "--absent")
    look_yourself = fill(_LOOK_YOURSELF, {"import_it": import_it, "absent": absent})
    hint = look_yourself if is_untellable else _LOOK_UP
    found = finding(rule, step.address, cause=cause, next=hint)
    outcome = step.outcome(Result.UNKNOWN, found, request_id=request_id)
    return replace(outcome, is_untellable=is_untellable)


def resent(step: Step, lost: RemoteError) -> Diagnostic:
    """The warning for an update that was sent twice, as nobody saw what the first try did."""
    failure = describe_failure(lost)[:-1]
    return finding("resent", step.address, failure=failure, request_id=lost.request_id)


def unrecorded(intent: Intent, recovery_file: str, target: str, problem: StateError) -> Diagnostic:
    """The finding for a call that has ended and whose outcome could not be written to the state.

    `recovery_file` is the file that has the outcome.
    """
    next_step: str = "apply again: the next run looks it up before it does anything else."
    if recovery_file:
        command = Command("state record", recovery_file, target=target)
        next_step = Text(command, ", before the next apply.")
    problems = (f"{one.summary}: {one.detail}".rstrip(". ") for one in problem.diagnostics)
    return finding(
        "unrecorded",
        intent.address,
        verb=intent.verb,
        id=intent.remote_id or "none",
        problem="; ".join(problems),
        next=next_step,
    )


def skipped(step: Step, reason: str) -> Diagnostic:
    """The finding with the reason why a step was skipped."""
    return finding("skipped", step.address, reason=f"{reason[:1].upper()}{reason[1:]}")


def internal_error(step: Step, failure: BaseException) -> Diagnostic:
    """The finding for an unexpected exception, without its message, which may hold a secret."""
    return finding("internal error", step.address, exception=type(failure).__name__)


def run_finding(rule: str, step: Step, *, request_id: str = "", **fields: Any) -> Diagnostic:
    """A finding about a run that counts as failed: a warning where the manifest tolerates that."""
    due = step.change.verification
    version = step.spec.get(step.type.version_field, step.address.name)
    withdrawal = f" and cannot be withdrawn on {step.binding.api}"
    is_final = step.binding.delete_object is None
    fields["published"] = f"{version} is published{withdrawal if is_final else ''}."
    found = finding(rule, step.address, request_id=request_id, **fields)
    # `on_failure: warn` in the manifest: a failed run does not fail the apply.
    tolerated = due is not None and due.tolerates_failure
    return found.with_changes(
        severity=Severity.WARNING if tolerated else Severity.ERROR,
        position=step.desired.find_position(("verify",)) if step.desired else None,
    )


def _repair(step: Step) -> Text:
    """The hint after a failed run: change the parameters, or publish a new version."""
    proof = step.type.verification_spec
    owner = step.spec.get(proof.owner_field) if proof is not None else None
    repair: str | Command = "raise the version"
    # With an owner of this project a command can make the next version.
    if proof and proof.build_repair_command and isinstance(owner, Reference):
        repair = proof.build_repair_command(owner.address)
    return Text("Parameters wrong: edit spec.verify. Code wrong: ", repair, ".")


def run_failed(step: Step, run: str, status: JobStatus) -> Diagnostic:
    """The finding for a run that failed; `run` is `Job 12`, or `The run` without a job."""
    word = "was stopped" if status is JobStatus.STOPPED else status.value
    return run_finding("run failed", step, run=run, status=word, repair=_repair(step))


def run_refused(step: Step, failure: RemoteError, body: RequestBody) -> Diagnostic:
    """The finding for a run that the server refused to start; `body` is what was sent."""
    words = run_answer(failure)
    if not isinstance(failure, Invalid):
        hint = advise_on_failure(failure, "apply again", "Apply again; nothing is uploaded twice.")
        return finding(
            "run refused",
            step.address,
            request_id=failure.request_id,
            summary="The verification could not be started",
            answer=words,
            next=hint,
        )
    summary, hint = "The verification was refused", _repair(step)
    # Backends differ in which inputs a run needs, so the hint names those that this one wants.
    if lacking := list_missing_inputs(failure, body):
        summary = f"This backend requires {' and '.join(f'an {name}' for name in lacking)}"
        hint = f"Add {' and '.join(f'`{name}:`' for name in lacking)} to spec.verify."
    return run_finding(
        "run refused",
        step,
        request_id=failure.request_id or "",
        summary=summary,
        answer=words,
        next=hint,
    )


def run_answer(failure: RemoteError) -> str:
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
