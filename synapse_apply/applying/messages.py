"""What is reported of calls and runs that failed or are in doubt; never a value that was sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
from synapse_apply.model.frozen import replace
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
USELESS_ANSWER = "An answer cannot be used"
_LOOK_UP = "Apply again: the next run first looks up the call."
_LOOK_YOURSELF = (
    "This API cannot look up the call. Check in Synapse: if the object exists, {import_it}; if "
    "it does not, {absent}."
)
FOLLOW = "Apply again: the next run follows the same job and starts no other."
_NO_SUCH_FIELD = "The backend does not store the field"


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
        "The outcome of a call is unknown", "{cause} The call may have been done anyway.", "{next}"
    ),
    "secret set since": _error(
        "A secret was set since the plan was made",
        "The tool never reads back the value of {names} of {address}, so the update would clear "
        "it. Nothing was sent.",
        "Declare {names} with a valueFrom other than live, or remove the field, then plan again.",
    ),
    "member not shown": _error(
        "The outcome of a call is unknown",
        "The call that creates {address} was done, but the backend does not show the object.",
        _LOOK_UP,
    ),
    "interrupted": _error(
        "The outcome of a call is unknown",
        "The run was stopped immediately while the call for {address} was in progress. The call "
        "may have been done.",
        "{next}",
    ),
    "slow state": _error(
        "The state is slow",
        "Recording the intent of the {calls} took {seconds} s. So nothing was sent: the "
        "next run uses the recorded time to judge whether the server may still act on a call.",
        "Find out why the disk or the database is slow, then apply again.",
    ),
    "unrecorded": _error(
        "The outcome of a call could not be recorded",
        "{verb} of {address} has ended (id {id}), but the state could not record it. {problem}.",
        "Make the state writable, then {next}",
    ),
    "skipped": _error("Not tried", "{reason}.", "Apply again after you have resolved this."),
    "untold package": _error(
        "It is unknown whose package is published",
        "A {verb} cannot be undone, so the {verb} of {address} was not sent.",
        "The next plan lists the ways out.",
    ),
    "internal error": _error(
        "An internal error stopped this resource",
        "{exception} while working on {address}.",
        "Apply again: the next run looks up open calls first. Please report this.",
    ),
    # A create whose natural key is taken.
    "exists": _error(
        "The object already exists",
        "{cause} It was created outside Git after this plan (id {id}). {comparison}",
        "{plan} shows what an adoption would change. If the object is yours: {adopt}, or "
        "{import_it}.",
    ),
    "other owner": _error(
        "The object belongs to another owner",
        "{cause} Id {id} {marked}.",
        "{plan} shows the ways out.",
    ),
    "exists elsewhere": _error(
        "The object already exists, under another address",
        "{cause} This state records the object as {owner} (id {id}).",
        "Declare the object only once, or use another name.",
    ),
    "exists unseen": _error(
        "The object already exists, but this token cannot see it",
        "{cause}",
        "Another tenant may own it (plugin codes are global): choose a different code, or "
        "{import_it} if you know its id.",
    ),
    "exists unfound": _error(
        "The object already exists, and this API cannot find it",
        "{cause}",
        "If the object is yours: {import_it}. If the object belongs to another tenant, choose a "
        "different name or code.",
    ),
    "may be taken": _error(
        "The backend refused a {key}: it may be taken by another tenant",
        "{cause} No {kind} that this token sees has this {key}.",
        "If the backend says that it exists, another tenant uses this {key} (a {key} is unique "
        "across all tenants): choose a different {key}. Otherwise correct the {key}. Then apply "
        "again.",
    ),
    # Verification runs.
    "run failed": _error("The verification failed", "{run} {status}. {published}", "{repair}"),
    "run without job": _error(
        "The verification cannot be followed",
        "The run was started, but the answer contains neither a job nor a result: the run is "
        "{status}, and cannot be followed further. {published}",
        "Verify with an action that runs as a job (`method: job` in config.yaml).",
    ),
    "run stopped": _error(
        "The verification result is unknown",
        "The run was started, but had no result when this command was stopped. {published}",
        "Apply again: the next run starts a new verification.",
    ),
    "run timed out": _error(
        "The verification did not end in time",
        "Job {job} was still {status} after {seconds} s, and may continue. {published}",
        "{next}",
    ),
    "job missing": _error(
        "The verification cannot be followed",
        "Job {job} no longer exists, and its result is unknown.",
        "Apply again to start a new job.",
    ),
    "job unreadable": _error(
        "The verification cannot be followed now",
        "Job {job} could not be read: {reason}. The job itself may continue.",
        FOLLOW,
    ),
    "run refused": _error("{summary}", "The run of {address} was not started: {answer}.", "{next}"),
    "run unknown": _error(
        "The outcome of a run is unknown",
        "The run of {address} was sent, but the backend returned no job: {answer}. The run may "
        "have been started anyway.{possible}",
        "Apply again: the next run looks for its job before it starts another.",
    ),
    "run unrecorded": _error(
        "The result of a run could not be recorded",
        "Job {job} of {address} has ended, but the state still records it as running.",
        f"Make the state writable. {FOLLOW}",
    ),
    # Dry runs.
    "dry run acted on": _error(
        "The backend acted on a dry run",
        "The backend should only check the {call}, but carried it out: {reason}. The dry run "
        "stopped here.",
        "Plan without --server-dry-run, which this backend does not support. The new plan shows "
        "the live state.",
    ),
    "dry run in doubt": _error(
        "The backend may have acted on a dry run",
        "The backend should only check the {call}: {reason}. It is unknown whether the backend "
        "carried the call out. The dry run stopped here.",
        "Check {address} in Synapse, then plan without --server-dry-run.",
    ),
    # Warnings of calls.
    "recovered": _warning(
        "{what} answer: the outcome was looked up",
        "{cause} The live object has the values that were sent, so the call was done.",
    ),
    "recovered: untold": _warning(
        "{what} answer: the outcome was looked up",
        "{cause} The object exists, but the backend does not show whether it has your package: "
        "somebody else may have published this version in the meantime.",
        "The next plan lists the ways out.",
    ),
    "looked up": _warning(
        "The outcome of a call was looked up",
        "No answer showed how {verb} of {address} ended, but {found} at the next check (id {id}): "
        "the call was done{reason}.",
    ),
    "resent": _warning(
        "An update was sent twice",
        "The server did not say whether it acted on the first attempt ({failure}), and "
        "{address} did not show its effect. The first attempt may still act, and revert changes "
        "made in the meantime. While it may still act, apply sends no different value for a field "
        "that the attempt sent.",
    ),
    "published already": _warning(
        "The object already exists, with the same content",
        "{cause} Its digest equals the digest of your package, so the state records it as "
        "published.",
    ),
    "adopted": _warning(
        "The object already exists, and was adopted",
        "{address} was created outside Git after this plan (id {id}). It already has all values "
        "that apply would send, so the state now records it.{bytes}",
    ),
    "not read back": _warning(
        "A write could not be read back",
        "{address} was written, but reading it back failed: {failure}.",
        "The next plan compares the object.",
    ),
    "another shown": _warning(
        "The answer to a call showed a different object",
        "Its {names} differed from {address}. Reading the object with the id in the answer "
        "returned the values that were sent.",
    ),
    "dropped and kept": _warning(
        "The server kept a removed field",
        "{field} of {address} is no longer declared, but the server still has it.",
        "The state keeps the field until the server no longer shows it.",
    ),
    "not taken": _warning(
        "The server changed the value of a field",
        "{field} of {address} was sent as {sent}, but the server has {answered}.",
        "The state records the server's value and compares with that.",
    ),
    "unkept": _warning(
        _NO_SUCH_FIELD,
        "This backend does not store `{field}` of a {kind}.",
        "You can remove the field or keep it: it is not compared until the backend shows it.",
    ),
    "of the package": _warning(
        _NO_SUCH_FIELD,
        "This backend does not store `{field}` of a {kind} as sent: the live object has a "
        "different value, which may come from the package.",
        "You can remove the field or keep it: the plan does not report the backend's value as a "
        "difference.",
    ),
    # Verification runs.
    "run of replaced": _warning(
        "This run proves nothing",
        "The package of {address} was replaced, and an agent may have kept the earlier package.",
        "Publish a new version, and verify that version.",
    ),
    "run recovered": _warning(
        "A lost answer: the outcome was looked up",
        "The run of {address} was sent, but the backend returned no job: {answer}. Job {job} has "
        "the mark of this run, so the run was started once.",
    ),
    # Dry runs.
    "dry run not done": _warning(
        "The backend did not confirm a dry run",
        "The backend should only check the {call}: {reason}. It did not carry the call out, and "
        "the dry "
        "run stopped here.",
    ),
    "not tried": _warning(
        "Not every call was tried on the backend",
        "{calls} not tried: {reasons}.",
        "The backend checks these calls only when you apply them.",
    ),
    "no dry run": _warning(
        "The backend does not confirm that it supports dry runs",
        "It answered the dry run of an empty change without confirming a dry run. It may act on "
        "a dry run, so no call was tried.",
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
    verb = "was answered with an unusable answer" if is_answered else "failed"
    sentence = f"{call_verb or step.change.action.value} of {step.address} {verb}: {cause}"
    summary = "The backend refused a call" if failure.status_code else "A call was not sent"
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
    usual = advise_on_failure(
        failure, "apply again", "Apply again. The state has recorded the finished calls."
    )
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
            " If the object belongs to another tenant or to the platform, remove it from the "
            "manifests, and ",
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
        yield "(rest of the message hidden, because it may quote a secret)"


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
    next_step: str = "apply again: the next run first looks up the call."
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
    withdrawal = f", and cannot be withdrawn on {step.binding.api}"
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
    return Text(
        "If the parameters are wrong: edit spec.verify. If the code is wrong: ", repair, "."
    )


def run_failed(step: Step, run: str, status: JobStatus) -> Diagnostic:
    """The finding for a run that failed; `run` is `Job 12`, or `The run` without a job."""
    word = "was stopped" if status is JobStatus.STOPPED else status.value
    return run_finding("run failed", step, run=run, status=word, repair=_repair(step))


def run_refused(step: Step, failure: RemoteError, body: RequestBody) -> Diagnostic:
    """The finding for a run that the server refused to start; `body` is what was sent."""
    words = run_answer(failure)
    if not isinstance(failure, Invalid):
        hint = advise_on_failure(
            failure, "apply again", "Apply again. Apply does not upload the package again."
        )
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
