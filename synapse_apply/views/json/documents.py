"""Which fields the JSON documents of plans, reports and findings have; Terraform's names if any.

Shapes: schemas/v1/plan.schema.json and schemas/v1/report.schema.json. No document holds a secret:
null is in the place of a secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.codec import dry_run_counts_to_json
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Position, format_json_pointer
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import JsonDocument
from synapse_apply.model.packages import REPLACES_KEY, parse_replacement
from synapse_apply.model.plan import (
    Action,
    Cause,
    Change,
    FieldChange,
    Plan,
    PlanBase,
    PlanSummary,
    Refusal,
)
from synapse_apply.model.remote import LogLine
from synapse_apply.model.report import (
    CheckResult,
    CheckStatus,
    Checkup,
    Drift,
    ObjectDrift,
    Outcome,
    Report,
)
from synapse_apply.model.resource import Observed
from synapse_apply.model.state import BackendIdentity, Record
from synapse_apply.model.values import KnownAfterApply, flatten
from synapse_apply.views.redaction import (
    hide_sensitive,
    paths_known_later,
    plain_json,
    sorted_json,
    tree_of_paths,
    unflatten_redacted,
)
from synapse_apply.views.sanitize import escape_unsafe_json, sanitize_url
from synapse_apply.views.text.outcomes import OutcomeCounts, is_wholly_done, outcome_findings
from synapse_apply.views.text.plan import count_accepted_fields
from synapse_apply.views.text.values import SECRET_TYPES

FORMAT_VERSION = "1.0"
_REASON_BY_ACTION = {
    Action.RECREATE: "create_because_missing",
    Action.DELETE: "delete_because_no_resource_config",
    Action.FORGET: "forget_because_no_resource_config",
}


def format_redacted_json_document(document: Mapping[str, Any] | Sequence[Any]) -> str:
    """A document as indented JSON text that ends with a newline; secrets are null.

    Control characters, bidi marks and lone surrogates are escaped.
    """
    return _redacted_json(document, indent=2)


def format_redacted_json_line(document: Mapping[str, Any]) -> str:
    """As `format_redacted_json_document`, on one line."""
    return _redacted_json(document)


def _redacted_json(document: Any, indent: int | None = None) -> str:
    text = json.dumps(plain_json(document), ensure_ascii=False, indent=indent, allow_nan=False)
    return escape_unsafe_json(text) + "\n"


def plan_document(plan: Plan) -> JsonDocument:
    """The document of `plan --json` (plan.schema.json)."""
    return {
        **_head(plan.tool_version),
        "timestamp": plan.created,
        "plan_id": plan.id,
        "errored": plan.has_errors,
        "applyable": plan.is_applyable,
        # As in Terraform: an apply would reach everything that is declared.
        "complete": not plan.has_errors and not plan.refused_changes and plan.base.compared,
        **({"offline": True} if plan.base.is_offline else {}),
        "base": build_base_document(plan.base),
        "summary": _build_plan_summary(plan),
        **(
            {"server_dry_run": dry_run_counts_to_json(plan.trial)} if plan.trial is not None else {}
        ),
        "moved": _moves(plan),
        "resource_changes": [_build_resource_change(change) for change in plan.changes],
        "verifications": [
            {
                **_named(change.address),
                "reason": verification.reason,
                "run": plain_json(verification.body),
                "parameters_digest": verification.parameters,
                "job": verification.job or None,
                "timeout": verification.timeout,
                "on_failure": verification.on_failure,
            }
            for change in plan.changes_to_verify
            if (verification := change.verification) is not None
        ],
        "resource_drift": [
            _build_drift_document(change) for change in plan.changes if was_touched_outside(change)
        ],
        "accepted_differences": accepted_json(plan.changes_with_accepted),
        "guards": [
            {"name": guard.name, "summary": guard.summary, "detail": guard.detail}
            for guard in plan.guards
        ],
        "capabilities": dict(sorted(plan.capabilities.facts.items())),
        "diagnostics": _findings(plan.diagnostics),
    }


def report_document(report: Report) -> JsonDocument:
    """The document of `apply --json` (report.schema.json)."""
    plan, runs = report.plan, report.verification_results
    run_findings = (finding for result in runs for finding in result.diagnostics)
    all_findings = [*plan.diagnostics, *outcome_findings(report.outcomes), *run_findings]
    return {
        **_head(plan.tool_version),
        "plan": {
            "id": plan.id,
            "timestamp": plan.created,
            "base": build_base_document(plan.base),
            "summary": _build_plan_summary(plan),
        },
        "moved": _moves(plan),
        "complete": is_wholly_done(report),
        "exit_code": report.exit_code,
        "stopped": report.stop_signal,
        "lock_lost": report.lock_lost,
        "counts": asdict(OutcomeCounts.from_report(report)),
        "outcomes": [
            {
                **_identity(outcome),
                "action": outcome.action.value,
                "result": outcome.result.value,
                "id": outcome.remote_id or None,
                "request_id": outcome.request_id or None,
                "unrecorded_in": outcome.recovery_file or None,
                "began_at": outcome.began_at or None,
                "seconds": round(max(0.0, outcome.seconds), 3),
            }
            for outcome in report.outcomes
        ],
        "verifications": [
            {
                **_named(result.address),
                "result": result.status.value,
                "tolerated": result.tolerated,
                "job": result.job or None,
                "request_id": result.request_id or None,
                "unrecorded_in": result.recovery_file or None,
                "seconds": round(max(0.0, result.seconds), 3),
                "logs": list(result.logs),
            }
            for result in runs
        ],
        "refusals": [
            {**_identity(change), "refusals": [_refusal_document(r) for r in change.refusals]}
            for change in plan.refused_changes
        ],
        "guards_overridden": sorted(map(str, report.extras.get("guards_overridden", ()))),
        "diagnostics": _findings(all_findings),
    }


def diagnostics_document(
    diagnostics: Iterable[Diagnostic], *, tool_version: str = ""
) -> JsonDocument:
    """The document of `validate --json`, and of a command that ended before it had a plan."""
    all_findings = list(diagnostics)
    errors = sum(finding.is_error for finding in all_findings)
    notes = sum(finding.is_note for finding in all_findings)
    return {
        **_head(tool_version),
        "valid": not errors,
        "error_count": errors,
        "warning_count": len(all_findings) - errors - notes,
        "note_count": notes,
        "diagnostics": _findings(all_findings),
    }


def _head(tool_version: str) -> JsonDocument:
    return {"format_version": FORMAT_VERSION, "tool_version": tool_version}


def _findings(findings: Iterable[Diagnostic]) -> list[JsonDocument]:
    return [finding.to_json() for finding in findings]


def _moves(plan: Plan) -> list[JsonDocument]:
    return [{"from": str(move.old), "to": str(move.new)} for move in plan.moved]


def build_base_document(base: PlanBase) -> JsonDocument:
    """The `base` of a document: target, backend, state and manifests that it was made from."""
    return {
        "target": base.target,
        "url": sanitize_url(base.binding.url),
        "tenant": base.binding.tenant,
        "data_set": base.binding.data_set,
        "lineage": base.lineage,
        "serial": base.serial,
        "manifests_digest": base.manifests_digest,
        "commit": base.commit,
        # Optional fields are left out where they say nothing, as the schema allows.
        **({"revision": base.revision} if base.revision else {}),
        **({"against": base.against} if base.against else {}),
        **({} if base.compared else {"compared": False}),
        **({"dirty_files": list(base.dirty)} if base.dirty else {}),
    }


def _build_plan_summary(plan: Plan) -> dict[str, int]:
    accepted_count = count_accepted_fields(plan.changes_with_accepted)
    return build_summary_counts(
        plan.summary, run_count=len(plan.changes_to_verify), accepted_count=accepted_count
    )


def build_summary_counts(
    summary: PlanSummary, *, run_count: int, accepted_count: int = 0
) -> dict[str, int]:
    """The `summary` of a document: planned actions, verification runs, accepted differences."""
    counts = {name.removesuffix("_"): count for name, count in asdict(summary).items()}
    return {**counts, "verify": run_count, "accepted_differences": accepted_count}


def _named(address: Address) -> JsonDocument:
    return {"address": str(address), "type": address.kind, "name": address.name}


def _identity(change: Change | Outcome | ObjectDrift) -> JsonDocument:
    return {
        "address": str(change.address),
        "mode": "managed",
        "type": change.address.kind,
        "name": change.address.name,
    }


def _build_resource_change(change: Change) -> JsonDocument:
    # Terraform shows an import in a field of its own, beside the action.
    as_action = change.action
    if change.action is Action.ADOPT:
        as_action = Action.UPDATE if change.fields else Action.NO_OP
    is_recreate = as_action is Action.RECREATE
    planned_actions = ["create" if is_recreate else as_action.value]
    fields, kept_fields = hide_sensitive(change), hide_sensitive(change, change.held)
    package, replacement = _package_document(change), parse_replacement(change.extras)
    secret_paths = {field.path for field in fields if field.sensitive}
    # A field that is secret on one side is hidden on both, since the other side may show the value.
    before_secret = secret_paths | set(change.before_sensitive)
    after_secret = secret_paths | set(change.after_sensitive)
    unknown_values = {*change.after_unknown, *paths_known_later(change.fields)}
    document = {
        "actions": ["no-op"] if change.is_refused else planned_actions,
        "before": sorted_json(change.before, before_secret),
        "after": sorted_json(change.after, after_secret | unknown_values),
        "after_unknown": tree_of_paths(unknown_values),
        "before_sensitive": tree_of_paths(before_secret) if change.before is not None else {},
        "after_sensitive": tree_of_paths(after_secret) if change.after is not None else {},
        **({"importing": {"id": change.remote_id}} if change.action is Action.ADOPT else {}),
    }
    return {
        **_identity(change),
        "change": document,
        "refused_actions": planned_actions if change.is_refused else [],
        "action_reason": terraform_reason(change),
        "reason": change.reason,
        "cause": summarize_causes(change),
        "id": change.remote_id or None,
        "api": change.api,
        "fields": _planned_fields(fields),
        "refusals": [_refusal_document(refusal) for refusal in change.refusals],
        "notes": list(change.notes),
        "depends_on": [str(address) for address in change.depends_on],
        "rebase": change.rebase,
        "superseded": change.superseded,
        **({"package": package} if package else {}),
        **({"held": _planned_fields(kept_fields)} if kept_fields else {}),
        **({REPLACES_KEY: replacement.to_json()} if replacement is not None else {}),
    }


def _package_document(change: Change) -> JsonDocument:
    """The package that a create uploads; nothing of it that a saved plan has in another type."""
    package = change.extras.get("package")
    if not isinstance(package, Mapping):
        return {}
    texts = {name: package.get(name) for name in ("digest", "source")}
    counts = {name: package.get(name) for name in ("files", "size")}
    return {
        **{name: text for name, text in texts.items() if isinstance(text, str)},
        **{name: count for name, count in counts.items() if type(count) is int and count >= 0},
    }


def terraform_reason(change: Change) -> str | None:
    """The `action_reason` of a change, as Terraform names it; None for most actions."""
    return "superseded" if change.superseded else _REASON_BY_ACTION.get(change.action)


def _field_document(
    change: FieldChange, sides: tuple[str, str] = ("before", "after"), **facts: bool
) -> JsonDocument:
    """A field under the names of its two sides; `facts` follow these."""
    # A sensitive value is null even where it is a plain text that the planner did not wrap.
    values = [None if change.sensitive else plain_json(v) for v in (change.before, change.after)]
    return {
        "path": format_json_pointer(change.path),
        "cause": change.cause.value,
        "sensitive": change.sensitive,
        **dict(zip(sides, values, strict=True)),
        **facts,
        "note": change.note,
        "inside": [format_json_pointer(path) for path in change.inside],
        **({"origin": change.origin} if change.origin else {}),
    }


def _planned_fields(changes: Iterable[FieldChange]) -> list[JsonDocument]:
    return [
        _field_document(change, known=not isinstance(change.after, KnownAfterApply))
        for change in changes
    ]


def summarize_causes(change: Change) -> str | None:
    """Why a resource changes: `git`, `drift`, `both`, `secret`, or None for no field change."""
    causes = change.field_causes - {Cause.NONE}
    if Cause.BOTH in causes or (Cause.DRIFT in causes and len(causes) > 1):
        return Cause.BOTH.value
    # Of what is left, drift stands alone, and Git goes before secrets.
    ranked = (Cause.DRIFT, Cause.GIT, Cause.SECRET)
    return next((cause.value for cause in ranked if cause in causes), None)


def _refusal_document(refusal: Refusal) -> JsonDocument:
    return {
        "rule": refusal.rule,
        "reason": refusal.reason,
        "ways_out": list(refusal.ways_out),
        "outcome_unknown": refusal.outcome_unknown,
        "range": _range_document(refusal.position),
    }


def _range_document(position: Position | None) -> JsonDocument | None:
    if position is None:
        return None
    start = {"line": position.line, "column": position.column}
    return {"filename": position.file, "start": start}


def was_touched_outside(change: Change) -> bool:
    """Whether the object was changed or deleted outside."""
    has_drifted_fields = bool(change.field_causes & {Cause.DRIFT, Cause.BOTH}) or bool(change.held)
    return change.action is Action.RECREATE or has_drifted_fields


def _build_drift_document(change: Change) -> JsonDocument:
    """The `resource_drift` entry of a change: from recorded values, where known, to live ones."""
    fields = hide_sensitive(change, (*change.fields, *change.held))
    drifted_fields = [field for field in fields if field.cause in {Cause.DRIFT, Cause.BOTH}]
    visible_fields = [field for field in drifted_fields if not field.sensitive]
    is_missing = change.action is Action.RECREATE
    secret_tree = tree_of_paths({field.path for field in drifted_fields if field.sensitive})
    # With the cause DRIFT only the live side changed, so the declared value is the recorded one.
    recorded_values = [(f.path, f.after) for f in visible_fields if f.cause is Cause.DRIFT]
    return {
        **_identity(change),
        "change": {
            "actions": ["delete"] if is_missing else ["update"],
            "before": unflatten_redacted(recorded_values),
            "after": None
            if is_missing
            else unflatten_redacted((f.path, f.before) for f in visible_fields),
            "after_unknown": {},
            "before_sensitive": secret_tree,
            "after_sensitive": {} if is_missing else secret_tree,
        },
        "cause": Cause.DRIFT.value,
        "paths": [format_json_pointer(field.path) for field in drifted_fields],
    }


def accepted_json(changes: Iterable[Change]) -> list[JsonDocument]:
    """The accepted differences as JSON, one for each field; secret values are null."""
    return [
        {
            "address": str(change.address),
            "path": format_json_pointer(field.path),
            "sensitive": field.sensitive,
            "live": None if field.sensitive else plain_json(field.before),
            "declared": None if field.sensitive else plain_json(field.after),
        }
        for change in changes
        for field in change.accepted
    ]


def drift_document(drift: Drift) -> JsonDocument:
    """The document of `drift --json`."""
    return {
        **_head(drift.tool_version),
        "timestamp": drift.created,
        "errored": drift.has_errors,
        "drifted": bool(drift.objects),
        "base": build_base_document(drift.base),
        "on_drift": "hold" if drift.is_drift_kept else "revert",
        "summary": {
            "changed": len(drift.changed_or_replaced_objects),
            "gone": len(drift.missing_objects),
            "waiting": len(drift.pending_addresses),
            "unmanaged": drift.unmanaged_count,
            "accepted_differences": count_accepted_fields(drift.changes_with_accepted),
        },
        "resource_drift": [_build_object_document(entry) for entry in drift.objects],
        "waiting": [str(address) for address in drift.pending_addresses],
        "unmanaged": None
        if drift.unmanaged is None
        else [
            {"type": one.kind, "id": one.remote_id, "natural_keys": list(one.keys)}
            for one in drift.unmanaged
        ],
        "not_listed": sorted((*drift.unlistable_kinds, *drift.unread_kinds)),
        "accepted_differences": accepted_json(drift.changes_with_accepted),
        "accepted": [
            {
                "address": str(entry.address),
                "path": format_json_pointer(entry.field.path),
                "file": entry.file,
                "line": entry.line,
                "before": plain_json(entry.field.before),
                "after": plain_json(entry.field.after),
            }
            for entry in drift.written_edits
        ],
        "diagnostics": _findings(drift.diagnostics),
    }


def _build_object_document(object_drift: ObjectDrift) -> JsonDocument:
    return {
        **_identity(object_drift),
        "id": object_drift.remote_id or None,
        "gone": object_drift.is_missing,
        **({"origin": object_drift.origin.removeprefix(": ")} if object_drift.origin else {}),
        "remade_as": object_drift.replacement_id or None,
        "cannot_be_undone": object_drift.blocked_reason or None,
        "fields": [
            _field_document(field, ("recorded", "live")) for field in object_drift.all_field_changes
        ],
        "range": _range_document(object_drift.position),
    }


def section_json(title: str, rows: Iterable[CheckResult]) -> list[JsonDocument]:
    """The check results of one section, in the form of `doctor --json`."""
    return [
        {
            "section": title.lower(),
            "check": row.check,
            "subject": row.subject,
            "status": row.status.value.replace(" ", "_"),
            "summary": row.summary,
            "detail": row.detail,
            "hint": row.hint,
            "request_id": row.first_request_id or None,
        }
        for row in rows
    ]


def checkup_document(checkup: Checkup, *, tool_version: str) -> JsonDocument:
    """The document of `doctor --json` (doctor.schema.json)."""
    return {
        **_head(tool_version),
        "target": checkup.target or None,
        "healthy": checkup.is_healthy,
        "exit_code": checkup.exit_code,
        "counts": {
            status.value.replace(" ", "_"): checkup.count_results(status) for status in CheckStatus
        },
        "checks": [
            result for title, results in checkup.sections for result in section_json(title, results)
        ],
    }


def record_document(record: Record) -> JsonDocument:
    """A record as JSON: null at every sensitive path, which `sensitive_values` marks."""
    # An imported record has nothing applied yet.
    fields = record.applied or record.seen
    return {
        **_named(record.address),
        "id": record.remote_id,
        "imported": not record.applied,
        **_values(fields),
        "protected": record.protected,
        "digest": record.digest,
        "files": dict(sorted(record.files.items())),
        "proven": dict(record.proven) or None,
        "verification": plain_json(record.verification),
        "depends_on": [str(address) for address in record.depends_on],
        "api": record.api,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def object_document(address: Address, observed: Observed) -> JsonDocument:
    """A live object as JSON: null at every sensitive path, which `sensitive_values` marks."""
    return _named(address) | live_object_document(address.kind, observed)


def live_object_document(kind: str, observed: Observed) -> JsonDocument:
    """As `object_document`, for an object that has no address."""
    return {
        "type": kind,
        "id": observed.remote_id,
        "api": observed.api,
        **_values(flatten(observed.spec)),
    }


def _values(fields: Mapping[FieldPath, Any]) -> JsonDocument:
    secret_paths = [path for path, value in fields.items() if isinstance(value, SECRET_TYPES)]
    return {
        "values": unflatten_redacted((path, plain_json(value)) for path, value in fields.items()),
        "sensitive_values": tree_of_paths(secret_paths),
    }


def format_log_line_as_json(line: LogLine) -> str:
    """A log line as one JSON object on one line."""
    fields = {"timestamp": line.timestamp, "level": line.level, "message": line.message}
    present_fields = {name: value for name, value in fields.items() if value or name == "message"}
    return format_redacted_json_line(present_fields)


@frozen
class TargetPart:
    """One target's exit code, and the document that the command has for one target."""

    target: str
    exit_code: int
    document: Mapping[str, Any] | None


