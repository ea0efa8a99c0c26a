"""Which sections a report has of a plan, apply, drift or findings, whatever its format.

HTML and Markdown are made of these values and not of the JSON document, in which null stands for a
secret, for what is absent and for null. views/redaction.py says what either may show of a change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import Any

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.plan import Action, Cause, Change, FieldChange, Plan
from synapse_apply.model.report import Drift, Report, Result
from synapse_apply.views.redaction import hide_sensitive, sorted_json
from synapse_apply.views.text.drift import iter_ways_out_of_drift
from synapse_apply.views.text.outcomes import is_shown_outcome, outcome_findings
from synapse_apply.views.text.plan import is_object_change_to_make

# By whether a value may come from a call of ours.
_DRIFT_INTRO = {
    False: "These objects were changed outside Git. Apply restores the declared values.",
    True: "These objects differ from what was last applied. Apply restores the declared values.",
}
_ADOPTED_INTRO = "These objects already exist, and the state does not record them."
_ALSO_DRIFTED_NOTE = {
    False: "also changed outside: see Drift",
    True: "also not as last applied: see Drift",
}


class Kind(Enum):
    """What the items of a section are; each format shows those of a kind in its own way."""

    GUARD = auto()
    FINDING = auto()
    REFUSAL = auto()  # a refused Change
    CHANGE = auto()  # a Change that will be made
    DUE_RUN = auto()  # an Address, and the Verification that is to be started or followed
    MOVE = auto()
    FORGET = auto()  # a Change that forgets
    NOTE = auto()  # a Change that is not made, and the index of one of its notes
    OUTCOME = auto()  # an Outcome, and the Change of its plan or None
    RUN = auto()  # a VerificationResult
    DRIFT = auto()  # an ObjectDrift
    UNMANAGED = auto()


@frozen
class Section:
    """A titled list of items of one kind, below sentences that introduce it."""

    name: str
    title: str
    kind: Kind
    items: Sequence[Any]
    intro: Sequence[str] = ()


def plan_sections(plan: Plan) -> list[Section]:
    """The sections of a plan: obstacles first."""
    made = [change for change in plan.changes if is_object_change_to_make(change)]
    adopted = [change for change in made if change.action is Action.ADOPT]
    own, drifted = _split_by_origin(change for change in made if change.action is not Action.ADOPT)
    passive = [change for change in plan.changes if not is_object_change_to_make(change)]
    forgotten = [c for c in passive if c.action is Action.FORGET and not c.is_refused]
    notes = [
        (change, index)
        for change in passive
        if change.action is not Action.FORGET or change.is_refused
        for index in range(len(change.notes))
    ]
    due_runs = [(change.address, change.verification) for change in plan.changes_to_verify]
    intro = _DRIFT_INTRO[any(_has_origin(change.fields) for change in drifted)]
    return [
        Section("guards", "Apply will stop", Kind.GUARD, plan.guards),
        _errors(plan.diagnostics),
        _refused(plan),
        Section("change", "This change", Kind.CHANGE, own),
        Section("drift", "Drift, not from this change", Kind.CHANGE, drifted, [intro]),
        Section("adopted", "Adopted", Kind.CHANGE, adopted, [_ADOPTED_INTRO]),
        Section("verify", "To be verified", Kind.DUE_RUN, due_runs),
        Section("moved", "Moved", Kind.MOVE, plan.moved),
        Section("forgotten", "Forgotten", Kind.FORGET, forgotten),
        Section("notes", "Notes", Kind.NOTE, notes),
        _warnings(plan.diagnostics),
    ]


def report_sections(report: Report) -> list[Section]:
    """The sections of an apply: what went wrong first, what was done last."""
    plan = report.plan
    changes = {change.address: change for change in plan.changes}

    def outcomes(name: str, title: str, result: Result) -> Section:
        items = [
            (outcome, changes.get(outcome.address))
            for outcome in report.outcomes
            if outcome.result is result and is_shown_outcome(outcome)
        ]
        return Section(name, title, Kind.OUTCOME, items)

    # Findings of other results are shown with their resources.
    done_findings = outcome_findings(o for o in report.outcomes if o.result is Result.DONE)
    return [
        outcomes("unknown", "Outcome unknown", Result.UNKNOWN),
        outcomes("failed", "Failed", Result.FAILED),
        Section("verified", "Verification", Kind.RUN, report.verification_results),
        _refused(plan),
        outcomes("skipped", "Skipped", Result.SKIPPED),
        Section("moved", "Moved", Kind.MOVE, plan.moved),
        outcomes("done", "Done", Result.DONE),
        _warnings([*plan.diagnostics, *done_findings]),
    ]


def drift_sections(drift: Drift) -> list[Section]:
    """The sections of a drift check: errors first, then the objects."""
    title = "Not as recorded" if drift.has_origin else "Changed outside"
    ways_out = [*iter_ways_out_of_drift(drift)]
    return [
        _errors(drift.diagnostics),
        Section("drift", title, Kind.DRIFT, drift.objects, ways_out),
        Section("unmanaged", "Unmanaged", Kind.UNMANAGED, drift.unmanaged or ()),
        _warnings(drift.diagnostics),
    ]


def finding_sections(findings: Sequence[Diagnostic]) -> list[Section]:
    """The sections of findings without a plan, by severity."""
    warnings = [finding for finding in findings if finding.is_warning]
    return [
        _errors(findings),
        Section("warnings", "Warnings", Kind.FINDING, warnings),
        Section("notes", "Notes", Kind.FINDING, [f for f in findings if f.is_note]),
    ]


def _errors(findings: Iterable[Diagnostic]) -> Section:
    return Section("errors", "Errors", Kind.FINDING, [f for f in findings if f.is_error])


def _warnings(findings: Iterable[Diagnostic]) -> Section:
    return Section("warnings", "Warnings", Kind.FINDING, [f for f in findings if not f.is_error])


def _refused(plan: Plan) -> Section:
    return Section("refused", "Refused", Kind.REFUSAL, plan.refused_changes)


def _split_by_origin(changes: Iterable[Change]) -> tuple[list[Change], list[Change]]:
    """Changes of Git, and those that undo a drift; an update of both is split by its fields."""
    own: list[Change] = []
    drifted: list[Change] = []
    for change in changes:
        # Redacted before the split: a part keeps only the sensitive marks of its own fields.
        fields = hide_sensitive(change)
        drifted_fields = [field for field in fields if field.cause is Cause.DRIFT]
        own_fields = [field for field in fields if field.cause is not Cause.DRIFT]
        if change.action is Action.RECREATE:  # it was deleted outside
            drifted.append(change)
        elif not (drifted_fields and own_fields):
            (drifted if drifted_fields else own).append(change)
        else:
            drifted.append(_with_some_fields(change, drifted_fields, own_fields))
            part = _with_some_fields(change, own_fields, drifted_fields)
            note = _ALSO_DRIFTED_NOTE[_has_origin(drifted_fields)]
            own.append(replace(part, notes=(*change.notes, note)))
    return own, drifted


def _has_origin(fields: Iterable[FieldChange]) -> bool:
    return any(field.origin for field in fields)


def _with_some_fields(
    change: Change, kept_fields: list[FieldChange], omitted_fields: list[FieldChange]
) -> Change:
    """A copy with some of the fields; the omitted ones do not count as unchanged either."""
    omitted_paths = {field.path for field in omitted_fields}
    return replace(
        change,
        fields=tuple(kept_fields),
        after=sorted_json(change.after or {}, omitted_paths),
        after_sensitive=tuple(path for path in change.after_sensitive if path not in omitted_paths),
    )


def forget_reason(change: Change) -> str:
    """Why a resource leaves the state."""
    return "; ".join(change.notes) or change.reason or "no longer declared"


def bare_note(change: Change, index: int) -> str:
    """A note of a change without its address, which stands before it."""
    return change.notes[index].removeprefix(str(change.address)).lstrip(" :")
