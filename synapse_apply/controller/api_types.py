"""What the JSON of `/api/v1` has: each document once, for who writes it and for who reads it.

A field is a key, and the name of a class that is a document is its `kind`. Who reads an answer
ignores keys that it does not know, takes the default of a field that has one, and believes no
answer that lacks another one or has one of another type. schemas/v1 says all of it to others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING
from enum import Enum
from functools import cache
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from synapse_apply.controller.planned_rows import HoldReason, RowAction, RowCause
from synapse_apply.controller.rows import (
    AuditRow,
    ProcessRole,
    RunCause,
    RunOutcome,
    RunVerb,
    TargetCondition,
    TargetProgress,
)
from synapse_apply.controller.settings import Mode
from synapse_apply.model.frozen import frozen

API_VERSION = "synapse-apply/v1"
T = TypeVar("T")
# Null for none, as which "" and 0 are written and read; times are of RFC 3339, in UTC. A moment is
# a time that is never null.
Text = Annotated[str, "text"]
Number = Annotated[int, "number"]
Time = Annotated[str, "time"]
Moment = Annotated[str, "moment"]
# The default of a field that has none, behind fields that have one.
NEEDED: Any = object()


@frozen
class Finding:
    """A diagnostic of which the rest is as in other documents of the tool."""

    summary: str
    detail: str = ""
    hint: str = ""
    severity: str = ""


@frozen
class Source:
    name: str
    head: Text = ""
    fetched_at: Time = ""
    is_up_to_date: bool = NEEDED


@frozen
class SourceFinding:
    source: str
    finding: Finding


@frozen
class Process:
    host: str
    process_id: int
    role: Annotated[str, ProcessRole]
    version: str
    is_leading: bool
    difference: str


@frozen
class Job:
    id: str
    owner: str
    version: Text = ""
    progress: float | None = None
    since: Time = ""


@frozen
class RunningJobs:
    seen_at: Moment
    unread_reason: Text = ""
    is_cut: bool = False
    jobs: tuple[Job, ...] = ()


@frozen
class Rollback:
    """Where a person has rolled a target back to, and the head whose inputs it left."""

    commit: str
    left_commit: str
    who: str
    reason: str
    since: Moment


@frozen
class RestoredField:
    """A field that somebody changes outside Git, and how often it was restored.

    `field` is null for the object itself. `is_always` says that no brake holds for it; `is_held`
    that it waits for a person, `next_at` when it may be restored again: null for no brake.
    """

    address: str
    field: Text
    count: int
    since: Moment
    last_at: Moment
    next_at: Time = ""
    is_held: bool = False
    is_always: bool = False
    by: Text = ""


@frozen
class RunningCall:
    """A row that a running apply has begun; `result` is null until its calls have ended."""

    number: int
    total: int
    address: str
    action: str
    began_at: Moment
    result: Text = ""
    seconds: float = 0.0


@frozen
class Target:
    name: str
    source: str = ""
    target: str = ""
    state: TargetCondition = NEEDED
    counts: Mapping[str, int] = NEEDED
    applied_commit: Text = ""
    wanted_commit: Text = ""
    mode: Annotated[str, Mode] = ""
    progress: Annotated[str, TargetProgress] = ""
    waiting_reason: Text = ""
    hold_count: int = 0
    held_guard_count: int = 0
    applying_count: int = 0
    failures: int = 0
    finding: Finding | None = None
    is_gone: bool = False
    last_run: Text = ""
    looked_at: Time = ""
    changed_at: Time = ""
    applied_at: Time = ""
    due_at: Time = ""
    due_cause: Annotated[str, RunCause] = ""
    is_claimed: bool = False
    running_jobs: RunningJobs | None = None
    rollback: Rollback | None = None
    running_calls: tuple[RunningCall, ...] = ()
    restored: tuple[RestoredField, ...] = ()
    labels: Mapping[str, str] | None = None
    path: str = ""


@frozen
class Pause:
    scope: str
    who: str
    reason: str
    since: Moment
    until: Moment


@frozen
class TargetList:
    items: tuple[Target, ...]
    total: int
    offset: int = 0
    sources: tuple[Source, ...] = ()
    source_findings: tuple[SourceFinding, ...] = ()
    processes: tuple[Process, ...] = ()
    pauses: tuple[Pause, ...] = ()


@frozen
class Revision:
    source: str
    number: int
    commit: str
    author: str
    subject: str
    end: Text
    description: str
    overtaken_by: Text
    forced_away: bool
    finding: Finding | None
    seen_at: Time
    ended_at: Time
    path: str


@frozen
class RevisionList:
    items: tuple[Revision, ...]


@frozen
class Calls:
    """How many rows of an apply ended in which way."""

    done: int
    failed: int
    unknown: int
    skipped: int


@frozen
class ListedRun:
    """A run without its documents."""

    id: str = ""
    target: str = ""
    commit: Text = ""
    verb: RunVerb = NEEDED
    cause: Annotated[str, RunCause] = ""
    outcome: RunOutcome = NEEDED
    stop_reason: Text = ""
    counts: Mapping[str, int] | None = None
    calls: Calls = NEEDED
    approved_by: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    repeats: int = 0
    began_at: Time = ""
    ended_at: Time = ""
    last_seen_at: Time = ""
    path: str = ""


@frozen
class RunList:
    items: tuple[ListedRun, ...]


@frozen
class Run(ListedRun):
    """A run with its documents, as the commands print them; None for none that is kept."""

    plan: Mapping[str, Any] | None = None
    report: Mapping[str, Any] | None = None


@frozen
class Approval:
    """Who approved a row, and why; `reason` says why that does not count, "" where it does."""

    who: str
    approved_at: Moment = ""
    expires_at: Moment = ""
    counts: bool = False
    reason: str = ""
    approved_reason: str = ""


@frozen
class Hold:
    """A row of a target that waits for a person, in the words of the controller.

    `reason` and `detail` are why it waits. `approvals_needed` is how many people have to approve
    it, `approvers` a phrase such as `2 of group:leads`, "" where everybody with the right counts;
    `is_yours` is false where the approval of who asks would not. `stricter_by` says which other
    targets' rules count for it, too. `rejected_by` is "" for a row that nobody rejected.
    """

    target: str = ""
    digest: str = NEEDED
    address: str = NEEDED
    action: Annotated[str, RowAction] = NEEDED
    actions: tuple[Annotated[str, RowAction], ...] = ()
    causes: tuple[Annotated[str, RowCause], ...] = NEEDED
    needs: tuple[str, ...] = ()
    summary: str = NEEDED
    reason: Annotated[str, HoldReason] = NEEDED
    detail: str = ""
    can_be_approved: bool = NEEDED
    approvals_needed: int = 1
    approvers: str = ""
    is_yours: bool = True
    is_irreversible: bool = False
    stricter_by: str = ""
    approved_by: tuple[str, ...] = ()
    approvals: tuple[Approval, ...] = ()
    rejected_by: Text = ""
    rejected_reason: str = ""
    since: Moment = ""
    commit: str = ""
    run: str = ""


@frozen
class HoldList:
    items: tuple[Hold, ...]
    total: int
    offset: int = 0


@frozen
class PauseList:
    items: tuple[Pause, ...]


@frozen
class AuditList:
    """Rows of the audit as they are stored: the digest of each is over them."""

    items: tuple[AuditRow, ...]


@frozen
class Share:
    """How many targets of a wave are to have a revision; "" for none yet."""

    commit: Text
    target_count: int


@frozen
class Wave:
    """A wave of a rollout. What it is set to is None where not all of its source may be read."""

    wave: int
    state: str
    targets: tuple[str, ...] | None = None
    labels: Mapping[str, str] | None = None
    soak: float | None = None
    max_parallel: int | None = None
    max_failures: int | None = None
    approve: bool | None = None
    opened_at: Time = ""
    approved_by: Text = ""
    closed_at: Time = ""
    closed_by: Text = ""
    reason: Text = ""
    target_count: int = NEEDED
    failed_count: int = NEEDED
    target_states: Mapping[str, int] = NEEDED
    revisions: tuple[Share, ...] = NEEDED


@frozen
class ListedRollout:
    """A rollout without its targets; `number` and `wave` are 0 for one that has not begun."""

    name: str
    source: str
    state: str
    needs_person: bool = False
    commit: Text = ""
    number: Number = 0
    subject: Text = ""
    wave: Number = 0
    wave_count: int = NEEDED
    description: Text = ""
    waiting_head: Text = ""
    begun_at: Time = ""
    state_since: Time = ""
    state_by: Text = ""
    state_reason: Text = ""
    waves: tuple[Wave, ...] = NEEDED
    path: str = ""


@frozen
class RolloutList:
    items: tuple[ListedRollout, ...]


@frozen
class RolloutTarget:
    target: str
    wave: int
    state: str
    commit: Text = ""
    waiting_reason: Text = ""
    moved_at: Time = ""
    good_since: Time = ""
    good_until: Time = ""
    soaked: float = 0.0
    soak_end: Time = ""
    failed_at: Time = ""
    path: str = ""


@frozen
class Rollout(ListedRollout):
    """A rollout with some of its targets, and how many match in all."""

    items: tuple[RolloutTarget, ...] = NEEDED
    total: int = NEEDED
    offset: int = 0


@frozen
class ActionResult:
    """What was done with targets; `who` is whom the controller took the token for."""

    action: str = ""
    target: Text = ""
    scope: Text = ""
    rows: tuple[str, ...] = ()
    who: str = NEEDED
    until: Time = ""


@frozen
class RollbackRow:
    """A row of the plan of a rollback; `effect` says what the controller would make of it.

    That is "refused", "stays" (it was made since), "held", "waiting" or "applied"; `detail` is why.
    """

    address: str
    action: RowAction
    summary: str
    effect: str
    detail: str = ""


@frozen
class RollbackPlan:
    """What a rollback would do. `digest` says that it was seen; null while it is being planned."""

    target: str
    commit: str
    digest: Text
    rows: tuple[RollbackRow, ...]


@frozen
class RolloutResult:
    """What was done with a rollout; `who` is whom the controller took the token for."""

    action: str = ""
    rollout: str = ""
    number: int = 0
    wave: Number = 0
    who: str = NEEDED


@frozen
class Problem:
    """Why something was not done."""

    diagnostics: tuple[Finding, ...]


class OddAnswerError(ValueError):
    """An answer that lacks something, or has it in another type; the text names the field."""


def read_document(kind: type[T], document: Any) -> T:
    """The document that an answer is; OddAnswerError, also for one of another kind."""
    return _read_fields(kind, fields_of_kind(kind, document))


def fields_of_kind(kind: type, document: Any) -> Mapping[str, Any]:
    """The fields of a document, as they are; OddAnswerError for one of another kind."""
    fields: Mapping[str, Any] = read_value(Mapping[str, Any], document, "the answer")
    if fields.get("kind") != kind.__name__:
        raise OddAnswerError(f"it is not a {kind.__name__}")
    return fields


def read_value(hint: Any, value: Any, name: str) -> Any:
    """A value of a declared type; OddAnswerError, with the name of the field, for another one.

    A number that is whole is a count, from 0 on. A word is any text, so that later versions may
    have more of them, but where its type is an enum.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if value is None and (NoneType in arguments or hint in {Text, Time}):
        return "" if origin is Annotated else None
    if origin is Annotated or NoneType in arguments:
        return read_value(arguments[0], value, name)
    if origin is tuple and isinstance(value, list):
        return tuple([read_value(arguments[0], part, name) for part in value])
    if origin is Mapping and isinstance(value, dict):
        return {key: read_value(arguments[1], part, key) for key, part in value.items()}
    if is_shape(hint) and isinstance(value, dict):
        return _read_fields(hint, value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        is_right = value in [member.value for member in hint]
    elif hint is float:
        is_right = isinstance(value, int | float) and not isinstance(value, bool)
    elif hint is int:
        is_right = type(value) is int and value >= 0
    else:
        is_right = hint is Any or type(value) is hint
    if not is_right:
        raise OddAnswerError(name)
    return value if hint is Any else hint(value)


def is_shape(hint: Any) -> bool:
    """Whether a declared type is one of an object of the API."""
    return hasattr(hint, "__dataclass_fields__")


@cache
def hints_of(shape: type[Any]) -> Mapping[str, Any]:
    """The declared types of the fields of an object, in their order."""
    return get_type_hints(shape, include_extras=True)


def _read_fields(shape: type[T], item: Mapping[str, Any]) -> T:
    kind: Any = shape
    values = {}
    for name, declared in kind.__dataclass_fields__.items():
        value = item.get(name)
        if value is not None or declared.default in {NEEDED, MISSING}:
            values[name] = read_value(hints_of(kind)[name], value, name)
    return shape(**values)
