"""What GitLab's merge request shows: the counts of its Terraform widget, and code quality issues.

https://docs.gitlab.com/user/infrastructure/iac/mr_integration and
https://docs.gitlab.com/ci/testing/code_quality
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from hashlib import sha256

from synapse_apply.model.coding.json_types import JsonDocument
from synapse_apply.model.plan import Plan
from synapse_apply.model.report import Drift, Report
from synapse_apply.views.ci.annotations import Annotation
from synapse_apply.views.markdown.markup import cut_text
from synapse_apply.views.sanitize import sanitize, sanitize_lines
from synapse_apply.views.text.outcomes import OutcomeCounts

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
    for annotation in file_annotations:
        # GitLab drops an issue without a location.
        if annotation.position is None:
            continue
        key = json.dumps(
            [annotation.rule, annotation.subject, annotation.title, annotation.position.file]
        )
        # Fingerprints must be unique in a report, so equal issues are numbered.
        occurrences[key] += 1
        # Title and text on one line, since GitLab shows plain text.
        text = " ".join(sanitize_lines(cut_text(annotation.text, _MAX_DESCRIPTION_LENGTH)))
        issues.append(
            {
                "description": (
                    f"{cut_text(sanitize(annotation.title), 400)}: {text}"
                    if text
                    else sanitize(annotation.title)
                ),
                "check_name": cut_text(sanitize(annotation.rule), 200),
                "fingerprint": sha256(f"{key} {occurrences[key]}".encode()).hexdigest(),
                "severity": _SEVERITY_BY_LEVEL[annotation.level],
                "location": {
                    "path": sanitize(annotation.position.file),
                    "lines": {"begin": annotation.position.line},
                },
            }
        )
    return issues
