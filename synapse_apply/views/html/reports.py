"""What the page of a plan, apply, drift or findings has: counts, headlines, next steps, rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.command import Command
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import replace
from synapse_apply.model.job import RunStatus, VerificationResult
from synapse_apply.model.packages import parse_replacement
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.plan import (
    Action,
    Cause,
    Change,
    FieldChange,
    GuardViolation,
    Plan,
    PlanBase,
)
from synapse_apply.model.report import Drift, ObjectDrift, Outcome, Report, Result
from synapse_apply.model.values import ABSENT, flatten
from synapse_apply.views.grammar import ACTION_SYMBOLS, PLANNED_PHRASES, format_refusal_phrase
from synapse_apply.views.graph import build_plan_nodes
from synapse_apply.views.html.page import HtmlPage, HtmlRow, PageSection
from synapse_apply.views.html.parts import (
    NO_LINKS,
    ForgeLinks,
    cut_and_escape,
    render_anchor,
    render_code,
    render_code_block,
    render_copyable_command,
    render_facts,
    render_fields_table,
    render_list,
    render_paragraph,
    render_prose,
    render_sentence,
)
from synapse_apply.views.redaction import hide_sensitive, shown_fields, wanted_fields
from synapse_apply.views.sanitize import sanitize
from synapse_apply.views.sections import (
    Kind,
    Section,
    bare_note,
    drift_sections,
    finding_sections,
    forget_reason,
    plan_sections,
    report_sections,
)
from synapse_apply.views.text import drift as drifts
from synapse_apply.views.text import outcomes
from synapse_apply.views.text import plan as plans
from synapse_apply.views.text.findings import finding_place, format_quoted_path
from synapse_apply.views.text.terminal import Style

_PLAIN = Style(color=False)
_MAX_LISTED_NEEDS = 50
_MAX_BLAME = 2000


def _row(kind: Kind, item: Any, links: ForgeLinks) -> HtmlRow:
    """The row of an item of a section of this kind."""
    match kind:
        case Kind.CHANGE:
            return _change_row(item, links)
        case Kind.REFUSAL:
            return _refusal_row(item, links)
        case Kind.OUTCOME:
            outcome, change = item
            return _outcome_row(outcome, change, links)
        case Kind.RUN:
            return _run_row(item, links)
        case Kind.DRIFT:
            return _drift_row(item, links)
        case Kind.DUE_RUN:  # with its request body
            address, run = item
            sent = [
                FieldChange(path, ABSENT, value, Cause.NONE)
                for path, value in flatten(run.body).items()
                if value != {}
            ]
            follows = f"follows job {render_code(run.job)}" if run.job else ""
            body = render_facts(render_prose(run.reason), follows) + render_fields_table(sent)
            return HtmlRow(address, "verify", ">", "will be verified", body)
        case Kind.FORGET:
            reason = render_prose(forget_reason(item))
            status_html = f"{PLANNED_PHRASES[Action.FORGET]}: {reason}; the live object stays"
            return HtmlRow(item.address, item.action.value, ".", status_html)
        case Kind.NOTE:
            change, index = item
            # Under the first note alone, as the table is about all of them.
            kept = () if index else hide_sensitive(change, change.held)
            body = render_fields_table(kept, side_titles=("Live, kept", "Declared"))
            body += "" if index else _blame(change)
            note_html = render_prose(bare_note(change, index))
            return HtmlRow(change.address, change.action.value, ".", note_html, body, kept)
        case _:  # Kind.UNMANAGED: a live object that is neither declared nor recorded
            address = Address(item.kind, item.remote_id)
            return HtmlRow(address, "unmanaged", "?", cut_and_escape(drifts.natural_keys(item)))


def _count_tag(count: int, noun: str) -> tuple[str, ...]:
    return (format_count_and_noun(count, noun),) if count else ()


def _change_row(change: Change, links: ForgeLinks) -> HtmlRow:
    adopts_as_is = change.action is Action.ADOPT and not change.fields
    fields = shown_fields(change)
    changed_count = len(change.fields) if change.action in {Action.UPDATE, Action.ADOPT} else 0
    return HtmlRow(
        change.address,
        change.action.value,
        "=" if adopts_as_is else ACTION_SYMBOLS[change.action],
        PLANNED_PHRASES[change.action],
        _planned(change, fields, links) + _dependencies(change),
        fields,
        tags=_count_tag(changed_count, "field"),
    )


def _planned(change: Change, fields: Iterable[FieldChange], links: ForgeLinks) -> str:
    # Adopting changes a secret of an object that exists, as an update does.
    symbol = "~" if change.action is Action.ADOPT else ACTION_SYMBOLS[change.action]
    table = render_fields_table(fields, hidden_symbol=symbol)
    return _change_facts(change, links) + table + _blame(change)


def _change_facts(change: Change, links: ForgeLinks) -> str:
    """The paragraphs above the fields: reason, package, notes, id, position, changed files."""
    texts = (plans.present_reason(change), plans.uploaded_package(change), *change.notes)
    place = [f"id {render_code(change.remote_id)}"] if change.remote_id else []
    place += [links.render_position(change.position)] if change.position else []
    facts = render_facts(*map(render_prose, texts), ", ".join(place))
    if (replacement := parse_replacement(change.extras)) is None:
        return facts
    items = []
    for changed in replacement.files:
        note = f" ({render_prose(changed.note)})" if changed.note else ""
        html = f"{plans.FILE_VERB_SYMBOLS[changed.verb]} {render_code(changed.path)}{note}"
        if changed.diff:
            lines = "\n".join(map(sanitize, changed.diff)).split("\n")
            html = f"<details><summary>{html}</summary>{render_code_block(lines)}</details>"
        items.append(html)
    items += _count_tag(replacement.unlisted_count, "more file")
    summary = render_prose(plans.describe_replaced(change, replacement))
    return facts + render_facts(summary) + render_list(items, "files")


def _blame(change: Change) -> str:
    """Where the live values of its fields come from; a click shows it."""
    shown = {format_quoted_path(one.path) for one in (*change.fields, *change.held)}
    told = [(name, text) for name, text in change.blame if name in shown]
    items = [f"{render_code(name)}: {cut_and_escape(text, _MAX_BLAME)}" for name, text in told]
    summary = "<summary>Where the live values come from</summary>"
    return f'<details class="blame">{summary}{render_list(items)}</details>' if items else ""


def _dependencies(change: Change) -> str:
    needs = [render_code(dependency) for dependency in change.depends_on[:_MAX_LISTED_NEEDS]]
    hidden_count = len(change.depends_on) - _MAX_LISTED_NEEDS
    needs += [f"{hidden_count} more"] if hidden_count > 0 else []
    return render_facts(f"Needs {', '.join(needs)}" if needs else "")


def _refusal_row(change: Change, links: ForgeLinks) -> HtmlRow:
    fields = wanted_fields(change)
    body = ""
    for refusal in change.refusals:
        place = f" ({links.render_position(refusal.position)})" if refusal.position else ""
        title = "Way out" if len(refusal.ways_out) == 1 else "Ways out"
        ways = render_list(map(render_sentence, refusal.ways_out))
        body += render_paragraph(render_prose(refusal.reason) + place, "refusal")
        body += f"<h3>{title}</h3>{ways}" if ways else ""
    table = render_fields_table(fields, side_titles=("Now", "Wanted"))
    body += f"<h3>Declared values</h3>{table}" if table else ""
    return HtmlRow(
        change.address,
        change.action.value,
        "!",
        format_refusal_phrase(change.action),
        body + _blame(change) + _change_facts(change, links) + _dependencies(change),
        fields,
        needs_decision=True,
    )


def _outcome_row(outcome: Outcome, change: Change | None, links: ForgeLinks) -> HtmlRow:
    """The row of an outcome of an apply: its findings, and what was planned."""
    # Taken apart from the row of the text report, so that both say the same.
    sign, _, text = outcomes.outcome_row(outcome, _PLAIN).strip().partition(" ")
    fields = shown_fields(change) if change and not change.is_refused else ()
    is_skipped = outcome.result is Result.SKIPPED
    body = "" if is_skipped else render_findings(outcomes.outcome_findings([outcome]), links)
    return HtmlRow(
        outcome.address,
        outcome.action.value,
        sign,
        cut_and_escape(text.removeprefix(sanitize(outcome.address)).strip(), 2000),
        body + (_planned(change, fields, links) if change else ""),
        fields,
        needs_decision=outcome.result in {Result.FAILED, Result.UNKNOWN},
        tags=_count_tag(len(outcome.diagnostics), "finding"),
    )


def _run_row(result: VerificationResult, links: ForgeLinks) -> HtmlRow:
    """The row of a verification run: its findings, and the last lines of its job's log."""
    text = outcomes.run_row(result, _PLAIN).strip()
    # The text view marks a passed run by a space, which a page cannot show.
    sign = text[0] if text[:1] in {".", "!"} else "✓"
    status_text = text.removeprefix(sign).strip().removeprefix(sanitize(result.address)).strip()
    is_skipped = result.status is RunStatus.SKIPPED
    body = "" if is_skipped else render_findings(result.diagnostics, links)
    if result.logs:
        log = render_code_block(outcomes.log_lines(result.logs))
        body += f"<h3>Last lines of its log</h3>{log}"
    status_html = cut_and_escape(status_text, 2000)
    return HtmlRow(result.address, "verify", sign, status_html, body, needs_decision=sign == "!")


