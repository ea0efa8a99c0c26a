"""What the page's row of a resource shows, for each report, and what filters match on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import RunStatus, Verification, VerificationResult
from synapse_apply.model.packages import parse_replacement
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.plan import Action, Cause, Change, FieldChange, GuardViolation
from synapse_apply.model.report import ObjectDrift, Outcome, Result, Unmanaged
from synapse_apply.model.values import ABSENT, flatten
from synapse_apply.views.grammar import ACTION_SYMBOLS, PLANNED_PHRASES, format_refusal_phrase
from synapse_apply.views.html.parts import (
    NO_LINKS,
    ForgeLinks,
    cut_and_escape,
    render_code,
    render_code_block,
    render_facts,
    render_fields_table,
    render_list,
    render_paragraph,
    render_prose,
    render_sentence,
)
from synapse_apply.views.redaction import hide_sensitive, shown_fields, wanted_fields
from synapse_apply.views.sanitize import sanitize
from synapse_apply.views.sections import Kind, bare_note, forget_reason
from synapse_apply.views.text.drift import join_natural_keys, say_what_drifted
from synapse_apply.views.text.findings import finding_place
from synapse_apply.views.text.outcomes import (
    format_outcome_row,
    format_run_row,
    outcome_findings,
    split_into_cut_log_lines,
)
from synapse_apply.views.text.plan import (
    FILE_VERB_SYMBOLS,
    present_reason,
    summarize_replaced_version,
    uploaded_package,
)
from synapse_apply.views.text.terminal import Style

_PLAIN = Style(color=False)
_MAX_LISTED_NEEDS = 50


@frozen
class HtmlRow:
    """A row of a page; `status_html` and `body` are HTML, all else is raw text.

    `fields` are what filters match causes of; `needs_decision` marks rows that someone has to act
    on, which are expanded.
    """

    address: Address
    action: str
    sign: str
    status_html: str
    body: str = ""
    fields: Iterable[FieldChange] = ()
    needs_decision: bool = False
    tags: tuple[str, ...] = ()

    @property
    def causes(self) -> tuple[Cause, ...]:
        """Why its fields differ, in one order; none of what nobody is known to have set."""
        causes = {field.cause for field in self.fields if not field.origin} - {Cause.NONE}
        return tuple(cause for cause in Cause if cause in causes)


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
        _change_facts(change, links) + _planned_table(change, fields) + _dependencies(change),
        fields,
        tags=_count_tag(changed_count, "field"),
    )


def _planned_table(change: Change, fields: Iterable[FieldChange]) -> str:
    # Adopting changes a secret of an object that exists, as an update does.
    symbol = "~" if change.action is Action.ADOPT else ACTION_SYMBOLS[change.action]
    return render_fields_table(fields, hidden_symbol=symbol)


def _change_facts(change: Change, links: ForgeLinks) -> str:
    """The paragraphs above the fields: reason, package, notes, id, position, changed files."""
    texts = (present_reason(change), uploaded_package(change), *change.notes)
    place = [f"id {render_code(change.remote_id)}"] if change.remote_id else []
    place += [links.render_position(change.position)] if change.position else []
    return render_facts(*map(render_prose, texts), ", ".join(place)) + _replaced_version(change)


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
        items.append(file_html)
    items += _count_tag(replacement.unlisted_count, "more file")
    summary = render_prose(summarize_replaced_version(change, replacement))
    return render_facts(summary) + render_list(items, "files")


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
    body += f"<h3>What was wanted</h3>{table}" if table else ""
    return HtmlRow(
        change.address,
        change.action.value,
        "!",
        format_refusal_phrase(change.action),
        body + _change_facts(change, links) + _dependencies(change),
        fields,
        needs_decision=True,
    )


def _due_run_row(item: tuple[Address, Verification], _links: ForgeLinks) -> HtmlRow:
    """The row of a verification run that apply will start or follow, with its request body."""
    address, run = item
    sent_fields = [
        FieldChange(path, ABSENT, value, Cause.NONE)
        for path, value in flatten(run.body).items()
        if value != {}
    ]
    follows = f"follows job {render_code(run.job)}" if run.job else ""
    body = render_facts(render_prose(run.reason), follows) + render_fields_table(sent_fields)
    return HtmlRow(address, "verify", ">", "will be verified", body)


def _forget_row(change: Change, _links: ForgeLinks) -> HtmlRow:
    reason = render_prose(forget_reason(change))
    status_html = f"{PLANNED_PHRASES[Action.FORGET]}: {reason}; the object itself stays"
    return HtmlRow(change.address, change.action.value, ".", status_html)


def _note_row(item: tuple[Change, int], _links: ForgeLinks) -> HtmlRow:
    """The row of one note, the first of a change with the fields whose drift is kept."""
    change, index = item
    # Once, under the first note, as the table is about all of them.
    kept_fields = () if index else hide_sensitive(change, change.held)
    body = render_fields_table(kept_fields, side_titles=("Live, kept", "Declared"))
    note_html = render_prose(bare_note(change, index))
    return HtmlRow(change.address, change.action.value, ".", note_html, body, kept_fields)


def _outcome_row(item: tuple[Outcome, Change | None], links: ForgeLinks) -> HtmlRow:
    """The row of an outcome of an apply: its findings, and what was planned."""
    outcome, change = item
    # Taken apart from the row of the text report, so that both say the same.
    sign, _, text = format_outcome_row(outcome, _PLAIN).strip().partition(" ")
    fields = shown_fields(change) if change and not change.is_refused else ()
    is_skipped = outcome.result is Result.SKIPPED
    body = "" if is_skipped else render_findings(outcome_findings([outcome]), links)
    body += _change_facts(change, links) + _planned_table(change, fields) if change else ""
    return HtmlRow(
        outcome.address,
        outcome.action.value,
        sign,
        cut_and_escape(text.removeprefix(sanitize(outcome.address)).strip(), 2000),
        body,
        fields,
        needs_decision=outcome.result in {Result.FAILED, Result.UNKNOWN},
        tags=_count_tag(len(outcome.diagnostics), "finding"),
    )


def _run_row(result: VerificationResult, links: ForgeLinks) -> HtmlRow:
    """The row of a verification run: its findings, and the last lines of its job's log."""
    text = format_run_row(result, _PLAIN).strip()
    # The text view marks a passed run by a space, which a page cannot show.
    sign = text[0] if text[:1] in {".", "!"} else "✓"
    status_text = text.removeprefix(sign).strip().removeprefix(sanitize(result.address)).strip()
    is_skipped = result.status is RunStatus.SKIPPED
    body = "" if is_skipped else render_findings(result.diagnostics, links)
    if result.logs:
        log = render_code_block(split_into_cut_log_lines(result.logs))
        body += f"<h3>The last lines of its log</h3>{log}"
    status_html = cut_and_escape(status_text, 2000)
    return HtmlRow(result.address, "verify", sign, status_html, body, needs_decision=sign == "!")


