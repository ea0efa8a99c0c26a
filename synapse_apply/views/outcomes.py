"""What an apply did, as text: a row an outcome, each failure with its reason, the counts last."""

from __future__ import annotations

from collections.abc import Iterable

from synapse_apply.model.diagnostic import Diagnostic, Severity
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Action
from synapse_apply.model.report import Outcome, Report, Result
from synapse_apply.model.verification import Verdict, Verified
from synapse_apply.views.findings import finding_blocks
from synapse_apply.views.grammar import PAST, SYMBOL, cannot, elapsed, moved_lines
from synapse_apply.views.pen import Pen
from synapse_apply.views.refusals import refusal_rows, refused_line
from synapse_apply.views.safety import clean, disarm
from synapse_apply.views.verification import ended_blocks, ended_rows, verified_line

_SIGNALS = {1: "SIGHUP", 2: "SIGINT", 15: "SIGTERM"}
_WORSE_LATER = (Result.DONE, Result.SKIPPED, Result.FAILED, Result.UNKNOWN)


@frozen
class Counts:
    """What an apply came to: in resources, and in runs that passed and runs that did not."""

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
    def of(cls, report: Report) -> Counts:
        """Count the outcomes of a report; an import that also changed fields counts as both."""
        with_fields = {c.address for c in report.plan.changes if c.fields}
        changed_too = sum(
            o.action is Action.ADOPT and o.result is Result.DONE and o.address in with_fields
            for o in report.outcomes
        )
        passed = sum(one.verdict is Verdict.PASSED for one in report.verified)
        return cls(
            added=report.done(Action.CREATE, Action.RECREATE),
            changed=report.done(Action.UPDATE) + changed_too,
            destroyed=report.done(Action.DELETE),
            imported=report.done(Action.ADOPT),
            forgotten=report.done(Action.FORGET),
            failed=report.count(Result.FAILED),
            skipped=sum(o.result is Result.SKIPPED and worth_a_row(o) for o in report.outcomes),
            unknown=report.count(Result.UNKNOWN),
            refused=len(report.plan.refused),
            verified=passed,
            not_verified=len(report.verified) - passed,
        )

    @property
    def resources(self) -> str:
        """`N added, N changed, N destroyed`, with what else there was, in Terraform's order."""
        imported = f"{self.imported} imported, " if self.imported else ""
        forgotten = f", {self.forgotten} forgotten" if self.forgotten else ""
        return (
            f"{imported}{self.added} added, {self.changed} changed, "
            f"{self.destroyed} destroyed{forgotten}"
        )


def complete(report: Report) -> bool:
    """Whether all has been done: nothing failed, was skipped or was refused."""
    return _did_its_part(report) and not report.plan.refused


def _did_its_part(report: Report) -> bool:
    """Whether all that was not refused has been done."""
    done = all(outcome.result is Result.DONE for outcome in report.outcomes)
    well = all(one.is_well for one in report.verified)
    return done and well and not report.stopped and not report.lock_lost


def render_report(report: Report, *, color: bool) -> str:
    """What was done, what was not and why, as text that ends with a newline."""
    pen = Pen(color)
    rows = [outcome_row(outcome, pen) for outcome in report.outcomes if worth_a_row(outcome)]
    moves = moved_lines(report.plan.moved)
    parts = ["\n".join([*moves, *rows, *ended_rows(report, pen)])]
    parts += ["\n".join(refusal_rows(change, pen)) for change in report.plan.refused]
    told = (outcome for outcome in report.outcomes if outcome.result is not Result.SKIPPED)
    parts += finding_blocks(findings(told), pen)
    parts += ended_blocks(report.verified, pen)
    parts.append(totals(report, pen))
    return disarm("\n\n".join(part for part in parts if part) + "\n")


def worth_a_row(outcome: Outcome) -> bool:
    """Whether there is something to say: a record brought up to date, or not yet, is nothing."""
    silent = outcome.result in {Result.DONE, Result.SKIPPED}
    return outcome.action is not Action.NO_OP or not silent


def outcome_row(outcome: Outcome, pen: Pen) -> str:
    """One line on what became of a change."""
    done = outcome.result is Result.DONE
    if outcome.result is Result.SKIPPED:
        return f"  {pen.mark('.')}{clean(outcome.address)} was skipped{_why_skipped(outcome)}"
    symbol = SYMBOL[outcome.action] if done else "!"
    facts = [f"id {clean(outcome.remote_id)}"] if outcome.remote_id else []
    facts += [elapsed(outcome.seconds)] if outcome.seconds else []
    more = pen(f" ({', '.join(facts)})", "dim") if facts else ""
    return f"  {pen.mark(symbol)}{clean(outcome.address)} {_became(outcome)}{more}"


