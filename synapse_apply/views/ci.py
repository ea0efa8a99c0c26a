"""What CI systems read: annotations, commands and outputs for GitHub, counts and issues for GitLab.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands,
https://docs.gitlab.com/user/infrastructure/iac/mr_integration and
https://docs.gitlab.com/ci/testing/code_quality
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256

from synapse_apply.model.diagnostic import Diagnostic, Position
from synapse_apply.model.errors import Exit
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.job import RunStatus
from synapse_apply.model.json_types import JsonDocument
from synapse_apply.model.plan import Action, Change, Plan
from synapse_apply.model.report import Drift, ObjectDrift, Report, Result
from synapse_apply.views.grammar import format_refusal_phrase
from synapse_apply.views.sanitize import cut_text, escape_ci_commands, sanitize, sanitize_lines
from synapse_apply.views.text.drift import what_drifted
from synapse_apply.views.text.findings import finding_location, format_quoted_path
from synapse_apply.views.text.outcomes import OutcomeCounts, outcome_findings


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
    return [
        *_of_findings(plan.diagnostics, plan.changes),
        *_of_refusals(plan),
        *(
            Annotation(
                "warning", "guard", f"Apply will stop: {guard.summary}", guard.detail, guard.name
            )
            for guard in plan.guards
        ),
    ]


def changed_plan_annotations(plan: Plan) -> list[Annotation]:
    """Annotations as for a plan, without warnings and notes on resources that it does not change.

    A reviewer is shown what the change touches; errors are shown in any case.
    """
    unchanged = {
        str(change.address)
        for change in plan.changes
        if change.action is Action.NO_OP and not change.is_refused and change.verification is None
    }
    relevant = (one for one in plan.diagnostics if one.is_error or one.address not in unchanged)
    return plan_annotations(replace(plan, diagnostics=tuple(relevant)))


def report_annotations(report: Report) -> list[Annotation]:
    """Annotations for the findings of an apply, its plan's included, and for refused changes."""
    unskipped = [one for one in report.outcomes if one.result is not Result.SKIPPED]
    run_findings = [
        finding
        for result in report.verification_results
        if result.status is not RunStatus.SKIPPED
        for finding in result.diagnostics
    ]
    all_findings = [*report.plan.diagnostics, *outcome_findings(unskipped), *run_findings]
    return [*_of_findings(all_findings, report.plan.changes), *_of_refusals(report.plan)]


def annotate_drift(drift: Drift) -> list[Annotation]:
    """Annotations for each drifted object, where it is declared, and for the drift's findings."""
    drift_annotations = [
        Annotation(
            "warning",
            "drift",
            what_drifted(one),
            ", ".join(format_quoted_path(field.path) for field in one.fields),
            str(one.address),
            one.position,
        )
        for one in drift.objects
    ]
    return [*_of_findings(drift.diagnostics, drift.objects), *drift_annotations]


def finding_annotations(findings: Iterable[Diagnostic]) -> list[Annotation]:
    """Annotations for findings without a plan."""
    return list(_of_findings(findings, ()))


def _of_findings(
    findings: Iterable[Diagnostic], declared: Iterable[Change | ObjectDrift]
) -> Iterator[Annotation]:
    """Annotations for findings; one without a position is where its resource is declared."""
    positions = {str(one.address): one.position for one in declared}
    for finding in findings:
        request_id = finding.untold_request_id
        texts = (
            finding.detail,
            f"Hint: {finding.hint}" if finding.hint else "",
            finding_location(finding.with_changes(position=None)).removeprefix("with "),
            f"Request id: {request_id}" if request_id else "",
        )
        subject_parts = (finding.address, format_quoted_path(finding.path or ()), finding.target)
        yield Annotation(
            finding.severity.value,
            finding.rule or finding.summary,
            finding.summary,
            "\n".join(filter(None, texts)),
            " ".join(filter(None, subject_parts)),
            finding.position or positions.get(finding.address or ""),
        )


