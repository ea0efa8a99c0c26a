"""Which sections, counts, headlines and next steps the page of a plan, apply or drift has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from synapse_apply.model.command import Command
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.plan import Action, Cause, Plan, PlanBase
from synapse_apply.model.report import Drift, Report, Result
from synapse_apply.views.graph import build_plan_nodes
from synapse_apply.views.html import rows
from synapse_apply.views.html.page import HtmlPage, PageSection
from synapse_apply.views.html.parts import (
    NO_LINKS,
    ForgeLinks,
    cut_and_escape,
    render_anchor,
    render_code,
    render_copyable_command,
    render_prose,
)
from synapse_apply.views.markdown.report import PlanParts
from synapse_apply.views.text.drift import (
    format_drift_totals,
    iter_ways_out_of_drift,
    unapplied_line,
    unmanaged_line,
    unread_lines,
)
from synapse_apply.views.text.outcomes import (
    OutcomeCounts,
    is_shown_outcome,
    is_wholly_done,
    outcome_findings,
    totals_and_steps,
)
from synapse_apply.views.text.plan import format_plan_totals as plan_totals
from synapse_apply.views.text.plan import format_target_line, is_object_change_to_make
from synapse_apply.views.text.terminal import Style

_PLAIN = Style(color=False)
_DRIFT_INTRO = (
    "Somebody or something changed these outside of Git. Apply restores the declared values."
)
_ADOPTED_INTRO = "These exist already and were not recorded."


def render_plan_html(
    plan: Plan, *, run_url: str = "", command: str = "plan", links: ForgeLinks = NO_LINKS
) -> str:
    """The page of a plan: counts and obstacles first, a row for each resource, the graph."""
    return build_plan_page(plan, run_url=run_url, command=command, links=links).render_html()


def build_plan_page(
    plan: Plan, *, run_url: str = "", command: str = "plan", links: ForgeLinks = NO_LINKS
) -> HtmlPage:
    """The contents of a plan's page, which can be part of another page, too."""
    links = _links_at_base(links, plan.base)
    build_row = partial(rows.build_change_row, links=links)
    going_changes = [c for c in plan.changes if not (c.is_refused or c.superseded)]
    plan_parts = PlanParts.from_unrefused_changes(
        c for c in going_changes if is_object_change_to_make(c) or c.action is Action.FORGET
    )
    due_runs = [(c, c.verification) for c in plan.changes_to_verify if c.verification is not None]
    note_rows = [
        row
        for c in plan.changes
        if not (is_object_change_to_make(c) or c.action is Action.FORGET or c.is_refused)
        for row in rows.iter_note_rows(c)
    ]
    # A command that ended early shows the plan that it had made.
    failure_prefix = "" if command == "plan" else f"{command.capitalize()} failed: "
    is_blocked = plan.has_errors or plan.guards or plan.refused_changes or failure_prefix
    counts = plan.summary
    return HtmlPage(
        f"{failure_prefix}Plan for {plan.base.target}",
        ("bad" if is_blocked or not plan.base.compared else "good"),
        [cut_and_escape(line) for line in plan_totals(plan, _PLAIN).splitlines()],
        _target_line(format_target_line(plan.base, _PLAIN, plan.trial), plan.base, links),
        [
            *_iter_problem_sections(plan, links),
            PageSection("change", "This change", [*map(build_row, plan_parts.own_changes)]),
            PageSection(
                "drift",
                "Drift, not from this change",
                [*map(build_row, plan_parts.drift_changes)],
                intro=_DRIFT_INTRO if plan_parts.drift_changes else "",
            ),
            PageSection(
                "adopted",
                "Adopted",
                [*map(build_row, plan_parts.adopted_changes)],
                intro=_ADOPTED_INTRO if plan_parts.adopted_changes else "",
            ),
            PageSection(
                "verify", "To be verified", [rows.build_due_run_row(c, run) for c, run in due_runs]
            ),
            PageSection(
                "forgotten",
                "Forgotten",
                [*map(rows.build_forget_row, plan_parts.forgotten_changes)],
            ),
            PageSection("notes", "Notes", note_rows),
            _findings_section(
                "warnings", "Warnings", [f for f in plan.diagnostics if not f.is_error], links
            ),
        ],
        [
            ("refused", counts.blocked, "trouble"),
            ("to import", counts.import_, "moved"),
            ("to add", counts.add, "come"),
            ("to change", counts.change, "moved"),
            ("to destroy", counts.destroy, "gone"),
            ("to forget", counts.forget, "quiet"),
            ("to verify", len(plan.changes_to_verify), "run"),
        ],
        build_plan_nodes(plan),
        _render_footer(run_url, plan.tool_version, plan.created, f"plan {render_code(plan.id)}"),
        target=plan.base.target,
        next_steps=steps_after_plan(plan),
    )


