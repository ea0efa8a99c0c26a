"""The JSON of `/api/v1`: lists of targets, revisions and runs (schemas/v1/controller-*.json)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from synapse_apply.controller.page import addresses
from synapse_apply.controller.page.phrases import format_utc
from synapse_apply.controller.page.run_documents import parse_readable_plan, parse_report_object
from synapse_apply.controller.ports import ReadableStore, TargetFilter, TargetPage
from synapse_apply.controller.rows import (
    LEADER_LEASE,
    CallCounts,
    ChangeCounts,
    RunningJobsSeen,
    RunRow,
    SourceRow,
    TargetCondition,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.rules.processes import LiveProcess, list_live_processes
from synapse_apply.controller.rules.revisions import is_fetch_settled
from synapse_apply.model.coding.json_types import JsonDocument
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.views.json.documents import plan_document
from synapse_apply.views.sanitize import escape_unsafe_json

API_VERSION = "synapse-apply/v1"
MAX_ITEMS = 1000
_DEFAULT_ITEMS = 100


class BadQueryError(ValueError):
    """A parameter that makes no sense; its text says which."""


def list_targets_as_json(store: ReadableStore, parameters: Mapping[str, str]) -> JsonDocument:
    """A TargetList. Parameters: target or source, state, q; offset, limit. BadQueryError."""
    state = parameters.get("state", "")
    condition = next((c for c in TargetCondition if c.value == state), None)
    if state and condition is None:
        words = ", ".join(c.value for c in TargetCondition)
        raise BadQueryError(f"state is one of: {words}")
    offset, limit = (parse_whole_number(parameters, "offset", 0), parse_limit(parameters))
    if (name := parse_target(parameters)) is not None:
        target = store.find_target_even_if_gone(name)
        page = TargetPage([target], 1) if target is not None else TargetPage([], 0)
    else:
        source, text = parameters.get("source", ""), parameters.get("q", "")
        page = store.read_page_of_present_targets(
            TargetFilter(source, condition, text), offset, limit
        )
    items = [_target_to_json(target, _first_error(store, target)) for target in page.targets]
    sources = store.list_configured_sources()
    return {
        **build_list_document("TargetList", items),
        "total": page.matching_count,
        "offset": offset,
        "sources": [
            {
                "name": source.name,
                "head": source.head or None,
                "fetched_at": _time_to_json(source.fetched_at),
                "is_up_to_date": is_fetch_settled(source),
            }
            for source in sources
        ],
        "source_findings": [
            {"source": source.name, "finding": _finding_to_json(finding)}
            for source in sources
            for finding in _source_findings(store, source)
        ],
        "processes": [
            _process_to_json(process)
            for process in list_live_processes(
                store.list_recorded_processes(), store.find_lease_even_if_over(LEADER_LEASE)
            )
        ],
    }


def list_revisions_as_json(store: ReadableStore, parameters: Mapping[str, str]) -> JsonDocument:
    """A RevisionList of one source, newest first. Parameters: source, limit. BadQueryError."""
    source = parameters.get("source", "")
    if not source:
        raise BadQueryError("source is missing")
    revisions = store.list_newest_revisions(source, parse_limit(parameters))
    return build_list_document(
        "RevisionList",
        [
            {
                "source": row.source,
                "number": row.number,
                "commit": row.commit,
                "author": row.author,
                "subject": row.subject,
                "end": row.end_word or None,
                "description": row.description,
                "overtaken_by": row.overtaken_by or None,
                "forced_away": row.forced_away,
                "finding": _finding_to_json(row.finding) if row.finding else None,
                "seen_at": _time_to_json(row.seen_at),
                "ended_at": _time_to_json(row.ended_at),
                "path": addresses.build_revision_path(row.source, row.commit),
            }
            for row in revisions
        ],
    )


def list_runs_as_json(store: ReadableStore, parameters: Mapping[str, str]) -> JsonDocument:
    """A RunList of one target, newest first. Parameters: target, limit. BadQueryError."""
    name = parse_target(parameters)
    if name is None:
        raise BadQueryError("target is missing: SOURCE/TARGET")
    runs = store.list_newest_runs_without_documents(name, parse_limit(parameters))
    return build_list_document("RunList", [_run_to_json(run) for run in runs])


def read_run_as_json_or_none(store: ReadableStore, run_id: str) -> JsonDocument | None:
    """A Run with the documents of its plan and report; None for an unknown one."""
    run = store.find_run(run_id)
    if run is None:
        return None
    plan = parse_readable_plan(run.plan_json)
    return {
        "apiVersion": API_VERSION,
        "kind": "Run",
        **_run_to_json(run),
        "plan": plan_document(plan) if plan is not None else None,
        "report": parse_report_object(run.report_json),
    }


def format_safe_json(document: Mapping[str, Any]) -> str:
    """A document as text, in which nothing is invisible or steers a terminal."""
    return escape_unsafe_json(json.dumps(document, ensure_ascii=False)) + "\n"


def build_list_document(kind: str, items: list[dict[str, Any]]) -> JsonDocument:
    """A document of some kind with these items."""
    return {"apiVersion": API_VERSION, "kind": kind, "items": items}


def parse_limit(parameters: Mapping[str, str], default: int = _DEFAULT_ITEMS) -> int:
    """The parameter `limit`; BadQueryError for one that makes no sense."""
    limit = parse_whole_number(parameters, "limit", default)
    if not 1 <= limit <= MAX_ITEMS:
        raise BadQueryError(f"limit is at least 1 and at most {MAX_ITEMS}")
    return limit


def parse_target(parameters: Mapping[str, str]) -> TargetName | None:
    """The parameter `target`, None where it is left out; BadQueryError for no SOURCE/TARGET."""
    if "target" not in parameters:
        return None
    source, separator, target = parameters["target"].partition("/")
    if not separator:
        raise BadQueryError("target is missing: SOURCE/TARGET")
    return TargetName(source, target)


def parse_whole_number(parameters: Mapping[str, str], name: str, default: int) -> int:
    """A parameter that is a whole number from 0 on; BadQueryError for another."""
    text = parameters.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise BadQueryError(f"{name} is a whole number")
    return int(text)


def _process_to_json(process: LiveProcess) -> JsonDocument:
    row = process.row
    return {
        "host": row.host,
        "process_id": row.process_id,
        "role": row.role.value,
        "version": row.version,
        "is_leading": process.is_leading,
        "difference": process.difference,
    }


def _source_findings(store: ReadableStore, source: SourceRow) -> list[Diagnostic]:
    """Why a source cannot be followed: its last fetch, and its head."""
    head = store.find_newest_revision_of_commit(source.name, source.head) if source.head else None
    findings = (source.finding, head.finding if head is not None else None)
    return [finding for finding in findings if finding is not None]


def _first_error(store: ReadableStore, target: TargetRow) -> Diagnostic | None:
    """The first error of the last look at a failing target; None for any other target."""
    if target.state is not TargetCondition.FAILING:
        return None
    run = store.find_run(target.last_run)
    return next((finding for finding in run.findings if finding.is_error), None) if run else None


def _target_to_json(target: TargetRow, reason: Diagnostic | None) -> JsonDocument:
    return {
        "name": str(target.name),
        "source": target.name.source,
        "target": target.name.target,
        "state": target.state.value,
        "counts": _counts_to_json(target.counts),
        "applied_commit": target.applied_commit or None,
        "wanted_commit": target.wanted_commit or None,
        "mode": target.mode.value,
        "progress": target.progress.value,
        "waiting_reason": target.waiting_reason or None,
        "hold_count": target.hold_count,
        "held_guard_count": target.held_guard_count,
        "failures": target.failures,
        "finding": None if reason is None else _finding_to_json(reason),
        "is_gone": target.is_gone,
        "last_run": target.last_run or None,
        "looked_at": _time_to_json(target.looked_at),
        "changed_at": _time_to_json(target.changed_at),
        "applied_at": _time_to_json(target.applied_at),
        "due_at": _time_to_json(target.due_at),
        "due_cause": target.due_cause.value,
        "is_claimed": bool(target.holder),
        "running_jobs": _running_jobs(target.running_jobs),
        "path": addresses.build_target_path(target.name),
    }


def _running_jobs(running: RunningJobsSeen) -> JsonDocument | None:
    """What the last look was told of jobs, None where it did not ask."""
    if not running.seen_at:
        return None
    return {
        "seen_at": format_utc(running.seen_at),
        "unread_reason": running.unread_reason or None,
        "is_cut": running.is_cut,
        "jobs": [
            {
                "id": job.id,
                "owner": job.owner,
                "version": job.version or None,
                "progress": job.progress,
                "since": _time_to_json(job.since),
            }
            for job in running.jobs
        ],
    }


def _run_to_json(run: RunRow) -> JsonDocument:
    return {
        "id": run.id,
        "target": str(run.target),
        "commit": run.commit or None,
        "verb": run.verb.value,
        "cause": run.cause.value,
        "outcome": run.outcome.value,
        "stop_reason": run.stop_reason or None,
        "counts": _counts_to_json(run.counts),
        "calls": _counts_to_json(run.calls),
        "approved_by": list(run.approved_by),
        "findings": [_finding_to_json(finding) for finding in run.findings],
        "repeats": run.repeats,
        "began_at": _time_to_json(run.began_at),
        "ended_at": _time_to_json(run.ended_at),
        "last_seen_at": _time_to_json(run.last_seen_at),
        "path": addresses.build_run_path(run.id),
    }


def _counts_to_json(counts: ChangeCounts | CallCounts) -> dict[str, int]:
    # `import_` is `import`, a word of Python.
    return {field.name.rstrip("_"): getattr(counts, field.name) for field in fields(counts)}


def _finding_to_json(finding: Diagnostic) -> JsonDocument:
    return finding.to_json()


def _time_to_json(when: float) -> str | None:
    return format_utc(when) if when else None
