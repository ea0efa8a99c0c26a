"""The JSON of `/api/v1/rollouts`: every rollout with its waves, and one with its targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from synapse_apply.controller.page import addresses
from synapse_apply.controller.page.api import (
    API_VERSION,
    BadQueryError,
    build_list_document,
    parse_limit,
    parse_whole_number,
)
from synapse_apply.controller.page.entry.readable_store import RestrictedStore
from synapse_apply.controller.page.phrases import format_utc
from synapse_apply.controller.page.rollouts.rollout_views import (
    RolloutView,
    list_rollout_summaries,
    read_rollout_view,
)
from synapse_apply.controller.page.rollouts.target_list import filter_and_sort_cells
from synapse_apply.controller.page.rollouts.wave_views import TargetCell, WaveView
from synapse_apply.controller.rows import RolloutTargetRow
from synapse_apply.controller.rules.rollouts import MemberState
from synapse_apply.controller.settings import Controller
from synapse_apply.model.coding.json_types import JsonDocument

_STATE_OF_NOT_BEGUN = "not begun"


def list_rollouts_as_json(store: RestrictedStore, settings: Controller) -> JsonDocument:
    """A RolloutList: each rollout with its waves, those that need a person first."""
    names = [summary.name for summary in list_rollout_summaries(store, settings)]
    views = [read_rollout_view(store, name, settings) for name in names]
    return build_list_document("RolloutList", [rollout_to_json(view) for view in views if view])


def rollout_and_targets_json(view: RolloutView, parameters: Mapping[str, str]) -> JsonDocument:
    """A Rollout with some of its targets. Parameters: wave, state, offset, limit. BadQueryError."""
    state = parameters.get("state", "")
    words = [member_state.value for member_state in MemberState]
    if state and state not in words:
        raise BadQueryError(f"state is one of: {', '.join(words)}")
    wave = parse_whole_number(parameters, "wave", 0)
    offset, limit = (parse_whole_number(parameters, "offset", 0), parse_limit(parameters))
    cells = filter_and_sort_cells(view, wave, state)
    return {
        "apiVersion": API_VERSION,
        "kind": "Rollout",
        **rollout_to_json(view),
        "items": [_target_cell_to_json(cell) for cell in cells[offset : offset + limit]],
        "total": len(cells),
        "offset": offset,
    }


def rollout_to_json(view: RolloutView) -> JsonDocument:
    """A rollout as the API shows it, without its targets."""
    summary = view.summary
    row = summary.row
    return {
        "name": summary.name,
        "source": summary.source,
        "state": row.state.value if row else _STATE_OF_NOT_BEGUN,
        "needs_person": summary.needs_person,
        "commit": row.commit if row else None,
        "number": row.number if row else None,
        "subject": summary.revision.subject if summary.revision else None,
        "wave": row.wave if row else None,
        "wave_count": row.wave_count
        if row
        else len(summary.settings.waves)
        if summary.settings
        else 0,
        "description": view.description or None,
        "waiting_head": view.waiting_head or None,
        "begun_at": _time_to_json(row.begun_at if row else 0),
        "state_since": _time_to_json(row.state_since if row else 0),
        "state_by": row.state_by or None if row else None,
        "state_reason": row.state_reason or None if row else None,
        "waves": [_wave_to_json(wave) for wave in view.waves],
        "path": addresses.build_rollout_path(summary.name),
    }


def _wave_to_json(wave: WaveView) -> JsonDocument:
    settings, row = wave.settings, wave.row
    commits = Counter(cell.commit for cell in wave.cells)
    return {
        "wave": wave.number,
        "state": wave.phase.value,
        "targets": list(settings.targets) if settings else None,
        "labels": dict(settings.labels) if settings else None,
        "soak": settings.soak if settings else None,
        "max_parallel": settings.max_parallel if settings else None,
        "max_failures": settings.max_failures if settings else None,
        "approve": settings.approve if settings else None,
        "opened_at": _time_to_json(row.opened_at if row else 0),
        "approved_by": row.approved_by or None if row else None,
        "closed_at": _time_to_json(row.closed_at if row else 0),
        "closed_by": row.closed_by or None if row else None,
        "reason": row.reason or None if row else None,
        "target_count": len(wave.cells),
        "failed_count": wave.failed_count,
        "target_states": {state.value: count for state, count in wave.counts.items()},
        "revisions": [
            {"commit": commit or None, "target_count": count}
            for commit, count in commits.most_common()
        ],
    }


def _target_cell_to_json(cell: TargetCell) -> dict[str, Any]:
    row = cell.row
    if not cell.has_revision:  # what an older revision has shown is no matter of this one
        row = RolloutTargetRow(row.target, row.rollout, row.wave, row.number, row.commit, "")
    return {
        "target": str(row.target),
        "wave": row.wave,
        "state": cell.state.value,
        "commit": cell.commit or None,
        "waiting_reason": cell.waiting_reason or None,
        "moved_at": _time_to_json(row.moved_at),
        "good_since": _time_to_json(row.good_since),
        "good_until": _time_to_json(row.good_until),
        "soaked": row.soaked,
        "soak_end": _time_to_json(cell.soak_end),
        "failed_at": _time_to_json(row.failed_at),
        "path": addresses.build_target_path(row.target),
    }


def _time_to_json(when: float) -> str | None:
    return format_utc(when) if when else None
