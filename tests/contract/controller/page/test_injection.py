"""Nothing that a commit, a manifest, a server or a file name says breaks out of its place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, urlencode

import pytest
from unit.controller.page import page_samples as samples
from unit.controller.page import people_samples as people
from unit.views.hostile import CANARY, LONG, PIECES, STEERING, stuffed
from unit.views.leaf import ATTRIBUTES, TAGS, VOID, Leaf

from synapse_apply.controller.page import addresses
from synapse_apply.controller.page.server import PageServer
from synapse_apply.controller.planned_rows import (
    HeldRow,
    HoldReason,
    PlannedRow,
    RowAction,
    RowCause,
)
from synapse_apply.controller.rows import (
    ApplyLog,
    ApprovalRow,
    BegunApply,
    CallProgress,
    ChangeCounts,
    HoldRow,
    PauseRow,
    RestoredField,
    RevisionEnd,
    RevisionRow,
    RolloutRow,
    RolloutState,
    RolloutTargetRow,
    RunCause,
    RunningJob,
    RunningJobsSeen,
    RunOutcome,
    RunRow,
    RunVerb,
    SourceRow,
    StatusRow,
    StatusState,
    StatusText,
    TargetCondition,
    TargetName,
    TargetRow,
    WaveEnd,
    WaveRow,
)
from synapse_apply.controller.settings import FixedPause, Mode, Rollout, Source, TargetRule, Wave
from synapse_apply.controller.store.controller_store import SqliteControllerStore
from synapse_apply.controller.store.store_writer import StoreWriter
from synapse_apply.model.diagnostic import Diagnostic, Position, Severity

from .conftest import ServedPage

TEXTS = [
    "</script></style></title></textarea>\"'><img src=x onerror=alert(1)><script>alert(1)</script>",
    "\" onclick=alert(1) x=\"' onmouseover='alert(1)",
    "{{ 7 * 191 }}{% include 'controller.js' %}{# #}${7*191}#{7*191}",
    "javascript:alert(1)//https://evil.example/?a=1#x",
    "\u202e\u2066\u200f\x1b[31m\x00\ud800\u200b\x85",
    "".join(piece for piece in PIECES if len(piece) < 40),
    LONG[-1][:10_000],
    "a/../b?c#d%2e%2e%00/\\;:@&=+$,",
]
NUMBER = r"[0-9]+(\.[0-9]+)?"
FORM_PATH = (
    r"/targets/[A-Za-z0-9._~%\-]+/[A-Za-z0-9._~%\-]+/(reconcile|pause|resume|approve|apply|reject)"
    r"|/rollouts/[A-Za-z0-9._~%\-]+(/(approve|resume|skip|abort))?|/approvals/(approve|reject)"
)


class PageLeaf(Leaf):
    """A page of the controller as a strict reader sees it; a report's parts are allowed in it."""

    known_tags: ClassVar = TAGS | {"a", "img", "dl", "dt", "dd", "time", "caption", "link"}
    void_tags: ClassVar = VOID | {"img", "link"}
    known_attributes: ClassVar = {
        **ATTRIBUTES,
        "href": r"#[a-z]+[0-9]*|/|/#sources|/audit|/approvals|/icon\.svg|/(audit)?\?[A-Za-z0-9._~%+=&\-]+"
        r"|/rollouts(/[A-Za-z0-9._~%\-]+)?(\?[A-Za-z0-9._~%+=&\-]+)?(#targets)?"
        r"|/(targets|sources|runs|revisions)/[A-Za-z0-9._~%\-]+(/[A-Za-z0-9._~%\-]+)?"
        r"|https://github\.com/acme/synapse/commit/[0-9a-f]{40}",
        "rel": "icon|prev|next|noopener noreferrer",
        "type": "button|search|checkbox|submit|text|hidden|image/svg[+]xml",
        "id": r"[a-z]+[0-9]*(-title)?",
        "src": r"/badge/[A-Za-z0-9._~%\-]+/[A-Za-z0-9._~%\-]+\.svg",
        "alt": None, "title": None, "datetime": r"[0-9TZ:\-]+", "method": "get|post",
        "action": rf"/|/audit|{FORM_PATH}", "formaction": FORM_PATH, "for": "held[0-9]+",
        "maxlength": "[25]00", "selected": None, "required": None, "disabled": None,
        "formnovalidate": None,
        "aria-describedby": "held[0-9]+-title", "aria-current": "page|true", "data-live": "[a-z]+",
        "data-run": None, "data-label": r"[A-Za-z ]+", "tabindex": "-?[01]|0",
        "role": "search|group|img|region|status", "width": NUMBER, "height": NUMBER, "x": NUMBER,
        "d": r"[0-9MChvz\-. ]+", "preserveaspectratio": "none", "viewbox": r"[0-9 ]+",
    }  # fmt: skip


