"""How annotations become GitHub workflow commands, and which outputs a step sets.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from synapse_apply.model.errors import Exit
from synapse_apply.model.plan import Plan
from synapse_apply.model.report import Drift, Report
from synapse_apply.views.ci.annotations import Annotation
from synapse_apply.views.markdown.markup import cut_text
from synapse_apply.views.sanitize import escape_ci_commands, sanitize, sanitize_lines
from synapse_apply.views.text.outcomes import OutcomeCounts

# GitHub shows at most 10 annotations of each level for a step, and silently drops the others.
MAX_ANNOTATIONS = 10
_MAX_MESSAGE_LENGTH = 4000
# GitHub's workflow command by our level.
_COMMAND_BY_LEVEL = {"error": "error", "warning": "warning", "note": "notice"}


def format_annotation_commands(file_annotations: Iterable[Annotation]) -> str:
    """One workflow command a line, errors first; the last of a level counts those left out."""
    lines: list[str] = []
    all_annotations = list(file_annotations)
    for level, command in _COMMAND_BY_LEVEL.items():
        level_annotations = [
            annotation for annotation in all_annotations if annotation.level == level
        ]
        shown_annotations = (
            level_annotations
            if len(level_annotations) <= MAX_ANNOTATIONS
            else level_annotations[: MAX_ANNOTATIONS - 1]
        )
        lines += [_annotation_command(annotation) for annotation in shown_annotations]
        if hidden_count := len(level_annotations) - len(shown_annotations):
            hidden_note = f"{hidden_count} more: see the summary or the log"
            lines.append(f"::{command} title=synapse-apply::{hidden_note}")
    return "".join(f"{line}\n" for line in lines)


def _annotation_command(annotation: Annotation) -> str:
    facts = {}
    if annotation.position is not None:
        position = annotation.position
        facts = {
            "file": cut_text(position.file, 4096),
            "line": str(position.line),
            "col": str(position.column),
        }
    facts["title"] = cut_text(annotation.title, 200)
    properties = ",".join(f"{name}={_command_property(value)}" for name, value in facts.items())
    return (
        f"::{_COMMAND_BY_LEVEL[annotation.level]} "
        f"{properties}::{_command_data(annotation.text or annotation.title)}"
    )


def _command_data(text: str) -> str:
    # Sanitized first, so that only our own line breaks are left.
    lines = escape_ci_commands("\n".join(sanitize_lines(cut_text(text, _MAX_MESSAGE_LENGTH))))
    # GitHub's own escapes (actions/toolkit, command.ts); `%` first, so that none is escaped twice.
    return lines.replace("%", "%25").replace("\n", "%0A")


def _command_property(text: str) -> str:
    escaped = escape_ci_commands(sanitize(text)).replace("%", "%25")
    # In properties, `:` and `,` separate and need escapes, too.
    return escaped.replace(":", "%3A").replace(",", "%2C")


def build_plan_outputs(plan: Plan, exit_code: int) -> dict[str, str]:
    """The step outputs of a plan; `has_changes` is true where `--detailed-exitcode` gives 2."""
    counts = plan.summary
    return {
        "add": str(counts.add),
        "change": str(counts.change),
        "destroy": str(counts.destroy),
        "import": str(counts.import_),
        "forget": str(counts.forget),
        "refused": str(counts.blocked),
        "verify": str(len(plan.changes_to_verify)),
        "exit_code": str(exit_code),
        "has_changes": _format_bool(plan.has_changes or bool(plan.refused_changes)),
    }


def build_drift_outputs(drift: Drift, exit_code: int) -> dict[str, str]:
    """The step outputs of a drift check; "" for a count that is not known.

    `has_changes` is true where `--detailed-exitcode` gives 2.
    """
    return {
        "drifted": str(len(drift.changed_or_replaced_objects)),
        "gone": str(len(drift.missing_objects)),
        "waiting": str(len(drift.pending_addresses)),
        # A number from incomplete lists would be taken for the whole.
        "unmanaged": "" if drift.unread_kinds else str(len(drift.unmanaged or ())),
        "exit_code": str(exit_code),
        "has_changes": _format_bool(bool(drift.objects)),
    }


def build_report_outputs(report: Report) -> dict[str, str]:
    """The step outputs of an apply: what was done, under the plan's names, and what was not."""
    counts = OutcomeCounts.from_report(report)
    return {
        "add": str(counts.added),
        "change": str(counts.changed),
        "destroy": str(counts.destroyed),
        "import": str(counts.imported),
        "forget": str(counts.forgotten),
        "refused": str(counts.refused),
        "failed": str(counts.failed),
        "skipped": str(counts.skipped),
        "unknown": str(counts.unknown),
        "verify": str(counts.verified),
        "not_verified": str(counts.not_verified),
        "exit_code": str(report.exit_code),
        "has_changes": _format_bool(report.plan.has_changes or bool(report.plan.refused_changes)),
    }


def planless_outputs(exit_code: int) -> dict[str, str]:
    """The step outputs of a command that has findings and no plan, whether it failed or not."""
    return {"exit_code": str(exit_code), "has_changes": _format_bool(exit_code == Exit.CHANGES)}


def format_outputs_file(outputs: Mapping[str, str], random_delimiter: str) -> str:
    """The text to append to $GITHUB_OUTPUT.

    `random_delimiter`: a value that contained it could set further outputs.
    """
    return "".join(
        f"{name}<<{random_delimiter}\n{value}\n{random_delimiter}\n"
        for name, value in outputs.items()
    )


def _format_bool(value: bool) -> str:
    return "true" if value else "false"