def _drift_row(drifted: ObjectDrift, links: ForgeLinks) -> HtmlRow:
    """The row of an object that was changed or deleted outside, recorded and live values."""
    old, new = render_code(drifted.remote_id), render_code(drifted.replacement_id)
    blocked = render_prose(drifted.blocked_reason)
    facts = (
        f"Recorded as id {old}, now {new}" if drifted.replacement_id else "",
        f"Apply cannot undo this: {blocked}" if drifted.blocked_reason else "",
        f"Was id {old}" if drifted.is_missing else "",
        links.render_position(drifted.position) if drifted.position else "",
    )
    table = render_fields_table(drifted.all_field_changes, side_titles=("Recorded", "Live"))
    action = "made again" if drifted.replacement_id else "changed"
    return HtmlRow(
        drifted.address,
        "gone" if drifted.is_missing else action,
        "-" if drifted.is_missing else "~",
        cut_and_escape(drifts.what_drifted(drifted).removeprefix(str(drifted.address)).strip()),
        render_facts(*facts) + table,
        drifted.fields,
        needs_decision=bool(drifted.blocked_reason),
        tags=_count_tag(len(drifted.fields), "field"),
    )


def render_findings(findings: Iterable[Diagnostic], links: ForgeLinks = NO_LINKS) -> str:
    """A list of findings: summary, detail, hint, location, request id; "" for none."""
    items = ""
    for finding in findings:
        hint = f"<b>Hint:</b> {render_prose(finding.hint)}" if finding.hint else ""
        place, request_id = finding_place(finding), finding.untold_request_id
        facts = render_facts(
            links.link_to_line(finding.position, render_code(place, 2000)) if place else "",
            f"Request id {render_code(request_id)}" if request_id else "",
        )
        items += _remark(finding.severity.value, finding, hint, facts)
    return f'<ul class="findings">{items}</ul>' if items else ""