def fill_with(store: SqliteControllerStore, text: str) -> TargetName:
    """A source, a revision, a target and a run with one text wherever text may stand."""
    text = text.replace("\ud800", "\ufffd")  # SQLite keeps UTF-8
    # Nearly as the schemas have it: no slash in a source, no line break in either.
    name = TargetName(re.sub("[/\n]", "", text[:100]), text[:300].replace("\n", ""))
    commit = text[:90].replace("\n", "")
    found = [
        Diagnostic(severity, text, text, text, Position(text, 1, 1), text, (text,), text, text)
        for severity in Severity
    ]
    plan_json = samples.format_plan(stuffed(text))
    begun = BegunApply("r", commit, RunCause.APPROVED, 1.0, (text,))
    calls = (CallProgress(1, 2, text, text, 1.0, text), CallProgress(2, 2, text, text, 2.0))
    run = samples.build_run(0, name, RunOutcome.CHANGES, id=commit[:80], findings=tuple(found),
                            commit=commit, plan_json=plan_json)  # fmt: skip
    failed = replace(run, id="z" + commit[:80], outcome=RunOutcome.PLAN_ERROR, plan_json="")
    with store.write() as writer:
        writer.put(SourceRow(name.source, sideways=commit, fetched_at=1, finding=found[0]))
        revision = RevisionRow(name.source, 1, commit, 1.0, text, text, RevisionEnd.FAILURE, text,
                               2.0, found[0], commit)  # fmt: skip
        writer.accept_head(name.source, 0, revision)
        writer.put(revision)
        for row in (run, failed, build_apply(run, text)):
            writer.put(row)
        writer.replace_labels(name.source, {name.target: {text: text}})
        fill_with_people(writer, name, commit, text, f"a{run.id}")
        fill_with_rollout(writer, name, commit, text)
        writer.put(
            TargetRow(name, commit, 1, commit, state=TargetCondition.FAILING,
                      counts=ChangeCounts(1, 2, 3), last_run=run.id, looked_at=1.0, changed_at=1.0,
                      begun_apply=begun, holder=text, lease_until=samples.NOW + 9,
                      restored=tuple(
                          RestoredField(text, text, (1.0, 2.0, 3.0 + number), text, number == 1, number)
                          for number in range(3)
                      ),
                      failures=3, backend_host=text, waiting_reason=text, hold_count=9,
                      running_jobs=RunningJobsSeen((RunningJob(text, text, text, 3.0, 1.0),),
                                                   is_cut=True, unread_reason=text, seen_at=1.0))
        )  # fmt: skip
        writer.replace_apply_log(name, ApplyLog("r", calls))
        status = StatusText(StatusState.FAILURE, text, text)
        context = f"synapse-apply/{samples.SETTINGS.name}/{name.source}"
        writer.put(StatusRow(name.source, commit, context, status, status, refusal=text))
        writer.replace_configuration_findings(found)
    return name


def build_apply(run: RunRow, text: str) -> RunRow:
    """An apply with a text wherever its report, its people and its end have one."""
    outcome = {
        "address": text,
        "action": text,
        "result": text,
        "id": text,
        "request_id": text,
        "seconds": text,
    }
    finding = {"severity": "error", "address": text, "summary": text, "detail": text, "hint": text}
    report = json.dumps({"outcomes": [outcome], "diagnostics": [finding]})
    return replace(
        run, id="a" + run.id, verb=RunVerb.APPLY, plan_json="", approved_by=(text, f"proxy:{text}"),
        stop_reason=text, report_json=report, outcome=RunOutcome.APPLY_FAILED,
    )  # fmt: skip


def fill_with_rollout(writer: StoreWriter, name: TargetName, commit: str, text: str) -> None:
    """A rollout that was stopped, with a text wherever its people and its target have one."""
    rollout = name.source
    writer.put(
        RolloutRow(name.source, rollout, 1, commit, 1.0, 2, 1, 1.0, RolloutState.STOPPED, 1.0, text,
                   f"proxy:{text}", text)
    )  # fmt: skip
    for number in (0, 1):
        writer.put(WaveRow(name.source, rollout, number, 1, 1.0, f"proxy:{text}", 2.0,
                                WaveEnd.SKIPPED, f"proxy:{text}", text))  # fmt: skip
    writer.put(*[RolloutTargetRow(name, rollout, 1, 1, commit, text, text, 1.0, failed_at=1.0)])


