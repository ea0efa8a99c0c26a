"""Which JSON document a command writes that failed before it did anything: its usual shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields

from synapse_apply.model.coding.json_types import JsonDocument
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.plan import Plan, PlanSummary
from synapse_apply.model.report import Report
from synapse_apply.views.json.documents import (
    FORMAT_VERSION,
    build_summary_counts,
    diagnostics_document,
    report_document,
)
from synapse_apply.views.text.outcomes import OutcomeCounts


# A command that ends before its plan prints the document that it always prints, empty but for
# findings and exit code, and never two of them.
def build_findings_document_in_shape_of_command(
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
            "diagnostics": [finding.to_json() for finding in [*plan_findings, *findings]],
        }
    if (build_empty_fields := _EMPTY_FIELDS_BY_COMMAND.get(command)) is None:
        document = diagnostics_document(findings, tool_version=tool_version)
        return {**document, "exit_code": exit_code}
    return {
        "format_version": FORMAT_VERSION,
        "tool_version": tool_version,
        **build_empty_fields(),
        "exit_code": exit_code,
        "diagnostics": [finding.to_json() for finding in findings],
    }


def _empty_plan() -> JsonDocument:
    return {
        "timestamp": None,
        "plan_id": None,
        "errored": True,
        "applyable": False,
        "complete": False,
        "base": None,
        "summary": build_summary_counts(PlanSummary(), run_count=0),
        "moved": [],
        "resource_changes": [],
        "verifications": [],
        "resource_drift": [],
        "accepted_differences": [],
        "guards": [],
        "capabilities": {},
    }


def _empty_report() -> JsonDocument:
    return {
        "plan": None,
        "moved": [],
        "complete": False,
        "stopped": 0,
        "lock_lost": False,
        "counts": asdict(
            OutcomeCounts(
                **dict.fromkeys((count_field.name for count_field in fields(OutcomeCounts)), 0)
            )
        ),
        "outcomes": [],
        "verifications": [],
        "refusals": [],
        "guards_overridden": [],
    }


def _empty_drift() -> JsonDocument:
    return {
        "timestamp": None,
        "errored": True,
        "drifted": False,
        "base": None,
        "on_drift": None,
        "summary": {
            "changed": 0,
            "gone": 0,
            "waiting": 0,
            "unmanaged": None,
            "accepted_differences": 0,
        },
        "resource_drift": [],
        "waiting": [],
        "unmanaged": None,
        "not_listed": [],
        "accepted_differences": [],
        "accepted": [],
    }


_EMPTY_FIELDS_BY_COMMAND: Mapping[str, Callable[[], JsonDocument]] = {
    "plan": _empty_plan,
    "apply": _empty_report,
    "verify": _empty_report,
    "drift": _empty_drift,
}