def _remark(
    style: str, told: Diagnostic | GuardViolation, hint_html: str, facts_html: str = ""
) -> str:
    return (
        f'<li class="{style}"><strong>{render_prose(told.summary)}</strong>'
        f"{render_paragraph(render_prose(told.detail))}{render_paragraph(hint_html)}"
        f"{facts_html}</li>"
    )


def _guards(guards: Iterable[GuardViolation]) -> str:
    """A list of the guards that would stop the apply, and how to override each; "" for none."""
    items = ""
    for guard in guards:
        option = guard.untold_option
        hint = f"If you intend this, apply with {render_code(option)}." if option else ""
        items += _remark("warning", guard, hint)
    return f'<ul class="findings">{items}</ul>' if items else ""


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
        [cut_and_escape(line) for line in plans.plan_totals(plan, _PLAIN).splitlines()],
        _target_line(plans.target_line(plan.base, _PLAIN, plan.trial), plan.base, links),
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
    counts = outcomes.OutcomeCounts.from_report(report)
    return HtmlPage(
        f"Apply for {base.target}",
        "bad" if report.exit_code else "good",
        [cut_and_escape(line) for line in outcomes.totals_and_steps(report, _PLAIN).splitlines()],
        _target_line(plans.target_line(base, _PLAIN), base, links),
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
        "Only unfinished rows",
        base.target,
        () if outcomes.is_wholly_done(report) else tuple(_steps_after_apply(report)),
    ).render_html()


