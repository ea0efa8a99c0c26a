"""How a worker looks at a target or reads a project file, and what is told of it."""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlsplit

from synapse_apply.controller.planned_rows import (
    MANY_FIELDS,
    Binding,
    Claim,
    PlannedRow,
    RowAction,
    RowCause,
)
from synapse_apply.controller.ports import LabelledTarget, RunResult, SourceUnavailable
from synapse_apply.controller.rows import ChangeCounts, RunningJob, RunningJobsSeen, RunOutcome
from synapse_apply.controller.rules.judging import format_backend
from synapse_apply.controller.settings import Source
from synapse_apply.controller.source.access import source_folders
from synapse_apply.controller.source.committed_project import read_committed_targets
from synapse_apply.controller.worker.child import Child, Conversation
from synapse_apply.controller.worker.exchange import (
    MAX_CLAIMS,
    MAX_FIELDS,
    MAX_JOB_TEXT_CHARACTERS,
    MAX_JOBS,
    MAX_LABELS,
    MAX_NAME_CHARACTERS,
    MAX_REASON_CHARACTERS,
    MAX_SUMMARY_CHARACTERS,
    Order,
    require_limited_rows,
)
from synapse_apply.files.programs import build_child_environment
from synapse_apply.library.opening import open_target_at_commit
from synapse_apply.library.plan_rows import (
    compute_guard_digest,
    compute_row_digest,
    is_irreversible,
    iter_managed_objects,
    list_counted_addresses,
    list_decidable_changes,
    list_needed_addresses,
)
from synapse_apply.library.target import OpenTarget
from synapse_apply.model.address import Address
from synapse_apply.model.codec import change_to_json, plan_from_json, plan_to_json
from synapse_apply.model.command import name_target_in_commands
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import InputError, SynapseApplyError
from synapse_apply.model.frozen import replace
from synapse_apply.model.json_values import WrongShapeError, format_canonical_json
from synapse_apply.model.packages import KEPT_KEY
from synapse_apply.model.phrases import format_field_path, format_short_list
from synapse_apply.model.plan import CONCURRENT_RUN_SUMMARY, Action, Cause, Change, Plan, Refusal
from synapse_apply.model.secrets.secret_marks import ReadableFiles
from synapse_apply.views.sanitize import limit_text, sanitize

# Calls at once of one look: a controller looks at many targets of a backend.
_PARALLELISM = 4
OWNER_RULE = "owner"
# What of a row only the target tells, and not its plan.
_MARKS = ("is_always_restored", "changed_by")
_EMBEDDED = "embedded"
# Who has a lock is what others wrote into a state that machines share.
MAX_HOLDER_CHARACTERS = 1000
_DRIFT_CAUSES = {Cause.DRIFT, Cause.BOTH}
# What of a row says what was found; the rest says how, or is another's fingerprint.
_TELLING_KEYS = ("address", "action", "fields", "remote_id", "verification", "held")
_TELLING_TEXTS = ("refusals", "notes", "reason")
# What two looks at one fact say differently: times, durations, ids of requests and runs.
_CHANGING_TEXT = re.compile(
    r"\d{4}-\d\d-\d\d[T ][\d:.]+Z?|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\b[0-9a-f]{16,}\b"
    r"|\d+(?:\.\d+)? ?(?:ms|s|seconds?|min|minutes?|h|hours?)\b"
)


def look_at_target(order: Order, environ: Mapping[str, str]) -> RunResult:
    """Plan a target as a commit declares it; locks nothing, and raises nothing.

    It writes nothing, but for a missing state where the order says so. `environ` are all variables
    that the target can name.
    """
    created = ""
    try:
        with open_ordered_target(order, environ) as target:
            if order.create_state and not target.state.exists():
                created = target.state.create().lineage
            plan = target.plan(create_state=False, prune=order.prune)
            # A run whose machine is lost holds the lock until somebody waits for its end.
            if _name_concurrent_run(plan) and target.wait_out_lock_owner():
                plan = target.plan(create_state=False, prune=order.prune)
            is_behind = target.has_work_without_permission(plan)
            plan = mark_changes(target, plan, order)
            if not plan.has_errors:
                plan = target.blame_changes(plan)
            result = build_result_of_plan(plan, target.token_origin)
            result = mark_restored_rows(result, target, plan, order)
            result = replace(result, is_state_behind=is_behind)
            # A backend that did not answer is not asked for more.
            if not plan.has_errors:
                result = replace(result, running_jobs=read_running_jobs(target, plan))
    except SynapseApplyError as failure:
        result = build_result_of_failure(name_target_in_commands(failure.diagnostics, order.name))
    except Exception:  # noqa: BLE001 - one broken target must not end the worker
        result = build_result_of_failure((exception_finding("A check"),))
    return replace(result, created_lineage=created)


