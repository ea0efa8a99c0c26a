"""What a message says: its fields, each bounded, and the one sentence that sums it up.

The fields are the body of a webhook (`schemas/v1/controller-message.schema.json`), and what other
channels are written from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.controller.rows import ChangeCounts, MessageRow, TargetName
from synapse_apply.controller.settings import Event
from synapse_apply.model.diagnostic import Diagnostic

_MAX_SUMMARY, _MAX_DETAIL, _MAX_HINT, _MAX_POSITION = 300, 2000, 1000, 500
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
    Event.DRIFT.value: "{subject} was changed outside of Git",
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
    is_reminder: bool = False,
) -> dict[str, Any]:
    """The fields of a message: of a target, or of its source as a whole where `target` is None.

    `finding` is the first one of what is told, `url` the page that has all of them. Commands in its
    texts name the target.
    """
    named_target = target.target if target else ""
    return {
        "controller": controller,
        "source": source,
        "target": str(target) if target else None,
        "commit": commit or None,
        "finding": _build_finding(finding.with_target(named_target)) if finding else None,
        "counts": _build_counts(counts) if counts else None,
        "url": url or None,
        "reminder": is_reminder,
    }


def format_message_sentence(row: MessageRow) -> str:
    """One sentence for a row: which target, what became of it, and the first reason."""
    fields = row.fields
    subject = str(fields.get("target") or f"source {fields.get('source')}")
    sentence = _WORDS_BY_EVENT.get(row.event, "{subject}: {event}").format(
        subject=subject, event=row.event
    )
    if fields.get("reminder"):
        sentence = f"Reminder: {sentence}"
    finding = fields.get("finding")
    reason = finding.get("summary", "") if isinstance(finding, Mapping) else ""
    reason = reason or format_message_counts(fields.get("counts"))
    return f"{sentence}: {reason}" if reason else sentence


def format_message_counts(counts: object) -> str:
    """The counts of a message that are not 0, such as `1 to add, 2 drifted`; "" for none."""
    if not isinstance(counts, Mapping):
        return ""
    numbers = {name: counts.get(name, 0) for name in _COUNTED}
    return ", ".join(_PHRASES[name].format(n) for name, n in numbers.items() if n)


def _build_finding(finding: Diagnostic) -> dict[str, str | None]:
    return {
        "severity": finding.severity.value,
        "summary": _cut(finding.summary, _MAX_SUMMARY),
        "detail": _cut(finding.detail, _MAX_DETAIL),
        "hint": _cut(finding.hint, _MAX_HINT),
        "address": finding.address,
        "position": _cut(str(finding.position), _MAX_POSITION) if finding.position else None,
    }


def _build_counts(counts: ChangeCounts) -> dict[str, int]:
    return {name: getattr(counts, "import_" if name == "import" else name) for name in _COUNTED}


def _cut(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else text[: max_length - 1] + "…"
