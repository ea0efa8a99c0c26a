"""What GitLab shows in a merge request: the counts of its Terraform widget, and code quality.

https://docs.gitlab.com/user/infrastructure/iac/mr_integration and
https://docs.gitlab.com/ci/testing/code_quality
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from synapse_apply.model.drift import Drift
from synapse_apply.model.plan import Plan
from synapse_apply.model.report import Report
from synapse_apply.views.markup import shortened
from synapse_apply.views.outcomes import Counts
from synapse_apply.views.remarks import Remark
from synapse_apply.views.safety import clean, clean_lines

_SEVERITY = {"error": "critical", "warning": "minor", "note": "info"}
_LONGEST = 2000
# The widget says of a report without the three counts that it could not be made: so it was.
NO_COUNTS: dict[str, int] = {}


def plan_counts(plan: Plan) -> dict[str, int]:
    """The counts of the `Plan:` line; none of a plan that is incomplete, or compares nothing."""
    if plan.errored or not plan.base.compared:
        return NO_COUNTS
    counts = plan.summary
    return {"create": counts.add, "update": counts.change, "delete": counts.destroy}


def drift_counts(drift: Drift) -> dict[str, int]:
    """What an apply that reverts drift would do; none where it could not be told."""
    if drift.errored:
        return NO_COUNTS
    return {"create": len(drift.gone), "update": len(drift.changed), "delete": 0}


def report_counts(report: Report) -> dict[str, int]:
    """The counts of what was done."""
    counts = Counts.of(report)
    return {"create": counts.added, "update": counts.changed, "delete": counts.destroyed}


def code_quality(remarks: Iterable[Remark]) -> list[dict[str, Any]]:
    """An issue for each remark that has a line in a file.

    A fingerprint depends on what was found about what, not on the line: an issue that only moved
    is the same issue.
    """
    seen: Counter[str] = Counter()
    issues = []
    for remark in remarks:
        if remark.position is None:
            continue
        key = json.dumps([remark.rule, remark.subject, remark.title, remark.position.file])
        seen[key] += 1
        issues.append(
            {
                "description": _description(remark),
                "check_name": shortened(clean(remark.rule), 200),
                "fingerprint": sha256(f"{key} {seen[key]}".encode()).hexdigest(),
                "severity": _SEVERITY[remark.level],
                "location": {
                    "path": clean(remark.position.file),
                    "lines": {"begin": remark.position.line},
                },
            }
        )
    return issues


def _description(remark: Remark) -> str:
    """GitLab shows it as plain text on one line."""
    text = " ".join(clean_lines(shortened(remark.text, _LONGEST)))
    return f"{shortened(clean(remark.title), 400)}: {text}" if text else clean(remark.title)
