"""What the page's row of a resource shows, for each report, and what filters match on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen
from synapse_apply.model.packages import parse_replacement
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.plan import Action, Cause, Change, FieldChange, GuardViolation
from synapse_apply.model.report import ObjectDrift, Outcome, Report, Result, Unmanaged
from synapse_apply.model.values import ABSENT, flatten
from synapse_apply.model.verification import RunStatus, Verification
from synapse_apply.views.grammar import ACTION_SYMBOLS, PLANNED_PHRASES, format_refusal_phrase
from synapse_apply.views.html.parts import (
    NO_LINKS,
    ForgeLinks,
    cut_and_escape,
    render_code,
    render_code_block,
    render_fields_table,
    render_paragraph,
    render_prose,
    render_sentence,
)
from synapse_apply.views.json.redaction import hide_sensitive
from synapse_apply.views.sanitize import sanitize
from synapse_apply.views.text.drift import join_natural_keys, say_what_drifted
from synapse_apply.views.text.findings import finding_location
from synapse_apply.views.text.outcomes import (
    format_outcome_row,
    format_run_rows,
    outcome_findings,
    split_into_cut_log_lines,
)
from synapse_apply.views.text.plan import (
    FILE_VERB_SYMBOLS,
    iter_fields_and_removals,
    list_redacted_changes,
    present_reason,
    summarize_replaced_version,
    uploaded_package,
)
from synapse_apply.views.text.terminal import Style

_PLAIN = Style(color=False)
_CREATE_ACTIONS = frozenset({Action.CREATE, Action.RECREATE})
_MAX_LISTED_NEEDS = 50


@frozen
class HtmlRow:
    """A row of a page; `status_html` and `body` are HTML, all else is raw text.

    `needs_decision` marks rows that someone has to act on, which are expanded.
    """

    address: Address
    action: str
    sign: str
    status_html: str
    body: str = ""
    causes: tuple[Cause, ...] = ()
    needs_decision: bool = False
    tags: tuple[str, ...] = ()


def build_change_row(change: Change, links: ForgeLinks = NO_LINKS) -> HtmlRow:
    """The row of a change that will be made, with its fields."""
    adopts_as_is = change.action is Action.ADOPT and not change.fields
    fields = list(list_redacted_changes(change))
    changed_count = change.action in {Action.UPDATE, Action.ADOPT} and len(change.fields)
    return HtmlRow(
        change.address,
        change.action.value,
        "=" if adopts_as_is else ACTION_SYMBOLS[change.action],
        PLANNED_PHRASES[change.action],
        _change_facts(change, links)
        + render_fields_table(fields, hidden_symbol=_secret_symbol(change))
        + _dependencies(change),
        _causes(fields),
        tags=(format_count_and_noun(changed_count, "field"),) if changed_count else (),
    )


def _secret_symbol(change: Change) -> str:
    # Adopting changes a secret of an object that exists, as an update does.
    return "~" if change.action is Action.ADOPT else ACTION_SYMBOLS[change.action]


def _change_facts(change: Change, links: ForgeLinks) -> str:
    """The paragraphs above the fields: reason, package, notes, id, position, changed files."""
    facts = [
        render_prose(fact)
        for fact in (present_reason(change), uploaded_package(change), *change.notes)
        if fact
    ]
    id_and_position = [f"id {render_code(change.remote_id)}"] if change.remote_id else []
    id_and_position += [links.render_position(change.position)] if change.position else []
    facts += [", ".join(id_and_position)] if id_and_position else []
    return "".join(render_paragraph(fact, "fact") for fact in facts) + _replaced_version(change)


def _replaced_version(change: Change) -> str:
    """The files that differ from the replaced version, each with its diff where it is known."""
    replacement = parse_replacement(change.extras)
    if replacement is None:
        return ""
    items = []
    for changed_file in replacement.files:
        note = f" ({render_prose(changed_file.note)})" if changed_file.note else ""
        file_html = f"{FILE_VERB_SYMBOLS[changed_file.verb]} {render_code(changed_file.path)}{note}"
        if changed_file.diff:
            lines = "\n".join(map(sanitize, changed_file.diff)).split("\n")
            file_html = (
                f"<details><summary>{file_html}</summary>{render_code_block(lines)}</details>"
            )
        items.append(f"<li>{file_html}</li>")
    items += (
        [f"<li>{format_count_and_noun(replacement.unlisted_count, 'more file')}</li>"]
        if replacement.unlisted_count
        else []
    )
    list_html = f'<ul class="files">{"".join(items)}</ul>' if items else ""
    return (
        render_paragraph(render_prose(summarize_replaced_version(change, replacement)), "fact")
        + list_html
    )


def _dependencies(change: Change) -> str:
    hidden_count = len(change.depends_on) - _MAX_LISTED_NEEDS
    dependency_htmls = [
        render_code(dependency) for dependency in change.depends_on[:_MAX_LISTED_NEEDS]
    ]
    dependency_htmls += [f"{hidden_count} more"] if hidden_count > 0 else []
    return (
        render_paragraph(f"Needs {', '.join(dependency_htmls)}", "fact") if dependency_htmls else ""
    )


def _causes(fields: Iterable[FieldChange]) -> tuple[Cause, ...]:
    field_causes = {field.cause for field in fields if not field.origin} - {Cause.NONE}
    return tuple(cause for cause in Cause if cause in field_causes)


def build_refusal_row(change: Change, links: ForgeLinks = NO_LINKS) -> HtmlRow:
    """The row of a refused change: reasons, ways out, and the fields that were wanted."""
    fields = (
        hide_sensitive(change, iter_fields_and_removals(change))
        if change.action not in _CREATE_ACTIONS
        else ()
    )
    table = render_fields_table(fields, side_titles=("Now", "Wanted"))
    wanted_html = f"<h3>What was wanted</h3>{table}" if table else ""
    refusals_html = "".join(_render_refusal(refusal, links) for refusal in change.refusals)
    return HtmlRow(
        change.address,
        change.action.value,
        "!",
        format_refusal_phrase(change.action),
        refusals_html + wanted_html + _change_facts(change, links) + _dependencies(change),
        _causes(fields),
        needs_decision=True,
    )


def _render_refusal(refusal: Any, links: ForgeLinks) -> str:
    position_html = f" ({links.render_position(refusal.position)})" if refusal.position else ""
    ways_html = "".join(f"<li>{render_sentence(way_out)}</li>" for way_out in refusal.ways_out)
    title = "Way out" if len(refusal.ways_out) == 1 else "Ways out"
    list_html = f"<h3>{title}</h3><ul>{ways_html}</ul>" if ways_html else ""
    return f"{render_paragraph(render_prose(refusal.reason) + position_html, 'refusal')}{list_html}"


def build_due_run_row(change: Change, verification: Verification) -> HtmlRow:
    """The row of a verification run that apply will start or follow, with its request body."""
    sent_fields = [
        FieldChange(path, ABSENT, value, Cause.NONE)
        for path, value in flatten(verification.body).items()
        if value != {}
    ]
    follows = f"follows job {render_code(verification.job)}" if verification.job else ""
    facts = (render_prose(verification.reason), follows)
    body = "".join(render_paragraph(fact, "fact") for fact in facts) + render_fields_table(
        sent_fields
    )
    return HtmlRow(change.address, "verify", ">", "will be verified", body)


def build_forget_row(change: Change) -> HtmlRow:
    """The row of a resource that leaves the state while the object stays."""
    reason = "; ".join(change.notes) or change.reason or "no longer declared"
    status_html = (
        f"{PLANNED_PHRASES[Action.FORGET]}: {render_prose(reason)}; the object itself stays"
    )
    return HtmlRow(change.address, change.action.value, ".", status_html)


def iter_note_rows(change: Change) -> Iterator[HtmlRow]:
    """A row for each note of a change, the first with the fields whose drift is kept."""
    name = str(change.address)
    kept_fields = hide_sensitive(change, change.held)
    kept_table = (
        render_fields_table(kept_fields, side_titles=("Live, kept", "Declared"))
        if kept_fields
        else ""
    )
    for index, note in enumerate(change.notes):
        note_html = render_prose(note.removeprefix(name).lstrip(" :"))
        # Once, under the first note, as the table is about all of them.
        body = kept_table if not index else ""
        yield HtmlRow(
            change.address,
            change.action.value,
            ".",
            note_html,
            body,
            _causes(kept_fields) if body else (),
        )


def iter_outcome_rows(
    outcomes: Iterable[Outcome],
    change_by_address: dict[Address, Change],
    links: ForgeLinks = NO_LINKS,
) -> Iterator[HtmlRow]:
    """A row for each outcome of an apply: its findings, and what was planned."""
    for outcome in outcomes:
        # Taken apart from the row of the text report, so that both say the same.
        symbol, _, row_text = format_outcome_row(outcome, _PLAIN).strip().partition(" ")
        change = change_by_address.get(outcome.address)
        fields = list(list_redacted_changes(change)) if change and not change.is_refused else []
        findings_html = (
            render_findings(outcome_findings([outcome]), links)
            if outcome.result is not Result.SKIPPED
            else ""
        )
        planned_table = (
            render_fields_table(fields, hidden_symbol=_secret_symbol(change)) if change else ""
        )
        yield HtmlRow(
            outcome.address,
            outcome.action.value,
            symbol,
            cut_and_escape(row_text.removeprefix(sanitize(outcome.address)).strip(), 2000),
            findings_html + (_change_facts(change, links) + planned_table if change else ""),
            _causes(fields),
            needs_decision=outcome.result in {Result.FAILED, Result.UNKNOWN},
            tags=(format_count_and_noun(len(outcome.diagnostics), "finding"),)
            if outcome.diagnostics
            else (),
        )


def iter_run_rows(report: Report, links: ForgeLinks = NO_LINKS) -> Iterator[HtmlRow]:
    """A row for each verification run: its findings, and the last lines of its job's log."""
    for result in report.verification_results:
        row_text = "".join(
            format_run_rows(replace(report, outcomes=(), verification_results=(result,)), _PLAIN)
        ).strip()
        # The text view marks a passed run by a space, which a page cannot show.
        sign = row_text[0] if row_text[:1] in {".", "!"} else "✓"
        status_text = (
            row_text.removeprefix(sign).strip().removeprefix(sanitize(result.address)).strip()
        )
        findings_html = (
            render_findings(result.diagnostics, links)
            if result.status is not RunStatus.SKIPPED
            else ""
        )
        log_html = (
            "<h3>The last lines of its log</h3>"
            f"{render_code_block(split_into_cut_log_lines(result.logs))}"
            if result.logs
            else ""
        )
        yield HtmlRow(
            result.address,
            "verify",
            sign,
            cut_and_escape(status_text, 2000),
            findings_html + log_html,
            needs_decision=sign == "!",
        )


