"""What to tell people about a call that did not go well. Never a value that was sent."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from synapse_apply.applying.task import Task
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Path, error, warning
from synapse_apply.model.error_body import field_errors, field_name
from synapse_apply.model.errors import Effect, RemoteError, StateError, recourse, words
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.observed import Observed
from synapse_apply.model.plan import Action
from synapse_apply.model.state import Intent
from synapse_apply.model.values import ABSENT, SecretRef, dig, leaves

CONFLICT = 409
FORBIDDEN, NOT_ALLOWED = 403, 405
# From here on a status refuses, and the body says why; below it is what was asked for, or nothing.
CLIENT_ERROR = 400
_MAKES = frozenset({Action.CREATE, Action.RECREATE})


def explain(task: Task, failure: RemoteError, marks: SecretMarks) -> Diagnostic:
    """A failed call as a finding: status, the server's words on fields that are not secret."""
    refused = failure.status_code >= CLIENT_ERROR
    why = answered(task, failure, marks) if refused else words(failure)
    what = f"{task.change.action.value} of {task.address} failed: {why}"
    summary = "The backend refused a call" if failure.status_code else "A call was not made"
    return error(
        summary if failure.effect is Effect.NONE else "A call went wrong",
        what.rstrip(".") + ".",
        _recourse(task, failure),
        address=str(task.address),
        position=task.desired.position if task.desired else None,
        request_id=failure.request_id,
    )


def _recourse(task: Task, failure: RemoteError) -> str:
    usual = recourse(failure, "apply again", "Apply again; what was done is recorded.")
    if failure.status_code == NOT_ALLOWED and task.binding.read_only:
        return task.binding.read_only
    if failure.status_code == CLIENT_ERROR and task.change.action in _MAKES:
        field_names = [str(path[0]) for path in field_errors(failure.detail) if path]
        ways = dict.fromkeys(filter(None, map(task.binding.if_refused.get, field_names)))
        if ways:
            return " ".join(ways)
    if failure.status_code == FORBIDDEN and task.change.action is Action.UPDATE:
        return (
            f"{usual} If it is another tenant's or the platform's own, it is not yours: remove it "
            f"from the manifests, and `synapse-apply state rm {task.address}`."
        )
    return usual


def answered(task: Task, failure: RemoteError, marks: SecretMarks, to: str = "") -> str:
    """The status that a call met, with the server's words on fields that are not secret."""
    said = "; ".join(_said(task, failure.detail, marks))
    return f"the backend answered {failure.status_code}{to}" + (f": {said}" if said else "")


def _said(task: Task, detail: Any, marks: SecretMarks) -> Iterator[str]:
    """The server's words; when secrets were sent, only those on fields that hold none.

    Words on the whole request, or on a field nobody knows, may quote any part of it. The name of a
    refused field is always told, where it has the form of one.
    """
    carries, withheld = _carries_secrets(task), False
    spec = task.desired.spec if task.desired else {}
    for path, texts in field_errors(detail).items():
        if carries and not _is_open(task, path, spec, marks):
            if name := field_name(path):
                yield f"{name} was refused"
            withheld = True
            continue
        text = " ".join(texts)[:300]
        yield f"{'.'.join(map(str, path))}: {text}" if path else text
    if withheld:
        yield "(further words are not shown, they may quote a secret)"


def _carries_secrets(task: Task) -> bool:
    spec = task.desired.spec if task.desired else {}
    return any(isinstance(value, SecretRef) for value in leaves(spec).values())


def _is_open(task: Task, path: Path, spec: Mapping[str, Any], marks: SecretMarks) -> bool:
    """Whether words on this field cannot be about a secret: a known one that holds none."""
    if not path or path[0] not in task.binding.fields:
        return False
    if marks.secret(task.address.kind, spec, path):
        return False
    declared = dig(spec, path)
    if isinstance(declared, Mapping | SecretRef):
        return False
    return len(path) == 1 or declared is not ABSENT


def unknown(task: Task, why: Diagnostic) -> Diagnostic:
    """Nobody saw whether the call was done: say how the next run finds out."""
    return error(
        "The outcome of a call is unknown",
        why.detail + " It may have been done all the same.",
        "Apply again: the next run looks it up before it does anything else.",
        address=str(task.address),
        request_id=why.request_id,
    )


def not_shown(task: Task) -> Diagnostic:
    """A call made it along with another object, and nothing shows it yet."""
    return error(
        "The outcome of a call is unknown",
        f"{task.address} was to be made by a call that was done, and the backend does not show it.",
        "Apply again: the next run looks it up before it does anything else.",
        address=str(task.address),
    )


def recovered(task: Task, why: Diagnostic) -> Diagnostic:
    """The answer was lost, but the object is there as it was sent."""
    return warning(
        "An answer was lost and looked up",
        why.detail + " The object is there as it was sent, so the call was done.",
        address=str(task.address),
        request_id=why.request_id,
    )


def made_already(task: Task, why: Diagnostic) -> Diagnostic:
    """409 on a create, and the object's digest says that its bytes are the ones that were sent."""
    return warning(
        "It exists already, with the same content",
        why.detail + " Its digest is that of our package, so it is recorded as published.",
        address=str(task.address),
        request_id=why.request_id,
    )


