"""Entries of a Markdown report: a change as a collapsible diff, a refusal, a finding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.drift import ObjectDrift
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Action, Cause, Change, FieldChange, GuardTrip
from synapse_apply.model.refactoring import Moved
from synapse_apply.model.report import Outcome, Report
from synapse_apply.model.verification import Verdict
from synapse_apply.views.blocks import Blocks
from synapse_apply.views.budget import Budget
from synapse_apply.views.diffs import DiffPen, diff_lines
from synapse_apply.views.drift import heading, object_block
from synapse_apply.views.findings import place, whereabouts
from synapse_apply.views.grammar import SYMBOL, WILL, cannot, plural
from synapse_apply.views.markup import code, fence, fold, html_code, prose
from synapse_apply.views.masking import masked, veiled
from synapse_apply.views.outcomes import findings, outcome_row
from synapse_apply.views.pen import Pen
from synapse_apply.views.verification import ended_rows, log_lines

_WIDTH = 110
_PLAIN = Pen(color=False)
# What an apply of this change would undo, not bring about.
_OUTSIDE = frozenset({Cause.DRIFT})
_SENTENCES = 2000  # what a detail or a hint may take
_ALSO_DRIFTED = "also changed outside: see Drift"


@frozen
class Parted:
    """The changes of a plan by where they come from; each field of an update in one of them."""

    ours: tuple[Change, ...]
    drift: tuple[Change, ...]
    adopted: tuple[Change, ...]
    forgotten: tuple[Change, ...]

    @classmethod
    def of(cls, changes: Iterable[Change]) -> Parted:
        """Part what will be done; refused and superseded changes are not for here."""
        ours, drift, adopted, forgotten = [], [], [], []
        for change in changes:
            if change.action is Action.ADOPT:
                adopted.append(change)
            elif change.action is Action.FORGET:
                forgotten.append(change)
            elif change.action is Action.RECREATE:
                drift.append(change)
            else:
                # Veiled first: a part of a change has only the marks of its own fields.
                fields = veiled(change)
                moved = [field for field in fields if field.cause in _OUTSIDE]
                rest = [field for field in fields if field.cause not in _OUTSIDE]
                if moved:
                    drift.append(_only(change, moved, rest))
                if rest or not moved:
                    ours.append(_only(change, rest, moved) if moved else change)
        return cls(tuple(ours), tuple(drift), tuple(adopted), tuple(forgotten))


def _only(change: Change, kept: list[FieldChange], left_out: list[FieldChange]) -> Change:
    """The change with some of its fields; the others do not count as unchanged either."""
    if not left_out:
        return change
    gone = {field.path for field in left_out}
    notes = change.notes if kept[0].cause in _OUTSIDE else (*change.notes, _ALSO_DRIFTED)
    return replace(
        change,
        fields=tuple(kept),
        after=masked(change.after or {}, gone),
        after_sensitive=tuple(path for path in change.after_sensitive if path not in gone),
        notes=notes,
    )


def change_entries(changes: Iterable[Change], budget: Budget) -> Iterator[str]:
    """A collapsible block a change, its diff cut by lines where it is very long."""
    blocks = Blocks(DiffPen(), _WIDTH, show_unchanged=False)
    for change in changes:
        adopts_as_is = change.action is Action.ADOPT and not change.fields
        symbol = "" if adopts_as_is else SYMBOL[change.action]
        name = html_code(f"{symbol} {change.address}".strip())
        fields = f" ({plural(len(change.fields), 'field')})" if _is_partial(change) else ""
        summary = f"{name} {WILL[change.action]}{fields}"
        yield folded(summary, blocks.action(change), budget)


def drift_entries(objects: Iterable[ObjectDrift], budget: Budget) -> Iterator[str]:
    """A collapsible block an object that is not as it was left."""
    for one in objects:
        yield folded(html_code(heading(one)), object_block(one, DiffPen(), _WIDTH), budget)


def folded(summary: str, block: str, budget: Budget) -> str:
    """A block that was written with a DiffPen as a collapsible diff; `summary` is HTML."""
    lines = list(diff_lines(block))
    return fold(summary, fence(_within(lines, budget.largest_entry, budget), "diff"))


def _is_partial(change: Change) -> bool:
    return change.action in {Action.UPDATE, Action.ADOPT} and bool(change.fields)


def _within(lines: list[str], room: int, budget: Budget) -> list[str]:
    """As many of the lines as fit, and how many more there are."""
    for count, line in enumerate(lines):
        # A longer line is shortened to some thousand characters by the block around it.
        room -= min(budget.measure(line), 4500) + 1
        if room < 0:
            return [*lines[:count], f"# ({len(lines) - count} more lines not shown here)"]
    return lines


def moved_entries(moves: Iterable[Moved]) -> Iterator[str]:
    """A line a rename."""
    for move in moves:
        yield f"- {code(str(move.old))} has moved to {code(str(move.new))}"


def forget_entries(changes: Iterable[Change]) -> Iterator[str]:
    """A line a change: its object stays."""
    for change in changes:
        why = "; ".join(change.notes) or change.reason or "no longer declared"
        yield f"- {code(change.address)}: {prose(why)}; the object itself stays"


def refusal_entries(changes: Iterable[Change], budget: Budget) -> Iterator[str]:
    """A `!` row a change: why, the ways out, and what was wanted."""
    blocks = Blocks(DiffPen(), _WIDTH, show_unchanged=False)
    for change in changes:
        lines: list[str] = []
        for refusal in change.refusals:
            where = refusal.position or change.position
            at = f" ({code(place(where))})" if where else ""
            what = f"- **{code(change.address)} {cannot(change.action)}**"
            lines.append(f"{what}: {prose(refusal.reason)}{at}")
            # An empty item of a list would be read as the line under a heading.
            lines += [f"  - {said}" for way in refusal.ways_out if (said := prose(way))]
        if wanted := blocks.wanted(change):
            rows = list(diff_lines("\n".join(wanted)))
            shown = _within(rows, budget.largest_entry, budget)
            lines += ["", fold("What was wanted", fence(shown, "diff"))]
        yield "\n".join(lines)


def guard_entries(guards: Iterable[GuardTrip]) -> Iterator[str]:
    """A line a guard that would stop the apply."""
    for guard in guards:
        option = f"--override-guard {guard.name}"
        hint = "" if option in guard.detail else f" If this is meant, apply with {code(option)}."
        detail = f" {_sentence(guard.detail)}" if guard.detail else ""
        yield f"- {_titled(guard.summary)}{detail}{hint}"


def note_entries(changes: Iterable[Change]) -> Iterator[str]:
    """A line a note of what asks for nothing now."""
    for change in changes:
        name = str(change.address)
        for note in change.notes:
            yield f"- {code(name)}: {prose(note.removeprefix(name).lstrip(' :'))}"


def finding_entries(found: Iterable[Diagnostic]) -> Iterator[str]:
    """A line a finding: what, why, where, what to do, and the server's request id."""
    for finding in found:
        yield f"- {finding_line(finding)}"


