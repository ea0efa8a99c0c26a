"""How the JSON of `/api/v1` is written and asked for, and its list of targets (schemas/v1)."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import fields
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from synapse_apply.controller import api_types as types
from synapse_apply.controller.page import addresses
from synapse_apply.controller.page.phrases import format_utc
from synapse_apply.controller.page.readable_store import ReadableStore, list_running_calls
from synapse_apply.controller.ports import TargetFilter, TargetPage
from synapse_apply.controller.rows import (
    LEADER_LEASE,
    CallCounts,
    ChangeCounts,
    SourceRow,
    TargetCondition,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.rules.permits import is_pause_active
from synapse_apply.controller.rules.processes import LiveProcess, list_live_processes
from synapse_apply.controller.rules.revisions import is_fetch_settled
from synapse_apply.controller.store.controller_store import SqliteControllerStore
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.json_types import JsonDocument
from synapse_apply.views.sanitize import escape_unsafe_json

MAX_ITEMS = 1000
_DEFAULT_ITEMS = 100


class BadQueryError(ValueError):
    """A parameter that makes no sense; its text says which."""


def list_targets_as_json(
    store: ReadableStore, parameters: Mapping[str, str], now: float
) -> JsonDocument:
    """A TargetList, with the pauses that hold `now`, a wall-clock time.

    Parameters: target or source, state, q; offset, limit. BadQueryError.
    """
    state = parameters.get("state", "")
    condition = next((c for c in TargetCondition if c.value == state), None)
    if state and condition is None:
        words = ", ".join(c.value for c in TargetCondition)
        raise BadQueryError(f"state must be one of: {words}")
    offset, limit = (parse_whole_number(parameters, "offset", 0), parse_limit(parameters))
    if (name := parse_target(parameters)) is not None:
        target = store.find_target(name)
        page = TargetPage([target], 1) if target is not None else TargetPage([], 0)
    else:
        source, text = parameters.get("source", ""), parameters.get("q", "")
        page = store.target_page(TargetFilter(source, condition, text), offset, limit)
    sources, labels = store.list_configured_sources(), store.list_labels()
    return write_document(
        types.TargetList,
        items=[
            _target_to_json(store, target, labels.get(target.name, {}), now)
            for target in page.targets
        ],
        total=page.matching_count,
        offset=offset,
        sources=[
            write_object(types.Source, source, is_up_to_date=is_fetch_settled(source))
            for source in sources
        ],
        source_findings=[
            write_object(types.SourceFinding, source=source.name, finding=finding)
            for source, finding in source_findings(store, sources)
        ],
        processes=[
            write_object(
                types.Process, process.row,
                is_leading=process.is_leading, difference=process.difference,
            )
            for process in live_processes(store)
        ],
        pauses=[pause for pause in store.list_pauses() if is_pause_active(pause, now)],
    )  # fmt: skip


def read_stored_targets(data_folder: Path) -> JsonDocument:
    """All targets of the store in a data folder, as `targets_document` gives them."""
    with closing(SqliteControllerStore(data_folder)) as store:
        return targets_document(store)


def targets_document(store: ReadableStore) -> JsonDocument:
    """All targets of a controller's store as one TargetList of its API.

    One may be missing where it changed meanwhile.
    """

    def read_page(offset: int) -> JsonDocument:
        page = {"offset": f"{offset}", "limit": f"{MAX_ITEMS}"}
        return list_targets_as_json(store, page, time.time())

    document = read_page(0)
    items = list(document["items"])
    while len(items) < document["total"]:
        page = read_page(len(items))["items"]
        if not page:
            break
        items.extend(page)
    return {**document, "items": items}


def live_processes(store: ReadableStore) -> Sequence[LiveProcess]:
    """The processes of the controller that somebody may know of; none where it is one alone."""
    lease = store.find_lease(LEADER_LEASE)
    return list_live_processes(store.list_processes(), lease)


def source_findings(
    store: ReadableStore, sources: Sequence[SourceRow]
) -> Sequence[tuple[SourceRow, Diagnostic]]:
    """Why sources cannot be followed: fetches, refs that went back, heads that cannot be used."""
    found = []
    for row in sources:
        head = store.find_revision(row.name, row.head) if row.head else None
        found += [(row, row.finding), (row, head.finding if head else None)]
    return [(row, finding) for row, finding in found if finding is not None]


def write_document(kind: type, row: object = None, **given: Any) -> JsonDocument:
    """A document of the API, whose `kind` is the name of its class; see `write_object`."""
    head = {"apiVersion": types.API_VERSION, "kind": kind.__name__}
    return {**head, **write_object(kind, row, **given)}


def write_object(shape: type, row: object = None, **given: Any) -> JsonDocument:
    """An object of the API: each field as it is given, else as `row` has it; null without one."""
    values = {
        name: given[name] if name in given else getattr(row, name) if row is not None else None
        for name in types.hints_of(shape)
    }
    return {name: _write_value(values[name], hint) for name, hint in types.hints_of(shape).items()}


def _write_value(value: Any, hint: Any) -> Any:
    """A value as JSON; `hint` is the declared type of its field."""
    if NoneType in get_args(hint) and value is not None:
        hint = get_args(hint)[0]
    match value:
        case Diagnostic():
            return value.to_json()
        case ChangeCounts() | CallCounts():
            # `import_` is `import`, a word of Python.
            return {field.name.rstrip("_"): getattr(value, field.name) for field in fields(value)}
        case TargetName():
            return str(value)
        case Enum():
            return value.value
        case list() | tuple():
            return [_write_value(part, get_args(hint)[0]) for part in value]
        case "" if hint == types.Text:
            return None
        case 0 if hint in {types.Time, types.Number}:
            return None
        case int() | float() if hint in {types.Time, types.Moment}:
            return format_utc(value)
        case None | dict():
            return value
    return write_object(hint, value) if types.is_shape(hint) else value


def format_safe_json(document: Mapping[str, Any]) -> str:
    """A document as text, in which nothing is invisible or steers a terminal."""
    return escape_unsafe_json(json.dumps(document, ensure_ascii=False)) + "\n"


def parse_limit(parameters: Mapping[str, str], default: int = _DEFAULT_ITEMS) -> int:
    """The parameter `limit`; BadQueryError for one that makes no sense."""
    limit = parse_whole_number(parameters, "limit", default)
    if not 1 <= limit <= MAX_ITEMS:
        raise BadQueryError(f"limit must be between 1 and {MAX_ITEMS}")
    return limit


def parse_target(parameters: Mapping[str, str]) -> TargetName | None:
    """The parameter `target`, None where it is left out; BadQueryError for no SOURCE/TARGET."""
    if "target" not in parameters:
        return None
    source, separator, target = parameters["target"].partition("/")
    if not separator:
        raise BadQueryError("target is missing: write SOURCE/TARGET")
    return TargetName(source, target)


def parse_whole_number(parameters: Mapping[str, str], name: str, default: int) -> int:
    """A parameter that is a whole number from 0 on; BadQueryError for another."""
    text = parameters.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise BadQueryError(f"{name} must be a whole number")
    return int(text)


def _target_to_json(
    store: ReadableStore, target: TargetRow, labels: Mapping[str, str], now: float
) -> JsonDocument:
    # The first error of the last look at a failing target.
    is_failing, running = target.state is TargetCondition.FAILING, target.running_jobs
    run = store.find_run(target.last_run) if is_failing else None
    errors = (finding for finding in run.findings if finding.is_error) if run else ()
    return write_object(
        types.Target,
        target,
        source=target.name.source,
        target=target.name.target,
        finding=next(iter(errors), None),
        is_claimed=bool(target.holder),
        applying_count=len(target.applying),
        # None where the last look did not ask.
        running_jobs=running if running.seen_at else None,
        running_calls=list_running_calls(store, target, now),
        labels=labels,
        path=addresses.build_target_path(target.name),
    )
