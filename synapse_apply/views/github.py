"""What GitHub Actions reads: annotations as workflow commands, and outputs of a step.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from synapse_apply.model.drift import Drift
from synapse_apply.model.errors import Exit
from synapse_apply.model.plan import Plan
from synapse_apply.model.report import Report
from synapse_apply.views.markup import shortened
from synapse_apply.views.outcomes import Counts
from synapse_apply.views.remarks import Remark
from synapse_apply.views.safety import clean, clean_lines, disarm

# GitHub shows so many of each kind for a step, and drops the others without a word.
MOST = 10
_LONGEST = 4000
# Its commands by how much a remark weighs.
_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}


def annotation_lines(remarks: Iterable[Remark]) -> str:
    """A line a remark, errors first; where there are too many, the last one counts the others."""
    lines: list[str] = []
    known = list(remarks)
    for level, command in _COMMANDS.items():
        mine = [remark for remark in known if remark.level == level]
        shown = mine if len(mine) <= MOST else mine[: MOST - 1]
        lines += [_line(remark) for remark in shown]
        if left := len(mine) - len(shown):
            more = f"{left} more: see the summary or the log"
            lines.append(f"::{command} title=synapse-apply::{more}")
    return "".join(f"{line}\n" for line in lines)


def _line(remark: Remark) -> str:
    facts = {}
    if remark.position is not None:
        at = remark.position
        facts = {"file": shortened(at.file, 4096), "line": str(at.line), "col": str(at.column)}
    facts["title"] = shortened(remark.title, 200)
    properties = ",".join(f"{name}={_property(value)}" for name, value in facts.items())
    return f"::{_COMMANDS[remark.level]} {properties}::{_data(remark.text or remark.title)}"


def _data(text: str) -> str:
    lines = disarm("\n".join(clean_lines(shortened(text, _LONGEST))))
    return lines.replace("%", "%25").replace("\n", "%0A")


def _property(text: str) -> str:
    escaped = disarm(clean(text)).replace("%", "%25")
    return escaped.replace(":", "%3A").replace(",", "%2C")


def plan_outputs(plan: Plan, exit_code: int) -> dict[str, str]:
    """The counts of a plan. `has_changes` is what `--detailed-exitcode` means by 2."""
    counts = plan.summary
    return {
        "add": str(counts.add),
        "change": str(counts.change),
        "destroy": str(counts.destroy),
        "import": str(counts.import_),
        "forget": str(counts.forget),
        "refused": str(counts.blocked),
        "verify": str(len(plan.verified)),
        "exit_code": str(exit_code),
        "has_changes": _word(plan.has_changes or bool(plan.refused)),
    }


def drift_outputs(drift: Drift, exit_code: int) -> dict[str, str]:
    """The counts of drift, "" for one that is not known.

    `has_changes` is what `--detailed-exitcode` means by 2.
    """
    return {
        "drifted": str(len(drift.changed)),
        "gone": str(len(drift.gone)),
        "waiting": str(len(drift.waiting)),
        "unmanaged": "" if drift.unseen else str(len(drift.unmanaged or ())),
        "exit_code": str(exit_code),
        "has_changes": _word(bool(drift.objects)),
    }


def report_outputs(report: Report) -> dict[str, str]:
    """The counts of what was done, under the same names, and what was not."""
    counts = Counts.of(report)
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
        "has_changes": _word(report.plan.has_changes or bool(report.plan.refused)),
    }


def failure_outputs(exit_code: int) -> dict[str, str]:
    """What can be said of a run that ended before it had a plan."""
    return {"exit_code": str(exit_code), "has_changes": _word(exit_code == Exit.CHANGES)}


def outputs_text(outputs: Mapping[str, str], delimiter: str) -> str:
    """Lines for the file $GITHUB_OUTPUT; the delimiter must be one that nobody can foresee."""
    return "".join(
        f"{name}<<{delimiter}\n{value}\n{delimiter}\n" for name, value in outputs.items()
    )


def _word(value: bool) -> str:
    return "true" if value else "false"
