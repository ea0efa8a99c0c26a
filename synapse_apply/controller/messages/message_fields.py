"""What a message says: its fields, each bounded, and the one sentence that sums it up.

The fields are the body of a webhook (`schemas/v1/controller-message.schema.json`), and what other
channels are written from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from synapse_apply.controller.rollout_rows import RolloutRow
from synapse_apply.controller.rows import ChangeCounts, HoldRow, MessageRow, PauseRow, TargetName
from synapse_apply.controller.settings import Event
from synapse_apply.model.diagnostic import Diagnostic

_MAX_SUMMARY, _MAX_DETAIL, _MAX_HINT, _MAX_POSITION = 300, 2000, 1000, 500
_MAX_ADDRESS = 400
# The page has all of them.
_MAX_HELD_ROWS, _HELD_ROWS_OF_SENTENCE = 20, 3
_COUNTED = ("add", "change", "destroy", "import", "forget", "refused", "drifted", "guards")
_PHRASES = {
    "add": "{} to add",
    "change": "{} to change",
    "destroy": "{} to destroy",
    "import": "{} to import",
    "forget": "{} to forget",
    "refused": "{} refused",
    "drifted": "{} drifted",
    "guards": "{} stopped by guards",
}
_WORDS_BY_EVENT = {
    Event.FAILED.value: "{subject} failed",
    Event.RECOVERED.value: "{subject} recovered",
    Event.HELD.value: "{subject} waits for a person",
    Event.DRIFT.value: "{subject} is not as it was last applied",
    Event.PAUSED.value: "{subject} is paused",
}


def build_message_fields(
    *,
    controller: str,
    source: str,
    target: TargetName | None = None,
    commit: str = "",
    finding: Diagnostic | None = None,
    counts: ChangeCounts | None = None,
    url: str = "",
    holds: Sequence[HoldRow] = (),
    pause: PauseRow | None = None,
    rollout: RolloutRow | None = None,
    failure_count: int = 0,
    is_reminder: bool = False,
) -> dict[str, Any]:
    """The fields of a message: of a target, of a rollout, or of the source where both are None.

    `finding` is the first one of what is told, `url` the page that has all of them. Commands in its
    texts name the target. `holds` are the rows that wait for a person; a `pause` that ends at
    infinity has no end. `failure_count` is how often in a row it has failed, 0 for other events.
    """
    named_target = target.target if target else ""
    return {
        "controller": controller,
        "source": source,
        "target": str(target) if target else None,
        "commit": commit or None,
        "finding": _build_finding_field(finding.with_target(named_target)) if finding else None,
        "counts": {
            name: getattr(counts, "import_" if name == "import" else name) for name in _COUNTED
        }
        if counts
        else None,
        "url": url or None,
        "held": _build_held_rows_field(holds) if holds else None,
        "pause": {
            "scope": _cut_with_ellipsis(pause.scope, _MAX_ADDRESS),
            "who": _cut_with_ellipsis(pause.who, _MAX_ADDRESS),
            "reason": _cut_with_ellipsis(pause.reason, _MAX_SUMMARY),
            "until": format_utc_time(pause.until) if isfinite(pause.until) else None,
        }
        if pause
        else None,
        "rollout": {
            "name": rollout.name,
            "state": rollout.state.value,
            "wave": rollout.wave,
            "waves": rollout.wave_count,
        }
        if rollout
        else None,
        "failures": failure_count,
        "reminder": is_reminder,
    }


def format_message_sentence(row: MessageRow) -> str:
    """One sentence for a row: which target, what became of it, and the first reason."""
    fields = row.fields
    pause, rollout = fields.get("pause"), fields.get("rollout")
    subject = str(fields.get("target") or f"source {fields.get('source')}")
    if isinstance(pause, Mapping):
        subject = str(pause.get("scope"))
    elif isinstance(rollout, Mapping):
        subject = f"rollout {rollout.get('name')}"
    sentence = _WORDS_BY_EVENT.get(row.event, "{subject}: {event}").format(
        subject=subject, event=row.event
    )
    failure_count = fields.get("failures", 0)
    if failure_count > 1:
        sentence += f" {failure_count} times in a row"
    if fields.get("reminder"):
        sentence = f"Reminder: {sentence}"
    finding = fields.get("finding")
    reason = finding.get("summary", "") if isinstance(finding, Mapping) else ""
    if isinstance(pause, Mapping):
        reason = format_message_pause(pause)
    reason = reason or message_held_rows(fields.get("held"), _HELD_ROWS_OF_SENTENCE)
    reason = reason or message_counts(fields.get("counts"))
    return f"{sentence}: {reason}" if reason else sentence


def message_counts(counts: object) -> str:
    """The counts of a message that are not 0, such as `1 to add, 2 drifted`; "" for none."""
    if not isinstance(counts, Mapping):
        return ""
    numbers = {name: counts.get(name, 0) for name in _COUNTED}
    return ", ".join(_PHRASES[name].format(n) for name, n in numbers.items() if n)


def message_held_rows(held_rows: object, max_rows: int) -> str:
    """The rows that wait, such as `2 rows: update plugin/a, delete plugin/b`; "" for none."""
    if not isinstance(held_rows, Mapping):
        return ""
    rows = held_rows.get("rows", [])[:max_rows]
    names = [f"{row.get('action')} {row.get('address')}" for row in rows]
    hidden_count = held_rows.get("count", 0) - len(names)
    if hidden_count > 0:
        names.append(f"{hidden_count} more")
    noun = "row" if held_rows.get("count") == 1 else "rows"
    return f"{held_rows.get('count')} {noun}: {', '.join(names)}"


def format_message_pause(pause: Mapping[str, Any]) -> str:
    """Who paused, until when and why: `by proxy:ann until 2026-11-27T18:00:00Z, a release`."""
    until = f" until {pause['until']}" if pause.get("until") else ""
    reason = f", {pause['reason']}" if pause.get("reason") else ""
    return f"by {pause.get('who')}{until}{reason}"


def _build_held_rows_field(holds: Sequence[HoldRow]) -> dict[str, Any]:
    rows = [
        {
            "address": _cut_with_ellipsis(hold.held_row.row.address, _MAX_ADDRESS),
            "action": hold.held_row.row.action.value,
            "summary": _cut_with_ellipsis(hold.held_row.row.summary, _MAX_SUMMARY),
            "reason": hold.held_row.reason.value,
        }
        for hold in holds[:_MAX_HELD_ROWS]
    ]
    return {"count": len(holds), "rows": rows}


def format_utc_time(when: float) -> str:
    """A wall-clock time in seconds as RFC 3339 has it, to the second."""
    moment = datetime.fromtimestamp(when, UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _build_finding_field(finding: Diagnostic) -> dict[str, str | None]:
    return {
        "severity": finding.severity.value,
        "summary": _cut_with_ellipsis(finding.summary, _MAX_SUMMARY),
        "detail": _cut_with_ellipsis(finding.detail, _MAX_DETAIL),
        "hint": _cut_with_ellipsis(finding.hint, _MAX_HINT),
        "address": finding.address,
        "position": _cut_with_ellipsis(str(finding.position), _MAX_POSITION)
        if finding.position
        else None,
    }


def _cut_with_ellipsis(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else text[: max_length - 1] + "…"