def _of_refusals(plan: Plan) -> Iterator[Annotation]:
    for change in plan.refused_changes:
        for refusal in change.refusals:
            ways_out = (f"Way out: {way_out}" for way_out in refusal.ways_out)
            yield Annotation(
                "error",
                f"refused: {refusal.rule}",
                f"{change.address} {format_refusal_phrase(change.action)}",
                "\n".join([refusal.reason, *ways_out]),
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


# GitHub shows at most 10 annotations of each level for a step, and silently drops the others.
MAX_ANNOTATIONS = 10
_MAX_MESSAGE_LENGTH = 4000
# GitHub's workflow command by our level.
_COMMAND_BY_LEVEL = {"error": "error", "warning": "warning", "note": "notice"}
_DATA_ESCAPES = str.maketrans({"%": "%25", "\n": "%0A"})
_PROPERTY_ESCAPES = str.maketrans({"%": "%25", ":": "%3A", ",": "%2C"})


def format_annotation_commands(file_annotations: Iterable[Annotation]) -> str:
    """One workflow command a line, errors first; the last of a level counts those left out."""
    lines: list[str] = []
    all_annotations = list(file_annotations)
    for level, command in _COMMAND_BY_LEVEL.items():
        of_level = [one for one in all_annotations if one.level == level]
        shown_count = MAX_ANNOTATIONS - (len(of_level) > MAX_ANNOTATIONS)
        lines += [_annotation_command(command, one) for one in of_level[:shown_count]]
        if hidden_count := len(of_level[shown_count:]):
            hidden_note = f"{hidden_count} more: see the summary or the log"
            lines.append(f"::{command} title=synapse-apply::{hidden_note}")
    return "".join(f"{line}\n" for line in lines)


def _annotation_command(command: str, annotation: Annotation) -> str:
    facts = {}
    if (position := annotation.position) is not None:
        place = cut_text(position.file, 4096)
        facts = {"file": place, "line": str(position.line), "col": str(position.column)}
    facts["title"] = cut_text(annotation.title, 200)
    # GitHub's own escapes (actions/toolkit, command.ts). In properties, `:` and `,` separate and
    # need escapes, too.
    properties = ",".join(
        f"{name}={escape_ci_commands(sanitize(value)).translate(_PROPERTY_ESCAPES)}"
        for name, value in facts.items()
    )
    text = cut_text(annotation.text or annotation.title, _MAX_MESSAGE_LENGTH)
    # Sanitized first, so that only our own line breaks are left.
    data = escape_ci_commands("\n".join(sanitize_lines(text)))
    return f"::{command} {properties}::{data.translate(_DATA_ESCAPES)}"


def build_plan_outputs(plan: Plan, exit_code: int) -> dict[str, str]:
    """The step outputs of a plan; `has_changes` is true where `--detailed-exitcode` gives 2."""
    counts = plan.summary
    outputs = {
        "add": counts.add,
        "change": counts.change,
        "destroy": counts.destroy,
        "import": counts.import_,
        "forget": counts.forget,
        "refused": counts.blocked,
        "verify": len(plan.changes_to_verify),
        "exit_code": exit_code,
        "has_changes": plan.has_changes or bool(plan.refused_changes),
    }
    return _texts(outputs)


def build_drift_outputs(drift: Drift, exit_code: int) -> dict[str, str]:
    """The step outputs of a drift check; "" for a count that is not known.

    `has_changes` is true where `--detailed-exitcode` gives 2.
    """
    outputs = {
        "drifted": len(drift.changed_or_replaced_objects),
        "gone": len(drift.missing_objects),
        "waiting": len(drift.pending_addresses),
        # A number from incomplete lists would be taken for the whole.
        "unmanaged": "" if drift.unread_kinds else len(drift.unmanaged or ()),
        "exit_code": exit_code,
        "has_changes": bool(drift.objects),
    }
    return _texts(outputs)


def build_report_outputs(report: Report) -> dict[str, str]:
    """The step outputs of an apply: what was done, under the plan's names, and what was not."""
    counts = OutcomeCounts.from_report(report)
    outputs = {
        "add": counts.added,
        "change": counts.changed,
        "destroy": counts.destroyed,
        "import": counts.imported,
        "forget": counts.forgotten,
        "refused": counts.refused,
        "failed": counts.failed,
        "skipped": counts.skipped,
        "unknown": counts.unknown,
        "verify": counts.verified,
        "not_verified": counts.not_verified,
        "exit_code": report.exit_code,
        "has_changes": report.plan.has_changes or bool(report.plan.refused_changes),
    }
    return _texts(outputs)


def planless_outputs(exit_code: int) -> dict[str, str]:
    """The step outputs of a command that has findings and no plan, whether it failed or not."""
    return _texts({"exit_code": exit_code, "has_changes": exit_code == Exit.CHANGES})


def _texts(outputs: Mapping[str, object]) -> dict[str, str]:
    words = {True: "true", False: "false"}
    return {
        name: words[value] if isinstance(value, bool) else str(value)
        for name, value in outputs.items()
    }


def format_outputs_file(outputs: Mapping[str, str], random_delimiter: str) -> str:
    """The text to append to $GITHUB_OUTPUT.

    `random_delimiter`: a value that contained it could set further outputs.
    """
    return "".join(
        f"{name}<<{random_delimiter}\n{value}\n{random_delimiter}\n"
        for name, value in outputs.items()
    )


_SEVERITY_BY_LEVEL = {"error": "critical", "warning": "minor", "note": "info"}
_MAX_DESCRIPTION_LENGTH = 2000
# For a report without the three counts, the widget says that it failed to generate.
NO_COUNTS: dict[str, int] = {}


def count_plan_changes(plan: Plan) -> dict[str, int]:
    """The counts of the `Plan:` line; NO_COUNTS for a plan with errors or without a comparison."""
    # Counts of such a plan would be taken for what an apply will do.
    if plan.has_errors or not plan.base.compared:
        return NO_COUNTS
    counts = plan.summary
    return {"create": counts.add, "update": counts.change, "delete": counts.destroy}


def count_drift_changes(drift: Drift) -> dict[str, int]:
    """What an apply that reverts the drift would do; NO_COUNTS for a check with errors."""
    if drift.has_errors:
        return NO_COUNTS
    return {
        "create": len(drift.missing_objects),
        "update": len(drift.changed_or_replaced_objects),
        "delete": 0,
    }


def count_done_changes(report: Report) -> dict[str, int]:
    """The counts of changes that an apply has made, in the names of the widget."""
    counts = OutcomeCounts.from_report(report)
    return {"create": counts.added, "update": counts.changed, "delete": counts.destroyed}


def build_issues(file_annotations: Iterable[Annotation]) -> list[JsonDocument]:
    """A code quality issue for each annotation that has a position.

    A fingerprint depends on rule, subject, title and file, not on the line: one that only moved
    is the same issue.
    """
    occurrences: Counter[str] = Counter()
    issues = []
    for one in file_annotations:
        # GitLab drops an issue without a location.
        if one.position is None:
            continue
        key = json.dumps([one.rule, one.subject, one.title, one.position.file])
        # Fingerprints must be unique in a report, so equal issues are numbered.
        occurrences[key] += 1
        title = sanitize(one.title)
        # Title and text on one line, since GitLab shows plain text.
        text = " ".join(sanitize_lines(cut_text(one.text, _MAX_DESCRIPTION_LENGTH)))
        place = {"path": sanitize(one.position.file), "lines": {"begin": one.position.line}}
        issues.append(
            {
                "description": f"{cut_text(title, 400)}: {text}" if text else title,
                "check_name": cut_text(sanitize(one.rule), 200),
                "fingerprint": sha256(f"{key} {occurrences[key]}".encode()).hexdigest(),
                "severity": _SEVERITY_BY_LEVEL[one.level],
                "location": place,
            }
        )
    return issues
