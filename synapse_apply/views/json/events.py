"""Which events `--json-lines` writes during an apply, in the shape of Terraform's `-json`.

Shape: schemas/v1/events.schema.json. The first line is of type `version`, the last of type `report`
holds the document of `--json`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Self, TextIO

from synapse_apply.model.address import Address
from synapse_apply.model.job import Job
from synapse_apply.model.json_types import JsonDocument
from synapse_apply.model.plan import Action, Change, Plan
from synapse_apply.model.report import Report
from synapse_apply.views.grammar import format_plan_line
from synapse_apply.views.json import documents
from synapse_apply.views.sanitize import sanitize
from synapse_apply.views.text import progress
from synapse_apply.views.text.outcomes import OutcomeCounts, totals_and_steps
from synapse_apply.views.text.terminal import Style

Event = JsonDocument
UI_VERSION = "1.0"

# Terraform's names of actions, where they are not ours.
_TERRAFORM_ACTIONS = {
    Action.RECREATE.value: "create",
    Action.ADOPT.value: "import",
    Action.NO_OP.value: "noop",
}
_LEVEL_BY_SEVERITY = {"error": "error", "warning": "warn"}


def build_version_event(tool_version: str) -> Event:
    """The first event: versions of the tool and of the event format."""
    message = f"synapse-apply {tool_version}"
    return _build_event("version", message, tool_version=tool_version, ui=UI_VERSION)


def iter_change_events(plan: Plan) -> Iterator[Event]:
    """Events for each drift, planned or refused change of a plan, then one with the counts."""
    for change in filter(documents.was_touched_outside, plan.changes):
        # Terraform reports an object that is gone as drift of the action `delete`.
        action = "delete" if change.action is Action.RECREATE else "update"
        yield _build_change_event("resource_drift", change, action, "Drift")
    for change in plan.changes:
        action = _TERRAFORM_ACTIONS.get(change.action.value, change.action.value)
        if change.is_refused:
            yield _build_change_event("planned_change", change, action, "Refused", level="warn")
        elif change.action is not Action.NO_OP:
            yield _build_change_event("planned_change", change, action, f"Plan to {action}")
    counts = documents.build_summary_counts(plan.summary, run_count=len(plan.changes_to_verify))
    # Terraform's summary says `remove` where its plan says `destroy`.
    counts["remove"] = counts.pop("destroy")
    yield _build_summary_event(format_plan_line(plan.summary), counts, "plan")


def iter_summary_event(report: Report) -> Iterator[Event]:
    """The `change_summary` event of an apply."""
    counts = asdict(OutcomeCounts.from_report(report))
    for count_name, verb in _VERB_BY_COUNT.items():
        counts[verb] = counts.pop(count_name)
    lines = totals_and_steps(report, Style(False)).splitlines()
    message = next((line for line in lines if line.startswith("Apply ")), lines[0] if lines else "")
    yield _build_summary_event(message, counts, str(report.extras.get("operation", "apply")))


# `--json-lines` ends with the document of `--json`, on every exit, so that a program that follows
# the events need not add them up. `--json` itself leaves stderr silent; the log is for people.
def iter_last_events(
    document: Mapping[str, Any], keys_of_reported_findings: Collection[str] = ()
) -> Iterator[Event]:
    """Events for the document's findings that were not reported, then one with the document."""
    for finding in document["diagnostics"]:
        # A finding that was written while the apply ran is not repeated.
        if serialize_finding(finding) not in keys_of_reported_findings:
            yield build_finding_event(finding)
    message = f"Ended with exit code {document['exit_code']}"
    yield _build_event("report", message, report=document)


def build_finding_event(finding: Mapping[str, Any]) -> Event:
    """The event of a finding, given in the form of JSON documents."""
    severity = str(finding["severity"])
    message = f"{severity.capitalize()}: {finding['summary']}"
    return _build_event(
        "diagnostic", message, _LEVEL_BY_SEVERITY.get(severity, "info"), diagnostic=finding
    )


def serialize_finding(finding: Mapping[str, Any]) -> str:
    """A text that is equal for equal findings (given in the form of JSON documents)."""
    return json.dumps(finding, sort_keys=True, default=str)