def _became(outcome: Outcome) -> str:
    past = PAST[outcome.action]
    if outcome.result is Result.UNKNOWN and outcome.unrecorded is not None:
        return f"{past}, and could not be recorded"
    if outcome.result is Result.FAILED:
        return f"could not be {cannot(outcome.action).removeprefix('cannot be ')}"
    return past if outcome.result is Result.DONE else f"may have been {past}: nobody can tell yet"


def _why_skipped(outcome: Outcome) -> str:
    # A row, not a block: one failure may skip a hundred, and it is the failure one must read.
    reasons = [clean(d.detail or d.summary).rstrip(".") for d in outcome.diagnostics]
    # A sentence of its own elsewhere, here the end of one.
    return f": {'; '.join(f'{why[:1].lower()}{why[1:]}' for why in reasons)}" if reasons else ""


def findings(outcomes: Iterable[Outcome]) -> list[Diagnostic]:
    """Every finding of these outcomes: warnings first, the worst last, each with its address."""
    ranked = sorted(outcomes, key=lambda outcome: _WORSE_LATER.index(outcome.result))
    found = [finding for outcome in ranked for finding in _of(outcome)]
    return [f for f in found if not f.is_error] + [f for f in found if f.is_error]


def _of(outcome: Outcome) -> Iterable[Diagnostic]:
    address = str(outcome.address)
    for finding in outcome.diagnostics:
        more = {"address": finding.address or address}
        if outcome.request_id and outcome.result is not Result.DONE:
            more["request_id"] = finding.request_id or outcome.request_id
        yield finding.with_(**more)
    if not outcome.diagnostics and outcome.result in {Result.FAILED, Result.UNKNOWN}:
        yield Diagnostic(
            Severity.ERROR,
            f"{outcome.address} {_became(outcome)}",
            address=address,
            request_id=outcome.request_id or None,
        )


def totals(report: Report, pen: Pen) -> str:
    """The lines that say what an apply came to, and what to do about the rest."""
    counts = Counts.of(report)
    lines = [refused_line(counts.refused, pen)] if counts.refused else []
    lines += verified_line(report, pen)
    if report.extras.get("operation") == "verify":
        return "\n".join([*lines, *_why_early(report)])
    if complete(report):
        lines.append(pen(f"Apply complete! Resources: {counts.resources}.", "done"))
        return "\n".join(lines)
    whole = _did_its_part(report)
    names = () if whole else ("failed", "skipped", "unknown")
    rest = [f"{getattr(counts, name)} {name}" for name in names]
    rest += [f"{counts.refused} refused"] if counts.refused else []
    said = f"Apply incomplete! Resources: {counts.resources}; {', '.join(rest)}."
    lines.append(pen(said, "error"))
    # Running it again does nothing about a refusal: its row has the ways out.
    return "\n".join([*lines, *([] if whole else _next(report))])


def _next(report: Report) -> list[str]:
    kept = any(one.unrecorded for one in _ended(report))
    run = "Only then run apply again" if kept else "Run apply again"
    again = f"{run} to do the rest; what is done is not done twice."
    return [*_why_early(report), again]


def _why_early(report: Report) -> list[str]:
    lines = []
    ended, target = _ended(report), clean(report.plan.base.target)
    unrecorded = [one for one in ended if one.unrecorded is not None]
    if report.stopped:
        name = _SIGNALS.get(report.stopped, f"signal {report.stopped}")
        begun = "what had begun was finished" + ("" if unrecorded else " and recorded")
        if any(o.result is Result.UNKNOWN and o.unrecorded is None for o in report.outcomes):
            begun = "not all that had begun could end"
        lines.append(f"It was stopped by {name}; {begun}.")
    if report.lock_lost:
        lines.append("The lock on the state was lost to another run; nothing was started after.")
    for file in sorted({one.unrecorded for one in unrecorded if one.unrecorded}):
        lines.append(f"What could not be recorded is kept in {clean(file)}.")
        lines.append(
            f"Once the state can be written, `synapse-apply state recover FILE -t {target}` "
            "records it."
        )
    if any(_is_unknown(one) and not one.unrecorded for one in ended):
        lines.append("The next run looks up what is unknown before it does anything else.")
    return lines


def _ended(report: Report) -> list[Outcome | Verified]:
    return [*report.outcomes, *report.verified]


def _is_unknown(one: Outcome | Verified) -> bool:
    if isinstance(one, Outcome):
        return one.result is Result.UNKNOWN
    return one.verdict is Verdict.UNKNOWN
