"""What is reported of a call that failed or is in doubt; never a value that was sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from synapse_apply.applying.step import Step
from synapse_apply.model.address import Address
from synapse_apply.model.coding.json_types import Spec
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, error_finding, warning_finding
from synapse_apply.model.errors import (
    Effect,
    RemoteError,
    StateError,
    advise_on_failure,
    describe_failure_without_request_id_and_effect,
    has_success_status_although_failed,
)
from synapse_apply.model.observed import Observed
from synapse_apply.model.phrases import format_field_path, format_short_list
from synapse_apply.model.plan import Action
from synapse_apply.model.remote.error_body import (
    HTML_PAGE,
    format_field_name_if_safe_or_empty,
    parse_field_errors,
)
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.state import Intent
from synapse_apply.model.values import ABSENT, SecretRef, flatten, get_at_or_absent

CONFLICT = 409
FORBIDDEN, NOT_ALLOWED = 403, 405
# From here on a status is a refusal, and the body explains it.
CLIENT_ERROR = 400
_CREATES = frozenset({Action.CREATE, Action.RECREATE})
_USELESS_ANSWER = "An answer is of no use"


def build_failure_diagnostic(step: Step, failure: RemoteError, marks: SecretMarks) -> Diagnostic:
    """The finding for a failed call, with the server's words on fields that are not secret."""
    refused = failure.status_code >= CLIENT_ERROR
    cause = (
        format_answer_status_and_safe_words(step, failure, marks)
        if refused
        else describe_failure_without_request_id_and_effect(failure)
    )
    is_answered = has_success_status_although_failed(failure)
    verb = "was answered, and the answer is of no use" if is_answered else "failed"
    sentence = f"{step.change.action.value} of {step.address} {verb}: {cause}"
    summary = "The backend refused a call" if failure.status_code else "A call was not made"
    if failure.effect is not Effect.NONE:
        # Where the call may have had an effect, it cannot be said that it was not made.
        summary = _USELESS_ANSWER if is_answered else "A call failed"
    return error_finding(
        summary,
        sentence.rstrip(".") + ".",
        _suggest_what_to_do_after_failure(step, failure),
        address=str(step.address),
        position=step.desired.position if step.desired else None,
        request_id=failure.request_id,
    )


def _suggest_what_to_do_after_failure(step: Step, failure: RemoteError) -> str:
    usual_hint = advise_on_failure(
        failure, "apply again", "Apply again; what was done is recorded."
    )
    # 405: this API version cannot change objects of this kind, whatever the request says.
    if failure.status_code == NOT_ALLOWED and step.binding.read_only_advice:
        return step.binding.read_only_advice
    if failure.status_code == CLIENT_ERROR and step.change.action in _CREATES:
        # Some fields can only be refused for one reason, which the kind knows.
        field_names = [str(path[0]) for path in parse_field_errors(failure.detail) if path]
        hints = dict.fromkeys(
            filter(None, map(step.binding.advice_by_refused_field.get, field_names))
        )
        if hints:
            return " ".join(hints)
    if failure.status_code == FORBIDDEN and step.change.action is Action.UPDATE:
        return Text(
            usual_hint,
            " If it is another tenant's or the platform's own, it is not yours: "
            "remove it from the manifests, and ",
            Command("state rm", step.address),
            ".",
        )
    return usual_hint


def format_answer_status_and_safe_words(
    step: Step, failure: RemoteError, marks: SecretMarks, call_text: str = ""
) -> str:
    """The status of an answer, with the server's words on fields that are not secret."""
    if str(failure.detail).startswith(HTML_PAGE):
        page = HTML_PAGE if _has_secret_fields(step) else failure.detail
        return f"the edge answered {failure.status_code}{call_text} with {page}"
    server_words = "; ".join(_iter_safe_server_words(step, failure.detail, marks))
    return f"the backend answered {failure.status_code}{call_text}" + (
        f": {server_words}" if server_words else ""
    )


def _iter_safe_server_words(step: Step, detail: Any, marks: SecretMarks) -> Iterator[str]:
    """The server's words; if secrets were sent, only those on fields that hold none.

    Words on the whole request, or on an unknown field, may quote any part of it. The name of a
    refused field is always shown, where it looks like a field's name.
    """
    has_secrets, is_withheld = _has_secret_fields(step), False
    spec = step.desired.spec if step.desired else {}
    for path, texts in parse_field_errors(detail).items():
        if has_secrets and not _is_safe_to_quote(step, path, spec, marks):
            if name := format_field_name_if_safe_or_empty(path):
                yield f"{name} was refused"
            is_withheld = True
            continue
        # A server's text may be long.
        text = " ".join(texts)[:300]
        yield f"{format_field_path(path)}: {text}" if path else text
    if is_withheld:
        yield "(the rest of the message is not shown: it may quote a secret)"


