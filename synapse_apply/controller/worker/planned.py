"""Which rows of a plan somebody has to decide about and why, and which jobs run beside it.

A row is made for what asks for something or is refused, and for each guard. What a plan does to the
state alone (records that move to another address, or take over what is live already) is no row: no
call is made for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from synapse_apply.controller.planned_rows import PlannedRow, RowAction, RowCause
from synapse_apply.controller.rows import RunningJob, RunningJobsSeen
from synapse_apply.library.plan_rows import (
    compute_guard_digest,
    compute_row_digest,
    list_counted_addresses,
    list_decidable_changes,
    list_needed_addresses,
)
from synapse_apply.library.target import OpenTarget
from synapse_apply.model.address import Address
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.plan import Action, Cause, Change, Plan
from synapse_apply.views.sanitize import limit_text, sanitize

MAX_NAME_CHARACTERS, MAX_SUMMARY_CHARACTERS, MAX_REASON_CHARACTERS = 500, 300, 1000
_MAX_NAMED_FIELDS = 3
_ACTIONS: Mapping[Action, RowAction] = {
    Action.CREATE: RowAction.CREATE,
    Action.ADOPT: RowAction.ADOPT,
    Action.UPDATE: RowAction.UPDATE,
    Action.RECREATE: RowAction.RECREATE,
    Action.DELETE: RowAction.DELETE,
    Action.FORGET: RowAction.FORGET,
    # Of what is refused before anything is compared, nobody knows what it would be.
    Action.NO_OP: RowAction.UPDATE,
}
_CAUSES: Mapping[Cause, tuple[RowCause, ...]] = {
    Cause.GIT: (RowCause.GIT,),
    Cause.DRIFT: (RowCause.DRIFT,),
    Cause.BOTH: (RowCause.GIT, RowCause.DRIFT),
    Cause.SECRET: (RowCause.SECRET,),
    # Of what is not ours yet, and so is there for Git alone.
    Cause.NONE: (RowCause.GIT,),
}


def list_planned_rows(plan: Plan) -> tuple[PlannedRow, ...]:
    """The rows of a plan in its order, then its guards."""
    changes = list_decidable_changes(plan)
    addresses = {change.address for change in changes}
    rows = [
        # What it needs and is as it should be already is no row, and so not worth a word.
        _build_row(change, plan, [n for n in list_needed_addresses(change) if n in addresses])
        for change in changes
    ]
    return (
        *rows,
        *(
            PlannedRow(
                compute_guard_digest(guard, plan),
                # Only a policy's rule has a name that is not ours, and such a guard is never
                # overridden.
                _format_limited_line(guard.name, MAX_NAME_CHARACTERS),
                RowAction.GUARD,
                needs=tuple(map(str, list_counted_addresses(guard, plan))),
                limit=guard.limit,
                is_waiting=guard.ends_by_itself,
                summary=_format_limited_line(guard.summary, MAX_SUMMARY_CHARACTERS),
            )
            for guard in plan.guards
        ),
    )


def _build_row(change: Change, plan: Plan, needs: Iterable[Address]) -> PlannedRow:
    # The one that keeps a row longest: a person has to end it, if any does.
    refusal = min(change.refusals, key=lambda one: one.ends_by_itself, default=None)
    reason = refusal.reason if refusal else ""
    actions = _list_row_actions(change)
    causes = {cause for field_cause in change.field_causes for cause in _CAUSES[field_cause]}
    if change.action is Action.RECREATE:
        causes = {RowCause.DRIFT}
    if not causes or change.of_git:
        causes.add(RowCause.GIT)
    return PlannedRow(
        compute_row_digest(change, plan.base),
        str(change.address),
        actions[0],
        tuple(cause for cause in RowCause if cause in causes),
        tuple(map(str, needs)),
        refusal=_format_limited_line(refusal.rule if refusal else "", MAX_NAME_CHARACTERS),
        refusal_reason=_format_limited_line(reason, MAX_REASON_CHARACTERS),
        is_waiting=refusal is not None and refusal.ends_by_itself,
        is_outcome_unknown=any(refusal.outcome_unknown for refusal in change.refusals),
        summary=_format_limited_line(_summarize(change), MAX_SUMMARY_CHARACTERS),
        also=actions[1:],
    )


def _list_row_actions(change: Change) -> tuple[RowAction, ...]:
    actions = [RowAction.REPLACE if change.replaces_package else _ACTIONS[change.action]]
    if change.action is Action.NO_OP and change.verification is not None:
        actions = []
    if change.action is Action.ADOPT and change.fields:
        actions.append(RowAction.UPDATE)
    if change.verification is not None:
        actions.append(RowAction.VERIFY)
    return tuple(actions)


def _summarize(change: Change) -> str:
    """What a row does, as a phrase without its address; never a value."""
    if change.is_refused:
        names = _name_first_fields(change) if change.action is Action.UPDATE else ""
        return f"cannot {_list_row_actions(change)[0].value}{names and f' {names}'}"
    texts = {
        Action.CREATE: "create",
        Action.RECREATE: "recreate: it is missing",
        Action.DELETE: f"delete id {change.remote_id}",
        Action.FORGET: "forget: the object stays",
        Action.NO_OP: "",
        Action.ADOPT: f"adopt id {change.remote_id}",
        Action.UPDATE: change.reason or f"update {_name_first_fields(change)}".rstrip(),
    }
    parts = [texts[change.action]]
    if change.action is Action.ADOPT and change.fields:
        parts.append(f"update {_name_first_fields(change)}")
    if change.verification is not None:
        parts.append(f"verify: {change.verification.reason}")
    return ", ".join(filter(None, parts))


def _name_first_fields(change: Change) -> str:
    names = [format_field_path(field.path) for field in change.fields]
    more = len(names) - _MAX_NAMED_FIELDS
    return ", ".join(names[:_MAX_NAMED_FIELDS]) + (f" and {more} more" if more > 0 else "")


def _format_limited_line(text: str, max_length: int) -> str:
    return limit_text(sanitize(" ".join(text.split())), max_length)


MAX_JOBS, MAX_JOB_TEXT_CHARACTERS = 20, 130


def read_running_jobs(target: OpenTarget, plan: Plan) -> RunningJobsSeen | None:
    """The running jobs of a plan's plugins, by one request; None where it has no live plugin.

    What a job was given and what it says is not in them. Never raises: a look is worth more than
    its jobs.
    """
    try:
        running = target.jobs.find_running_jobs_or_none(plan)
    except SynapseApplyError:
        return RunningJobsSeen(unread_reason="the backend could not be asked")
    if running is None:
        return None
    jobs = tuple(
        RunningJob(
            _format_limited_line(owned.job.id, MAX_JOB_TEXT_CHARACTERS),
            _format_limited_line(str(owned.owner), MAX_JOB_TEXT_CHARACTERS),
            _format_limited_line(owned.job.version, MAX_JOB_TEXT_CHARACTERS),
            owned.job.progress
            if owned.job.progress is not None and math.isfinite(owned.job.progress)
            else None,
            _parse_moment_or_zero(owned.job.created),
        )
        for owned in running.jobs
    )
    return RunningJobsSeen(
        jobs[:MAX_JOBS], running.is_cut or len(jobs) > MAX_JOBS, running.unread_reason
    )


def _parse_moment_or_zero(text: str) -> float:
    """Seconds since the epoch of a server's time; one without a zone is UTC."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