def _drift_row(drifted: ObjectDrift, links: ForgeLinks) -> HtmlRow:
    """The row of an object that was changed or deleted outside, recorded and live values."""
    old, new = render_code(drifted.remote_id), render_code(drifted.replacement_id)
    blocked = render_prose(drifted.blocked_reason)
    facts = (
        f"Recorded as id {old}, now {new}" if drifted.replacement_id else "",
        f"Apply cannot undo it: {blocked}" if drifted.blocked_reason else "",
        f"Was id {old}" if drifted.is_missing else "",
        links.render_position(drifted.position) if drifted.position else "",
    )
    action = "made anew" if drifted.replacement_id else "changed"
    return HtmlRow(
        drifted.address,
        "gone" if drifted.is_missing else action,
        "-" if drifted.is_missing else "~",
        cut_and_escape(say_what_drifted(drifted).removeprefix(str(drifted.address)).strip()),
        render_facts(*facts)
        + render_fields_table(drifted.all_field_changes, side_titles=("Recorded", "Live")),
        drifted.fields,
        needs_decision=bool(drifted.blocked_reason),
        tags=_count_tag(len(drifted.fields), "field"),
    )


def _unmanaged_row(unmanaged: Unmanaged, _links: ForgeLinks) -> HtmlRow:
    """The row of a live object that is neither declared nor recorded."""
    address = Address(unmanaged.kind, unmanaged.remote_id)
    return HtmlRow(address, "unmanaged", "?", cut_and_escape(join_natural_keys(unmanaged)))


ROW_BUILDERS: Mapping[Kind, Callable[[Any, ForgeLinks], HtmlRow]] = {
    Kind.REFUSAL: _refusal_row,
    Kind.CHANGE: _change_row,
    Kind.DUE_RUN: _due_run_row,
    Kind.FORGET: _forget_row,
    Kind.NOTE: _note_row,
    Kind.OUTCOME: _outcome_row,
    Kind.RUN: _run_row,
    Kind.DRIFT: _drift_row,
    Kind.UNMANAGED: _unmanaged_row,
}


def render_findings(findings: Iterable[Diagnostic], links: ForgeLinks = NO_LINKS) -> str:
    """A list of findings: summary, detail, hint, location, request id; "" for none."""
    items = ""
    for finding in findings:
        hint = f"<b>Hint:</b> {render_prose(finding.hint)}" if finding.hint else ""
        place, request_id = finding_place(finding), finding.untold_request_id
        facts = (
            links.link_to_line(finding.position, render_code(place, 2000)) if place else "",
            f"Request id {render_code(request_id)}" if request_id else "",
        )
        items += (
            f'<li class="{finding.severity.value}"><strong>{render_prose(finding.summary)}</strong>'
            f"{render_paragraph(render_prose(finding.detail))}{render_paragraph(hint)}"
            f"{render_facts(*facts)}</li>"
        )
    return f'<ul class="findings">{items}</ul>' if items else ""


def render_guards(guards: Iterable[GuardViolation]) -> str:
    """A list of the guards that would stop the apply, and how to override each; "" for none."""
    items = ""
    for guard in guards:
        option = guard.untold_option
        hint = f"If this is meant, apply with {render_code(option)}." if option else ""
        items += (
            f'<li class="warning"><strong>{render_prose(guard.summary)}</strong>'
            f"{render_paragraph(render_prose(guard.detail))}{render_paragraph(hint)}</li>"
        )
    return f'<ul class="findings">{items}</ul>' if items else ""
