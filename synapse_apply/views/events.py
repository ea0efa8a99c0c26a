"""`--json-lines`: an apply as JSON objects, one a line, while it goes on; as Terraform's `-json`.

Shape: schemas/v1/events.schema.json. The first line is of type `version`, the last of type `report`
holds the document of `--json`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TextIO

from synapse_apply.model.address import Address
from synapse_apply.model.job import Job
from synapse_apply.model.plan import Action, Change, Plan
from synapse_apply.model.report import Report
from synapse_apply.views.grammar import plan_line
from synapse_apply.views.json import drifted, json_line, plan_counts, reason_of
from synapse_apply.views.outcomes import Counts, totals
from synapse_apply.views.pen import Pen
from synapse_apply.views.progress import WELL, Forgiving, ending, words_of
from synapse_apply.views.safety import clean
from synapse_apply.views.under_way import INTERVAL, Call, UnderWay

Event = dict[str, Any]
UI_VERSION = "1.0"

# Terraform's words for what is done with a resource.
_ACTIONS = {
    Action.CREATE.value: "create",
    Action.RECREATE.value: "create",
    Action.ADOPT.value: "import",
    Action.UPDATE.value: "update",
    Action.DELETE.value: "delete",
    Action.FORGET.value: "forget",
    Action.NO_OP.value: "noop",
}
_LEVELS = {"error": "error", "warning": "warn"}


def version_event(tool_version: str) -> Event:
    """The first line: which version writes, and the version of what it writes."""
    message = f"synapse-apply {tool_version}"
    return _event("version", message, tool_version=tool_version, ui=UI_VERSION)


def plan_events(plan: Plan) -> Iterator[Event]:
    """What drifted, what is planned and refused, and the counts; what stays has no line."""
    for change in plan.changes:
        if drifted(change):
            is_gone = change.action is Action.RECREATE
            yield _change_event(
                "resource_drift", change, "delete" if is_gone else "update", "Drift"
            )
    for change in plan.changes:
        action = _ACTIONS[change.action.value]
        if change.refused:
            yield _change_event("planned_change", change, action, "Refused", level="warn")
        elif change.action is not Action.NO_OP:
            yield _change_event("planned_change", change, action, f"Plan to {action}")
    counts = plan_counts(plan.summary, due=len(plan.verified))
    counts["remove"] = counts.pop("destroy")
    yield _summary_event(plan_line(plan.summary), counts, "plan")


def report_events(report: Report) -> Iterator[Event]:
    """What the apply came to, in counts."""
    counts = asdict(Counts.of(report))
    for past, verb in _VERBS.items():
        counts[verb] = counts.pop(past)
    lines = totals(report, Pen(False)).splitlines()
    said = next((line for line in lines if line.startswith("Apply ")), lines[0] if lines else "")
    yield _summary_event(said, counts, str(report.extras.get("operation", "apply")))


def closing_events(document: Mapping[str, Any], said: Collection[str] = ()) -> Iterator[Event]:
    """The findings of a document that no line has `said`, and the document itself."""
    for finding in document["diagnostics"]:
        if finding_key(finding) not in said:
            yield finding_event(finding)
    message = f"Ended with exit code {document['exit_code']}"
    yield _event("report", message, report=document)


def finding_event(finding: Mapping[str, Any]) -> Event:
    """A line on a finding, given as JSON documents have it."""
    severity = str(finding["severity"])
    message = f"{severity.capitalize()}: {finding['summary']}"
    return _event("diagnostic", message, _LEVELS.get(severity, "info"), diagnostic=finding)


def finding_key(finding: Mapping[str, Any]) -> str:
    """What tells whether two findings are the same."""
    return json.dumps(finding, sort_keys=True, default=str)


class Events:
    """Writes a line as each call begins and ends, and every 10 s one on each that goes on.

    A stream that cannot be written to is left alone from then on; nothing is written after the end
    of `with`, whatever threads may still wait for.
    """

    def __init__(self, stream: TextIO, interval: float = INTERVAL) -> None:
        """The first line, of type `version`, is the caller's."""
        self._stream = Forgiving(stream)
        self._under_way = UnderWay(self._still, interval)
        self._is_closed = False

    def __enter__(self) -> Self:
        self._under_way.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._is_closed = True
        self._under_way.close()

    def started(self, address: Address, verb: str) -> None:
        """`apply_start`."""
        self._under_way.start(address, verb)
        self._write("apply_start", address, verb, f"{words_of(verb).doing}...")

    def sent(self, address: Address, done: int, total: int) -> None:
        """Bytes of an upload; they stand in the next `apply_progress`."""
        self._under_way.describe(address, {"sent_bytes": done, "total_bytes": total})

    def looked(self, address: Address, job: Job) -> None:
        """How a job stands, for the next `apply_progress`."""
        status = {"job": job.id, "job_status": job.status.value}
        percent = {} if job.progress is None else {"percent": job.progress}
        self._under_way.describe(address, {**status, **percent})

    def finished(
        self, address: Address, verb: str, result: str, seconds: float, remote_id: str = ""
    ) -> None:
        """`apply_complete`, or `apply_errored` for any other result than what was asked for."""
        self._under_way.end(address)
        is_well = result in WELL
        kind, level = ("apply_complete", "info") if is_well else ("apply_errored", "error")
        known_id = {"id_key": "id", "id_value": remote_id} if remote_id else {}
        facts = {"result": result, "elapsed_seconds": round(max(0.0, seconds), 3), **known_id}
        text = ending(verb, result, seconds, remote_id)
        self._write(kind, address, verb, text, level=level, **facts)

    def _still(self, call: Call, seconds: float) -> None:
        text = f"Still {words_of(call.verb).doing.lower()}..."
        elapsed_seconds = round(seconds, 3)
        self._write(
            "apply_progress", call.address, call.verb, text,
            elapsed_seconds=elapsed_seconds, **call.facts,
        )  # fmt: skip

    def _write(
        self, kind: str, address: Address, verb: str, text: str, level: str = "info", **facts: Any
    ) -> None:
        hook = {"resource": _resource(address), "action": _ACTIONS.get(verb, verb), **facts}
        event = _event(kind, f"{address}: {text}", level, hook=hook)
        if not self._is_closed:
            self._stream.write_line(json_line(event))


_VERBS = {
    "added": "add",
    "changed": "change",
    "destroyed": "remove",
    "imported": "import",
    "forgotten": "forget",
}


def _event(kind: str, message: str, level: str = "info", **more: Any) -> Event:
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "@level": level,
        "@message": clean(message),
        "@module": "synapse-apply",
        "@timestamp": at,
        "type": kind,
        **more,
    }


def _resource(address: Address) -> dict[str, str]:
    return {
        "addr": str(address),
        "resource_type": address.kind,
        "resource_name": address.name,
    }


def _change_event(
    kind: str, change: Change, action: str, message: str, level: str = "info"
) -> Event:
    said: Event = {"resource": _resource(change.address), "action": action}
    if (reason := reason_of(change)) is not None:
        said["reason"] = reason
    if change.action is Action.ADOPT:
        said["importing"] = {"id": change.remote_id}
    if kind == "planned_change" and change.refused:
        refusals = [{"rule": one.rule, "reason": one.reason} for one in change.refusals]
        said["refusals"] = refusals
    return _event(kind, f"{change.address}: {message}", level, change=said)


def _summary_event(message: str, counts: Mapping[str, int], operation: str) -> Event:
    return _event("change_summary", message, changes={**counts, "operation": operation})
