"""Plans, reports and findings as Markdown, for a comment or a step summary, within a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.drift import Drift
from synapse_apply.model.plan import Action, Base, Change, Plan
from synapse_apply.model.report import Outcome, Report, Result
from synapse_apply.views import entries
from synapse_apply.views.accepted import accepted_line
from synapse_apply.views.budget import COMMENT, Budget, Section, fit
from synapse_apply.views.drift import (
    came_to,
    names,
    unlisted_lines,
    unmanaged_line,
    waiting_line,
    ways_out,
)
from synapse_apply.views.findings import with_counts
from synapse_apply.views.grammar import plan_line, plural
from synapse_apply.views.markup import LONGEST_NAME, code, in_marker, link, marker, prose
from synapse_apply.views.outcomes import findings, totals, worth_a_row
from synapse_apply.views.pen import Pen
from synapse_apply.views.text import acts, target_line
from synapse_apply.views.text import totals as plan_totals

_PLAIN = Pen(color=False)
_DRIFT = (
    "Somebody or something changed these outside of Git. Apply makes them again what is declared."
)
_ADOPTED = "These exist already and were not recorded."


def plan_markdown(
    plan: Plan, *, budget: Budget = COMMENT, run_url: str = "", command: str = "plan"
) -> str:
    """A plan: the counts and what stands in the way first, then a block a resource.

    It takes the place of the comment of the `command` that made it and went no further.
    Fits `budget`; what does not fit is counted, and `run_url` is where all of it can be seen.
    """
    parted = entries.Parted.of(c for c in plan.changes if acts(c) or _is_forget(c))
    blocks = _titled("This change", parted.ours, "", budget)
    blocks += _titled("Drift, not from this change", parted.drift, _DRIFT, budget)
    blocks += _titled("Adopted", parted.adopted, _ADOPTED, budget)
    noted = [c for c in plan.changes if not (acts(c) or _is_forget(c))]
    sections = [
        *_in_the_way(plan, budget),
        *blocks,
        *_lines("To be verified", plan.verified, entries.due_entries(plan.verified)),
        *_lines("Moved", plan.moved, entries.moved_entries(plan.moved)),
        *_lines("Forgotten", parted.forgotten, entries.forget_entries(parted.forgotten)),
        *_lines("Notes", [n for c in noted for n in c.notes], entries.note_entries(noted)),
        *_found("Warnings", [f for f in plan.diagnostics if not f.is_error]),
    ]
    ended = "" if command == "plan" else f"{command.capitalize()} failed: "
    title = f"## {ended}Plan for {code(plan.base.target, LONGEST_NAME)}"
    if plan.base.offline:
        how = "against" if plan.base.compared else "not compared with"
        title += f" {how} {code(plan.base.against, LONGEST_NAME)}; the backend was not asked"
    facts = prose(target_line(plan.base, _PLAIN, plan.trial), 2 * LONGEST_NAME)
    kind = "" if command == "plan" else command
    head = "\n\n".join([_marker(plan.base, kind), title, *map(_bold, _counts(plan)), facts])
    see = f"synapse-apply plan -t {plan.base.target[:LONGEST_NAME]}"
    return fit(head, sections, _foot(see, run_url, f"Plan {code(plan.id)}"), budget)


def report_markdown(report: Report, *, budget: Budget = COMMENT, run_url: str = "") -> str:
    """What an apply did: the counts and what went wrong first, what was done last."""
    by_result = {result: [o for o in report.outcomes if o.result is result] for result in Result}
    done, skipped = (
        [outcome for outcome in by_result[result] if worth_a_row(outcome)]
        for result in (Result.DONE, Result.SKIPPED)
    )
    said = totals(report, _PLAIN).splitlines()[bool(report.plan.refused) :]
    warned = [*report.plan.diagnostics, *findings(by_result[Result.DONE])]
    headline = 1 + next((at for at, line in enumerate(said) if line.startswith("Apply ")), 0)
    runs = entries.run_entries(report, budget)
    sections = [
        *_next(said[headline:]),
        *_told("Outcome unknown", by_result[Result.UNKNOWN]),
        *_told("Failed", by_result[Result.FAILED]),
        *_lines("Verification", report.verified, runs),
        *_in_the_way(report.plan, budget, guards=False),
        *_lines(
            "Skipped",
            skipped,
            entries.outcome_entries(skipped, told=False),
        ),
        *_lines("Moved", report.plan.moved, entries.moved_entries(report.plan.moved)),
        *_lines("Done", done, entries.outcome_entries(done, told=False)),
        *_found("Warnings", [finding for finding in warned if not finding.is_error]),
    ]
    base = report.plan.base
    head = [_marker(base, "apply"), f"## Apply for {code(base.target, LONGEST_NAME)}"]
    refused = f"Refused: {len(report.plan.refused)}."
    came_to = " ".join(said[:headline])
    head += [_bold(f"{refused} {came_to}" if report.plan.refused else came_to)]
    head += [prose(target_line(base, _PLAIN), 2 * LONGEST_NAME)]
    see = f"synapse-apply history show {report.plan.id} -t {base.target[:LONGEST_NAME]}"
    foot = _foot(see, run_url, f"Plan {code(report.plan.id)}")
    return fit("\n\n".join(part for part in head if part), sections, foot, budget)


def drift_markdown(drift: Drift, *, budget: Budget = COMMENT, run_url: str = "") -> str:
    """What moved outside: the count first, what could not be looked at, a block an object."""
    strangers = drift.unmanaged or ()
    rows = (f"- {code(one.kind)} {code(one.remote_id)} {code(names(one))}" for one in strangers)
    moved = drift.objects
    intro = " ".join(map(prose, ways_out(drift)))
    opening = f"### Changed outside ({len(moved):,})\n\n{intro}"
    blocks = Section(opening, entries.drift_entries(moved, budget), len(moved))
    sections = [
        *_found("Errors", [finding for finding in drift.diagnostics if finding.is_error]),
        *([blocks] if moved else []),
        *_lines("Unmanaged", strangers, rows),
        *_found("Warnings", [finding for finding in drift.diagnostics if not finding.is_error]),
    ]
    head = [_marker(drift.base, "drift"), f"## Drift of {code(drift.base.target, LONGEST_NAME)}"]
    head += [_bold(came_to(drift))]
    if drift.unmanaged is not None:
        head += [prose(unmanaged_line(drift)), *map(prose, unlisted_lines(drift))]
    head += [prose(waiting_line(drift))] if drift.waiting else []
    head += [prose(line)] if (line := accepted_line(drift.with_accepted)) else []
    head += [prose(target_line(drift.base, _PLAIN), 2 * LONGEST_NAME)]
    see = f"synapse-apply drift -t {drift.base.target[:LONGEST_NAME]}"
    return fit("\n\n".join(head), sections, _foot(see, run_url), budget)


def findings_markdown(
    found: Sequence[Diagnostic],
    command: str,
    *,
    target: str,
    budget: Budget = COMMENT,
    run_url: str = "",
) -> str:
    """Findings that are all there is to show: those that ended a command, or of `validate`.

    They take the place of the command's own comment.
    """
    errors = [finding for finding in found if finding.is_error]
    kind = "" if command == "plan" else f" {command}"
    name = f" for {code(target, LONGEST_NAME)}" if target else ""
    how = "failed" if errors else "found nothing wrong"
    head = [marker(f"target={in_marker(target)}{kind}"), f"## {command.capitalize()} {how}{name}"]
    head += [_bold(f"{plural(len(errors), 'error')}.")]
    sections = [
        *_found("Errors", errors),
        *_found("Warnings", [finding for finding in found if finding.is_warning]),
        *_found("Notes", [finding for finding in found if finding.is_note]),
    ]
    see = f"synapse-apply {command}" + (f" -t {target[:LONGEST_NAME]}" if target else "")
    return fit("\n\n".join(head), sections, _foot(see, run_url), budget)


def _in_the_way(plan: Plan, budget: Budget, *, guards: bool = True) -> Iterator[Section]:
    if guards:
        yield from _lines("Apply will stop", plan.guards, entries.guard_entries(plan.guards))
        yield from _found("Errors", [finding for finding in plan.diagnostics if finding.is_error])
    refused = plan.refused
    if refused:  # HTML ends at an empty line, so there is one after each
        opening = f"### Refused ({len(refused):,})"
        yield Section(opening, entries.refusal_entries(refused, budget), len(refused))


def _counts(plan: Plan) -> list[str]:
    """Where there is anything to do, the line that tools know, with the refused beside it."""
    if plan.refused and not plan.errored:
        line = accepted_line(plan.with_accepted)
        return [
            f"Refused: {len(plan.refused)}. {plan_line(plan.summary)}",
            *([line] if line else []),
        ]
    return plan_totals(plan, _PLAIN).split("\n")


def _titled(title: str, changes: Sequence[Change], intro: str, budget: Budget) -> list[Section]:
    if not changes:
        return []
    opening = f"### {title} ({len(changes):,})" + (f"\n\n{intro}" if intro else "")
    return [Section(opening, entries.change_entries(changes, budget), len(changes))]


def _lines(title: str, things: Sequence[object], lines: Iterable[str]) -> list[Section]:
    count = len(things)
    return [Section(f"### {title} ({count:,})", lines, count, joint="\n")] if things else []


def _found(title: str, found: Sequence[Diagnostic]) -> list[Section]:
    counted = with_counts(found)
    return _lines(title, counted, entries.finding_entries(counted))


def _next(said: Sequence[str]) -> list[Section]:
    steps = (f"- {prose(line)}" for line in said)
    return [Section("### What to do now", steps, len(said), joint="\n")] if said else []


def _told(title: str, outcomes: Sequence[Outcome]) -> list[Section]:
    return _lines(title, outcomes, entries.outcome_entries(outcomes, told=True))


def _is_forget(change: Change) -> bool:
    return change.action is Action.FORGET and not change.refused


def _marker(base: Base, kind: str = "") -> str:
    return marker(f"target={in_marker(base.target)}{f' {kind}' if kind else ''}")


def _bold(text: str) -> str:
    return f"**{prose(text)}**"


def _foot(see: str, run_url: str, *facts: str) -> Callable[[int], str]:
    """The last line: what it is about, the run, and where to look for what is left out."""
    run = link("this run", run_url) if run_url else ""

    def foot(hidden: int) -> str:
        places = " or ".join(part for part in (run, code(see)) if part)
        cut = f"**{hidden:,} not shown here:** {places} has all of it." if hidden else ""
        end = ", ".join(chain(facts, [run] if run and not hidden else []))
        return " ".join(part for part in (cut, f"<sub>{end}</sub>" if end else "") if part)

    return foot