def _has_secret_fields(step: Step) -> bool:
    spec = step.desired.spec if step.desired else {}
    return any(isinstance(value, SecretRef) for value in flatten(spec).values())


def _is_safe_to_quote(step: Step, path: FieldPath, spec: Spec, marks: SecretMarks) -> bool:
    """Whether the server's words on a field may be shown: it is known and holds no secret."""
    if not path or path[0] not in step.binding.fields:
        return False
    if marks.is_secret(step.address.kind, spec, path):
        return False
    declared = get_at_or_absent(spec, path)
    # A map may contain a secret, and words on it could quote any part of it.
    if isinstance(declared, Mapping | SecretRef):
        return False
    # A nested path that is not declared is not known to hold no secret.
    return len(path) == 1 or declared is not ABSENT


def build_unknown_outcome_diagnostic(step: Step, cause: Diagnostic) -> Diagnostic:
    """The finding for a call of unknown outcome, which the next run looks up."""
    return error_finding(
        "The outcome of a call is unknown",
        cause.detail + " It may have been done anyway.",
        "Apply again: the next run looks it up before it does anything else.",
        address=str(step.address),
        request_id=cause.request_id,
    )


def build_secret_set_since_plan_diagnostic(step: Step, paths: Sequence[FieldPath]) -> Diagnostic:
    """The finding for an update that would clear secrets which somebody set since the plan."""
    names = format_short_list(map(format_field_path, paths))
    return error_finding(
        "A secret was set since the plan was made",
        f"{names} of {step.address} has a value that is never read back; the update would clear "
        "it. Nothing was sent.",
        f"Declare {names} with a valueFrom other than live, or remove it, and plan again.",
        address=str(step.address),
    )


def build_member_not_shown_diagnostic(step: Step) -> Diagnostic:
    """The finding for a member that a call created with its owner, and that is not shown yet."""
    return error_finding(
        "The outcome of a call is unknown",
        f"{step.address} was to be made by a call that was done, and the backend does not show it.",
        "Apply again: the next run looks it up before it does anything else.",
        address=str(step.address),
    )


def build_recovered_call_warning(step: Step, cause: Diagnostic) -> Diagnostic:
    """The warning for a lost or useless answer, where the object was found as it was sent."""
    lost = "A useless" if cause.summary == _USELESS_ANSWER else "A lost"
    return warning_finding(
        f"{lost} answer was looked up",
        cause.detail + " The object is there as it was sent, so the call was done.",
        address=str(step.address),
        request_id=cause.request_id,
    )


def build_resent_warning(step: Step, lost: RemoteError) -> Diagnostic:
    """The warning for an update that was sent twice, as nobody saw what the first try did."""
    return warning_finding(
        "An update was sent twice",
        "The server did not say whether it acted on the first try "
        f"({describe_failure_without_request_id_and_effect(lost)[:-1]}), and {step.address} did "
        "not show it as done. The first try may still act, and set back what somebody changes "
        "meanwhile. Until it cannot any more, an apply gives no field that it sent another value.",
        address=str(step.address),
        request_id=lost.request_id,
    )


def build_already_published_warning(step: Step, cause: Diagnostic) -> Diagnostic:
    """The warning for a 409 on a create where the existing object has our package's digest."""
    return warning_finding(
        "The object exists already, with the same content",
        cause.detail + " Its digest is that of our package, so it is recorded as published.",
        address=str(step.address),
        request_id=cause.request_id,
    )


def build_visible_conflict_diagnostic(
    step: Step, cause: Diagnostic, observed: Observed, differing: str
) -> Diagnostic:
    """The finding for a 409 on a create: it was created since the plan, and was not adopted."""
    comparison = f"Not shown as declared: {differing}." if differing else "It is as declared."
    return cause.with_changes(
        summary="The object exists already",
        detail=(
            f"{cause.detail} It was made outside since this plan (id {observed.remote_id}). "
            f"{comparison}"
        ),
        hint=Text(
            Command("plan"),
            " shows what adopting it would change. If it is yours: ",
            Command("apply --adopt"),
            ", or ",
            Command("import", step.address, observed.remote_id),
            ".",
        ),
    )


def build_recorded_conflict_diagnostic(
    cause: Diagnostic, observed: Observed, owner: Address
) -> Diagnostic:
    """The finding for a 409 on a create whose object is recorded under another address."""
    return cause.with_changes(
        summary="The object exists already, under another address",
        detail=f"{cause.detail} It is {owner} (id {observed.remote_id}) of this state.",
        hint="Declare it once, or under another name.",
    )