def render_drift_html(drift: Drift, *, run_url: str = "", links: ForgeLinks = NO_LINKS) -> str:
    """The page of a drift check: errors first, then a row for each object."""
    links = _links_at_base(links, drift.base)
    lines = [drifts.drift_totals(drift)]
    if drift.unmanaged is not None:
        lines += [drifts.unmanaged_line(drift), *drifts.unread_lines(drift)]
    headlines = [*map(cut_and_escape, lines)]
    headlines += [render_prose(drifts.unapplied_line(drift))] if drift.pending_addresses else []
    # With lists that could not be read the number would be too low.
    unmanaged_count = 0 if drift.unread_kinds else len(drift.unmanaged or ())
    return HtmlPage(
        f"Drift of {drift.base.target}",
        "bad" if drift.has_errors or drift.objects else "good",
        headlines,
        _target_line(plans.target_line(drift.base, _PLAIN), drift.base, links),
        _page_sections(drift_sections(drift), links),
        [
            ("changed", len(drift.changed_or_replaced_objects), "moved"),
            ("gone", len(drift.missing_objects), "gone"),
            ("unmanaged", unmanaged_count, "quiet"),
            ("waiting", len(drift.pending_addresses), "quiet"),
        ],
        footer=_render_footer(run_url, drift.tool_version, drift.created),
        trouble_label="Only drift that apply cannot undo",
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
    outcome_text = "failed" if error_count else "found no errors"
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
        kind, head, items = section.kind, (section.name, section.title), section.items
        if kind is Kind.GUARD:
            page_sections.append(PageSection(*head, (), _guards(items), len(items)))
        elif kind is Kind.FINDING:
            page_sections.append(PageSection(*head, (), render_findings(items, links), len(items)))
        elif kind is not Kind.MOVE:
            if kind is Kind.NOTE:  # those of refused changes are in their rows
                items = [(change, index) for change, index in items if not change.is_refused]
            intro = " ".join(map(render_prose, section.intro)) if items else ""
            rows = [_row(kind, item, links) for item in items]
            page_sections.append(PageSection(*head, rows, intro=intro))
    return page_sections


def _links_at_base(links: ForgeLinks, base: PlanBase) -> ForgeLinks:
    """The links with the commit that the document was made from; none for a dirty checkout."""
    # Lines of a changed checkout differ from those of its commit.
    return replace(links, commit="" if base.revision or base.dirty else base.commit)


def _target_line(target_text: str, base: PlanBase, links: ForgeLinks) -> str:
    """The line that names target and commit, the commit as a link where possible."""
    html, commit_link = cut_and_escape(target_text, 1000), links.render_short_commit(base.commit)
    # There is none without a commit.
    short_id = cut_and_escape(base.commit[:12])
    return html.replace(short_id, commit_link, 1) if "<a " in commit_link else html


def _render_footer(run_url: str, tool_version: str, created: str, *html_facts: str) -> str:
    """The footer: facts, time, link to the CI run, version."""
    parts = [*html_facts, f"created {cut_and_escape(created)}" if created else ""]
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
            f'Resolve <a href="#refused">{rows}</a>: each row lists its ways out. Until then, '
            "apply skips refused rows."
        )
    if plan.guards:
        yield (
            '<a href="#guards">A guard</a> stops the whole apply. Override the guard only '
            "if you intend these changes."
        )
    outside = {Cause.DRIFT, Cause.BOTH}
    if any(f.cause in outside and not f.origin for c in plan.changes for f in c.fields):
        yield (
            "Apply would undo the changes made outside Git. To keep a change, write it to the "
            f"manifests first: {_command('drift --write ADDRESS', target)}"
        )
    if plan.base.is_offline and plan.has_changes:
        yield (
            "This plan did not query the backend. Merge the change, or plan with the backend: "
            + plan_command
        )
    elif command := plans.next_apply(plan):
        copyable = render_copyable_command(command.format_command_line())
        yield f"Review the rows below, then apply: {copyable}"


def _steps_after_apply(report: Report) -> Iterator[str]:
    """The next steps as HTML after an apply that is not complete."""
    plan, target = report.plan, report.plan.base.target
    for file in sorted({o.recovery_file for o in report.outcomes if o.recovery_file}):
        command = _command("state record FILE", target)
        yield (
            f"Record the results that the state lacks: {command}, where FILE is {render_code(file)}"
        )
    if report.count_outcomes(Result.FAILED):
        yield 'Fix <a href="#failed">the failures</a>: each finding names the cause.'
    if any(not result.is_acceptable for result in report.verification_results):
        yield 'Check <a href="#verified">the runs</a> that did not succeed.'
    if plan.refused_changes:
        yield 'Resolve <a href="#refused">the refused rows</a>: each row lists its ways out.'
    if any(outcome.is_untellable for outcome in report.outcomes):
        yield "Settle manually the calls that this API cannot look up: each finding says how."
    if any(o.result is Result.UNKNOWN and not o.is_untellable for o in report.outcomes):
        yield "The next run first looks up the unknown outcomes."
    if plan.actionable_changes:
        command = _command("apply", target)
        yield (
            "Apply again to finish the rest. Apply does not repeat a call that is recorded as "
            f"done: {command}"
        )
