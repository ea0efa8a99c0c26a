"""Runs that show that a release works: planned ones, and what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synapse_apply.model.plan import Change, Plan
from synapse_apply.model.report import Report, Result
from synapse_apply.model.values import leaves
from synapse_apply.model.verification import LastRun, Verdict, Verification, Verified
from synapse_apply.views.fields import Layout, Node
from synapse_apply.views.findings import finding_blocks, indented
from synapse_apply.views.grammar import elapsed
from synapse_apply.views.literals import text_lines
from synapse_apply.views.masking import plain
from synapse_apply.views.pen import Pen
from synapse_apply.views.safety import clean

_INDENT = 8
_BECAME = {
    Verdict.PASSED: "was verified",
    Verdict.FAILED: "did not pass its verification",
    Verdict.TIMED_OUT: "was not verified in time",
    Verdict.RUNNING: "is still being verified; the next run follows its job",
    Verdict.UNKNOWN: "may have been run: nobody can tell yet",
}


def planned_row(change: Change, due: Verification, layout: Layout, pen: Pen) -> str:
    """A run that apply will make or follow, with what is sent."""
    root = Node()
    for path, value in leaves(due.body).items():
        if value != {}:
            root.keep(path, value, shown=True)
    rows = layout.rows(root, _INDENT - 2)
    head = [f"  # {clean(change.address)} will be verified", f"  # ({clean(due.reason)})"]
    body = ["    run {", *rows, "    }"] if rows else ["    run {}"]
    return "\n".join([*(pen(line, "bold") for line in head), *body])


def verify_line(plan: Plan, pen: Pen) -> list[str]:
    """The line before `Plan:` that tells how many runs there will be; none without one."""
    due = [change.verification for change in plan.verified if change.verification is not None]
    if not due:
        return []
    followed = sum(bool(one.job) for one in due)
    text = f"Verify: {len(due) - followed} to run" + (f", {followed} to follow" * bool(followed))
    return [pen(f"{text}.", "bold")]


def ended_rows(report: Report, pen: Pen) -> list[str]:
    """A row for each run; one that was not tried because its release was not is not told twice."""
    told = {o.address for o in report.outcomes if o.result is not Result.DONE}
    return [_row(one, pen) for one in report.verified
            if one.verdict is not Verdict.SKIPPED or one.address not in told]  # fmt: skip


def _row(one: Verified, pen: Pen) -> str:
    address = clean(one.address)
    if one.verdict is Verdict.SKIPPED:
        why = "; ".join(clean(found.detail).rstrip(".") for found in one.diagnostics)
        because = f"{why[:1].lower()}{why[1:]}"
        return f"  {pen.mark('.')}the verification of {address} was skipped: {because}"
    facts = [f"job {clean(one.job)}"] if one.job else []
    facts += [elapsed(one.seconds)] if one.seconds else []
    more = pen(f" ({', '.join(facts)})", "dim") if facts else ""
    quiet = one.is_well or one.verdict is Verdict.RUNNING
    mark = " " if one.verdict is Verdict.PASSED else "." if quiet else "!"
    return f"  {pen.mark(mark)}{address} {_BECAME[one.verdict]}{more}"


def ended_blocks(verified: Iterable[Verified], pen: Pen) -> list[str]:
    """The findings of runs, each after the last lines of its job's log."""
    blocks: list[str] = []
    for one in verified:
        if one.logs:
            head = f"Last lines of the log of {clean(one.address)} (job {clean(one.job)}):"
            blocks.append("\n".join([head, *indented("\n".join(log_lines(one.logs)))]))
        if one.verdict is not Verdict.SKIPPED:
            blocks += finding_blocks(one.diagnostics, pen)
    return blocks


def log_lines(lines: Sequence[str]) -> list[str]:
    """The server's text, safe to print; a line that holds several is several lines."""
    return [line for text in lines for line in text_lines(text)]


def verified_line(report: Report, pen: Pen) -> list[str]:
    """`Verified: 2 passed, 1 failed.`; none where nothing was to be verified."""
    counts = Counter(one.verdict for one in report.verified)
    if not counts:
        return []
    parts = [f"{counts.pop(Verdict.PASSED, 0)} passed"]
    parts += [f"{counts[verdict]} {verdict.value}" for verdict in Verdict if counts[verdict]]
    return [pen(f"Verified: {', '.join(parts)}.", "bold")]


def planned_documents(plan: Plan) -> list[dict[str, Any]]:
    """`verifications` of a plan's document."""
    return [
        {
            "address": str(change.address),
            "type": change.address.kind,
            "name": change.address.name,
            "reason": due.reason,
            "run": plain(due.body),
            "parameters_digest": due.parameters,
            "job": due.job or None,
            "timeout": due.timeout,
            "on_failure": due.on_failure,
        }
        for change in plan.verified
        if (due := change.verification) is not None
    ]


def ended_documents(verified: Iterable[Verified]) -> list[dict[str, Any]]:
    """`verifications` of a report's document."""
    return [
        {
            "address": str(one.address),
            "type": one.address.kind,
            "name": one.address.name,
            "result": one.verdict.value,
            "tolerated": one.tolerated,
            "job": one.job or None,
            "request_id": one.request_id or None,
            "unrecorded_in": one.unrecorded or None,
            "seconds": round(max(0.0, one.seconds), 3),
            "logs": list(one.logs),
        }
        for one in verified
    ]


def remembered(data: Mapping[str, Any] | None) -> str:
    """What a record knows of its last run: `passed (job 12) 2026-01-01T00:00:00Z`."""
    last = LastRun.of(data)
    if last is None:
        return ""
    job = f" (job {last.job})" if last.job else ""
    return f"{(data or {}).get('result', '')}{job} {last.at}".rstrip()
