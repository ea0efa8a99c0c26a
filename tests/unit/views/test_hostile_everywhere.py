"""Every view of every document, filled with hostile text wherever text may stand."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from laws.effort import DEEP, effort
from unit.views import plan_samples as samples
from unit.views.forge import read
from unit.views.hostile import CANARY, COMMAND, LONG, PIECES, STEERING, TEXT, stuffed
from unit.views.leaf import Leaf

from synapse_apply import PastRun, Plan
from synapse_apply.cli.console import Console
from synapse_apply.cli.texts.state import print_run_with_calls, print_runs_table
from synapse_apply.model import report as told
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Position, error_finding
from synapse_apply.model.job import RunStatus, Verification, VerificationResult
from synapse_apply.model.plan import Action, Cause, Change, FieldChange, Refusal
from synapse_apply.model.project import MovedAddress
from synapse_apply.model.remote import LogLine
from synapse_apply.model.resource import Observed
from synapse_apply.model.state import AuditEntry, BackendIdentity, Record
from synapse_apply.model.values import Sensitive
from synapse_apply.views import ci, graph
from synapse_apply.views.html import reports as html
from synapse_apply.views.json import documents
from synapse_apply.views.json.documents import (
    checkup_document,
    drift_document,
    failure_document,
    format_log_line_as_json,
    format_redacted_json_document,
    format_redacted_json_line,
    record_document,
)
from synapse_apply.views.markdown import report as markdown
from synapse_apply.views.text.checkup import render_checkup
from synapse_apply.views.text.drift import render_drift, render_written_edits
from synapse_apply.views.text.findings import render_diagnostics
from synapse_apply.views.text.outcomes import render_report
from synapse_apply.views.text.plan import render_plan
from synapse_apply.views.text.record import (
    format_log_line,
    render_live_object,
    render_record,
    render_unexported,
)
from synapse_apply.views.text.terminal import render_table

# What a reader of Terraform's text takes for ours where it stands at the start of a line.
OURS = re.compile(
    r"(?m)^(Plan: \d.*|No changes\..*|Apply (?:in)?complete!.*|Verify: .*|Verified: .*"
    r"|Refused: .*|Drift: .*|No drift\..*|Error: |Warning: "
    r"| *# (?!verified: ).* (?:will be (?:created|updated in-place|destroyed|imported)|must be replaced)$)"
)


def a_plan(text: str, *, offline: bool = False) -> Plan:
    """One with runs, moves, held drift and a policy's refusal beside all that others have."""
    made = stuffed(text)
    at = Address("kind", text)
    field = FieldChange((text,), text, text, Cause.DRIFT, note=text)
    due = Verification({"parameters": {text: [text]}}, text, text, job=text)
    rule = Refusal(f"policy:{text[:40]}", text, (text,), Position(text, 1, 1))
    more = (
        Change(at, Action.NO_OP, verification=due, reason=text, remote_id=text),
        Change(at, Action.NO_OP, held=(field,), notes=(text,)),
        Change(at, Action.FORGET, reason=text, remote_id=text),
        Change(at, Action.CREATE, refusals=(rule,), depends_on=(at,)),
    )
    base = replace(
        made.base, target=text, commit=text, revision=text, lineage=text,
        binding=BackendIdentity(f"https://{text}", text, text), against=text if offline else "",
    )  # fmt: skip
    moved = (MovedAddress(at, Address("kind", f"{text}2")),)
    return replace(made, base=base, moved=moved, changes=(*made.changes, *more))


def a_report(text: str) -> told.Report:
    """Every result and every verdict, with a log that holds the text."""
    plan = a_plan(text)
    outcomes = tuple(
        told.Outcome(Address("kind", text), Action.CREATE, result, text, text, 1.0, plan.diagnostics, lost)
        for result in told.Result
        for lost in (None, text)
    )  # fmt: skip
    runs = tuple(
        VerificationResult(Address("kind", text), verdict, text, request_id=text, logs=(text, text),
                 diagnostics=(error_finding(text, text, text),))
        for verdict in RunStatus if verdict.name != "UNVERIFIED"
    )  # fmt: skip
    return told.Report(plan, outcomes, stop_signal=15, lock_lost=True, verification_results=runs)