def build_hidden_conflict_diagnostic(
    step: Step, cause: Diagnostic, *, is_search_complete: bool
) -> Diagnostic:
    """The finding for a 409 on a create where no single object with the key is visible.

    `is_search_complete` says that a search shows every object that this token may see.
    """
    if is_search_complete:
        return cause.with_changes(
            summary="The object exists already, but this token cannot see it",
            hint=Text(
                "Another tenant may own it (plugin codes are global): choose another code, or ",
                Command("import", step.address, "ID"),
                " if you know its id.",
            ),
        )
    return cause.with_changes(
        summary="The object exists already, and this API cannot find it",
        hint=Text(
            "If it is yours: ",
            Command("import", step.address, "ID"),
            ". It may be another tenant's, too: choose another name or code then.",
        ),
    )


def build_maybe_taken_diagnostic(step: Step, cause: Diagnostic, key_field: str) -> Diagnostic:
    """The finding for a 400 on a create that names the key field, with no visible owner of it."""
    return cause.with_changes(
        summary=f"The backend refused a {key_field}: it may be taken by another tenant",
        detail=f"{cause.detail} No {step.type.prefix} that this token sees has this {key_field}.",
        hint=f"Where the backend says that it exists, another tenant has it (a {key_field} is "
        f"taken for all tenants): choose another {key_field}. Otherwise correct it. Then apply "
        "again.",
    )


def build_adopted_warning(step: Step, observed: Observed, request_id: str | None) -> Diagnostic:
    """The warning for a 409 on a create whose object is as declared and was adopted."""
    bytes_note = " Its published bytes are unverified." if step.type.carries_package else ""
    return warning_finding(
        "The object exists already, and was adopted",
        f"{step.address} was made outside since this plan (id {observed.remote_id}). All that was "
        f"to "
        f"be sent is so already, so it is ours from now on.{bytes_note}",
        address=str(step.address),
        request_id=request_id,
    )


def build_no_read_back_warning(step: Step, failure: RemoteError) -> Diagnostic:
    """The warning for a successful write that could not be read back."""
    return warning_finding(
        "A write could not be read back",
        f"{step.address} was written, but reading it back failed: {failure}.",
        "The next plan compares it.",
        address=str(step.address),
        request_id=failure.request_id,
    )


def build_mismatched_answer_warning(step: Step, names: str, request_id: str) -> Diagnostic:
    """The warning for an answer with other identity fields, whose id leads to the right object."""
    return warning_finding(
        "The answer to a call showed another object",
        f"It had another {names} than {step.address}. The object with the id that it gave was read "
        "and looked up so: it is as it was sent.",
        address=str(step.address),
        request_id=request_id or None,
    )


def build_unrecorded_call_diagnostic(
    intent: Intent, recovery_file: str, target: str, problem: StateError
) -> Diagnostic:
    """The finding for a call that has ended and whose outcome could not be written to the state.

    `recovery_file` is the file that has the outcome.
    """
    cause = "; ".join(
        f"{diagnostic.summary}: {diagnostic.detail}".rstrip(". ")
        for diagnostic in problem.diagnostics
    )
    next_step = "apply again: the next run looks it up before it does anything else."
    if recovery_file:
        command = Command("state record", recovery_file, target=target)
        next_step = Text(command, ", before the next apply.")
    return error_finding(
        "The outcome of a call could not be recorded",
        f"{intent.verb} of {intent.address} has ended (id {intent.remote_id or 'none'}), and its "
        f"record could not be written. {cause}.",
        Text("Fix what keeps the state from being written, then ", next_step),
        address=str(intent.address),
    )


def build_interrupted_diagnostic(step: Step) -> Diagnostic:
    """The finding for a call whose run was stopped before its answer came."""
    return error_finding(
        "The outcome of a call is unknown",
        f"The run was stopped at once while {step.address} was under way. It may have been done.",
        "Apply again: the next run looks it up before it does anything else.",
        address=str(step.address),
    )


def build_skipped_diagnostic(step: Step, reason: str) -> Diagnostic:
    """The finding with the reason why a step was skipped."""
    return error_finding(
        "Not tried",
        f"{reason[:1].upper()}{reason[1:]}.",
        "Apply again once that is resolved.",
        address=str(step.address),
    )


def build_internal_error_diagnostic(step: Step, failure: BaseException) -> Diagnostic:
    """The finding for an unexpected exception, without its message, which may hold a secret."""
    return error_finding(
        "An internal error stopped this resource",
        f"{type(failure).__name__} while working on {step.address}.",
        "Apply again: open calls are looked up first. Please report this.",
        address=str(step.address),
    )