def visible_conflict(task: Task, why: Diagnostic, found: Observed, differing: str) -> Diagnostic:
    """409 on a create: somebody made it since the plan, and it was not taken over."""
    as_is = f"Not shown as declared: {differing}." if differing else "It is as declared."
    return why.with_(
        summary="It exists already",
        detail=f"{why.detail} It was made outside since this plan (id {found.remote_id}). {as_is}",
        hint="`synapse-apply plan` shows what adopting it would change. "
        "If it is yours: `synapse-apply apply --adopt`, or "
        f"`synapse-apply import {task.address} {found.remote_id}`.",
    )


def recorded_conflict(why: Diagnostic, found: Observed, owner: Address) -> Diagnostic:
    """409 on a create: what is there is recorded under another address."""
    return why.with_(
        summary="It exists already, under another address",
        detail=f"{why.detail} It is {owner} (id {found.remote_id}) of this state.",
        hint="Declare it once, or under another name.",
    )


def hidden_conflict(task: Task, why: Diagnostic, *, seen: bool) -> Diagnostic:
    """409 on a create, and nothing is found; `seen` where a search shows all that is visible."""
    if seen:
        return why.with_(
            summary="It exists already, but this token cannot see it",
            hint="Another tenant may own it (plugin codes are global): choose another code, or "
            f"`synapse-apply import {task.address} ID` if you know its id.",
        )
    return why.with_(
        summary="It exists already, and this API cannot find it",
        hint=f"If it is yours: `synapse-apply import {task.address} ID`. It may be another "
        "tenant's, too: choose another name or code then.",
    )


def maybe_taken(task: Task, why: Diagnostic, form: str) -> Diagnostic:
    """400 on a create that names its key, which nothing has that this token sees."""
    return why.with_(
        summary=f"The backend refused a {form}: it may be taken by another tenant",
        detail=f"{why.detail} No {task.type.prefix} that this token sees has this {form}.",
        hint=f"Where the backend says that it exists, another tenant has it (a {form} is taken for "
        f"all tenants): choose another {form}. Otherwise correct it. Then apply again.",
    )


def adopted_instead(task: Task, found: Observed, request_id: str | None) -> Diagnostic:
    """409 on a create, and what is there is as declared: taken over, as --adopt asks."""
    bytes_of = " Its published bytes are unverified." if task.type.carries_package else ""
    return warning(
        "It exists already, and was adopted",
        f"{task.address} was made outside since this plan (id {found.remote_id}). All that was to "
        f"be sent is so already, so it is ours from now on.{bytes_of}",
        address=str(task.address),
        request_id=request_id,
    )


def no_read_back(task: Task, failure: RemoteError) -> Diagnostic:
    """The write was acknowledged, reading it back failed."""
    return warning(
        "A write could not be read back",
        f"{task.address} was written, but reading it back failed: {failure}.",
        "The next plan compares it.",
        address=str(task.address),
        request_id=failure.request_id,
    )


def shown_otherwise(task: Task, names: str, request_id: str) -> Diagnostic:
    """The answer showed another object, and the one with its id is what was sent."""
    return warning(
        "The answer to a call showed another object",
        f"It had another {names} than {task.address}. The object with the id that it gave was read "
        "and looked up so: it is as it was sent.",
        address=str(task.address),
        request_id=request_id or None,
    )


def unrecorded(intent: Intent, kept: str, target: str, broken: StateError) -> Diagnostic:
    """The call has ended, and the state of a target could not be told; the file `kept` knows it."""
    why = "; ".join(f"{one.summary}: {one.detail}".rstrip(". ") for one in broken.diagnostics)
    way = "apply again: the next run looks it up before it does anything else."
    if kept:
        at = f" -t {target}" if target else ""
        way = f"`synapse-apply state recover {shlex.quote(kept)}{at}`, before the next apply."
    return error(
        "The state could not be told how a call ended",
        f"{intent.verb} of {intent.address} has ended (id {intent.remote_id or 'none'}), and its "
        f"record could not be written. {why}.",
        f"Settle what keeps the state from being written, then {way}",
        address=str(intent.address),
    )


def cut_off(task: Task) -> Diagnostic:
    """The run ended before the answer came."""
    return error(
        "The outcome of a call is unknown",
        f"The run was stopped at once while {task.address} was under way. It may have been done.",
        "Apply again: the next run looks it up before it does anything else.",
        address=str(task.address),
    )


def skipped(task: Task, because: str) -> Diagnostic:
    """It was not tried; the report's row says already that it was skipped."""
    return error(
        "Not tried",
        f"{because[:1].upper()}{because[1:]}.",
        "Apply again once that is settled.",
        address=str(task.address),
    )


def internal(task: Task, failure: BaseException) -> Diagnostic:
    """An exception nobody expected, without its message: that may hold a value."""
    return error(
        "An internal error stopped this resource",
        f"{type(failure).__name__} while working on {task.address}.",
        "Apply again: open calls are looked up first. Please report this.",
        address=str(task.address),
    )
