"""What a reviewer must see at a line of a file: findings, refusals, guards, in one shape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from synapse_apply.model.diagnostic import Diagnostic, Position
from synapse_apply.model.drift import Drift
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Action, Change, Plan
from synapse_apply.model.report import Report, Result
from synapse_apply.model.verification import Verdict
from synapse_apply.views.drift import heading
from synapse_apply.views.findings import dotted, whereabouts
from synapse_apply.views.grammar import cannot
from synapse_apply.views.outcomes import findings


@frozen
class Remark:
    """`rule` and `subject` are the same for the same finding in another run; texts are raw."""

    level: str
    rule: str
    title: str
    text: str
    subject: str = ""
    position: Position | None = None


def plan_remarks(plan: Plan) -> list[Remark]:
    """Errors and warnings, what is refused, and the guards that would stop the apply."""
    places = _places(plan.changes)
    guards = [
        Remark("warning", "guard", f"Apply will stop: {guard.summary}", guard.detail, guard.name)
        for guard in plan.guards
    ]
    return [*_of(plan.diagnostics, places), *_refusals(plan.refused), *guards]


def touched_remarks(plan: Plan) -> list[Remark]:
    """The same without what is said of rows that stay as they are, unless it is an error.

    For annotations: who reviews a change is shown what the change touches.
    """
    quiet = {
        str(change.address)
        for change in plan.changes
        if change.action is Action.NO_OP and not change.refused and change.verification is None
    }
    told = [one for one in plan.diagnostics if one.is_error or one.address not in quiet]
    return plan_remarks(replace(plan, diagnostics=tuple(told)))


def report_remarks(report: Report) -> list[Remark]:
    """What went wrong in an apply, with what the plan had said."""
    told = (outcome for outcome in report.outcomes if outcome.result is not Result.SKIPPED)
    runs = [one for run in report.verified if run.verdict is not Verdict.SKIPPED
            for one in run.diagnostics]  # fmt: skip
    found = [*report.plan.diagnostics, *findings(told), *runs]
    return [*_of(found, _places(report.plan.changes)), *_refusals(report.plan.refused)]


def drift_remarks(drift: Drift) -> list[Remark]:
    """What drifted, where it is declared, with what could not be looked at."""
    places = {str(one.address): one.position for one in drift.objects if one.position is not None}
    moved = [
        Remark(
            "warning",
            "drift",
            heading(one),
            ", ".join(dotted(field.path) for field in one.fields),
            str(one.address),
            one.position,
        )
        for one in drift.objects
    ]
    return [*_of(drift.diagnostics, places), *moved]


def finding_remarks(found: Iterable[Diagnostic]) -> list[Remark]:
    """Findings that stand alone."""
    return list(_of(found, {}))


def _places(changes: Iterable[Change]) -> dict[str, Position]:
    """Where each resource is declared."""
    return {str(c.address): c.position for c in changes if c.position is not None}


def _of(found: Iterable[Diagnostic], places: Mapping[str, Position]) -> Iterator[Remark]:
    for one in found:
        hint = f"Hint: {one.hint}" if one.hint else ""
        told = not one.request_id or one.request_id in one.detail
        request = "" if told else f"Request id: {one.request_id}"
        subject = " ".join(
            part for part in (one.address or "", dotted(one.path or ()), one.target or "") if part
        )
        about = whereabouts(one.with_(position=None)).removeprefix("with ")
        yield Remark(
            one.severity.value,
            one.rule or one.summary,
            one.summary,
            "\n".join(part for part in (one.detail, hint, about, request) if part),
            subject,
            one.position or places.get(one.address or ""),
        )


def _refusals(changes: Iterable[Change]) -> Iterator[Remark]:
    for change in changes:
        for refusal in change.refusals:
            yield Remark(
                "error",
                f"refused: {refusal.rule}",
                f"{change.address} {cannot(change.action)}",
                "\n".join([refusal.reason, *(f"Way out: {way}" for way in refusal.ways_out)]),
                str(change.address),
                refusal.position or change.position,
            )


def seen_from(remarks: Iterable[Remark], files: Mapping[str, str]) -> list[Remark]:
    """The same with files named as the forge knows them; `files` leads from ours to theirs."""
    return [
        replace(one, position=replace(one.position, file=files[one.position.file]))
        if one.position is not None and one.position.file in files
        else one
        for one in remarks
    ]
