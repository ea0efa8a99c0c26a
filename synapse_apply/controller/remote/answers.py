"""Which answers of a controller's API are believed: those that have all that is printed of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple, TypeVar

from synapse_apply.controller.rows import (
    AuditRow,
    CallCounts,
    RunCause,
    RunOutcome,
    RunVerb,
    TargetCondition,
)
from synapse_apply.controller.settings import Mode
from synapse_apply.model.coding.json_types import JsonValue
from synapse_apply.model.diagnostic import Diagnostic, error_finding, format_json_pointer
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.views.grammar import format_byte_size

T = TypeVar("T")
E = TypeVar("E", bound=Enum)
# For which a look or an apply is due at once; the other causes are those of a later time.
_CAUSES_OF_NOW = frozenset({RunCause.ASKED, RunCause.PUSH, RunCause.APPROVED, RunCause.APPLIED})
_SENSITIVE, _UNKNOWN = "(sensitive)", "(known after apply)"


class OddAnswerError(ValueError):
    """An answer that lacks something, or has it in another type; the text names the field."""


class ShownApproval(NamedTuple):
    """Who approved a row; `reason` says why that does not count, "" where it does."""

    who: str
    reason: str


@frozen
class ShownRow:
    """A row of a target that waits for a person, in the words of the controller.

    `reason` and `detail` are why it waits. `approvals_needed` is how many people have to approve
    it. `rejected_by` is "" for a row that nobody rejected.
    """

    digest: str
    address: str
    action: str
    causes: tuple[str, ...]
    summary: str
    reason: str
    detail: str
    can_be_approved: bool
    commit: str
    run: str = ""
    approvals_needed: int = 1
    approvals: tuple[ShownApproval, ...] = ()
    rejected_by: str = ""
    rejected_reason: str = ""


class ShownField(NamedTuple):
    """A field that a row changes: its JSON Pointer, and both values as JSON; "" for none.

    Its package, too, under that name.
    """

    path: str
    before: str
    after: str


@frozen
class ShownTarget:
    """A target as the controller shows it; `item` is all of it.

    `is_settled` says that nothing is done with it, due, or asked for, of its source neither.
    `source_findings` are what is wrong with its source.
    """

    item: Mapping[str, Any]
    state: TargetCondition
    mode: Mode
    is_settled: bool
    source_findings: tuple[Mapping[str, Any], ...] = ()


class ShownRunEnd(NamedTuple):
    """What of a run decides about an exit code."""

    verb: RunVerb
    outcome: RunOutcome
    calls: CallCounts


@frozen
class ActionResult:
    """What a controller did when it was asked; `who` is whom it took the token for."""

    who: str
    until: str = ""


class AnswerPage(NamedTuple):
    """The items of one answer, and how many there are in all; None where it does not say.

    `fields` is the answer as a whole, of which nothing else is checked.
    """

    items: list[Mapping[str, Any]]
    total: int | None
    fields: Mapping[str, Any]


def decode_list_page_of_kind(document: JsonValue, kind: str) -> AnswerPage:
    """The items of a list of this kind; OddAnswerError."""
    fields = require_mapping(document, "the answer")
    if fields.get("kind") != kind:
        raise OddAnswerError(f"it is not a {kind}")
    items = require_list(fields.get("items"), "items")
    total = fields.get("total")
    return AnswerPage(
        [require_mapping(item, "items") for item in items],
        None if total is None else require_count(total, "total"),
        fields,
    )


def decode_sources(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sources of a TargetList; OddAnswerError."""
    sources = []
    for item in require_list(fields.get("sources", []), "sources"):
        source = require_mapping(item, "sources")
        require_text(source, "name")
        if not isinstance(source.get("is_up_to_date"), bool):
            raise OddAnswerError("is_up_to_date")
        sources.append(dict(source))
    return sources


