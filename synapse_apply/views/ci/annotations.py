"""Which findings, refusals, guards and drifts become annotations of files in a merge request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from synapse_apply.model.diagnostic import Diagnostic, Position
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Action, Change, Plan
from synapse_apply.model.report import Drift, Report, Result
from synapse_apply.model.verification import RunStatus
from synapse_apply.views.grammar import format_refusal_phrase
from synapse_apply.views.text.drift import say_what_drifted
from synapse_apply.views.text.findings import finding_location, format_quoted_path
from synapse_apply.views.text.outcomes import outcome_findings


@frozen
class Annotation:
    """One remark for a reviewer, at a position of a file where it has one.

    `level` is error, warning or note. `rule` and `subject` are equal for a finding in every
    run. Texts are not sanitized yet.
    """

    level: str
    rule: str
    title: str
    text: str
    subject: str = ""
    position: Position | None = None


def plan_annotations(plan: Plan) -> list[Annotation]:
    """Annotations for a plan's findings, refused changes, and guards that would stop the apply."""
    positions = _positions_by_address(plan.changes)
    guards = [
        Annotation(
            "warning", "guard", f"Apply will stop: {guard.summary}", guard.detail, guard.name
        )
        for guard in plan.guards
    ]
    return [
        *_of_findings(plan.diagnostics, positions),
        *_of_refusals(plan.refused_changes),
        *guards,
    ]


def changed_plan_annotations(plan: Plan) -> list[Annotation]:
    """Annotations as for a plan, without warnings and notes on resources that it does not change.

    A reviewer is shown what the change touches; errors are shown in any case.
    """
    unchanged_addresses = {
        str(change.address)
        for change in plan.changes
        if change.action is Action.NO_OP and not change.is_refused and change.verification is None
    }
    relevant_findings = [
        finding
        for finding in plan.diagnostics
        if finding.is_error or finding.address not in unchanged_addresses
    ]
    return plan_annotations(replace(plan, diagnostics=tuple(relevant_findings)))


def report_annotations(report: Report) -> list[Annotation]:
    """Annotations for the findings of an apply, its plan's included, and for refused changes."""
    unskipped_outcomes = (
        outcome for outcome in report.outcomes if outcome.result is not Result.SKIPPED
    )
    run_findings = [
        finding
        for result in report.verification_results
        if result.status is not RunStatus.SKIPPED
        for finding in result.diagnostics
    ]
    all_findings = [*report.plan.diagnostics, *outcome_findings(unskipped_outcomes), *run_findings]
    return [
        *_of_findings(all_findings, _positions_by_address(report.plan.changes)),
        *_of_refusals(report.plan.refused_changes),
    ]


def annotate_drift(drift: Drift) -> list[Annotation]:
    """Annotations for each drifted object, where it is declared, and for the drift's findings."""
    positions = {
        str(object_drift.address): object_drift.position
        for object_drift in drift.objects
        if object_drift.position is not None
    }
    drift_annotations = [
        Annotation(
            "warning",
            "drift",
            say_what_drifted(object_drift),
            ", ".join(format_quoted_path(field.path) for field in object_drift.fields),
            str(object_drift.address),
            object_drift.position,
        )
        for object_drift in drift.objects
    ]
    return [*_of_findings(drift.diagnostics, positions), *drift_annotations]


def finding_annotations(findings: Iterable[Diagnostic]) -> list[Annotation]:
    """Annotations for findings without a plan."""
    return list(_of_findings(findings, {}))


def _positions_by_address(changes: Iterable[Change]) -> dict[str, Position]:
    """The position of each declared resource, by its address as text."""
    return {str(c.address): c.position for c in changes if c.position is not None}


def _of_findings(
    findings: Iterable[Diagnostic], position_by_address: Mapping[str, Position]
) -> Iterator[Annotation]:
    for finding in findings:
        hint = f"Hint: {finding.hint}" if finding.hint else ""
        # Some details quote the server's answer, which has the request id in it.
        is_request_told = not finding.request_id or finding.request_id in finding.detail
        request_text = "" if is_request_told else f"Request id: {finding.request_id}"
        subject = " ".join(
            part
            for part in (
                finding.address or "",
                format_quoted_path(finding.path or ()),
                finding.target or "",
            )
            if part
        )
        location = finding_location(finding.with_changes(position=None)).removeprefix("with ")
        yield Annotation(
            finding.severity.value,
            finding.rule or finding.summary,
            finding.summary,
            "\n".join(part for part in (finding.detail, hint, location, request_text) if part),
            subject,
            finding.position or position_by_address.get(finding.address or ""),
        )


def _of_refusals(changes: Iterable[Change]) -> Iterator[Annotation]:
    for change in changes:
        for refusal in change.refusals:
            yield Annotation(
                "error",
                f"refused: {refusal.rule}",
                f"{change.address} {format_refusal_phrase(change.action)}",
                "\n".join(
                    [refusal.reason, *(f"Way out: {way_out}" for way_out in refusal.ways_out)]
                ),
                str(change.address),
                refusal.position or change.position,
            )


def with_file_names(
    file_annotations: Iterable[Annotation], new_name_by_file: Mapping[str, str]
) -> list[Annotation]:
    """The annotations, with other names for the files that `new_name_by_file` has."""
    return [
        replace(
            annotation,
            position=replace(annotation.position, file=new_name_by_file[annotation.position.file]),
        )
        if annotation.position is not None and annotation.position.file in new_name_by_file
        else annotation
        for annotation in file_annotations
    ]
