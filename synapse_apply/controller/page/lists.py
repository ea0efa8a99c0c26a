"""What the documents of `/api/v1` have that somebody reads (schemas/v1/controller-*.json).

Parameters that make no sense raise BadQueryError.
"""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from synapse_apply.controller import api_types as types
from synapse_apply.controller.page import addresses
from synapse_apply.controller.page.api import (
    MAX_ITEMS,
    BadQueryError,
    list_targets_as_json,
    parse_limit,
    parse_target,
    parse_whole_number,
    write_document,
    write_object,
)
from synapse_apply.controller.page.readable_store import iter_present_targets
from synapse_apply.controller.page.rollout_views import (
    RolloutView,
    TargetCell,
    WaveView,
    list_rollout_summaries,
    read_rollout_view,
    require_rollout_view,
)
from synapse_apply.controller.page.run_documents import parse_readable_plan, parse_report_object
from synapse_apply.controller.page.runs import HeldRows, HeldRowView, list_decidable_rows
from synapse_apply.controller.page.visitor import Visitor, forbidden, not_found
from synapse_apply.controller.ports import AuditFilter, TargetFilter
from synapse_apply.controller.rows import RolloutTargetRow, TargetCondition
from synapse_apply.controller.rules.access import APPROVAL_SECONDS
from synapse_apply.controller.rules.rollouts import MemberState
from synapse_apply.model.json_types import JsonDocument
from synapse_apply.views.json.documents import plan_document

_CONDITIONS_WITHOUT_HOLDS = {TargetCondition.IN_SYNC, TargetCondition.NOT_LOOKED_AT}


def targets(visitor: Visitor) -> JsonDocument:
    """A TargetList. Parameters: target or source, state, q; offset, limit."""
    return list_targets_as_json(visitor.store, visitor.parameters, visitor.now)


def revisions(visitor: Visitor) -> JsonDocument:
    """A RevisionList of one source, newest first. Parameters: source, limit."""
    source = visitor.parameters.get("source", "")
    if not source:
        raise BadQueryError("source is missing")
    rows = visitor.store.newest_revisions(source, parse_limit(visitor.parameters))
    items = [
        write_object(
            types.Revision, row, end=row.end_word,
            path=addresses.build_revision_path(source, row.commit),
        )
        for row in rows
    ]  # fmt: skip
    return write_document(types.RevisionList, items=items)


def runs(visitor: Visitor) -> JsonDocument:
    """A RunList of one target, newest first. Parameters: target, limit."""
    name = parse_target(visitor.parameters)
    if name is None:
        raise BadQueryError("target is missing: write SOURCE/TARGET")
    limit = parse_limit(visitor.parameters)
    items = [
        write_object(types.ListedRun, run, path=addresses.build_run_path(run.id))
        for run in visitor.store.newest_runs(name, limit)
    ]
    return write_document(types.RunList, items=items)


def run(visitor: Visitor) -> JsonDocument | None:
    """A Run with the documents of its plan and report; None for an unknown one."""
    row = visitor.store.find_run(visitor.request.path_params["run"])
    if row is None:
        return None
    plan = parse_readable_plan(row.plan_json)
    return write_document(
        types.Run,
        row,
        path=addresses.build_run_path(row.id),
        plan=plan_document(plan) if plan is not None else None,
        report=parse_report_object(row.report_json),
    )


def holds(visitor: Visitor) -> JsonDocument:
    """A HoldList, of one target or of all. Parameters: target, offset, limit."""
    store, name = visitor.store, parse_target(visitor.parameters)
    offset = parse_whole_number(visitor.parameters, "offset", 0)
    limit = parse_limit(visitor.parameters, MAX_ITEMS)
    if name is not None and store.find_target(name) is None:
        raise not_found(f"Target {name} does not exist.")
    names = [name] if name is not None else []
    for condition in TargetCondition if name is None else ():
        if condition not in _CONDITIONS_WITHOUT_HOLDS:
            # Before their rows are read: pages are of one moment as far as possible.
            present = iter_present_targets(store, TargetFilter(state=condition))
            names += [row.name for row in present if row.hold_count]
    rows = [row for target in names for row in list_decidable_rows(visitor, target)]
    items = [
        _hold_to_json(view)
        for target, of_target in groupby(rows[offset : offset + limit], lambda row: row.target)
        for view in HeldRows(visitor, target).views([*of_target])
    ]
    return write_document(types.HoldList, items=items, total=len(rows), offset=offset)


def pauses(visitor: Visitor) -> JsonDocument:
    """A PauseList of the pauses that people have set and that hold now. Parameter: limit."""
    limit = parse_limit(visitor.parameters, MAX_ITEMS)
    rows = visitor.store.list_pauses()
    items = [pause for pause in rows if visitor.now < pause.until]
    return write_document(types.PauseList, items=items[:limit])


