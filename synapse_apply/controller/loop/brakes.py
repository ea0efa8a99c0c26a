"""A brake: fields that somebody changes again and again are told, and restored ever more rarely."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase

from synapse_apply.controller.loop.claiming import FinishedRun
from synapse_apply.controller.loop.deciding import TargetDecision
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.page.addresses import build_target_path
from synapse_apply.controller.planned_rows import Judgement, PlannedRow
from synapse_apply.controller.rows import END_OF_BRAKE, RestoredField, RunCause, RunVerb, TargetRow
from synapse_apply.controller.rules import brakes
from synapse_apply.controller.settings import Event
from synapse_apply.controller.store.store_writer import StoreWriter
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import warning_finding
from synapse_apply.model.frozen import replace
from synapse_apply.model.phrases import format_count_and_noun, format_short_list


def count_restored(
    parts: LoopParts,
    writer: StoreWriter,
    before: TargetRow,
    after: TargetRow,
    run: FinishedRun,
    decision: TargetDecision,
) -> TargetRow:
    """Count what a run has restored, and tell of what was restored often for the first time."""
    brake, now = decision.brake, parts.clock.read_wall()
    after = brakes.target_row_after_restoring(
        after,
        _list_done_rows(run, decision.judgement),
        None if run.result.outcome.is_failure else run.result.rows,
        decision.rule,
        brake,
        is_live=decision.terms.is_live,
        now=now,
    )
    told = brakes.list_told(before, after, brake)
    if told:
        _tell(parts, writer, after, told)
    return after


def is_known_drift(row: TargetRow, decision: TargetDecision) -> bool:
    """Whether people were told of all that drifted, as of what was restored often."""
    judgement = decision.judgement
    rows = (*judgement.permitted_rows, *judgement.waiting_rows)
    drifted = [one for one in rows if brakes.is_restoring(one, is_live=decision.terms.is_live)]
    return bool(drifted) and brakes.are_told(row, drifted, decision.brake)


def release_brakes(parts: LoopParts, writer: StoreWriter, scope: str) -> list[TargetRow]:
    """Let the braked fields of targets in a scope be restored now, and count from 0.

    Returns these targets as they were.
    """
    released, now = [], parts.clock.read_wall()
    for row in parts.store.list_restoring_targets():
        if fnmatchcase(str(row.name), scope) and any(one.is_braked for one in row.restored):
            due = replace(row, due_at=now, due_cause=RunCause.RESUMED, due_detail=END_OF_BRAKE)
            writer.put(replace(due, restored=()))
            released.append(row)
    return released


def describe_brakes(row: TargetRow) -> str:
    """The braked fields of a target, for the audit."""
    return format_short_list(one.name for one in row.restored if one.is_braked)


def _list_done_rows(run: FinishedRun, judgement: Judgement) -> list[PlannedRow]:
    """The rows that a run did, as its report says; a worker is not trusted with that."""
    if run.verb is not RunVerb.APPLY:
        return []
    done = set[str]()
    with suppress(ValueError, RecursionError, LookupError, TypeError, AttributeError):
        for one in json.loads(run.result.report_json)["outcomes"]:
            if one["result"] == "done":
                done.add(one["address"])
    return [row for row in judgement.permitted_rows if row.address in done]


def _tell(
    parts: LoopParts, writer: StoreWriter, row: TargetRow, told: Sequence[RestoredField]
) -> None:
    first, name, names = told[0], str(row.name), format_short_list(one.name for one in told)
    summary = f"{first.name} was restored {format_count_and_noun(first.count, 'time')}"
    if len(told) > 1:
        summary = f"{len(told)} fields were restored repeatedly: {names}"
    detail = f"{first.address or first.name}: {brakes.describe(first)}."
    detail += "" if first.by else " The controller does not know who changes it."
    hint = Text(
        "To restore the fields now and reset the count: ", Command("controller resume", name), ". "
            "To keep the "
        "live value, declare it in Git",
        *(
            (", or: ", Command("state accept", first.address, target=row.name.target))
            if first.address
            else ()
        ),
        ".",
    )  # fmt: skip
    finding = warning_finding(summary, detail, hint, address=first.address)
    fact = f"{name} restored {first.address} {first.field} {first.since} {len(told)}"
    parts.queue_messages(
        writer,
        Event.DRIFT,
        fact,
        source=row.name.source,
        target=row.name,
        commit=row.wanted_commit,
        finding=finding,
        page=build_target_path(row.name),
    )
    writer.append_audit(parts.clock.read_wall(), parts.who, "brake", name, names)
    parts.log("warn", "brake", target=row.name, fields=names)
