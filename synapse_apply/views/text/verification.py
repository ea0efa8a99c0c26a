"""How verification runs are shown, planned and ended, as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synapse_apply.model.plan import Change, Plan
from synapse_apply.model.report import Report, Result
from synapse_apply.model.values import flatten
from synapse_apply.model.verification import LastRun, RunStatus, Verification, VerificationResult
from synapse_apply.views.grammar import format_duration
from synapse_apply.views.sanitize import sanitize
from synapse_apply.views.text.field_rows import FieldNode, RowLayout
from synapse_apply.views.text.findings import finding_blocks, indent_lines
from synapse_apply.views.text.style import Style
from synapse_apply.views.text.values import split_into_cut_lines

_INDENT = 8
_STATUS_PHRASES = {
    RunStatus.PASSED: "was verified",
    RunStatus.FAILED: "did not pass its verification",
    RunStatus.TIMED_OUT: "was not verified in time",
    RunStatus.RUNNING: "is still being verified; the next run follows its job",
    RunStatus.UNKNOWN: (
        "was not verified: whether its run was started, or how it ended, is not known"
    ),
}


def render_due_run(
    change: Change, verification: Verification, layout: RowLayout, style: Style
) -> str:
    """The block of a run that apply will start or follow, with its request body."""
    root = FieldNode()
    for path, value in flatten(verification.body).items():
        if value != {}:
            root.add_unchanged_field(path, value, is_shown=True)
    rows = layout.visible_rows(root, _INDENT - 2)
    head = [
        f"  # {sanitize(change.address)} will be verified",
        f"  # ({sanitize(verification.reason)})",
    ]
    body = ["    run {", *rows, "    }"] if rows else ["    run {}"]
    return "\n".join([*(style(line, "bold") for line in head), *body])


def format_planned_run_counts(plan: Plan, style: Style) -> list[str]:
    """The line before `Plan:` that counts planned runs, in a list; empty without any."""
    verifications = [
        change.verification for change in plan.changes_to_verify if change.verification is not None
    ]
    if not verifications:
        return []
    followed_count = sum(bool(verification.job) for verification in verifications)
    text = f"Verify: {len(verifications) - followed_count} to run" + (
        f", {followed_count} to follow" * bool(followed_count)
    )
    return [style(f"{text}.", "bold")]


def format_run_rows(report: Report, style: Style) -> list[str]:
    """A row for each run, but for skipped ones of releases that are not done: those have a row."""
    # A run is skipped with its release, whose own row says so already.
    unfinished_addresses = {o.address for o in report.outcomes if o.result is not Result.DONE}
    return [
        _format_run_row(result, style)
        for result in report.verification_results
        if result.status is not RunStatus.SKIPPED or result.address not in unfinished_addresses
    ]


def _format_run_row(result: VerificationResult, style: Style) -> str:
    address = sanitize(result.address)
    if result.status is RunStatus.SKIPPED:
        reason = "; ".join(sanitize(finding.detail).rstrip(".") for finding in result.diagnostics)
        lowercase_reason = f"{reason[:1].lower()}{reason[1:]}"
        return (
            f"  {style.format_symbol_and_space('.')}the verification of {address} was skipped: "
            f"{lowercase_reason}"
        )
    facts = [f"job {sanitize(result.job)}"] if result.job else []
    facts += [format_duration(result.seconds)] if result.seconds else []
    facts_text = style(f" ({', '.join(facts)})", "dim") if facts else ""
    is_neutral = result.is_acceptable or result.status is RunStatus.RUNNING
    # A tolerated failure (on_failure: warn) and a job that still runs are no errors.
    symbol = " " if result.status is RunStatus.PASSED else "." if is_neutral else "!"
    phrase = _STATUS_PHRASES[result.status]
    return f"  {style.format_symbol_and_space(symbol)}{address} {phrase}{facts_text}"


def format_log_ends(results: Iterable[VerificationResult], style: Style) -> list[str]:
    """The findings of runs, each behind the last lines of its job's log."""
    blocks: list[str] = []
    for result in results:
        if result.logs:
            head = (
                f"Last lines of the log of {sanitize(result.address)} (job {sanitize(result.job)}):"
            )
            blocks.append(
                "\n".join(
                    [
                        head,
                        *indent_lines("\n".join(split_into_cut_log_lines(result.logs))),
                    ]
                )
            )
        if result.status is not RunStatus.SKIPPED:
            blocks += finding_blocks(result.diagnostics, style)
    return blocks


def split_into_cut_log_lines(lines: Sequence[str]) -> list[str]:
    """The sanitized lines of a log; an entry with line breaks becomes several lines."""
    return [line for text in lines for line in split_into_cut_lines(text)]


def format_run_counts(report: Report, style: Style) -> list[str]:
    """The line `Verified: 2 passed, 1 failed.` in a list; empty without any run."""
    counts = Counter(result.status for result in report.verification_results)
    if not counts:
        return []
    # Passed runs are named even if there are none, as the word is searched for.
    parts = [f"{counts.pop(RunStatus.PASSED, 0)} passed"]
    parts += [f"{counts[status]} {status.value}" for status in RunStatus if counts[status]]
    return [style(f"Verified: {', '.join(parts)}.", "bold")]


def format_last_run_or_empty(last_run_json: Mapping[str, Any] | None) -> str:
    """A record's last run as text, such as `passed (job 12) 2026-01-01T00:00:00Z`; "" for none."""
    last_run = LastRun.from_json_or_none(last_run_json)
    if last_run is None:
        return ""
    job = f" (job {last_run.job})" if last_run.job else ""
    return f"{(last_run_json or {}).get('result', '')}{job} {last_run.at}".rstrip()