def mark_changes(target: OpenTarget, plan: Plan, order: Order) -> Plan:
    """The plan with what drifted only by commits since, and with the labels of its manifests."""
    labels, changes = target.read_labels(), []
    for change in target.mark_drift_of_commits(plan, order.live_commit).changes:
        named = [f"{key}={value}" for key, value in labels.get(change.address, {}).items()]
        # One that is too long is compared with nothing.
        short = [one for one in named if len(one) <= MAX_NAME_CHARACTERS]
        changes.append(replace(change, labels=tuple(short[:MAX_LABELS])))
    return replace(plan, changes=tuple(changes))


def mark_restored_rows(
    result: RunResult, target: OpenTarget, plan: Plan, order: Order
) -> RunResult:
    """A result with what of its rows only the target tells: see PlannedRow."""
    guarded = target.find_guarded(plan)
    # Whom the state names for a row is asked where all was live: else Git is the cause.
    writers = target.find_last_writers(plan, order.own_name) if order.is_live else {}
    rows = []
    for row in result.rows:
        if row.action is not RowAction.GUARD:
            address = Address.parse(row.address)
            row = replace(  # noqa: PLW2901 - the same row, marked
                row,
                is_always_restored=address in guarded,
                changed_by=_format_limited_line(writers.get(address, ""), MAX_NAME_CHARACTERS),
            )
        rows.append(row)
    return replace(result, rows=tuple(rows))


def open_ordered_target(
    order: Order, environ: Mapping[str, str]
) -> AbstractContextManager[OpenTarget]:
    """The target of an order as its commit declares it; errors as `open_target_at_commit`."""
    return open_target_at_commit(
        order.name,
        folder=Path(order.folder),
        commit=order.commit,
        environ=environ,
        readable_files=ReadableFiles(
            tuple(map(PurePath, order.readable)), tuple(map(PurePath, order.unreadable))
        ),
        opened=order.opened,
        closed=order.closed,
        project_from=order.project_from,
        parallelism=_PARALLELISM,
    )


def build_result_of_plan(plan: Plan, token: str = "") -> RunResult:
    """What a plan says: PLAN_ERROR with an error, CHANGES with anything to do or to decide.

    `token` says where the token is read from. InputError for a plan of too many rows.
    """
    rows = list_planned_rows(plan)
    require_limited_rows(rows)
    outcome = RunOutcome.IN_SYNC
    if plan.has_errors:
        outcome = RunOutcome.PLAN_ERROR
    elif plan.has_changes or plan.refused_changes or plan.guards:
        outcome = RunOutcome.CHANGES
    parts = urlsplit(plan.base.binding.url)
    return RunResult(
        outcome,
        _count_changes(plan),
        plan.diagnostics,
        format_canonical_json(plan_to_json(plan)),
        compute_result_digest(outcome, plan.diagnostics, plan),
        (parts.netloc.rpartition("@")[2] or _EMBEDDED),
        _name_concurrent_run(plan)[:MAX_HOLDER_CHARACTERS],
        rows,
        binding=Binding(format_backend(plan.base.binding), plan.base.lineage, token),
        claims=tuple([Claim(*one) for one in islice(iter_managed_objects(plan), MAX_CLAIMS)]),
    )


def _name_concurrent_run(plan: Plan) -> str:
    """The run that changed the target while it was planned, "" if there is none."""
    return next((f.detail for f in plan.diagnostics if f.summary == CONCURRENT_RUN_SUMMARY), "")


def refuse_owned(plan: Plan, owners: Mapping[str, str], name: str) -> Plan:
    """The plan of target `name`, with a refusal of each address whose object `owners` manage."""
    if not owners:
        return plan
    changes = [
        change
        if (owner := owners.get(str(change.address))) is None
        else replace(
            change,
            rebase=False,
            verification=None,
            refusals=(
                *change.refusals,
                Refusal(
                    OWNER_RULE,
                    f"{owner} already manages this object, so {name} does not",
                    (
                        f"leave it to {owner}: declare it here with lifecycle: {{external: true}}",
                        f"take it over: declare it external for {owner}, and apply there first",
                    ),
                    change.position,
                ),
            ),
        )
        for change in plan.changes
    ]
    return replace(plan, changes=tuple(changes))


