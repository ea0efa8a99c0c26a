"""How an apply's outcomes and runs are counted and shown, and when an apply is complete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from synapse_apply.model.command import Command
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import RunStatus, VerificationResult
from synapse_apply.model.plan import Action, Plan
from synapse_apply.model.report import Outcome, Report, Result
from synapse_apply.views.grammar import (
    ACTION_SYMBOLS,
    PAST_PARTICIPLES,
    format_duration,
    format_moved_lines,
    format_refusal_phrase,
)
from synapse_apply.views.sanitize import escape_ci_commands, sanitize
from synapse_apply.views.text import findings
from synapse_apply.views.text.terminal import Style
from synapse_apply.views.text.values import split_into_cut_lines

_SIGNAL_NAMES = {1: "SIGHUP", 2: "SIGINT", 15: "SIGTERM"}
_RESULTS_BY_SEVERITY = (Result.DONE, Result.SKIPPED, Result.FAILED, Result.UNKNOWN)


@frozen
class OutcomeCounts:
    """The counts of an apply: resources by result, and verification runs passed or not."""

    added: int
    changed: int
    destroyed: int
    imported: int
    forgotten: int
    failed: int
    skipped: int
    unknown: int
    refused: int
    verified: int
    not_verified: int

    @classmethod
    def from_report(cls, report: Report) -> OutcomeCounts:
        """Count a report's outcomes; an import that also changed fields counts as both."""
        addresses_with_fields = {c.address for c in report.plan.changes if c.fields}
        changed_imports = sum(
            o.action is Action.ADOPT
            and o.result is Result.DONE
            and o.address in addresses_with_fields
            for o in report.outcomes
        )
        passed_count = sum(
            result.status is RunStatus.PASSED for result in report.verification_results
        )
        return cls(
            added=report.count_done_changes(Action.CREATE, Action.RECREATE),
            changed=report.count_done_changes(Action.UPDATE) + changed_imports,
            destroyed=report.count_done_changes(Action.DELETE),
            imported=report.count_done_changes(Action.ADOPT),
            forgotten=report.count_done_changes(Action.FORGET),
            failed=report.count_outcomes(Result.FAILED),
            skipped=sum(
                o.result is Result.SKIPPED and is_shown_outcome(o) for o in report.outcomes
            ),
            unknown=report.count_outcomes(Result.UNKNOWN),
            refused=len(report.plan.refused_changes),
            verified=passed_count,
            not_verified=len(report.verification_results) - passed_count,
        )

    @property
    def resources_text(self) -> str:
        """`N added, N changed, N destroyed` with further counts, in the order of Terraform."""
        imported = f"{self.imported} imported, " if self.imported else ""
        forgotten = f", {self.forgotten} forgotten" if self.forgotten else ""
        return (
            f"{imported}{self.added} added, {self.changed} changed, "
            f"{self.destroyed} destroyed{forgotten}"
        )


def is_wholly_done(report: Report) -> bool:
    """Whether everything was done: nothing failed, was skipped or was refused."""
    return _is_all_done(report) and not report.plan.refused_changes


def _is_all_done(report: Report) -> bool:
    """Whether all but the refused changes was done under the lock; a signal may have come."""
    all_done = all(outcome.result is Result.DONE for outcome in report.outcomes)
    all_acceptable = all(result.is_acceptable for result in report.verification_results)
    return all_done and all_acceptable and not report.lock_lost


def render_report(report: Report, *, color: bool, shown_plan: Plan | None = None) -> str:
    """The text of an apply's report, ending with a newline: rows, refusals, findings, counts.

    Refusals that stand in `shown_plan`, in the same log, are only counted.
    """
    style = Style(color)
    shown_refusals = {one.address: one for one in shown_plan.refused_changes} if shown_plan else {}
    rows = [outcome_row(one, style) for one in report.outcomes if is_shown_outcome(one)]
    # A run is skipped with its release, whose own row says so already.
    unfinished_addresses = {o.address for o in report.outcomes if o.result is not Result.DONE}
    rows += [
        run_row(result, style)
        for result in report.verification_results
        if result.status is not RunStatus.SKIPPED or result.address not in unfinished_addresses
    ]
    parts = ["\n".join([*format_moved_lines(report.plan.moved), *rows])]
    parts += [
        "\n".join(findings.format_refusal_rows(one, style))
        for one in report.plan.refused_changes
        if shown_refusals.get(one.address) != one
    ]
    # The row of a skipped change has its reason already.
    unskipped_outcomes = (one for one in report.outcomes if one.result is not Result.SKIPPED)
    parts += findings.finding_blocks(outcome_findings(unskipped_outcomes), style)
    parts += log_ends(report.verification_results, style)
    parts.append(totals_and_steps(report, style))
    return escape_ci_commands("\n\n".join(part for part in parts if part) + "\n")


