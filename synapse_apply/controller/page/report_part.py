"""Which calls of an apply its report tells of: the document of `apply --json` (report.schema.json).

A worker is not trusted with what it reports: what has another shape is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from synapse_apply.model.frozen import frozen

# The rest is what the command shows.
MAX_SHOWN_CALLS = 1000
_TONES = {"done": "good", "failed": "bad", "unknown": "bad", "skipped": "quiet"}


@frozen
class ReportedCall:
    """What became of one row of an apply; texts are "" where nothing is known."""

    address: str
    action: str
    result: str
    request_id: str = ""
    remote_id: str = ""
    message: str = ""
    hint: str = ""

    @property
    def tone(self) -> str:
        """The class of controller.css."""
        return _TONES.get(self.result, "quiet")


def parse_report_object(report_json: str) -> dict[str, Any] | None:
    """The document of a report; None where there is none, or it is no object."""
    try:
        document = json.loads(report_json) if report_json else None
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def list_reported_calls(report_json: str) -> Sequence[ReportedCall]:
    """What became of each row, what is not done first; nothing for a report of another shape."""
    document = parse_report_object(report_json) or {}
    calls = sorted(_shown_calls(document), key=lambda call: call.result == "done")
    return calls[:MAX_SHOWN_CALLS]


def _shown_calls(document: dict[str, Any]) -> Iterator[ReportedCall]:
    findings = {
        _get_text_or_empty(finding, "address"): finding
        for finding in _list_objects_or_empty(document.get("diagnostics"))
        if finding.get("severity") == "error"
    }
    for outcome in _list_objects_or_empty(document.get("outcomes")):
        if outcome.get("action") == "no-op" and outcome.get("result") == "done":
            continue
        finding = findings.get(_get_text_or_empty(outcome, "address"), {})
        yield ReportedCall(
            _get_text_or_empty(outcome, "address"),
            _get_text_or_empty(outcome, "action"),
            _get_text_or_empty(outcome, "result"),
            _get_text_or_empty(outcome, "request_id") or _get_text_or_empty(finding, "request_id"),
            _get_text_or_empty(outcome, "id"),
            " ".join(
                filter(
                    None,
                    (_get_text_or_empty(finding, "summary"), _get_text_or_empty(finding, "detail")),
                )
            ),
            _get_text_or_empty(finding, "hint"),
        )


def _list_objects_or_empty(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _get_text_or_empty(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""
