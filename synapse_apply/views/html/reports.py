"""A plan, an apply, a drift or findings alone as one HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.drift import Drift
from synapse_apply.model.plan import Action, Base, Plan
from synapse_apply.model.report import Report, Result
from synapse_apply.views.drift import (
    came_to,
    unlisted_lines,
    unmanaged_line,
    waiting_line,
    ways_out,
)
from synapse_apply.views.entries import Parted
from synapse_apply.views.grammar import plural
from synapse_apply.views.graph import planned_nodes
from synapse_apply.views.html import rows
from synapse_apply.views.html.links import NOWHERE, Links, anchor
from synapse_apply.views.html.next_steps import steps_of_plan, steps_of_report
from synapse_apply.views.html.page import Page, Section
from synapse_apply.views.html.parts import code, prose, text
from synapse_apply.views.outcomes import Counts, findings, totals, worth_a_row
from synapse_apply.views.pen import Pen
from synapse_apply.views.text import acts, target_line
from synapse_apply.views.text import totals as plan_totals

_PLAIN = Pen(color=False)
_DRIFT = (
    "Somebody or something changed these outside of Git. Apply makes them again what is declared."
)
_ADOPTED = "These exist already and were not recorded."


def plan_html(
    plan: Plan, *, run_url: str = "", command: str = "plan", links: Links = NOWHERE
) -> str:
    """A plan: counts and what stands in the way first, then a row a resource, the graph last."""
    links = _at(links, plan.base)
    shown = partial(rows.change_row, links=links)
    going = [c for c in plan.changes if not (c.refused or c.superseded)]
    parted = Parted.of(c for c in going if acts(c) or c.action is Action.FORGET)
    quiet = [c for c in plan.changes if not acts(c) and c.action is not Action.FORGET]
    due = [(c, c.verification) for c in plan.verified if c.verification is not None]
    noted = [row for c in quiet if not c.refused for row in rows.note_rows(c)]
    failed = "" if command == "plan" else f"{command.capitalize()} failed: "
    return Page(
        f"{failed}Plan for {plan.base.target}",
        _mood(plan, failed),
        [text(line) for line in plan_totals(plan, _PLAIN).splitlines()],
        _facts(target_line(plan.base, _PLAIN, plan.trial), plan.base, links),
        [
            *_in_the_way(plan, links),
            Section("change", "This change", [*map(shown, parted.ours)]),
            Section("drift", "Drift, not from this change", [*map(shown, parted.drift)],
                    intro=_DRIFT if parted.drift else ""),
            Section("adopted", "Adopted", [*map(shown, parted.adopted)],
                    intro=_ADOPTED if parted.adopted else ""),
            Section("verify", "To be verified", [rows.due_row(c, run) for c, run in due]),
            Section("forgotten", "Forgotten", [*map(rows.forget_row, parted.forgotten)]),
            Section("notes", "Notes", noted),
            _found("warnings", "Warnings", [f for f in plan.diagnostics if not f.is_error], links),
        ],
        _plan_counts(plan),
        planned_nodes(plan),
        _foot(run_url, plan.tool_version, plan.created, f"plan {code(plan.id)}"),
        target=plan.base.target,
        next_steps=steps_of_plan(plan),
    ).html()  # fmt: skip


def _mood(plan: Plan, failed: str) -> str:
    stopped = plan.errored or plan.guards or plan.refused or failed
    return "bad" if stopped or not plan.base.compared else "good"


def report_html(report: Report, *, run_url: str = "", links: Links = NOWHERE) -> str:
    """What an apply did: what went wrong first, what was done last."""
    links = _at(links, report.plan.base)
    by_result = {result: [o for o in report.outcomes if o.result is result] for result in Result}
    changes = {change.address: change for change in report.plan.changes}
    rowed = dict(by_result)
    for silent in (Result.DONE, Result.SKIPPED):
        rowed[silent] = [outcome for outcome in by_result[silent] if worth_a_row(outcome)]
    warned = [*report.plan.diagnostics, *findings(by_result[Result.DONE])]
    shown = {result: [*rows.outcome_rows(rowed[result], changes, links)] for result in Result}
    return Page(
        f"Apply for {report.plan.base.target}",
        "bad" if report.exit_code else "good",
        [text(line) for line in totals(report, _PLAIN).splitlines()],
        _facts(target_line(report.plan.base, _PLAIN), report.plan.base, links),
        [
            Section("unknown", "Outcome unknown", shown[Result.UNKNOWN]),
            Section("failed", "Failed", shown[Result.FAILED]),
            Section("verified", "Verification", [*rows.run_rows(report, links)]),
            *_in_the_way(report.plan, links, guards=False),
            Section("skipped", "Skipped", shown[Result.SKIPPED]),
            Section("done", "Done", shown[Result.DONE]),
            _found("warnings", "Warnings", [f for f in warned if not f.is_error], links),
        ],
        _report_counts(Counts.of(report)),
        planned_nodes(report.plan),
        _foot(run_url, report.plan.tool_version, "", f"plan {code(report.plan.id)}"),
        "Only what is not done",
        report.plan.base.target,
        steps_of_report(report),
    ).html()


def drift_html(drift: Drift, *, run_url: str = "", links: Links = NOWHERE) -> str:
    """What moved outside: what could not be looked at first, then a row an object."""
    links = _at(links, drift.base)
    strangers = drift.unmanaged or ()
    said = [text(came_to(drift))]
    if drift.unmanaged is not None:
        said += [text(unmanaged_line(drift)), *map(text, unlisted_lines(drift))]
    said += [prose(waiting_line(drift))] if drift.waiting else []
    return Page(
        f"Drift of {drift.base.target}",
        "bad" if drift.errored or drift.objects else "good",
        said,
        _facts(target_line(drift.base, _PLAIN), drift.base, links),
        [
            _found("errors", "Errors", [f for f in drift.diagnostics if f.is_error], links),
            Section("drift", "Changed outside",
                    [*(rows.drift_row(one, links) for one in drift.objects)],
                    intro=" ".join(map(prose, ways_out(drift))) if drift.objects else ""),
            Section("unmanaged", "Unmanaged", [*map(rows.stranger_row, strangers)]),
            _found("warnings", "Warnings", [f for f in drift.diagnostics if not f.is_error], links),
        ],
        [("changed", len(drift.changed), "moved"), ("gone", len(drift.gone), "gone"),
         *([] if drift.unseen else [("unmanaged", len(strangers), "quiet")]),
         ("waiting", len(drift.waiting), "quiet")],
        foot=_foot(run_url, drift.tool_version, drift.created),
        trouble="Only what apply cannot undo",
    ).html()  # fmt: skip


def findings_html(
    found: Sequence[Diagnostic],
    command: str,
    *,
    target: str,
    tool_version: str = "",
    run_url: str = "",
    links: Links = NOWHERE,
) -> str:
    """Findings that are all there is to show: those that ended a command, or of `validate`."""
    errors = [finding for finding in found if finding.is_error]
    how = "failed" if errors else "found nothing wrong"
    name = f" for {target}" if target else ""
    return Page(
        f"{command.capitalize()} {how}{name}",
        "bad" if errors else "good",
        [f"{plural(len(errors), 'error')}."],
        "",
        [
            _found("errors", "Errors", errors, links),
            _found("warnings", "Warnings", [f for f in found if f.is_warning], links),
            _found("notes", "Notes", [f for f in found if f.is_note], links),
        ],
        foot=_foot(run_url, tool_version, ""),
    ).html()


def _in_the_way(plan: Plan, links: Links, *, guards: bool = True) -> Iterable[Section]:
    if guards:
        listed = rows.guard_items(plan.guards)
        yield Section("guards", "Apply will stop", listed=listed, count=len(plan.guards))
        yield _found("errors", "Errors", [f for f in plan.diagnostics if f.is_error], links)
    yield Section("refused", "Refused", [rows.refusal_row(one, links) for one in plan.refused])


def _found(name: str, title: str, found: Sequence[Diagnostic], links: Links) -> Section:
    return Section(name, title, listed=rows.finding_items(found, links), count=len(found))


def _at(links: Links, base: Base) -> Links:
    """The links of a document: into the commit that it was made from."""
    return replace(links, commit="" if base.revision or base.dirty else base.commit)


def _facts(said: str, base: Base, links: Links) -> str:
    """The line on what it was made from, its commit a link where there is a place for it."""
    shown = base.commit[:12]
    whole, link = text(said, 1000), links.to_commit(base.commit)
    return whole.replace(text(shown), link, 1) if shown and "<a " in link else whole


def _plan_counts(plan: Plan) -> list[tuple[str, int, str]]:
    counts = plan.summary
    return [
        ("refused", counts.blocked, "trouble"),
        ("to import", counts.import_, "moved"),
        ("to add", counts.add, "come"),
        ("to change", counts.change, "moved"),
        ("to destroy", counts.destroy, "gone"),
        ("to forget", counts.forget, "quiet"),
        ("to verify", len(plan.verified), "run"),
    ]


def _report_counts(counts: Counts) -> list[tuple[str, int, str]]:
    return [
        ("unknown", counts.unknown, "trouble"),
        ("failed", counts.failed, "trouble"),
        ("refused", counts.refused, "trouble"),
        ("skipped", counts.skipped, "quiet"),
        ("imported", counts.imported, "moved"),
        ("added", counts.added, "come"),
        ("changed", counts.changed, "moved"),
        ("destroyed", counts.destroyed, "gone"),
        ("forgotten", counts.forgotten, "quiet"),
        ("verified", counts.verified, "run"),
        ("not verified", counts.not_verified, "trouble"),
    ]


def _foot(run_url: str, tool_version: str, created: str, *facts: str) -> str:
    """Which run made it, and where it is to be seen."""
    parts = [*facts, f"made {text(created)}" if created else ""]
    parts += [f"by {anchor(run_url, text(run_url))}" if run_url else ""]
    parts += [f"synapse-apply {text(tool_version)}" if tool_version else ""]
    return ", ".join(part for part in parts if part)