def is_shown_outcome(outcome: Outcome) -> bool:
    """Whether an outcome has a row.

    A record that was (or was not yet) brought up to date has none.
    """
    # A no-op only updates the record, which nobody has asked for.
    is_uneventful = outcome.result in {Result.DONE, Result.SKIPPED}
    return outcome.action is not Action.NO_OP or not is_uneventful


def outcome_row(outcome: Outcome, style: Style) -> str:
    """One line with the result of a change."""
    address = sanitize(outcome.address)
    if outcome.result is Result.SKIPPED:
        # A row, not a block: one failure may skip a hundred changes, and must not be lost among
        # them. Lower-cased: the reason continues a sentence here.
        reasons = (sanitize(d.detail or d.summary).rstrip(".") for d in outcome.diagnostics)
        texts = "; ".join(f"{reason[:1].lower()}{reason[1:]}" for reason in reasons)
        told = f": {texts}" if outcome.diagnostics else ""
        return _row(".", f"{address} was skipped{told}", style)
    symbol = ACTION_SYMBOLS[outcome.action] if outcome.result is Result.DONE else "!"
    identity = f"id {sanitize(outcome.remote_id)}" if outcome.remote_id else ""
    text = f"{address} {_format_outcome_phrase(outcome)}"
    return _row(symbol, text, style, identity, outcome.seconds)


def _row(symbol: str, text: str, style: Style, identity: str = "", seconds: float = 0) -> str:
    facts = filter(None, (identity, format_duration(seconds) if seconds else ""))
    facts_text = ", ".join(facts)
    facts_text = style(f" ({facts_text})", "dim") if facts_text else ""
    return f"  {style.format_symbol_and_space(symbol)}{text}{facts_text}"


def _format_outcome_phrase(outcome: Outcome) -> str:
    past = " and ".join(filter(None, (PAST_PARTICIPLES[outcome.action], outcome.effect)))
    if outcome.result is Result.UNKNOWN and outcome.recovery_file is not None:
        return f"{past}, but the state could not record it"
    if outcome.result is Result.FAILED:
        return f"could not be {format_refusal_phrase(outcome.action).removeprefix('cannot be ')}"
    return (
        past
        if outcome.result is Result.DONE
        else (f"may have been {past}: the outcome is not known yet")
    )


def outcome_findings(outcomes: Iterable[Outcome]) -> list[Diagnostic]:
    """All findings of these outcomes, with addresses and request ids.

    Errors, the worst ones, last.
    """
    all_findings: list[Diagnostic] = []
    for outcome in sorted(outcomes, key=lambda one: _RESULTS_BY_SEVERITY.index(one.result)):
        address = str(outcome.address)
        for finding in outcome.diagnostics:
            changed_fields = {"address": finding.address or address}
            if outcome.request_id and outcome.result is not Result.DONE:
                changed_fields["request_id"] = finding.request_id or outcome.request_id
            all_findings.append(finding.with_changes(**changed_fields))
        if not outcome.diagnostics and outcome.result in {Result.FAILED, Result.UNKNOWN}:
            summary = f"{outcome.address} {_format_outcome_phrase(outcome)}"
            request_id = outcome.request_id or None
            all_findings.append(error_finding(summary, address=address, request_id=request_id))
    # The last lines of a log are read first, so errors come last.
    return sorted(all_findings, key=lambda finding: finding.is_error)


# `Apply complete!` means that Git is live. Beside a refused row it is `Apply incomplete!`, because
# tools that read Terraform's text take the first for success.
def totals_and_steps(report: Report, style: Style) -> str:
    """The lines of counts of an apply, and what to do about what is left."""
    counts = OutcomeCounts.from_report(report)
    lines = [style(findings.format_refused_count(counts.refused), "bold")] if counts.refused else []
    lines += run_counts(report, style)
    # `verify` changes no resource, so there are no counts of resources.
    if report.extras.get("operation") == "verify":
        return "\n".join([*lines, *_explain_end(report)])
    if is_wholly_done(report):
        lines.append(style(f"Apply complete! Resources: {counts.resources_text}.", "done"))
        return "\n".join([*lines, *_explain_end(report)])
    only_refused_left = _is_all_done(report)
    result_names = () if only_refused_left else ("failed", "skipped", "unknown")
    remaining_texts = [f"{getattr(counts, name)} {name}" for name in result_names]
    remaining_texts += [f"{counts.refused} refused"] if counts.refused else []
    summary = f"Apply incomplete! Resources: {counts.resources_text}; {', '.join(remaining_texts)}."
    lines.append(style(summary, "error"))
    # Running it again does not help where only refusals are left: their rows have the ways out.
    return "\n".join([*lines, *([] if only_refused_left else _early_end(report))])


