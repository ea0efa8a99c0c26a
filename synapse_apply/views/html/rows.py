"""What a page shows of one resource: a row that folds out, with what a filter asks of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.drift import ObjectDrift, Unmanaged
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Action, Cause, Change, FieldChange, GuardTrip
from synapse_apply.model.replacement import replacement_of
from synapse_apply.model.report import Outcome, Report, Result
from synapse_apply.model.values import ABSENT, leaves
from synapse_apply.model.verification import Verdict, Verification
from synapse_apply.views.blocks import (
    FILE_SIGNS,
    fields_shown,
    package_line,
    replacement_line,
    why,
    with_replaced,
)
from synapse_apply.views.drift import heading, names
from synapse_apply.views.findings import whereabouts
from synapse_apply.views.grammar import SYMBOL, WILL, cannot, plural
from synapse_apply.views.html.links import NOWHERE, Links
from synapse_apply.views.html.parts import (
    block,
    code,
    fields_table,
    paragraph,
    prose,
    text,
    way_out,
)
from synapse_apply.views.masking import veiled
from synapse_apply.views.outcomes import findings, outcome_row
from synapse_apply.views.pen import Pen
from synapse_apply.views.safety import clean
from synapse_apply.views.verification import ended_rows, log_lines

_PLAIN = Pen(color=False)
_NEW = frozenset({Action.CREATE, Action.RECREATE})
_MOST_NEEDS = 50


@frozen
class Row:
    """`words` and `body` are HTML, all else is raw. `trouble` is what asks for a decision."""

    address: Address
    action: str
    sign: str
    words: str
    body: str = ""
    causes: tuple[Cause, ...] = ()
    trouble: bool = False
    tags: tuple[str, ...] = ()


def change_row(change: Change, links: Links = NOWHERE) -> Row:
    """A change that will be made."""
    as_is = change.action is Action.ADOPT and not change.fields
    fields = list(fields_shown(change))
    moved = change.action in {Action.UPDATE, Action.ADOPT} and len(change.fields)
    return Row(
        change.address,
        change.action.value,
        "=" if as_is else SYMBOL[change.action],
        WILL[change.action],
        _about(change, links) + fields_table(fields, secrets_as=_mark(change)) + _needs(change),
        _causes(fields),
        tags=(plural(moved, "field"),) if moved else (),
    )


def _mark(change: Change) -> str:
    return "~" if change.action is Action.ADOPT else SYMBOL[change.action]


def _about(change: Change, links: Links) -> str:
    """Reason, notes, id and place, above the fields."""
    facts = [prose(fact) for fact in (why(change), package_line(change), *change.notes) if fact]
    ends = [f"id {code(change.remote_id)}"] if change.remote_id else []
    ends += [links.place(change.position)] if change.position else []
    facts += [", ".join(ends)] if ends else []
    return "".join(paragraph(fact, "fact") for fact in facts) + _file_rows(change)


def _file_rows(change: Change) -> str:
    """The files that differ from the version before, each with its lines where they are known."""
    replaced = replacement_of(change.extras)
    if replaced is None:
        return ""
    items = []
    for one in replaced.files:
        note = f" ({prose(one.note)})" if one.note else ""
        said = f"{FILE_SIGNS[one.verb]} {code(one.path)}{note}"
        if one.diff:
            lines = "\n".join(map(clean, one.diff)).split("\n")
            said = f"<details><summary>{said}</summary>{block(lines)}</details>"
        items.append(f"<li>{said}</li>")
    items += [f"<li>{plural(replaced.hidden, 'more file')}</li>"] if replaced.hidden else []
    listed = f'<ul class="files">{"".join(items)}</ul>' if items else ""
    return paragraph(prose(replacement_line(replaced)), "fact") + listed


def _needs(change: Change) -> str:
    more = len(change.depends_on) - _MOST_NEEDS
    shown = [code(need) for need in change.depends_on[:_MOST_NEEDS]]
    shown += [f"{more} more"] if more > 0 else []
    return paragraph(f"Needs {', '.join(shown)}", "fact") if shown else ""


def _causes(fields: Iterable[FieldChange]) -> tuple[Cause, ...]:
    found = {field.cause for field in fields} - {Cause.NONE}
    return tuple(cause for cause in Cause if cause in found)


def refusal_row(change: Change, links: Links = NOWHERE) -> Row:
    """What cannot be done: why, the ways out, and what was wanted."""
    fields = veiled(change, with_replaced(change)) if change.action not in _NEW else ()
    table = fields_table(fields, names=("Now", "Wanted"))
    wanted = f"<h4>What was wanted</h4>{table}" if table else ""
    told = "".join(_refusal(one, links) for one in change.refusals)
    return Row(
        change.address,
        change.action.value,
        "!",
        cannot(change.action),
        told + wanted + _about(change, links) + _needs(change),
        _causes(fields),
        trouble=True,
    )


def _refusal(refusal: Any, links: Links) -> str:
    at = f" ({links.place(refusal.position)})" if refusal.position else ""
    ways = "".join(f"<li>{way_out(way)}</li>" for way in refusal.ways_out)
    title = "Way out" if len(refusal.ways_out) == 1 else "Ways out"
    listed = f"<h4>{title}</h4><ul>{ways}</ul>" if ways else ""
    return f"{paragraph(prose(refusal.reason) + at, 'refusal')}{listed}"


def due_row(change: Change, due: Verification) -> Row:
    """A run that apply will make or follow, with what is sent."""
    sent = [FieldChange(path, ABSENT, value, Cause.NONE) for path, value in leaves(due.body).items()
            if value != {}]  # fmt: skip
    follows = f"follows job {code(due.job)}" if due.job else ""
    facts = (prose(due.reason), follows)
    body = "".join(paragraph(fact, "fact") for fact in facts) + fields_table(sent)
    return Row(change.address, "verify", ">", "will be verified", body)


def forget_row(change: Change) -> Row:
    """What leaves the state while the object stays."""
    reason = "; ".join(change.notes) or change.reason or "no longer declared"
    words = f"{WILL[Action.FORGET]}: {prose(reason)}; the object itself stays"
    return Row(change.address, change.action.value, ".", words)


def note_rows(change: Change) -> Iterator[Row]:
    """What asks for nothing now, and what is kept as somebody changed it outside."""
    name = str(change.address)
    held = veiled(change, change.held)
    kept = fields_table(held, names=("Live, kept", "Declared")) if held else ""
    for at, note in enumerate(change.notes):
        said = prose(note.removeprefix(name).lstrip(" :"))
        body = kept if not at else ""
        yield Row(
            change.address, change.action.value, ".", said, body, _causes(held) if body else ()
        )


def outcome_rows(
    outcomes: Iterable[Outcome], changes: dict[Address, Change], links: Links = NOWHERE
) -> Iterator[Row]:
    """What became of each change, what was found, and what had been planned."""
    for outcome in outcomes:
        mark, _, said = outcome_row(outcome, _PLAIN).strip().partition(" ")
        change = changes.get(outcome.address)
        fields = list(fields_shown(change)) if change and not change.refused else []
        found = _list(findings([outcome]), links) if outcome.result is not Result.SKIPPED else ""
        planned = fields_table(fields, secrets_as=_mark(change)) if change else ""
        yield Row(
            outcome.address,
            outcome.action.value,
            mark,
            text(said.removeprefix(clean(outcome.address)).strip(), 2000),
            found + (_about(change, links) + planned if change else ""),
            _causes(fields),
            trouble=outcome.result in {Result.FAILED, Result.UNKNOWN},
            tags=(plural(len(outcome.diagnostics), "finding"),) if outcome.diagnostics else (),
        )


def run_rows(report: Report, links: Links = NOWHERE) -> Iterator[Row]:
    """A run: what was found, and the last lines of its job's log."""
    for one in report.verified:
        said = "".join(ended_rows(replace(report, outcomes=(), verified=(one,)), _PLAIN)).strip()
        sign = said[0] if said[:1] in {".", "!"} else "✓"
        told = said.removeprefix(sign).strip().removeprefix(clean(one.address)).strip()
        found = _list(one.diagnostics, links) if one.verdict is not Verdict.SKIPPED else ""
        logs = f"<h4>The last lines of its log</h4>{block(log_lines(one.logs))}" if one.logs else ""
        yield Row(one.address, "verify", sign, text(told, 2000), found + logs,
                  trouble=sign == "!")  # fmt: skip