def finding_line(finding: Diagnostic) -> str:
    """A finding as one paragraph."""
    parts = [_titled(finding.summary)]
    parts += [_sentence(finding.detail)] if finding.detail else []
    parts += [f"*Hint:* {_sentence(finding.hint)}"] if finding.hint else []
    if where := whereabouts(finding).removeprefix("on ").removeprefix("with "):
        parts.append(f"({code(where)})")
    if finding.request_id and finding.request_id not in finding.detail:
        parts.append(f"Request id {code(finding.request_id)}.")
    return " ".join(parts)


def _titled(summary: str) -> str:
    """A terse summary at the head of a paragraph."""
    return f"**{_sentence(summary)}**"


def _sentence(text: str) -> str:
    end = "" if text.rstrip().endswith((".", "?", "!", ":")) else "."
    return f"{prose(text, _SENTENCES)}{end}"


def due_entries(changes: Iterable[Change]) -> Iterator[str]:
    """A line a run that apply will make or follow, and why it is due."""
    for change in changes:
        if change.verification is not None:
            yield f"- {code(change.address)} will be verified: {prose(change.verification.reason)}"


def run_entries(report: Report, budget: Budget) -> Iterator[str]:
    """A line a run; below it what was found, and the last lines of its job's log."""
    for one in report.verified:
        row = "\n".join(ended_rows(replace(report, outcomes=(), verified=(one,)), _PLAIN))
        lines = [f"- {code(row.strip())}"]
        if one.verdict is not Verdict.SKIPPED:
            lines += [f"  - {finding_line(found)}" for found in one.diagnostics]
        if one.logs:
            shown = _within(log_lines(one.logs), budget.largest_entry, budget)
            # What stands below a tag without an empty line between them is HTML as well.
            lines += ["", fold("The last lines of its log", fence(shown, "text")), ""]
        yield "\n".join(lines)


def outcome_entries(outcomes: Iterable[Outcome], *, told: bool) -> Iterator[str]:
    """A line an outcome; `told`: below it what was found, each finding with its request id."""
    for outcome in outcomes:
        lines = [f"- {code(outcome_row(outcome, _PLAIN).strip())}"]
        lines += [f"  - {finding_line(one)}" for one in findings([outcome])] if told else []
        yield "\n".join(lines)
