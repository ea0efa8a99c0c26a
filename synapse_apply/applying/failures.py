"""What to tell people about a call that did not go well. Never a value that was sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from synapse_apply.applying.task import Task
from synapse_apply.model.diagnostic import Diagnostic, Path, error, warning
from synapse_apply.model.errors import Effect, RemoteError
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.observed import Observed

CONFLICT = 409
_WHAT_TO_DO = {
    0: "Check the target's url and the network, then apply again.",
    400: "Correct the manifest, then apply again.",
    401: "The token is missing or wrong: set the variable the target's token names.",
    403: "The token may not do this: use one with write access, or ask the tenant's owner.",
    404: "It is not there, or not visible to this token: check tenant and token.",
    413: "The package is too large for this backend.",
    422: "Correct the manifest, then apply again.",
    429: "The backend limits requests: apply again later or lower --parallelism.",
}


def explain(task: Task, failure: RemoteError, marks: SecretMarks) -> Diagnostic:
    """A failed call as a finding: status, the server's words on fields that are not secret."""
    what = f"{task.change.action.value} of {task.address} failed: "
    if failure.status_code:
        said = "; ".join(_said(task, failure.detail, marks))
        what += f"the backend answered {failure.status_code}" + (f": {said}" if said else "")
    else:
        what += str(failure)
    return error(
        "The backend refused a call" if failure.effect is Effect.NONE else "A call went wrong",
        what.rstrip(".") + ".",
        _WHAT_TO_DO.get(failure.status_code, "Apply again; what was done is recorded."),
        address=str(task.address),
        position=task.desired.position if task.desired else None,
        request_id=failure.request_id,
    )


def _said(task: Task, detail: Any, marks: SecretMarks) -> Iterator[str]:
    """The texts of an error body, without those of fields that may be secret."""
    spec = task.desired.spec if task.desired else {}
    if isinstance(detail, Mapping):
        for name, value in detail.items():
            path: Path = (str(name), "*")
            if marks.secret(task.address.kind, spec, path) or name not in _open_names(task):
                yield f"{name}: (not shown, it may hold a secret)"
            else:
                prefix = "" if name in _GENERAL else f"{name}: "
                yield prefix + _plain(value)
    elif isinstance(detail, str) and not _may_carry_secrets(task, marks):
        yield detail[:300]


_GENERAL = frozenset({"detail", "non_field_errors", "message", "code"})


def _open_names(task: Task) -> frozenset[str]:
    return _GENERAL | task.binding.fields | {"file"}


def _may_carry_secrets(task: Task, marks: SecretMarks) -> bool:
    return task.address.kind in marks.kinds


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(_plain(item) for item in value)[:300]
    return (value if isinstance(value, str) else "(see the backend's log)")[:300]


def unknown(task: Task, why: Diagnostic) -> Diagnostic:
    """Nobody saw whether the call was done: say how the next run finds out."""
    return error(
        "The outcome of a call is unknown",
        why.detail + " It may have been done all the same.",
        "Apply again: the next run looks it up before it does anything else.",
        address=str(task.address),
        request_id=why.request_id,
    )


def recovered(task: Task, why: Diagnostic) -> Diagnostic:
    """The answer was lost, but the object is there as it was sent."""
    return warning(
        "An answer was lost and looked up",
        why.detail + " The object is there as it was sent, so the call was done.",
        address=str(task.address),
        request_id=why.request_id,
    )


def conflict(task: Task, why: Diagnostic, found: Observed | None) -> Diagnostic:
    """409 on a create: someone made it since the plan, or it is not visible to this token."""
    if found is not None:
        return why.with_(
            summary="It exists already",
            hint=f"It was made outside since this plan (id {found.remote_id}): plan again to "
            f"adopt it, or `synapse-apply import {task.address} {found.remote_id}`.",
        )
    return why.with_(
        summary="It exists already, but this token cannot see it",
        hint="Another tenant may own it (plugin codes are global): choose another code, or "
        f"`synapse-apply import {task.address} ID` if you know its id.",
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


def skipped(task: Task, because: str) -> Diagnostic:
    """It was not tried."""
    return error(
        "Not tried",
        f"{task.address} was skipped because {because}.",
        "Apply again once that is settled.",
        address=str(task.address),
    )
