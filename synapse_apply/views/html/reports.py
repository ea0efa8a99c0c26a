"""A plan, an apply, a drift or findings alone as one HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.drift import Drift
from synapse_apply.model.plan import Action, Plan
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


def plan_html(plan: Plan, *, run_url: str = "", command: str = "plan") -> str:
    """A plan: counts and what stands in the way first, then a row a resource, the graph last."""
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
        text(target_line(plan.base, _PLAIN, plan.trial), 1000),
        [
            *_in_the_way(plan),
            Section("change", "This change", [*map(rows.change_row, parted.ours)]),
            Section("drift", "Drift, not from this change", [*map(rows.change_row, parted.drift)],
                    intro=_DRIFT if parted.drift else ""),
            Section("adopted", "Adopted", [*map(rows.change_row, parted.adopted)],
                    intro=_ADOPTED if parted.adopted else ""),
            Section("verify", "To be verified", [rows.due_row(c, run) for c, run in due]),
            Section("forgotten", "Forgotten", [*map(rows.forget_row, parted.forgotten)]),
            Section("notes", "Notes", noted),
            _found("warnings", "Warnings", [f for f in plan.diagnostics if not f.is_error]),
        ],
        _plan_counts(plan),
        planned_nodes(plan),
        _foot(run_url, plan.tool_version, plan.created, f"plan {code(plan.id)}"),
        target=plan.base.target,
    ).html()  # fmt: skip


def _mood(plan: Plan, failed: str) -> str:
    stopped = plan.errored or plan.guards or plan.refused or failed
    return "bad" if stopped or not plan.base.compared else "good"


def report_html(report: Report, *, run_url: str = "") -> str:
    """What an apply did: what went wrong first, what was done last."""
    by_result = {result: [o for o in report.outcomes if o.result is result] for result in Result}
    changes = {change.address: change for change in report.plan.changes}
    rowed = dict(by_result)
    for silent in (Result.DONE, Result.SKIPPED):
        rowed[silent] = [outcome for outcome in by_result[silent] if worth_a_row(outcome)]
    warned = [*report.plan.diagnostics, *findings(by_result[Result.DONE])]
    shown = {result: [*rows.outcome_rows(rowed[result], changes)] for result in Result}
    return Page(
        f"Apply for {report.plan.base.target}",
        "bad" if report.exit_code else "good",
        [text(line) for line in totals(report, _PLAIN).splitlines()],
        text(target_line(report.plan.base, _PLAIN), 1000),
        [
            Section("unknown", "Outcome unknown", shown[Result.UNKNOWN]),
            Section("failed", "Failed", shown[Result.FAILED]),
            Section("verified", "Verification", [*rows.run_rows(report)]),
            *_in_the_way(report.plan, guards=False),
            Section("skipped", "Skipped", shown[Result.SKIPPED]),
            Section("done", "Done", shown[Result.DONE]),
            _found("warnings", "Warnings", [f for f in warned if not f.is_error]),
        ],
        _report_counts(Counts.of(report)),
        planned_nodes(report.plan),
        _foot(run_url, report.plan.tool_version, "", f"plan {code(report.plan.id)}"),
        "Only what is not done",
        report.plan.base.target,
    ).html()


def drift_html(drift: Drift, *, run_url: str = "") -> str:
    """What moved outside: what could not be looked at first, then a row an object."""
    strangers = drift.unmanaged or ()
    said = [text(came_to(drift))]
    if drift.unmanaged is not None:
        said += [text(unmanaged_line(drift)), *map(text, unlisted_lines(drift))]
    said += [prose(waiting_line(drift))] if drift.waiting else []
    return Page(
        f"Drift of {drift.base.target}",
        "bad" if drift.errored or drift.objects else "good",
        said,
        text(target_line(drift.base, _PLAIN), 1000),
        [
            _found("errors", "Errors", [f for f in drift.diagnostics if f.is_error]),
            Section("drift", "Changed outside", [*map(rows.drift_row, drift.objects)],
                    intro=" ".join(map(prose, ways_out(drift))) if drift.objects else ""),
            Section("unmanaged", "Unmanaged", [*map(rows.stranger_row, strangers)]),
            _found("warnings", "Warnings", [f for f in drift.diagnostics if not f.is_error]),
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
            _found("errors", "Errors", errors),
            _found("warnings", "Warnings", [f for f in found if f.is_warning]),
            _found("notes", "Notes", [f for f in found if f.is_note]),
        ],
        foot=_foot(run_url, tool_version, ""),
    ).html()


def _in_the_way(plan: Plan, *, guards: bool = True) -> Iterable[Section]:
    if guards:
        listed = rows.guard_items(plan.guards)
        yield Section("guards", "Apply will stop", listed=listed, count=len(plan.guards))
        yield _found("errors", "Errors", [f for f in plan.diagnostics if f.is_error])
    yield Section("refused", "Refused", [*map(rows.refusal_row, plan.refused)])


def _found(name: str, title: str, found: Sequence[Diagnostic]) -> Section:
    return Section(name, title, listed=rows.finding_items(found), count=len(found))


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
    """Which run made it. Its address is text: a page from an artefact leads nowhere by itself."""
    parts = [*facts, f"made {text(created)}" if created else ""]
    parts += [f"by {text(run_url)}" if run_url else ""]
    parts += [f"synapse-apply {text(tool_version)}" if tool_version else ""]
    return ", ".join(part for part in parts if part)