def build_drift_row(object_drift: ObjectDrift, links: ForgeLinks = NO_LINKS) -> HtmlRow:
    """The row of an object that was changed or deleted outside, recorded and live values."""
    facts = (
        [
            (
                f"Recorded as id {render_code(object_drift.remote_id)}, now "
                f"{render_code(object_drift.replacement_id)}"
            )
        ]
        if object_drift.replacement_id
        else []
    )
    facts += (
        [f"Apply cannot undo it: {render_prose(object_drift.blocked_reason)}"]
        if object_drift.blocked_reason
        else []
    )
    facts += [f"Was id {render_code(object_drift.remote_id)}"] if object_drift.is_missing else []
    facts += [links.render_position(object_drift.position)] if object_drift.position else []
    table = render_fields_table(object_drift.all_field_changes, side_titles=("Recorded", "Live"))
    return HtmlRow(
        object_drift.address,
        "gone"
        if object_drift.is_missing
        else "made anew"
        if object_drift.replacement_id
        else "changed",
        "-" if object_drift.is_missing else "~",
        cut_and_escape(
            say_what_drifted(object_drift).removeprefix(str(object_drift.address)).strip()
        ),
        "".join(render_paragraph(fact, "fact") for fact in facts) + table,
        _causes(object_drift.fields),
        needs_decision=bool(object_drift.blocked_reason),
        tags=(format_count_and_noun(len(object_drift.fields), "field"),)
        if object_drift.fields
        else (),
    )