def build_targets_document(
    command: str,
    parts: Iterable[TargetPart],
    not_begun: Sequence[str],
    exit_code: int,
    *,
    tool_version: str,
    diagnostics: Iterable[Diagnostic] = (),
) -> JsonDocument:
    """The document of several targets (targets.schema.json); `diagnostics` are of none of them."""
    return {
        **_head(tool_version),
        "command": command,
        "targets": [
            {"target": part.target, "exit_code": part.exit_code, "document": part.document}
            for part in parts
        ],
        "not_begun": list(not_begun),
        "exit_code": exit_code,
        "diagnostics": _findings(diagnostics),
    }


# A command that ends before its plan prints the document that it always prints, empty but for
# findings and exit code, and never two of them.
def failure_document(
    command: str,
    diagnostics: Iterable[Diagnostic],
    exit_code: int,
    *,
    tool_version: str,
    plan: Plan | None = None,
) -> JsonDocument:
    """The document of a command that ended with findings, and perhaps a plan.

    It fits the schema of the command's usual document, so that a program that reads
    that can read this: nothing is planned, done or drifted, and what is not known is null. A
    command without a schema of its own writes only the findings. With the plan that an apply was
    not to carry out, it is the report of an apply that did nothing.
    """
    findings = list(diagnostics)
    if plan is not None:
        # The command may have ended because of a finding of the plan.
        plan_findings = [finding for finding in plan.diagnostics if finding not in findings]
        return {
            **report_document(Report(plan)),
            "moved": [],
            "complete": False,
            "exit_code": exit_code,
            "diagnostics": _findings([*plan_findings, *findings]),
        }
    if not (nothing_done := _nothing_done(command)):
        document = diagnostics_document(findings, tool_version=tool_version)
        return {**document, "exit_code": exit_code}
    return {
        **_head(tool_version),
        **nothing_done,
        "exit_code": exit_code,
        "diagnostics": _findings(findings),
    }


def _nothing_done(command: str) -> JsonDocument:
    """The document of a command that ended before it had anything to tell.

    Without the fields of all documents; {} for a command that has no schema of its own.
    """
    plan = Plan("", "", "", PlanBase("", BackendIdentity(""), "", 0))
    unknown: JsonDocument = {"timestamp": None, "base": None, "errored": True}
    match command:
        case "plan":
            unknown |= {"plan_id": None, "applyable": False, "complete": False}
            document = plan_document(plan) | unknown
        case "apply" | "verify":
            document = report_document(Report(plan)) | {"plan": None, "complete": False}
        case "drift":
            drift = Drift(plan.created, plan.tool_version, plan.base)
            document = drift_document(drift) | unknown | {"on_drift": None}
        case _:
            return {}
    of_all = {*_head(""), "exit_code", "diagnostics"}
    return {name: value for name, value in document.items() if name not in of_all}