def render_report_html(report: Report, *, run_url: str = "", links: ForgeLinks = NO_LINKS) -> str:
    """The page of an apply: what went wrong first, what was done last."""
    links = _links_at_base(links, report.plan.base)
    by_result = {result: [o for o in report.outcomes if o.result is result] for result in Result}
    changes = {change.address: change for change in report.plan.changes}
    shown_outcomes = dict(by_result)
    for filtered_result in (Result.DONE, Result.SKIPPED):
        shown_outcomes[filtered_result] = [
            outcome for outcome in by_result[filtered_result] if is_shown_outcome(outcome)
        ]
    # Findings of other results are in the rows of their resources.
    all_findings = [*report.plan.diagnostics, *outcome_findings(by_result[Result.DONE])]
    rows_by_result = {
        result: [*rows.iter_outcome_rows(shown_outcomes[result], changes, links)]
        for result in Result
    }
    return HtmlPage(
        f"Apply for {report.plan.base.target}",
        "bad" if report.exit_code else "good",
        [cut_and_escape(line) for line in totals_and_steps(report, _PLAIN).splitlines()],
        _target_line(format_target_line(report.plan.base, _PLAIN), report.plan.base, links),
        [
            PageSection("unknown", "Outcome unknown", rows_by_result[Result.UNKNOWN]),
            PageSection("failed", "Failed", rows_by_result[Result.FAILED]),
            PageSection("verified", "Verification", [*rows.iter_run_rows(report, links)]),
            *_iter_problem_sections(report.plan, links, with_guards=False),
            PageSection("skipped", "Skipped", rows_by_result[Result.SKIPPED]),
            PageSection("done", "Done", rows_by_result[Result.DONE]),
            _findings_section(
                "warnings", "Warnings", [f for f in all_findings if not f.is_error], links
            ),
        ],
        _report_counts(OutcomeCounts.from_report(report)),
        build_plan_nodes(report.plan),
        _render_footer(
            run_url, report.plan.tool_version, "", f"plan {render_code(report.plan.id)}"
        ),
        "Only what is not done",
        report.plan.base.target,
        steps_after_apply(report),
    ).render_html()


def render_drift_html(drift: Drift, *, run_url: str = "", links: ForgeLinks = NO_LINKS) -> str:
    """The page of a drift check: errors first, then a row for each object."""
    links = _links_at_base(links, drift.base)
    unmanaged_objects = drift.unmanaged or ()
    headlines = [cut_and_escape(format_drift_totals(drift))]
    if drift.unmanaged is not None:
        headlines += [
            cut_and_escape(unmanaged_line(drift)),
            *map(cut_and_escape, unread_lines(drift)),
        ]
    headlines += [render_prose(unapplied_line(drift))] if drift.pending_addresses else []
    return HtmlPage(
        f"Drift of {drift.base.target}",
        "bad" if drift.has_errors or drift.objects else "good",
        headlines,
        _target_line(format_target_line(drift.base, _PLAIN), drift.base, links),
        [
            _findings_section(
                "errors", "Errors", [f for f in drift.diagnostics if f.is_error], links
            ),
            PageSection(
                "drift",
                "Not as recorded" if drift.has_origin else "Changed outside",
                [*(rows.build_drift_row(object_drift, links) for object_drift in drift.objects)],
                intro=" ".join(map(render_prose, iter_ways_out_of_drift(drift))),
            ),
            PageSection(
                "unmanaged", "Unmanaged", [*map(rows.build_unmanaged_row, unmanaged_objects)]
            ),
            _findings_section(
                "warnings", "Warnings", [f for f in drift.diagnostics if not f.is_error], links
            ),
        ],
        [
            ("changed", len(drift.changed_or_replaced_objects), "moved"),
            ("gone", len(drift.missing_objects), "gone"),
            # With lists that could not be read the number would be too low.
            *([] if drift.unread_kinds else [("unmanaged", len(unmanaged_objects), "quiet")]),
            ("waiting", len(drift.pending_addresses), "quiet"),
        ],
        footer=_render_footer(run_url, drift.tool_version, drift.created),
        trouble_label="Only what apply cannot undo",
    ).render_html()


def render_findings_html(
    findings: Sequence[Diagnostic],
    command: str,
    *,
    target: str,
    tool_version: str = "",
    run_url: str = "",
    links: ForgeLinks = NO_LINKS,
) -> str:
    """The page of findings without a plan: those that ended a command, or those of `validate`."""
    errors = [finding for finding in findings if finding.is_error]
    outcome_text = "failed" if errors else "found nothing wrong"
    name = f" for {target}" if target else ""
    return HtmlPage(
        f"{command.capitalize()} {outcome_text}{name}",
        "bad" if errors else "good",
        [f"{format_count_and_noun(len(errors), 'error')}."],
        "",
        [
            _findings_section("errors", "Errors", errors, links),
            _findings_section("warnings", "Warnings", [f for f in findings if f.is_warning], links),
            _findings_section("notes", "Notes", [f for f in findings if f.is_note], links),
        ],
        footer=_render_footer(run_url, tool_version, ""),
    ).render_html()


