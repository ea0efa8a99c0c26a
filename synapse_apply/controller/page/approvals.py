"""The rows of many targets that wait for a person: those that say the same once, for one click."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from synapse_apply.controller import verbs
from synapse_apply.controller.api_types import OddAnswerError
from synapse_apply.controller.page.readable_store import iter_present_targets
from synapse_apply.controller.page.run_documents import parse_readable_plan
from synapse_apply.controller.page.runs import HeldRows, HeldRowView, list_decidable_rows
from synapse_apply.controller.page.visitor import Visitor
from synapse_apply.controller.planned_rows import HoldReason
from synapse_apply.controller.ports import TargetFilter
from synapse_apply.controller.remote.answers import ShownField, planned_fields
from synapse_apply.controller.rows import HoldRow
from synapse_apply.controller.settings import Right
from synapse_apply.model.frozen import replace
from synapse_apply.views.json.documents import plan_document

MAX_SHOWN_ROWS = 1000
# Of all plans for one page: to read so much takes about two seconds.
MAX_PLAN_CHARACTERS = 16 * 1024 * 1024
_OF_NOBODY = {HoldReason.APPROVED, HoldReason.APPLYING}
_Fields = Sequence[ShownField]


def read_approvals(visitor: Visitor) -> Mapping[str, Any]:
    """The rows that somebody can approve, by what they say; those of the first targets of many.

    What cannot be read of a row may differ, so that such rows stand alone.
    """
    plans = _Plans(visitor)
    groups: dict[object, tuple[HeldRowView, _Fields | None, str, list[HoldRow]]] = {}
    shown_count, has_more = 0, False
    for target in iter_present_targets(visitor.store, TargetFilter()):
        if not target.hold_count or Right.APPROVE not in visitor.list_rights(target.name):
            continue
        held = HeldRows(visitor, target.name)
        doubt = held.doubt_of_own_approval()
        views = [
            view
            for view in held.views(list_decidable_rows(visitor, target.name))
            if view.is_visitors and view.hold.held_row.can_be_approved
            if view.hold.held_row.reason not in _OF_NOBODY and not view.is_approved_by_visitor
        ][: MAX_SHOWN_ROWS - shown_count]
        fields_by_run = {run: plans.read_fields(run) for run in {view.hold.run for view in views}}
        for view in views:
            row, count = view.hold.held_row.row, view.count
            fields = () if view.is_guard else fields_by_run[view.hold.run].get(row.address)
            key = (
                replace(row, digest="", labels=()),
                (view.reason, view.hold.rejected_by, view.hold.rejected_reason),
                (count.needed_count, count.approvers, count.who_counts, doubt),
                target.name if fields is None else fields,
            )
            groups.setdefault(key, (view, fields, doubt, []))[-1].append(view.hold)
        shown_count += len(views)
        if has_more := shown_count >= MAX_SHOWN_ROWS:
            break
    return {
        "groups": [*groups.values()],
        "has_more": has_more,
        "notice": visitor.read_own_notice(verbs.OF_SHOWN_ROWS),
    }


class _Plans:
    """The plans of runs as far as one page reads them: those that fit beside the earlier ones."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor
        self._room = MAX_PLAN_CHARACTERS

    def read_fields(self, run_id: str) -> Mapping[str, _Fields]:
        """What each row of the plan of a run changes, by address, as the command shows it."""
        # Its size first: to leave out what somebody may not read, all of it is parsed.
        whole = self._visitor.whole_store.find_run(run_id) if run_id else None
        size = len(whole.plan_json) if whole is not None else 0
        if size > self._room:
            return {}
        self._room -= size
        run = self._visitor.store.find_run(run_id) if size else None
        plan = parse_readable_plan(run.plan_json) if run is not None else None
        if plan is not None:
            with suppress(OddAnswerError):
                return planned_fields({"kind": "Run", "plan": plan_document(plan)})
        return {}