def refuse_owned_in_result(result: RunResult, owners: Mapping[str, str], name: str) -> RunResult:
    """What a look found, with those refusals; of a plan that was not kept, in its rows alone."""
    try:
        plan = refuse_owned(plan_from_json(json.loads(result.plan_json)), owners, name)
        known = {row.address: row for row in result.rows}
        told = build_result_of_plan(plan)
        marked = [
            replace(row, **{name: getattr(known.get(row.address, row), name) for name in _MARKS})
            for row in told.rows
        ]
        told = replace(told, rows=tuple(marked))
    except (WrongShapeError, ValueError, RecursionError, InputError):
        rows = tuple(
            replace(row, refusal=OWNER_RULE, refusal_reason=f"{owners[row.address]} manages it")
            if row.address in owners
            else row
            for row in result.rows
        )
        return replace(result, rows=rows)
    return replace(
        result,
        outcome=told.outcome,
        counts=told.counts,
        plan_json=told.plan_json,
        result_digest=told.result_digest,
        rows=told.rows,
    )


def list_rows_of_any_commit(result: RunResult) -> Sequence[PlannedRow]:
    """The rows of a look, with digests over what they do alone.

    Without a state key the digest of a row with a secret has the commit in it, too.
    """
    try:
        plan = plan_from_json(json.loads(result.plan_json))
    except (WrongShapeError, ValueError, RecursionError, InputError):
        return result.rows
    base = replace(plan.base, commit="", manifests_digest="")
    return list_planned_rows(replace(plan, base=base))


def build_result_of_failure(findings: tuple[Diagnostic, ...]) -> RunResult:
    """What is told where there was no plan at all."""
    outcome = RunOutcome.PLAN_ERROR
    return RunResult(
        outcome, findings=findings, result_digest=compute_result_digest(outcome, findings)
    )


def compute_result_digest(
    outcome: RunOutcome, findings: tuple[Diagnostic, ...], plan: Plan | None = None
) -> str:
    """A digest over what was found, without times and ids: the same until something else is."""
    facts: dict[str, Any] = {
        "outcome": outcome.value,
        "findings": [
            [
                finding.severity.value,
                finding.summary,
                _CHANGING_TEXT.sub("~", finding.detail),
                finding.address or "",
                str(finding.position or ""),
            ]
            for finding in findings
        ],
    }
    if plan is not None:
        rows = [
            change_to_json(change)
            for change in plan.changes
            if (
                change.action is not Action.NO_OP
                or change.is_refused
                or change.verification is not None
                or bool(change.notes or change.held)
            )
        ]
        facts["rows"] = [[row[key] for key in _TELLING_KEYS] for row in rows]
        texts = [[row[key] for key in _TELLING_TEXTS] for row in rows]
        facts["texts"] = _CHANGING_TEXT.sub("~", format_canonical_json(texts))
        # A plan that an earlier version kept without them is kept anew.
        if labels := [[str(one.address), *one.labels] for one in plan.changes if one.labels]:
            facts["labels"] = labels
        facts["guards"] = [[guard.name, *map(str, guard.rows)] for guard in plan.guards]
        facts["moved"] = [str(moved) for moved in plan.moved]
    return hashlib.sha256(format_canonical_json(facts).encode()).hexdigest()


def _count_changes(plan: Plan) -> ChangeCounts:
    summary = plan.summary
    counted = [
        change
        for change in plan.changes
        if (change.action is not Action.NO_OP or change.is_refused or _is_kept_drift(change))
        and not change.superseded
    ]
    return ChangeCounts(
        add=summary.add,
        change=summary.change,
        destroy=summary.destroy,
        import_=summary.import_,
        forget=summary.forget,
        refused=summary.blocked,
        drifted=sum(
            change.action is Action.RECREATE
            or _is_kept_drift(change)
            or bool(change.field_causes & _DRIFT_CAUSES)
            for change in counted
        ),
        guards=len(plan.guards),
    )