def _iter_problem_sections(
    plan: Plan, links: ForgeLinks, *, with_guards: bool = True
) -> Iterable[PageSection]:
    if with_guards:
        guards_html = rows.render_guards(plan.guards)
        yield PageSection(
            "guards", "Apply will stop", list_html=guards_html, count=len(plan.guards)
        )
        yield _findings_section(
            "errors", "Errors", [f for f in plan.diagnostics if f.is_error], links
        )
    yield PageSection(
        "refused",
        "Refused",
        [rows.build_refusal_row(change, links) for change in plan.refused_changes],
    )


def _findings_section(
    name: str, title: str, findings: Sequence[Diagnostic], links: ForgeLinks
) -> PageSection:
    return PageSection(
        name, title, list_html=rows.render_findings(findings, links), count=len(findings)
    )


def _links_at_base(links: ForgeLinks, base: PlanBase) -> ForgeLinks:
    """The links with the commit that the document was made from; none for a dirty checkout."""
    # Lines of a changed checkout differ from those of its commit.
    return replace(links, commit="" if base.revision or base.dirty else base.commit)


def _target_line(target_text: str, base: PlanBase, links: ForgeLinks) -> str:
    """The line that names target and commit, the commit as a link where possible."""
    short_id = base.commit[:12]
    target_html, commit_link = (
        cut_and_escape(target_text, 1000),
        links.render_short_commit(base.commit),
    )
    return (
        target_html.replace(cut_and_escape(short_id), commit_link, 1)
        if short_id and "<a " in commit_link
        else target_html
    )


def _report_counts(counts: OutcomeCounts) -> list[tuple[str, int, str]]:
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


def _render_footer(run_url: str, tool_version: str, created: str, *html_facts: str) -> str:
    """The footer: facts, time, link to the CI run, version."""
    parts = [*html_facts, f"made {cut_and_escape(created)}" if created else ""]
    parts += [f"by {render_anchor(run_url, cut_and_escape(run_url))}" if run_url else ""]
    parts += [f"synapse-apply {cut_and_escape(tool_version)}" if tool_version else ""]
    return ", ".join(part for part in parts if part)


def steps_after_plan(plan: Plan) -> tuple[str, ...]:
    """The next steps after a plan as HTML; none where there is nothing to do."""
    return tuple(_after_plan(plan))


def _after_plan(plan: Plan) -> Iterator[str]:
    target = plan.base.target
    plan_command = render_copyable_command(Command("plan", target=target).format_command_line())
    if plan.has_errors:
        yield f'Fix <a href="#errors">the errors</a>, then plan again: {plan_command}'
        return
    if plan.refused_changes:
        rows = format_count_and_noun(len(plan.refused_changes), "refused row")
        yield (
            f'Settle <a href="#refused">{rows}</a>: the ways out stand below; apply leaves '
            "it out until then."
        )
    if plan.guards:
        yield '<a href="#guards">A guard</a> stops the whole apply; let it pass if that is meant.'
    outside = {Cause.DRIFT, Cause.BOTH}
    if any(f.cause in outside and not f.origin for c in plan.changes for f in c.fields):
        accept_command = render_copyable_command(
            Command("drift --write ADDRESS", target=target).format_command_line()
        )
        yield (
            "Apply would undo what was changed outside. To keep it, take the change into Git "
            f"first: {accept_command}"
        )
    if plan.base.is_offline and plan.has_changes:
        yield "No backend was asked. Merge the change, or plan with the backend: " + plan_command
    elif plan.has_changes and not plan.guards and plan.is_applyable:
        adopts = any(c.action is Action.ADOPT and not c.is_refused for c in plan.changes)
        command = Command("apply --adopt" if adopts else "apply", target=target)
        yield (
            "Review the rows below, then apply: "
            f"{render_copyable_command(command.format_command_line())}"
        )


def steps_after_apply(report: Report) -> tuple[str, ...]:
    """The next steps after an apply as HTML; none where it is complete."""
    return () if is_wholly_done(report) else tuple(_after_apply(report))


def _after_apply(report: Report) -> Iterator[str]:
    plan, target = report.plan, report.plan.base.target
    recovery_files = sorted(
        {
            ended_result.recovery_file
            for ended_result in report.outcomes
            if ended_result.recovery_file
        }
    )
    for file in recovery_files:
        line = render_copyable_command(
            Command("state record FILE", target=target).format_command_line()
        )
        yield f"Record what could not be recorded: {line}, where FILE is {render_code(file)}"
    if report.count_outcomes(Result.FAILED):
        yield 'Mend what <a href="#failed">failed</a>: each finding says why.'
    if any(not ended_result.is_acceptable for ended_result in report.verification_results):
        yield 'Look at <a href="#verified">the runs</a> that did not succeed.'
    if plan.refused_changes:
        yield 'Resolve what is <a href="#refused">refused</a>: each row has its ways out.'
    if any(outcome.is_untellable for outcome in report.outcomes):
        yield "Settle by hand what this API cannot look up: its finding says how."
    if any(o.result is Result.UNKNOWN and not o.is_untellable for o in report.outcomes):
        yield "What is unknown is looked up by the next run before it does anything else."
    if plan.actionable_changes:
        apply_command = render_copyable_command(
            Command("apply", target=target).format_command_line()
        )
        yield f"Apply again for the rest; what is recorded as done is not repeated: {apply_command}"