def drift_row(one: ObjectDrift, links: Links = NOWHERE) -> Row:
    """An object that is not as it was left."""
    facts = [f"Recorded as id {code(one.remote_id)}, now {code(one.remade)}"] if one.remade else []
    facts += [f"Apply cannot undo it: {prose(one.stuck)}"] if one.stuck else []
    facts += [f"Was id {code(one.remote_id)}"] if one.gone else []
    facts += [links.place(one.position)] if one.position else []
    table = fields_table(one.shown, names=("Recorded", "Live"))
    return Row(
        one.address,
        "gone" if one.gone else "made anew" if one.remade else "changed",
        "-" if one.gone else "~",
        text(heading(one).removeprefix(str(one.address)).strip()),
        "".join(paragraph(fact, "fact") for fact in facts) + table,
        _causes(one.fields),
        trouble=bool(one.stuck),
        tags=(plural(len(one.fields), "field"),) if one.fields else (),
    )


def stranger_row(one: Unmanaged) -> Row:
    """A live object that nothing declares or records."""
    return Row(Address(one.kind, one.remote_id), "unmanaged", "?", text(names(one)))


def finding_items(found: Iterable[Diagnostic], links: Links = NOWHERE) -> str:
    """Findings: what, why, where, what to do, and the server's request id."""
    return _list(found, links)


def _list(found: Iterable[Diagnostic], links: Links) -> str:
    items = "".join(
        f'<li class="{one.severity.value}">{_finding(one, links)}</li>' for one in found
    )
    return f'<ul class="findings">{items}</ul>' if items else ""


def _finding(one: Diagnostic, links: Links) -> str:
    parts = [f"<strong>{prose(one.summary)}</strong>"]
    parts += [paragraph(prose(one.detail))] if one.detail else []
    parts += [paragraph(f"<b>Hint:</b> {prose(one.hint)}")] if one.hint else []
    where = whereabouts(one).removeprefix("on ").removeprefix("with ")
    parts += [paragraph(links.line(one.position, code(where, 2000)), "fact")] if where else []
    if one.request_id and one.request_id not in one.detail:
        parts.append(paragraph(f"Request id {code(one.request_id)}", "fact"))
    return "".join(parts)


def guard_items(guards: Iterable[GuardTrip]) -> str:
    """The guards that would stop the apply, and how to go on where that is meant."""
    items = []
    for guard in guards:
        option = f"--override-guard {guard.name}"
        hint = f"If this is meant, apply with {code(option)}." if option not in guard.detail else ""
        said = f"<strong>{prose(guard.summary)}</strong>{paragraph(prose(guard.detail))}"
        items.append(f'<li class="warning">{said}{paragraph(hint)}</li>')
    return f'<ul class="findings">{"".join(items)}</ul>' if items else ""
