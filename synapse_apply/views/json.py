"""Plans, reports and findings as JSON documents, with Terraform's field names where they fit.

Shapes: schemas/v1/plan.schema.json and schemas/v1/report.schema.json. No document holds a secret:
null stands where Terraform would print one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from synapse_apply.model.codec import trial_to_json
from synapse_apply.model.diagnostic import Diagnostic, Position, pointer
from synapse_apply.model.plan import (
    Action,
    Base,
    Cause,
    Change,
    FieldChange,
    Plan,
    Refusal,
    Summary,
)
from synapse_apply.model.replacement import REPLACES, replacement_of
from synapse_apply.model.report import Outcome, Report
from synapse_apply.model.values import KnownAfterApply
from synapse_apply.views.accepted import accepted_documents, count_accepted
from synapse_apply.views.masking import masked, plain, tree_of, unknown_paths, values_tree, veiled
from synapse_apply.views.outcomes import Counts, complete, findings
from synapse_apply.views.safety import clean_url, disarm_json
from synapse_apply.views.verification import ended_documents, planned_documents

FORMAT_VERSION = "1.0"

_ACTIONS = {
    Action.CREATE: "create",
    Action.RECREATE: "create",
    Action.UPDATE: "update",
    Action.DELETE: "delete",
    Action.FORGET: "forget",
    Action.NO_OP: "no-op",
}
_WHERE_SAID = ("revision", "against")
_REASONS = {
    Action.RECREATE: "create_because_missing",
    Action.DELETE: "delete_because_no_resource_config",
    Action.FORGET: "forget_because_no_resource_config",
}


def json_text(document: Mapping[str, Any] | Sequence[Any]) -> str:
    """A document as UTF-8-safe JSON text that ends with a newline; the same input, the same text.

    Control characters, bidi marks and lone surrogates stand as escapes.
    """
    text = json.dumps(plain(document), ensure_ascii=False, indent=2, allow_nan=False)
    return disarm_json(text) + "\n"


def json_line(document: Mapping[str, Any]) -> str:
    """The same on one line, for outputs of many documents."""
    return disarm_json(json.dumps(plain(document), ensure_ascii=False, allow_nan=False)) + "\n"


def plan_document(plan: Plan) -> dict[str, Any]:
    """The document of `plan --json` (plan.schema.json)."""
    return {
        "format_version": FORMAT_VERSION,
        "tool_version": plan.tool_version,
        "timestamp": plan.created,
        "plan_id": plan.id,
        "errored": plan.errored,
        "applyable": plan.applyable,
        "complete": not plan.errored and not plan.refused and plan.base.compared,
        **({"offline": True} if plan.base.offline else {}),
        "base": base_document(plan.base),
        "summary": _summary(plan),
        **({"server_dry_run": trial_to_json(plan.trial)} if plan.trial is not None else {}),
        "moved": _moves(plan),
        "resource_changes": [_resource_change(change) for change in plan.changes],
        "verifications": planned_documents(plan),
        "resource_drift": [_drift(change) for change in plan.changes if drifted(change)],
        "accepted_differences": accepted_documents(plan.with_accepted),
        "guards": [
            {"name": guard.name, "summary": guard.summary, "detail": guard.detail}
            for guard in plan.guards
        ],
        "capabilities": dict(sorted(plan.capabilities.facts.items())),
        "diagnostics": [finding.to_json() for finding in plan.diagnostics],
    }


def report_document(report: Report) -> dict[str, Any]:
    """The document of `apply --json` (report.schema.json)."""
    told = (finding for one in report.verified for finding in one.diagnostics)
    found = [*report.plan.diagnostics, *findings(report.outcomes), *told]
    overridden = report.extras.get("guards_overridden", ())
    return {
        "format_version": FORMAT_VERSION,
        "tool_version": report.plan.tool_version,
        "plan": {
            "id": report.plan.id,
            "timestamp": report.plan.created,
            "base": base_document(report.plan.base),
            "summary": _summary(report.plan),
        },
        "moved": _moves(report.plan),
        "complete": complete(report),
        "exit_code": report.exit_code,
        "stopped": report.stopped,
        "lock_lost": report.lock_lost,
        "counts": asdict(Counts.of(report)),
        "outcomes": [_outcome(outcome) for outcome in report.outcomes],
        "verifications": ended_documents(report.verified),
        "refusals": [
            {**_identity(change), "refusals": [_refusal(r) for r in change.refusals]}
            for change in report.plan.refused
        ],
        "guards_overridden": sorted(map(str, overridden)),
        "diagnostics": [finding.to_json() for finding in found],
    }


def diagnostics_document(
    diagnostics: Iterable[Diagnostic], *, tool_version: str = ""
) -> dict[str, Any]:
    """The document of `validate --json`, and of a command that ends before it has a plan."""
    found = list(diagnostics)
    errors = sum(finding.is_error for finding in found)
    notes = sum(finding.is_note for finding in found)
    return {
        "format_version": FORMAT_VERSION,
        "tool_version": tool_version,
        "valid": not errors,
        "error_count": errors,
        "warning_count": len(found) - errors - notes,
        "note_count": notes,
        "diagnostics": [finding.to_json() for finding in found],
    }


def _moves(plan: Plan) -> list[dict[str, str]]:
    return [{"from": str(move.old), "to": str(move.new)} for move in plan.moved]


def base_document(base: Base) -> dict[str, Any]:
    """What a document was made from."""
    return {
        "target": base.target,
        "url": clean_url(base.binding.url),
        "tenant": base.binding.tenant,
        "data_set": base.binding.data_set,
        "lineage": base.lineage,
        "serial": base.serial,
        "manifests_digest": base.manifests_digest,
        "commit": base.commit,
        **{name: text for name in _WHERE_SAID if (text := getattr(base, name))},
        **({} if base.compared else {"compared": False}),
        **({"dirty_files": list(base.dirty)} if base.dirty else {}),
    }


def _summary(plan: Plan) -> dict[str, int]:
    accepted = count_accepted(plan.with_accepted)
    return plan_counts(plan.summary, due=len(plan.verified), accepted=accepted)


def plan_counts(summary: Summary, *, due: int, accepted: int = 0) -> dict[str, int]:
    """`summary` of a document: what is to be done with resources, and how many runs are `due`.

    `accepted` fields differ by agreement.
    """
    counts = {name.removesuffix("_"): count for name, count in asdict(summary).items()}
    return {**counts, "verify": due, "accepted_differences": accepted}


def _identity(change: Change | Outcome) -> dict[str, Any]:
    return {
        "address": str(change.address),
        "mode": "managed",
        "type": change.address.kind,
        "name": change.address.name,
    }


def _resource_change(change: Change) -> dict[str, Any]:
    planned, held = _actions(change), veiled(change, change.held)
    replaces = replacement_of(change.extras)
    return {
        **_identity(change),
        "change": _change(change, ["no-op"] if change.refused else planned),
        "refused_actions": planned if change.refused else [],
        "action_reason": reason_of(change),
        "reason": change.reason,
        "cause": cause_of(change),
        "id": change.remote_id or None,
        "api": change.api,
        "fields": [_field(item) for item in veiled(change)],
        "refusals": [_refusal(refusal) for refusal in change.refusals],
        "notes": list(change.notes),
        "depends_on": [str(address) for address in change.depends_on],
        "rebase": change.rebase,
        "superseded": change.superseded,
        **({"held": [_field(item) for item in held]} if held else {}),
        **({REPLACES: replaces.to_json()} if replaces is not None else {}),
    }


def reason_of(change: Change) -> str | None:
    """Why it has its action, as a word for programs; None where that needs no reason."""
    return "superseded" if change.superseded else _REASONS.get(change.action)


def _actions(change: Change) -> list[str]:
    if change.action is Action.ADOPT:
        return ["update" if change.fields else "no-op"]
    return [_ACTIONS[change.action]]


def _change(change: Change, actions: list[str]) -> dict[str, Any]:
    secret = {field.path for field in veiled(change) if field.sensitive}
    before_secret = secret | set(change.before_sensitive)
    after_secret = secret | set(change.after_sensitive)
    unknown = {*change.after_unknown, *unknown_paths(change.fields)}
    document = {
        "actions": actions,
        "before": masked(change.before, before_secret),
        "after": masked(change.after, after_secret | unknown),
        "after_unknown": tree_of(unknown),
        "before_sensitive": tree_of(before_secret) if change.before is not None else {},
        "after_sensitive": tree_of(after_secret) if change.after is not None else {},
    }
    if change.action is Action.ADOPT:
        document["importing"] = {"id": change.remote_id}
    return document


def _field(change: FieldChange) -> dict[str, Any]:
    return {
        "path": pointer(change.path),
        "cause": change.cause.value,
        "sensitive": change.sensitive,
        "before": None if change.sensitive else plain(change.before),
        "after": None if change.sensitive else plain(change.after),
        "known": not isinstance(change.after, KnownAfterApply),
        "note": change.note,
        "inside": [pointer(path) for path in change.inside],
    }


def cause_of(change: Change) -> str | None:
    """One word for why a resource changes: git, drift, both, secret, or None."""
    causes = change.causes - {Cause.NONE}
    if not causes:
        return None
    drift = bool(causes & {Cause.DRIFT, Cause.BOTH})
    git = bool(causes & {Cause.GIT, Cause.BOTH})
    if drift and (git or Cause.SECRET in causes):
        return Cause.BOTH.value
    if drift:
        return Cause.DRIFT.value
    return Cause.GIT.value if git else Cause.SECRET.value


def _refusal(refusal: Refusal) -> dict[str, Any]:
    return {
        "rule": refusal.rule,
        "reason": refusal.reason,
        "ways_out": list(refusal.ways_out),
        "outcome_unknown": refusal.outcome_unknown,
        "range": _range(refusal.position),
    }


def _range(position: Position | None) -> dict[str, Any] | None:
    if position is None:
        return None
    start = {"line": position.line, "column": position.column}
    return {"filename": position.file, "start": start}


def drifted(change: Change) -> bool:
    """Whether it was changed or deleted outside."""
    moved = bool(change.causes & {Cause.DRIFT, Cause.BOTH}) or bool(change.held)
    return change.action is Action.RECREATE or moved


def _drift(change: Change) -> dict[str, Any]:
    """What moved outside: from what was recorded, where that is known, to what is live."""
    fields = veiled(change, (*change.fields, *change.held))
    moved = [field for field in fields if field.cause in {Cause.DRIFT, Cause.BOTH}]
    shown = [field for field in moved if not field.sensitive]
    gone = change.action is Action.RECREATE
    secret = tree_of({field.path for field in moved if field.sensitive})
    # Where only the live side moved, what is declared is still what was recorded.
    recorded = [(f.path, f.after) for f in shown if f.cause is Cause.DRIFT]
    return {
        **_identity(change),
        "change": {
            "actions": ["delete"] if gone else ["update"],
            "before": values_tree(recorded),
            "after": None if gone else values_tree((f.path, f.before) for f in shown),
            "after_unknown": {},
            "before_sensitive": secret,
            "after_sensitive": {} if gone else secret,
        },
        "cause": Cause.DRIFT.value,
        "paths": [pointer(field.path) for field in moved],
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        **_identity(outcome),
        "action": outcome.action.value,
        "result": outcome.result.value,
        "id": outcome.remote_id or None,
        "request_id": outcome.request_id or None,
        "unrecorded_in": outcome.unrecorded or None,
        "seconds": round(max(0.0, outcome.seconds), 3),
    }