def _early_end(report: Report) -> list[str]:
    used_up = ", because this plan is used up" if report.extras.get("is_used_up") else ""
    instruction = f"{'plan' if used_up else 'run apply'} again to finish the rest{used_up}"
    if any(one.recovery_file for one in _ended(report)):
        instruction = f"Only then {instruction}"
    retry_hint = (
        f"{instruction.capitalize()}. Apply does not repeat a call that is recorded as done."
    )
    failed = [outcome for outcome in report.outcomes if outcome.result is Result.FAILED]
    if failed and all(outcome.is_conflict for outcome in failed):
        retry_hint = "Resolve the conflict before you apply again: the errors above say how."
    if any(outcome.is_untellable for outcome in report.outcomes):
        retry_hint = (
            "First settle manually the calls that this API cannot look up: the errors above say "
            f"how. {retry_hint}"
        )
    return [*_explain_end(report), retry_hint]


def _ended(report: Report) -> Sequence[Outcome | VerificationResult]:
    return (*report.outcomes, *report.verification_results)


def _explain_end(report: Report) -> list[str]:
    lines = []
    unrecorded_results = [one for one in _ended(report) if one.recovery_file is not None]
    if report.stop_signal:
        name = _SIGNAL_NAMES.get(report.stop_signal, f"signal {report.stop_signal}")
        begun_text = "calls that had started were finished" + (
            "" if unrecorded_results else " and recorded"
        )
        if any(o.result is Result.UNKNOWN and o.recovery_file is None for o in report.outcomes):
            begun_text = "not every call that had started could finish"
        lines.append(f"{name} stopped the run; {begun_text}.")
    if report.lock_lost:
        lines.append("The run lost the lock on the state and started nothing after that.")
    for file in sorted({one.recovery_file for one in unrecorded_results if one.recovery_file}):
        command = Command("state record FILE", target=sanitize(report.plan.base.target))
        lines += [
            f"The results that the state could not record are in {sanitize(file)}.",
            f"Once the state can be written, {command} records them.",
        ]
    # Of these the next run finds out what became of them.
    unknown: list[Outcome | VerificationResult] = [
        *(o for o in report.outcomes if o.result is Result.UNKNOWN and not o.is_untellable),
        *(run for run in report.verification_results if run.status is RunStatus.UNKNOWN),
    ]
    if any(not one.recovery_file for one in unknown):
        lines.append("The next run first looks up the unknown outcomes.")
    return lines


_STATUS_PHRASES = {
    RunStatus.PASSED: "was verified",
    RunStatus.FAILED: "did not pass its verification",
    RunStatus.TIMED_OUT: "was not verified in time",
    RunStatus.RUNNING: "is still being verified; the next run follows its job",
    RunStatus.UNKNOWN: (
        "was not verified: it is unknown whether its run was started or how it ended"
    ),
}


def run_row(result: VerificationResult, style: Style) -> str:
    """One line with the result of a run."""
    address = sanitize(result.address)
    if result.status is RunStatus.SKIPPED:
        reason = "; ".join(sanitize(finding.detail).rstrip(".") for finding in result.diagnostics)
        lowercase_reason = f"{reason[:1].lower()}{reason[1:]}"
        return _row(".", f"the verification of {address} was skipped: {lowercase_reason}", style)
    is_neutral = result.is_acceptable or result.status is RunStatus.RUNNING
    # A tolerated failure (on_failure: warn) and a job that still runs are no errors.
    symbol = " " if result.status is RunStatus.PASSED else "." if is_neutral else "!"
    identity = f"job {sanitize(result.job)}" if result.job else ""
    text = f"{address} {_STATUS_PHRASES[result.status]}"
    return _row(symbol, text, style, identity, result.seconds)


def log_ends(results: Iterable[VerificationResult], style: Style) -> list[str]:
    """The findings of runs, each behind the last lines of its job's log."""
    blocks: list[str] = []
    for result in results:
        if result.logs:
            name = f"{sanitize(result.address)} (job {sanitize(result.job)})"
            lines = findings.indent_lines("\n".join(log_lines(result.logs)))
            blocks.append("\n".join([f"Last lines of the log of {name}:", *lines]))
        if result.status is not RunStatus.SKIPPED:
            blocks += findings.finding_blocks(result.diagnostics, style)
    return blocks


def log_lines(lines: Sequence[str]) -> list[str]:
    """The sanitized lines of a log; an entry with line breaks becomes several lines."""
    return [line for text in lines for line in split_into_cut_lines(text)]


def run_counts(report: Report, style: Style) -> list[str]:
    """The line `Verified: 2 passed, 1 failed.` in a list; empty without any run."""
    counts = Counter(result.status for result in report.verification_results)
    if not counts:
        return []
    # Passed runs are named even if there are none, as the word is searched for.
    parts = [f"{counts.pop(RunStatus.PASSED, 0)} passed"]
    parts += [f"{counts[status]} {status.value}" for status in RunStatus if counts[status]]
    return [style(f"Verified: {', '.join(parts)}.", "bold")]