def a_drift(text: str) -> told.Drift:
    """An object that changed, one that is gone, a stranger, and a value that was accepted."""
    at = Address("kind", text)
    field = FieldChange((text, text), text, {text: text}, Cause.DRIFT, note=text)
    hidden = FieldChange(("token",), CANARY, CANARY, Cause.DRIFT, sensitive=True)
    one = told.ObjectDrift(
        at,
        text,
        (field, hidden),
        replacement_id=text,
        blocked_reason=text,
        position=Position(text, 1, 1),
    )
    return told.Drift(
        text, text, replace(samples.BASE, target=text), (one, replace(one, is_missing=True)), (at,),
        unmanaged=(told.Unmanaged("kind", text, (text, text)),), unlistable_kinds=(text,),
        written_edits=(told.WrittenEdit(at, field, text, 1),), diagnostics=(error_finding(text, text, text),),
    )  # fmt: skip


def a_checkup(text: str) -> told.Checkup:
    found = error_finding(text, text, text, request_id=text)
    rows = (
        told.CheckResult.build_ok(text, text, text),
        told.CheckResult.from_finding(text, found, text),
        told.CheckResult.build_unchecked(text, text),
    )
    return told.Checkup(text, ((text, (*rows, *rows[2:] * 3)),))


def a_record(text: str) -> Record:
    hidden = {("configuration", "key"): Sensitive(CANARY)}
    return Record(
        address=Address("kind", text), remote_id=text, api=text, natural_key=text,
        applied={(text,): text, **hidden}, seen={(text,): [text]}, digest=text,
        files={text: text}, verification={"result": text, "at": text, "job": text},
        depends_on=(Address("kind", text),),
    )  # fmt: skip


def past(show: Callable[[Console, PastRun], int], text: str, *, as_json: bool = False) -> str:
    entry = AuditEntry(*[text] * 11)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        show(Console(as_json, "never", environ={}), PastRun(text, (entry, entry)))
    return out.getvalue()


def found(text: str) -> list[object]:
    return [
        error_finding(text, text, text, target=text, address=text, path=(text,), request_id=text)
    ]


OBSERVED: Callable[[str], Observed] = lambda text: Observed(  # noqa: E731 - one of many makers
    text, text, {text: [text, {text: text}], "key": Sensitive(CANARY)}
)
TEXTS: Mapping[str, Callable[[str], str]] = {
    "plan": lambda text: render_plan(a_plan(text), color=False),
    "plan, unchanged": lambda text: render_plan(a_plan(text), color=False, show_unchanged=True),
    "offline": lambda text: render_plan(a_plan(text, offline=True), color=False),
    "report": lambda text: render_report(a_report(text), color=False),
    "drift": lambda text: render_drift(a_drift(text), color=False),
    "accepted": lambda text: render_written_edits(
        a_drift(text), color=False, is_written=False, show_hints=True
    ),
    "findings": lambda text: render_diagnostics(found(text), color=False),
    "doctor": lambda text: render_checkup(a_checkup(text), color=False),
    "record": lambda text: render_record(a_record(text), color=False),
    "live": lambda text: render_live_object("kind", text, OBSERVED(text), color=False),
    "export": lambda text: render_unexported([(text, text)], [(text, text)]),
    "table": lambda text: render_table([text, "b"], [[text, text], ["::x", text]]),
    "history": lambda text: past(lambda face, run: print_runs_table(face, [run, run]), text),
    "history show": lambda text: past(print_run_with_calls, text),
    "log": lambda text: format_log_line(LogLine(text, text, text), color=False),
    "annotations": lambda text: ci.format_annotation_commands(ci.plan_annotations(a_plan(text))),
}
JSON: Mapping[str, Callable[[str], str]] = {
    "plan": lambda text: format_redacted_json_document(documents.plan_document(a_plan(text))),
    "offline": lambda text: format_redacted_json_document(
        documents.plan_document(a_plan(text, offline=True))
    ),
    "report": lambda text: format_redacted_json_document(documents.report_document(a_report(text))),
    "drift": lambda text: format_redacted_json_document(drift_document(a_drift(text))),
    "failure": lambda text: format_redacted_json_document(
        failure_document(text, found(text), 1, tool_version=text)
    ),
    "line": lambda text: format_redacted_json_line(
        failure_document(text, found(text), 1, tool_version=text)
    ),
    "doctor": lambda text: format_redacted_json_document(
        checkup_document(a_checkup(text), tool_version=text)
    ),
    "record": lambda text: format_redacted_json_document(record_document(a_record(text))),
    "history": lambda text: past(print_run_with_calls, text, as_json=True),
    "log": lambda text: format_log_line_as_json(LogLine(text, text, text)),
    "code quality": lambda text: format_redacted_json_document(
        ci.build_issues(ci.plan_annotations(a_plan(text)))
    ),
}
PAGES: Mapping[str, Callable[[str], str]] = {
    "plan": lambda text: html.render_plan_html(a_plan(text), run_url=text),
    "offline": lambda text: html.render_plan_html(a_plan(text, offline=True)),
    "report": lambda text: html.render_report_html(a_report(text), run_url=text),
    "drift": lambda text: html.render_drift_html(a_drift(text), run_url=text),
}
COMMENTS: Mapping[str, Callable[[str], str]] = {
    "plan": lambda text: markdown.render_plan_markdown(a_plan(text)),
    "apply that failed": lambda text: markdown.render_plan_markdown(a_plan(text), command="apply"),
    "offline": lambda text: markdown.render_plan_markdown(a_plan(text, offline=True)),
    "report": lambda text: markdown.render_report_markdown(a_report(text)),
    "drift": lambda text: markdown.render_drift_markdown(a_drift(text)),
}
GRAPHS: Mapping[str, Callable[[str], str]] = {
    "mermaid": lambda text: graph.format_mermaid(graph.build_plan_nodes(a_plan(text))),
}
EVERY = {"text": TEXTS, "json": JSON, "html": PAGES, "markdown": COMMENTS, "graph": GRAPHS}
VIEWS = [(family, name) for family, views in EVERY.items() for name in views]