def _is_kept_drift(change: Change) -> bool:
    """Whether an apply leaves a field or package that drifted as it is (`on_drift: hold`)."""
    return bool(change.held) or KEPT_KEY in change.extras


def exception_finding(subject: str) -> Diagnostic:
    """The exception that is handled now, by its type and place: its text may quote a secret."""
    kind, _, trace = sys.exc_info()
    frame = traceback.extract_tb(trace)[-1]
    name = kind.__name__ if kind is not None else "Exception"
    return error_finding(
        "Internal error",
        f"{subject} ended with {name} in {Path(frame.filename).name}, line {frame.lineno}.",
        "This is a bug in synapse-apply: please report it. It does not affect the other targets.",
    )


# Which rows of a plan somebody has to decide about and why, and which jobs run beside it.
#
# A row is made for what asks for something or is refused, and for each guard. What a plan does to
# the state alone (records that move to another address, or take over what is live already) is no
# row: no call is made for it.

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
        fields=_list_row_fields(change),
        is_irreversible=is_irreversible(change),
        labels=change.labels,
    )


def _list_row_fields(change: Change) -> tuple[str, ...]:
    if change.action in {Action.CREATE, Action.RECREATE, Action.DELETE}:
        return ("",)
    if change.action is not Action.UPDATE:
        return ()
    # What a late call of ours set is no drift.
    drifted = [field for field in change.fields if not field.origin]
    if len(drifted) > MAX_FIELDS:
        return (MANY_FIELDS,)
    names = (format_field_path(field.path) for field in drifted)
    return tuple(dict.fromkeys(_format_limited_line(name, MAX_NAME_CHARACTERS) for name in names))


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
    names = (format_field_path(field.path) for field in change.fields)
    return format_short_list(names, _MAX_NAMED_FIELDS)


def _format_limited_line(text: str, max_length: int) -> str:
    return limit_text(sanitize(" ".join(text.split())), max_length)


def read_running_jobs(target: OpenTarget, plan: Plan) -> RunningJobsSeen | None:
    """The running jobs of a plan's plugins, by one request; None where it has no live plugin.

    What a job was given and what it says is not in them. Never raises: a look is worth more than
    its jobs.
    """
    try:
        running = target.jobs.find_running_jobs_or_none(plan)
    except SynapseApplyError:
        return RunningJobsSeen(unread_reason="the controller could not ask the backend")
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


READ_SECONDS = 60.0
_NOT_STARTED = RunResult(RunOutcome.WORKER_LOST)


def read_targets_in_child(
    source: Source, data: Path, commit: str, pin: str, seconds: float = READ_SECONDS
) -> tuple[LabelledTarget, ...]:
    """The targets that a commit of a source's mirror declares; `pin` as in CommittedProject.

    The child has no variable of the controller. InputError where the project file cannot be used;
    SourceUnavailable where the commit cannot be read, and after so many seconds.
    """
    data = data.absolute()  # a worker has another working folder
    folders = source_folders(data, source)
    read = (source.path, source.project_from, str(data), pin)
    mirror = str(folders.mirror)
    order, result = Order(source.name, "", commit, seconds, folder=mirror, read=read), _NOT_STARTED
    with suppress(OSError):
        child = Child(build_child_environment((), {"HOME": str(folders.home)}))
        try:
            result = child.work_or_kill(order, Conversation(order))
        finally:
            child.kill()
    if result.outcome is RunOutcome.IN_SYNC:
        return result.targets
    if result.outcome is RunOutcome.PLAN_ERROR:
        raise InputError(*result.findings)
    took = f"took longer than {seconds:g} s" if result.outcome is RunOutcome.TIMEOUT else "failed"
    raise SourceUnavailable.from_summary(
        "The project file cannot be read",
        f"{source.name}: reading the project file {took}.",
        "Check that it is the intended file. The controller retries, less often each time.",
        position=source.position,
    )


def read_targets_as_ordered(order: Order) -> RunResult:
    """In the child: the targets, or why the file cannot be used; all else ends the child."""
    path, project_from, data, pin = order.read
    source = Source(order.source, "", path=path, project_from=project_from)
    try:
        targets = read_committed_targets(source, Path(data), order.commit, pin)
    except InputError as problem:
        return build_result_of_failure(problem.diagnostics)
    return RunResult(RunOutcome.IN_SYNC, targets=targets)