def audit(visitor: Visitor) -> JsonDocument:
    """An AuditList, newest first; with `after` oldest first. Parameters: who, q, after, limit.

    Only for who may read every target: a chain with gaps proves nothing.
    """
    parameters = visitor.parameters
    if not visitor.store.can_read_everything:
        raise forbidden(
            "Permission denied",
            "To read the whole audit, you need the `read` right for every target.",
        )
    after = parse_whole_number(parameters, "after", 0) if "after" in parameters else None
    audit_filter = AuditFilter(parameters.get("who", ""), parameters.get("q", ""), after=after)
    rows = visitor.store.audit_rows(parse_limit(parameters), audit_filter)
    return write_document(types.AuditList, items=rows)


def rollouts(visitor: Visitor) -> JsonDocument:
    """A RolloutList: each rollout with its waves, those that need a person first."""
    names = [summary.name for summary in list_rollout_summaries(visitor)]
    views = [read_rollout_view(visitor, name) for name in names]
    items = [_rollout_to_json(view) for view in views if view]
    return write_document(types.RolloutList, items=items)


def rollout(visitor: Visitor) -> JsonDocument:
    """A Rollout with some of its targets. Parameters: wave, state, offset, limit."""
    view, parameters = require_rollout_view(visitor), visitor.parameters
    state = parameters.get("state", "")
    words = [member_state.value for member_state in MemberState]
    if state and state not in words:
        raise BadQueryError(f"state must be one of: {', '.join(words)}")
    wave = parse_whole_number(parameters, "wave", 0)
    offset, limit = (parse_whole_number(parameters, "offset", 0), parse_limit(parameters))
    cells = view.filter_and_sort_cells(wave, state)
    return write_document(
        types.Rollout,
        **_rollout_to_json(view),
        items=[_target_cell_to_json(cell) for cell in cells[offset : offset + limit]],
        total=len(cells),
        offset=offset,
    )


def _hold_to_json(view: HeldRowView) -> JsonDocument:
    hold, count = view.hold, view.count
    left_out = {approval.who: approval.reason for approval in count.left_out}
    return write_object(
        types.Hold,
        hold.held_row.row,
        target=hold.target,
        digest=hold.row_digest,
        reason=hold.held_row.reason,
        detail=hold.held_row.detail,
        can_be_approved=hold.held_row.can_be_approved,
        approvals_needed=count.needed_count,
        approvers=count.approvers,
        is_yours=view.is_visitors,
        stricter_by=view.stricter_by,
        approved_by=count.who_counts,
        approvals=[
            write_object(
                types.Approval,
                approval,
                expires_at=approval.approved_at + APPROVAL_SECONDS,
                counts=approval.who in count.who_counts,
                reason=left_out.get(approval.who, ""),
            )
            for approval in view.approvals
        ],
        rejected_by=hold.rejected_by,
        rejected_reason=hold.rejected_reason,
        since=hold.since,
        commit=hold.commit,
        run=hold.run,
    )


def _rollout_to_json(view: RolloutView) -> JsonDocument:
    """A rollout as the API shows it, without its targets."""
    summary, row = view.summary, view.summary.row
    waves = summary.settings.waves if summary.settings else ()
    return write_object(
        types.ListedRollout,
        row,
        name=summary.name,
        source=summary.source,
        state=row.state if row else "not begun",
        needs_person=summary.needs_person,
        subject=summary.revision.subject if summary.revision else "",
        wave_count=row.wave_count if row else len(waves),
        description=view.description,
        waiting_head=view.waiting_head,
        waves=[_wave_to_json(wave) for wave in view.waves],
        path=addresses.build_rollout_path(summary.name),
    )


def _wave_to_json(wave: WaveView) -> JsonDocument:
    settings, commits = wave.settings, Counter(cell.commit for cell in wave.cells)
    names = ("targets", "labels", "soak", "max_parallel", "max_failures", "approve")
    return write_object(
        types.Wave,
        wave.row,
        wave=wave.number,
        state=wave.phase,
        **{name: getattr(settings, name) if settings else None for name in names},
        target_count=len(wave.cells),
        failed_count=wave.failed_count,
        target_states={state.value: count for state, count in wave.counts.items()},
        revisions=[
            write_object(types.Share, commit=commit, target_count=count)
            for commit, count in commits.most_common()
        ],
    )


def _target_cell_to_json(cell: TargetCell) -> JsonDocument:
    row = cell.row
    if not cell.has_revision:  # what an older revision has shown is no matter of this one
        row = RolloutTargetRow(row.target, row.rollout, row.wave, row.number, row.commit, "")
    return write_object(
        types.RolloutTarget,
        row,
        state=cell.state,
        commit=cell.commit,
        waiting_reason=cell.waiting_reason,
        soak_end=cell.soak_end,
        path=addresses.build_target_path(row.target),
    )