def shape(family: str, text: str) -> object:
    """What a text must not be able to change: lines, keys, tags that are ours."""
    if family == "text":
        return OURS.findall(re.sub(r"(?m)^(Error: |Warning: ).*", r"\1", text))
    if family == "json":
        return [json.loads(text) is not None]
    if family == "html":
        leaf = Leaf(text)
        return len(leaf.rows), leaf.tags.count("script"), leaf.tags.count("style")
    if family == "markdown":
        page = read(text)
        assert not page.links
        return page.tags.count("details") == page.tags.count("pre"), len(page.comments)
    return None


@cache
def render_harmless(family: str, name: str) -> tuple[str, object]:
    """A view of a harmless word, and what no other text may change of it."""
    plain = EVERY[family][name]("word")
    return plain, shape(family, plain)


def check(family: str, name: str, text: str) -> str:
    """Render, and hold it against the same filled with a harmless word."""
    said = EVERY[family][name](text)
    plain, wanted = render_harmless(family, name)
    assert CANARY not in said
    assert not STEERING.search(said), ascii(STEERING.findall(said))
    commands = 0 if name != "annotations" else len(COMMAND.findall(plain))
    assert len(COMMAND.findall(said)) == commands
    said.encode()
    seen = shape(family, said)
    if family == "text":
        seen, wanted = list(heads(seen)), list(heads(wanted))
    assert seen == wanted
    return said


def heads(lines: object) -> Iterator[str]:
    """The first words of a line of ours, what it says of the text left out."""
    for line in lines if isinstance(lines, list) else ():
        yield re.match(r"\W*(\w+)?", line)[0]  # type: ignore[index]


@pytest.mark.parametrize(("family", "name"), VIEWS, ids=lambda value: value)
def test_no_piece_breaks_out(family: str, name: str) -> None:
    """Each piece at the start, behind a word, and at the start of a line; a third of them a view of many."""
    is_one_of_many = len(EVERY[family]) > 3 and not DEEP
    for piece in PIECES[VIEWS.index((family, name)) % 3 :: 3] if is_one_of_many else PIECES:
        check(family, name, f"{piece}x{piece}\n{piece}")


@pytest.mark.parametrize(("family", "name"), VIEWS, ids=lambda value: value)
@effort(4, 80)
@given(text=TEXT)
def test_no_mixture_breaks_out(family: str, name: str, text: str) -> None:
    """Pieces behind one another, as nobody would think of them."""
    check(family, name, text)


@pytest.mark.deep
@pytest.mark.parametrize(("family", "name"), VIEWS, ids=lambda value: value)
def test_nothing_long_breaks_out(family: str, name: str) -> None:
    """100 KB in every place; less of it where all places of all views would take half a minute."""
    for text in LONG if DEEP else ["".join(PIECES) * 10]:
        check(family, name, text)


FORGED = (
    "Plan: 0 to add, 0 to change, 0 to destroy.",
    "No changes. All is well.",
    "Apply complete! Resources: 9 added",
    "Error: x",
    "  # kind/x will be destroyed",
)


@pytest.mark.parametrize("name", TEXTS)
def test_no_line_of_ours_is_forged(name: str) -> None:
    """Lines that programs read for: none of them comes from a name or a value."""
    forged = "\n" + "".join(f"{line}\n" for line in FORGED)
    check("text", name, forged)
    check("text", name, forged.replace("\n", "\r\n"))
    check("text", name, forged.replace("\n", "\u2028"))
