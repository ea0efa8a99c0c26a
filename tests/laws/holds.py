"""What holds of every plan and every apply, whatever the law at hand is about."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from hypothesis import note
from laws.bench import Applied, Project
from laws.canaries import files, leaks
from laws.worlds import PLUGIN_FIELDS

from synapse_apply import Plan, Report, SynapseApplyError
from synapse_apply.model.codec import plan_from_json, plan_to_json
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.model.plan import Action
from synapse_apply.model.state import State
from synapse_apply.model.values import flatten, get_at_or_absent
from synapse_apply.views.json.documents import (
    diagnostics_document,
    format_redacted_json_document,
    plan_document,
    report_document,
)
from synapse_apply.views.text.findings import render_diagnostics
from synapse_apply.views.text.outcomes import render_report
from synapse_apply.views.text.plan import render_plan

MASK = "********"


def of_plan(plan: Plan) -> None:
    """It comes back from JSON as it was, tells no secret, and every update names a path."""
    note(render_plan(plan, color=False))
    assert plan_from_json(json.loads(format_canonical_json(plan_to_json(plan)))) == plan
    assert leaks(_of_plan(plan)) == []
    for change in plan.changes:
        says_what = change.fields or change.replaces_package
        assert change.action is not Action.UPDATE or says_what, change.address


def _of_plan(plan: Plan) -> Iterator[tuple[str, str]]:
    yield "saved plan", format_canonical_json(plan_to_json(plan))
    yield "JSON", format_redacted_json_document(plan_document(plan))
    yield "repr", repr(plan)
    for color in (False, True):
        yield "text", render_plan(plan, color=color, show_unchanged=True)
        yield "narrow text", render_plan(plan, color=color, width=40)


def of_invalid_input(problem: SynapseApplyError) -> None:
    """It is an InputError, and its findings tell no secret."""
    assert "InputError" in [kind.__name__ for kind in type(problem).__mro__], problem
    of_findings(problem.diagnostics)


def of_findings(findings: tuple[Diagnostic, ...]) -> None:
    """They tell no secret."""
    texts = (render_diagnostics(findings, color=False), repr(findings))
    document = format_redacted_json_document(diagnostics_document(findings))
    assert leaks(("findings", text) for text in (*texts, document)) == []


def of_report(report: Report) -> None:
    """It tells no secret."""
    text = render_report(report, color=False)
    note(text)
    texts = (text, format_redacted_json_document(report_document(report)), repr(report))
    assert leaks(("report", text) for text in texts) == []


def of_apply(project: Project, done: Applied) -> None:
    """No secret stays on disk, no mask was sent, and what is refused sent nothing."""
    of_plan(done.plan)
    of_report(done.report)
    assert leaks(files(project.root / ".synapse-apply")) == []
    assert MASK not in [text for _, body in done.sent for text in texts_in(body)]
    alone = [replace(change, verification=None) for change in done.plan.changes]
    going = [change for change in alone if change.has_unrefused_call_or_run]
    runs = [change for change in done.plan.changes_to_verify if change.verification]
    seals = [change for change in going if any(f.path == ("locked",) for f in change.fields)]
    most = len(going) + len(runs) + len(seals)
    assert len(project.server.mutations()) == len(done.sent) <= most
    assert sum(name == "run_plugin" for name, _ in done.sent) <= len(runs)


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for below in value.values():
            yield from texts_in(below)
    elif isinstance(value, list | tuple):
        for below in value:
            yield from texts_in(below)


Rows = Mapping[str, list[dict[str, Any]]]


def live_only_fields_survive(
    states: tuple[State, State], before: Rows, after: Rows, plan: Plan
) -> None:
    """What a plugin has beside what we ever applied or declare now is there after an update."""
    bodies = {row["id"]: row["body"] for row in after["plugin"]}
    updated = {change.remote_id: change for change in plan.changes if not change.is_refused}
    for row in before["plugin"]:
        change = updated.get(str(row["id"]))
        if change is None or change.address.kind != "plugin":
            continue
        touched = {tuple(map(str, field.path)) for field in change.fields}
        for state in states:
            record = state.records.get(change.address)
            touched |= set(record.applied if record else ())
        for path, value in flatten({name: row["body"].get(name) for name in PLUGIN_FIELDS}).items():
            if not any(_meet(path, other) for other in touched):
                kept = _without_nulls(get_at_or_absent(bodies[row["id"]], path))
                assert kept in (value, _trimmed(value)), (change.address, path)


def _without_nulls(value: Any) -> Any:
    """As `leaves` tells of it."""
    return value if not isinstance(value, Mapping) or flatten(value) else {}


def _trimmed(value: Any) -> Any:
    """As the server keeps a text that is sent back to it."""
    return value.strip() if isinstance(value, str) else value


def _meet(path: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    shorter = min(len(path), len(other))
    return path[:shorter] == other[:shorter]