def decode_source_findings(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is wrong with sources, of a TargetList; OddAnswerError."""
    findings = []
    for item in require_list(fields.get("source_findings", []), "source_findings"):
        entry = require_mapping(item, "source_findings")
        finding = require_mapping(entry.get("finding"), "finding")
        require_text(entry, "source")
        require_text(finding, "summary")
        get_text_or_empty(finding, "detail")
        findings.append({"source": entry["source"], "finding": dict(finding)})
    return findings


def decode_processes(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The processes of a TargetList, none in that of an older controller; OddAnswerError."""
    processes = []
    for item in require_list(fields.get("processes", []), "processes"):
        process = require_mapping(item, "processes")
        for key in ("host", "role", "version", "difference"):
            require_text(process, key)
        require_count(process.get("process_id"), "process_id")
        if not isinstance(process.get("is_leading"), bool):
            raise OddAnswerError("is_leading")
        processes.append(dict(process))
    return processes


def require_printable_target(item: Mapping[str, Any]) -> None:
    """OddAnswerError for a target that lacks what is printed of it."""
    require_text(item, "name")
    if item.get("state") not in {condition.value for condition in TargetCondition}:
        raise OddAnswerError("state")
    for count in require_mapping(item.get("counts"), "counts").values():
        require_count(count, "counts")
    if (finding := item.get("finding")) is not None:
        require_text(require_mapping(finding, "finding"), "summary")
    for key in ("wanted_commit", "looked_at", "waiting_reason", "path"):
        get_text_or_empty(item, key)
    for key in ("hold_count", "held_guard_count"):
        require_count(item.get(key, 0), key)


def decode_first_target(page: AnswerPage, name: str) -> ShownTarget | None:
    """The target `name`, the only one of a TargetList; None for an empty one.

    OddAnswerError, also for another target or more than one.
    """
    sources = {source["name"]: source for source in decode_sources(page.fields)}
    if not page.items:
        return None
    item = page.items[0]
    require_printable_target(item)
    if len(page.items) > 1 or item["name"] != name:
        raise OddAnswerError("name")
    if not isinstance(item.get("is_claimed"), bool):
        raise OddAnswerError("is_claimed")
    cause = _decode_enum_member(RunCause, item, "due_cause")
    source = sources.get(require_text(item, "source"), {})
    is_idle = not item["is_claimed"] and cause not in _CAUSES_OF_NOW
    return ShownTarget(
        item,
        TargetCondition(item["state"]),
        _decode_enum_member(Mode, item, "mode"),
        is_settled=is_idle and bool(source.get("is_up_to_date", True)),
        source_findings=tuple(
            entry
            for entry in decode_source_findings(page.fields)
            if entry["source"] == item["source"]
        ),
    )


def decode_run_end(item: Mapping[str, Any]) -> ShownRunEnd:
    """A run of a RunList; OddAnswerError."""
    calls = require_mapping(item.get("calls"), "calls")
    names = ("done", "failed", "unknown", "skipped")
    return ShownRunEnd(
        _decode_enum_member(RunVerb, item, "verb"),
        _decode_enum_member(RunOutcome, item, "outcome"),
        CallCounts(*(require_count(calls.get(name), name) for name in names)),
    )


def decode_shown_row(item: Mapping[str, Any]) -> ShownRow:
    """A row of a HoldList; OddAnswerError."""
    can_be_approved = item.get("can_be_approved")
    if not isinstance(can_be_approved, bool):
        raise OddAnswerError("can_be_approved")
    texts = require_list(item.get("causes"), "causes")
    if not all(isinstance(text, str) for text in texts):
        raise OddAnswerError("causes")
    return ShownRow(
        digest=require_text(item, "digest"),
        address=require_text(item, "address"),
        action=require_text(item, "action"),
        causes=tuple(texts),
        summary=require_text(item, "summary"),
        reason=require_text(item, "reason"),
        detail=get_text_or_empty(item, "detail"),
        can_be_approved=can_be_approved,
        commit=get_text_or_empty(item, "commit"),
        run=get_text_or_empty(item, "run"),
        approvals_needed=require_count(item.get("approvals_needed", 1), "approvals_needed"),
        approvals=tuple(
            _decode_items(item.get("approvals", []), "approvals", _decode_shown_approval)
        ),
        rejected_by=get_text_or_empty(item, "rejected_by"),
        rejected_reason=get_text_or_empty(item, "rejected_reason"),
    )


def decode_planned_fields(document: JsonValue) -> dict[str, tuple[ShownField, ...]]:
    """The fields that each row of a run's plan changes, by address; OddAnswerError.

    Of an object that is created all that it gets. Nothing for a run whose plan is not kept.
    """
    fields = require_mapping(document, "the answer")
    if fields.get("kind") != "Run":
        raise OddAnswerError("it is not a Run")
    if fields.get("plan") is None:
        return {}
    changes = require_mapping(fields["plan"], "plan").get("resource_changes")
    return {
        require_text(change, "address"): tuple(_iter_fields_of_change(change))
        for change in (require_mapping(item, "a change") for item in require_list(changes, "plan"))
    }


def _iter_fields_of_change(change: Mapping[str, Any]) -> Iterator[ShownField]:
    if package := change.get("package"):
        yield ShownField("package", "", _format_package(require_mapping(package, "package")))
    both = require_mapping(change.get("change"), "change")
    if both.get("before") is None and both.get("after") is not None:
        sensitive = both.get("after_sensitive")
        yield from _iter_created_fields(both["after"], sensitive, both.get("after_unknown"), "")
        return
    for value in require_list(change.get("fields"), "fields"):
        field = require_mapping(value, "fields")
        path = require_text(field, "path")
        if field.get("sensitive") is not False:
            yield ShownField(path, _SENSITIVE, _SENSITIVE)
        else:
            after = _format_value(field.get("after")) if field.get("known", True) else _UNKNOWN
            yield ShownField(path, _format_value(field.get("before")), after)


def _iter_created_fields(
    value: Any, sensitive: Any, unknown: Any, path: str
) -> Iterator[ShownField]:
    """The leaves of what is created; a mark of the same shape hides all that is below it."""
    if sensitive is True or unknown is True:
        yield ShownField(path, "", _SENSITIVE if sensitive is True else _UNKNOWN)
        return
    unknown_keys = unknown if isinstance(unknown, dict) else {}
    sensitive_keys = sensitive if isinstance(sensitive, dict) else {}
    if not isinstance(value, dict) or not value:
        yield ShownField(path, "", _format_value(value))
        return
    for key in sorted({*value, *unknown_keys}):
        pointer = format_json_pointer((key,))
        yield from _iter_created_fields(
            value.get(key), sensitive_keys.get(key), unknown_keys.get(key), path + pointer
        )


def _format_package(package: Mapping[str, Any]) -> str:
    """Such as `plugins/yolo, 3 files, 244 B, pkg1:sha256:...`."""
    source, digest = (get_text_or_empty(package, name) for name in ("source", "digest"))
    files = format_count_and_noun(require_count(package.get("files", 0), "files"), "file")
    size = format_byte_size(require_count(package.get("size", 0), "size"))
    return ", ".join(filter(None, (source, files, size, digest)))


def _format_value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def decode_audit_row(item: Mapping[str, Any]) -> AuditRow:
    """A row of an AuditList, as the store has it; OddAnswerError."""
    time = item.get("time")
    if isinstance(time, bool) or not isinstance(time, int | float):
        raise OddAnswerError("time")
    return AuditRow(
        number=require_count(item.get("number"), "number"),
        time=float(time),
        who=require_text(item, "who"),
        action=require_text(item, "action"),
        subject=require_text(item, "subject"),
        detail=require_text(item, "detail"),
        digest=require_text(item, "digest"),
    )


def decode_action_result(document: JsonValue) -> ActionResult:
    """What a POST is answered; OddAnswerError."""
    fields = require_mapping(document, "the answer")
    if fields.get("kind") != "ActionResult":
        raise OddAnswerError("it is not an ActionResult")
    return ActionResult(require_text(fields, "who"), get_text_or_empty(fields, "until"))


def decode_problem(document: JsonValue) -> Diagnostic | None:
    """The first finding of a Problem; None for any other answer."""
    try:
        fields = require_mapping(document, "the answer")
        if fields.get("kind") != "Problem":
            return None
        findings = require_list(fields.get("diagnostics"), "diagnostics")
        finding = require_mapping(findings[0], "diagnostics")
        return error_finding(
            require_text(finding, "summary"),
            get_text_or_empty(finding, "detail"),
            get_text_or_empty(finding, "hint"),
        )
    except (OddAnswerError, IndexError):
        return None


def _decode_shown_approval(item: Mapping[str, Any]) -> ShownApproval:
    return ShownApproval(require_text(item, "who"), get_text_or_empty(item, "reason"))


def _decode_enum_member(words: type[E], item: Mapping[str, Any], key: str) -> E:
    try:
        return words(require_text(item, key))
    except ValueError:
        raise OddAnswerError(key) from None


def _decode_items(value: Any, name: str, decode: Callable[[Mapping[str, Any]], T]) -> list[T]:
    return [decode(require_mapping(item, name)) for item in require_list(value, name)]


def require_mapping(value: Any, name: str) -> Mapping[str, Any]:
    """A JSON object; OddAnswerError for anything else."""
    if not isinstance(value, dict):
        raise OddAnswerError(name)
    return value


def require_list(value: Any, name: str) -> list[Any]:
    """A JSON array; OddAnswerError for anything else."""
    if not isinstance(value, list):
        raise OddAnswerError(name)
    return value


def require_text(item: Mapping[str, Any], key: str) -> str:
    """The text at a key; OddAnswerError for anything else."""
    text = item.get(key)
    if not isinstance(text, str):
        raise OddAnswerError(key)
    return text


def get_text_or_empty(item: Mapping[str, Any], key: str) -> str:
    """The text at a key, "" for null and where there is none; OddAnswerError for anything else."""
    return "" if item.get(key) is None else require_text(item, key)


def require_count(value: Any, name: str) -> int:
    """A whole number from 0 on; OddAnswerError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise OddAnswerError(name)
    return value


class ShownShare(NamedTuple):
    """How many targets of a wave are to have a revision; "" for none yet."""

    commit: str
    target_count: int


@frozen
class ShownWave:
    """A wave of a rollout, in the words of the controller.

    `max_failures` is None where the token may not read all targets of the source.
    """

    number: int
    state: str
    target_count: int
    target_states: Mapping[str, int]
    shares: tuple[ShownShare, ...]
    failed_count: int = 0
    max_failures: int | None = None
    approved_by: str = ""
    closed_by: str = ""
    reason: str = ""


@frozen
class ShownRollout:
    """A rollout, in the words of the controller.

    `number` and `wave` are 0 and `commit` is "" for one that has not begun with any revision.
    `document` is the answer itself.
    """

    name: str
    source: str
    state: str
    commit: str
    number: int
    subject: str
    wave: int
    wave_count: int
    description: str
    waves: tuple[ShownWave, ...]
    document: Mapping[str, Any]
    state_since: str = ""


class RolloutResult(NamedTuple):
    """What a controller did when a rollout was asked; `who` is whom it took the token for."""

    who: str


def decode_rollout(item: Mapping[str, Any]) -> ShownRollout:
    """A rollout of a RolloutList, or a Rollout; OddAnswerError."""
    return ShownRollout(
        name=require_text(item, "name"),
        source=require_text(item, "source"),
        state=require_text(item, "state"),
        commit=get_text_or_empty(item, "commit"),
        number=require_count(item.get("number") or 0, "number"),
        subject=get_text_or_empty(item, "subject"),
        wave=require_count(item.get("wave") or 0, "wave"),
        wave_count=require_count(item.get("wave_count"), "wave_count"),
        description=get_text_or_empty(item, "description"),
        waves=tuple(
            _decode_wave(require_mapping(wave, "waves"))
            for wave in require_list(item.get("waves"), "waves")
        ),
        document=item,
        state_since=get_text_or_empty(item, "state_since"),
    )


def decode_rollout_result(document: JsonValue) -> RolloutResult:
    """What a POST is answered; OddAnswerError."""
    fields = require_mapping(document, "the answer")
    if fields.get("kind") != "RolloutResult":
        raise OddAnswerError("it is not a RolloutResult")
    return RolloutResult(require_text(fields, "who"))


def _decode_wave(item: Mapping[str, Any]) -> ShownWave:
    states = require_mapping(item.get("target_states"), "target_states")
    max_failures = item.get("max_failures")
    return ShownWave(
        number=require_count(item.get("wave"), "wave"),
        state=require_text(item, "state"),
        target_count=require_count(item.get("target_count"), "target_count"),
        target_states={state: require_count(count, state) for state, count in states.items()},
        shares=tuple(
            _decode_share(require_mapping(share, "revisions"))
            for share in require_list(item.get("revisions"), "revisions")
        ),
        failed_count=require_count(item.get("failed_count"), "failed_count"),
        max_failures=None if max_failures is None else require_count(max_failures, "max_failures"),
        approved_by=get_text_or_empty(item, "approved_by"),
        closed_by=get_text_or_empty(item, "closed_by"),
        reason=get_text_or_empty(item, "reason"),
    )


def _decode_share(item: Mapping[str, Any]) -> ShownShare:
    count = require_count(item.get("target_count"), "target_count")
    return ShownShare(get_text_or_empty(item, "commit"), count)
