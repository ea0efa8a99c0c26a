"""Which counts, headlines and next steps the page of a plan, apply, drift or findings has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from synapse_apply.model.command import Command
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.plan import Action, Cause, Plan, PlanBase
from synapse_apply.model.report import Drift, Report, Result
from synapse_apply.views.graph import build_plan_nodes
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
from synapse_apply.views.html.rows import ROW_BUILDERS, render_findings, render_guards
from synapse_apply.views.sections import (
    Kind,
    Section,
    drift_sections,
    finding_sections,
    plan_sections,
    report_sections,
)
from synapse_apply.views.text.drift import (
    format_drift_totals,
    unapplied_line,
    unmanaged_line,
    unread_lines,
)
from synapse_apply.views.text.outcomes import OutcomeCounts, is_wholly_done, totals_and_steps
from synapse_apply.views.text.plan import format_plan_totals, format_target_line
from synapse_apply.views.text.terminal import Style

_PLAIN = Style(color=False)


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
    # A command that ended early shows the plan that it had made.
    failure_prefix = "" if command == "plan" else f"{command.capitalize()} failed: "
    is_blocked = plan.has_errors or plan.guards or plan.refused_changes or failure_prefix
    counts = plan.summary
    return HtmlPage(
        f"{failure_prefix}Plan for {plan.base.target}",
        "bad" if is_blocked or not plan.base.compared else "good",
        [cut_and_escape(line) for line in format_plan_totals(plan, _PLAIN).splitlines()],
        _target_line(format_target_line(plan.base, _PLAIN, plan.trial), plan.base, links),
        _page_sections(plan_sections(plan), links),
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
        next_steps=tuple(_steps_after_plan(plan)),
    )


def render_report_html(report: Report, *, run_url: str = "", links: ForgeLinks = NO_LINKS) -> str:
    """The page of an apply: what went wrong first, what was done last."""
    plan, base = report.plan, report.plan.base
    links = _links_at_base(links, base)
    counts = OutcomeCounts.from_report(report)
    return HtmlPage(
        f"Apply for {base.target}",
        "bad" if report.exit_code else "good",
        [cut_and_escape(line) for line in totals_and_steps(report, _PLAIN).splitlines()],
        _target_line(format_target_line(base, _PLAIN), base, links),
        _page_sections(report_sections(report), links),
        [
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
        ],
        build_plan_nodes(plan),
        _render_footer(run_url, plan.tool_version, "", f"plan {render_code(plan.id)}"),
        "Only what is not done",
        base.target,
        () if is_wholly_done(report) else tuple(_steps_after_apply(report)),
    ).render_html()


def render_drift_html(drift: Drift, *, run_url: str = "", links: ForgeLinks = NO_LINKS) -> str:
    """The page of a drift check: errors first, then a row for each object."""
    links = _links_at_base(links, drift.base)
    lines = [format_drift_totals(drift)]
    if drift.unmanaged is not None:
        lines += [unmanaged_line(drift), *unread_lines(drift)]
    headlines = [*map(cut_and_escape, lines)]
    headlines += [render_prose(unapplied_line(drift))] if drift.pending_addresses else []
    # With lists that could not be read the number would be too low.
    unmanaged_count = 0 if drift.unread_kinds else len(drift.unmanaged or ())
    return HtmlPage(
        f"Drift of {drift.base.target}",
        "bad" if drift.has_errors or drift.objects else "good",
        headlines,
        _target_line(format_target_line(drift.base, _PLAIN), drift.base, links),
        _page_sections(drift_sections(drift), links),
        [
            ("changed", len(drift.changed_or_replaced_objects), "moved"),
            ("gone", len(drift.missing_objects), "gone"),
            ("unmanaged", unmanaged_count, "quiet"),
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
    error_count = sum(finding.is_error for finding in findings)
    outcome_text = "failed" if error_count else "found nothing wrong"
    name = f" for {target}" if target else ""
    return HtmlPage(
        f"{command.capitalize()} {outcome_text}{name}",
        "bad" if error_count else "good",
        [f"{format_count_and_noun(error_count, 'error')}."],
        "",
        _page_sections(finding_sections(findings), links),
        footer=_render_footer(run_url, tool_version, ""),
    ).render_html()


def _page_sections(sections: Iterable[Section], links: ForgeLinks) -> list[PageSection]:
    """The sections as HTML; moves are left out, as each has a row under its new name or none."""
    page_sections = []
    for section in sections:
        name, title, items = section.name, section.title, section.items
        if section.kind is Kind.GUARD:
            page_section = PageSection(name, title, (), render_guards(items), len(items))
        elif section.kind is Kind.FINDING:
            page_section = PageSection(name, title, (), render_findings(items, links), len(items))
        elif build_row := ROW_BUILDERS.get(section.kind):
            if section.kind is Kind.NOTE:  # those of refused changes are in their rows
                items = [(change, index) for change, index in items if not change.is_refused]
            intro = " ".join(map(render_prose, section.intro)) if items else ""
            rows = [build_row(item, links) for item in items]
            page_section = PageSection(name, title, rows, intro=intro)
        else:
            continue
        page_sections.append(page_section)
    return page_sections


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


def _render_footer(run_url: str, tool_version: str, created: str, *html_facts: str) -> str:
    """The footer: facts, time, link to the CI run, version."""
    parts = [*html_facts, f"made {cut_and_escape(created)}" if created else ""]
    parts += [f"by {render_anchor(run_url, cut_and_escape(run_url))}" if run_url else ""]
    parts += [f"synapse-apply {cut_and_escape(tool_version)}" if tool_version else ""]
    return ", ".join(part for part in parts if part)


def _command(words: str, target: str) -> str:
    return render_copyable_command(Command(words, target=target).format_command_line())


def _steps_after_plan(plan: Plan) -> Iterator[str]:
    """The next steps after a plan as HTML, obstacles first; none where there is nothing to do."""
    target = plan.base.target
    plan_command = _command("plan", target)
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
        yield (
            "Apply would undo what was changed outside. To keep it, take the change into Git "
            f"first: {_command('drift --write ADDRESS', target)}"
        )
    if plan.base.is_offline and plan.has_changes:
        yield "No backend was asked. Merge the change, or plan with the backend: " + plan_command
    elif plan.has_changes and not plan.guards and plan.is_applyable:
        adopts = any(c.action is Action.ADOPT and not c.is_refused for c in plan.changes)
        command = _command("apply --adopt" if adopts else "apply", target)
        yield f"Review the rows below, then apply: {command}"


def _steps_after_apply(report: Report) -> Iterator[str]:
    """The next steps as HTML after an apply that is not complete."""
    plan, target = report.plan, report.plan.base.target
    for file in sorted({o.recovery_file for o in report.outcomes if o.recovery_file}):
        command = _command("state record FILE", target)
        yield f"Record what could not be recorded: {command}, where FILE is {render_code(file)}"
    if report.count_outcomes(Result.FAILED):
        yield 'Mend what <a href="#failed">failed</a>: each finding says why.'
    if any(not result.is_acceptable for result in report.verification_results):
        yield 'Look at <a href="#verified">the runs</a> that did not succeed.'
    if plan.refused_changes:
        yield 'Resolve what is <a href="#refused">refused</a>: each row has its ways out.'
    if any(outcome.is_untellable for outcome in report.outcomes):
        yield "Settle by hand what this API cannot look up: its finding says how."
    if any(o.result is Result.UNKNOWN and not o.is_untellable for o in report.outcomes):
        yield "What is unknown is looked up by the next run before it does anything else."
    if plan.actionable_changes:
        command = _command("apply", target)
        yield f"Apply again for the rest; what is recorded as done is not repeated: {command}"