def fill_with_people(
    writer: StoreWriter, name: TargetName, commit: str, text: str, apply: str
) -> None:
    """Held rows, approvals, pauses and audit with a text in them."""
    held = [
        HeldRow(PlannedRow(f"{number}{text}"[:80], text, action, tuple(RowCause), (text,),
                           summary=text), reason, text)
        for number, (action, reason) in enumerate(zip(RowAction, 2 * [*HoldReason], strict=False))
    ]  # fmt: skip
    writer.replace_holds(name, [
        HoldRow(name, row.row.digest, row, commit, text[:80], 1.0, number, text, text)
        for number, row in enumerate(held)
    ])  # fmt: skip
    for number, age in enumerate((1.0, 9e5)):
        writer.put_approval(
            ApprovalRow(f"{number}", name, held[0].row.digest, held[0].row, f"proxy:{text}{number}",
                        samples.NOW - age)
        )  # fmt: skip
    used = ApprovalRow("u", name, "u", held[0].row, f"proxy:{text}", 1.0, 2.0, apply)
    writer.put_approval(used)
    writer.put_pause(PauseRow("*", f"proxy:{text}", text, 1.0, samples.NOW + 9))
    writer.append_audit(1.0, text, text, text, text)


@pytest.fixture(params=range(len(TEXTS)), ids=[repr(text[:24]) for text in TEXTS])
def hostile(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[ServedPage, list[str]]]:
    with closing(samples.open_store(tmp_path)) as store:
        name = fill_with(store, TEXTS[request.param])
        loop = samples.StubLoop()
        source = Source(name.source, f"https://user:{CANARY}@x.example/{name.source}", name.target)
        source = replace(
            source, rules=(TargetRule("*", Mode.APPROVE, pause=FixedPause(name.target)),)
        )
        waves = (Wave((name.target,), {name.target: name.target}), Wave(approve=True))
        loop.settings = replace(
            people.SETTINGS, name=name.target, sources={name.source: source},
            rollouts={name.source: Rollout(name.source, name.source, waves)},
        )  # fmt: skip
        runs = [row.id for row in store.newest_runs(name, 9)]
        paths = [
            "/", f"/?q={quote(name.target[:150], safe='')}&source={quote(name.source, safe='')}",
            addresses.build_target_path(name), addresses.build_source_path(name.source),
            addresses.build_revision_path(name.source, store.list_configured_sources()[0].head),
            *map(addresses.build_run_path, runs), addresses.build_badge_path(name),
            "/approvals", "/audit", f"/audit?{urlencode({'q': name.target[:9], 'who': name.target})}",
            "/rollouts", addresses.build_rollout_path(name.source), "/api/v1/rollouts",
            f"/api/v1{addresses.build_rollout_path(name.source)}",
            "/metrics", "/api/v1/targets", "/api/v1/holds", "/api/v1/pauses", "/api/v1/audit",
            f"/api/v1/runs/{quote(runs[0], safe='')}", "/none",
        ]  # fmt: skip
        with PageServer(store, loop, {}, lambda: samples.NOW, lambda: people.SECRETS) as server:
            yield ServedPage(server.url, loop, store), paths


def test_every_page_shows_it_as_text(hostile):
    """Only our tags, attributes, links and scripts; no secret, nothing that steers a terminal."""
    page, paths = hostile
    for path in paths:
        bearer = {"Authorization": f"Bearer {people.OPS_TOKEN}"}
        who = bearer if path.startswith("/api/") else people.SRE
        answer = page.get(path, Accept="text/html", **who)
        is_odd = path == "/none" or (path.startswith("/api/v1/runs/") and "%2F" in path)
        assert answer.status_code == (404 if is_odd else 200), path
        assert CANARY not in answer.text
        if not answer.headers["Content-Type"].startswith("text/html"):
            continue
        leaf = PageLeaf(answer.text)
        assert leaf.tags.count("style") == 1
        assert leaf.tags.count("script") == 2
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert "1337" not in re.sub(r"[0-9a-f]{16,}", "", leaf.said)
        assert not STEERING.search(leaf.said.replace("\n", ""))