def build_unmanaged_row(unmanaged: Unmanaged) -> HtmlRow:
    """The row of a live object that is neither declared nor recorded."""
    return HtmlRow(
        Address(unmanaged.kind, unmanaged.remote_id),
        "unmanaged",
        "?",
        cut_and_escape(join_natural_keys(unmanaged)),
    )


def render_findings(findings: Iterable[Diagnostic], links: ForgeLinks = NO_LINKS) -> str:
    """A list of findings: summary, detail, hint, location, request id; "" for none."""
    items = "".join(
        f'<li class="{finding.severity.value}">{_render_finding(finding, links)}</li>'
        for finding in findings
    )
    return f'<ul class="findings">{items}</ul>' if items else ""


def _render_finding(finding: Diagnostic, links: ForgeLinks) -> str:
    parts = [f"<strong>{render_prose(finding.summary)}</strong>"]
    parts += [render_paragraph(render_prose(finding.detail))] if finding.detail else []
    parts += (
        [render_paragraph(f"<b>Hint:</b> {render_prose(finding.hint)}")] if finding.hint else []
    )
    location = finding_location(finding).removeprefix("on ").removeprefix("with ")
    parts += (
        [
            render_paragraph(
                links.link_to_line(finding.position, render_code(location, 2000)), "fact"
            )
        ]
        if location
        else []
    )
    if finding.request_id and finding.request_id not in finding.detail:
        parts.append(render_paragraph(f"Request id {render_code(finding.request_id)}", "fact"))
    return "".join(parts)


def render_guards(guards: Iterable[GuardViolation]) -> str:
    """A list of the guards that would stop the apply, and how to override each; "" for none."""
    items = []
    for guard in guards:
        option = f"--override-guard {guard.name}"
        hint = (
            f"If this is meant, apply with {render_code(option)}."
            if option not in guard.detail
            else ""
        )
        guard_html = (
            f"<strong>{render_prose(guard.summary)}</strong>"
            f"{render_paragraph(render_prose(guard.detail))}"
        )
        items.append(f'<li class="warning">{guard_html}{render_paragraph(hint)}</li>')
    return f'<ul class="findings">{"".join(items)}</ul>' if items else ""