class EventWriter(progress.SilentProgress):
    """Writes an event as each call begins and ends, and every `interval` seconds while it runs.

    After a write error nothing more is written, nor is anything after the end of `with`, even if
    threads still report. No event is of a wait, whose sum is among the findings at the end.
    """

    def __init__(self, stream: TextIO, interval: float = progress.REPORT_INTERVAL) -> None:
        """The caller writes the first event, of type `version`."""
        self._stream = progress.ForgivingStream(stream)
        self._ongoing_calls = progress.OngoingCalls(self._write_ongoing_event, interval)
        self._is_closed = False

    def __enter__(self) -> Self:
        self._ongoing_calls.start_reporting()
        return self

    def __exit__(self, *raised: object) -> None:
        # Before the thread is stopped, as calls that are still in progress may report meanwhile.
        self._is_closed = True
        self._ongoing_calls.stop_reporting()

    def report_start(self, address: Address, verb: str) -> None:
        """Write an `apply_start` event."""
        self._ongoing_calls.add_call(address, verb)
        self._write_event("apply_start", address, verb, f"{progress.ongoing_word(verb)}...")

    def report_upload(self, address: Address, sent_bytes: int, total_bytes: int) -> None:
        """Note the bytes of an upload for the next `apply_progress` event."""
        self._ongoing_calls.replace_facts(
            address, {"sent_bytes": sent_bytes, "total_bytes": total_bytes}
        )

    def report_job(self, address: Address, job: Job) -> None:
        """Keep a job's status for the next `apply_progress` event; writes nothing itself."""
        status = {"job": job.id, "job_status": job.status.value}
        percent = {} if job.progress is None else {"percent": job.progress}
        self._ongoing_calls.replace_facts(address, {**status, **percent})

    def report_end(
        self, address: Address, verb: str, result: str, seconds: float, remote_id: str = ""
    ) -> None:
        """Write `apply_complete`, or `apply_errored` for a result that is no success."""
        self._ongoing_calls.remove_call(address)
        is_success = result in progress.SUCCESS_RESULTS
        kind, level = ("apply_complete", "info") if is_success else ("apply_errored", "error")
        id_fields = {"id_key": "id", "id_value": remote_id} if remote_id else {}
        facts = {"result": result, "elapsed_seconds": round(max(0.0, seconds), 3), **id_fields}
        text = progress.describe_call_ending(verb, result, seconds, remote_id)
        self._write_event(kind, address, verb, text, level=level, **facts)

    def _write_ongoing_event(self, call: progress.OngoingCall, seconds: float) -> None:
        text = f"Still {progress.ongoing_word(call.verb).lower()}..."
        elapsed_seconds = round(seconds, 3)
        self._write_event(
            "apply_progress", call.address, call.verb, text,
            elapsed_seconds=elapsed_seconds, **call.facts,
        )  # fmt: skip

    def _write_event(
        self, kind: str, address: Address, verb: str, text: str, level: str = "info", **facts: Any
    ) -> None:
        hook = {
            "resource": _build_resource_fields(address),
            "action": _TERRAFORM_ACTIONS.get(verb, verb),
            **facts,
        }
        event = _build_event(kind, f"{address}: {text}", level, hook=hook)
        if not self._is_closed:
            self._stream.write_whole_line(documents.format_redacted_json_line(event))


_VERB_BY_COUNT = {
    "added": "add",
    "changed": "change",
    "destroyed": "remove",
    "imported": "import",
    "forgotten": "forget",
}


def _build_event(kind: str, message: str, level: str = "info", **fields: Any) -> Event:
    timestamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "@level": level,
        "@message": sanitize(message),
        "@module": "synapse-apply",
        "@timestamp": timestamp,
        "type": kind,
        **fields,
    }


def _build_resource_fields(address: Address) -> dict[str, str]:
    return {"addr": str(address), "resource_type": address.kind, "resource_name": address.name}


def _build_change_event(
    kind: str, change: Change, action: str, message: str, level: str = "info"
) -> Event:
    change_fields: Event = {"resource": _build_resource_fields(change.address), "action": action}
    if (reason := documents.terraform_reason(change)) is not None:
        change_fields["reason"] = reason
    if change.action is Action.ADOPT:
        change_fields["importing"] = {"id": change.remote_id}
    if kind == "planned_change" and change.is_refused:
        refusals = [{"rule": refusal.rule, "reason": refusal.reason} for refusal in change.refusals]
        change_fields["refusals"] = refusals
    return _build_event(kind, f"{change.address}: {message}", level, change=change_fields)


def _build_summary_event(message: str, counts: Mapping[str, int], operation: str) -> Event:
    return _build_event("change_summary", message, changes={**counts, "operation": operation})
