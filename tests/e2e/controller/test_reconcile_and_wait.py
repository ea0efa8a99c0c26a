"""`controller reconcile --wait`, and what a shell completes, at a server that says what a test sets."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from answering import Answer, Answering, Asked
from e2e.controller.asking import TOKEN, ask
from in_process import run_in_process
from installed import environment

NO_CALLS = {"done": 0, "failed": 0, "unknown": 0, "skipped": 0}


def build_target(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name, "source": "acme", "state": "in sync", "counts": {}, "wanted_commit": "1a2b3c4d",
        "looked_at": None, "finding": None, "waiting_reason": None, "hold_count": 0, "mode": "auto",
        "path": f"/targets/{name}", "due_cause": "interval", "is_claimed": False, **fields,
    }  # fmt: skip


class StandIn:
    """A controller that shows a target as one after the other of `shown`, then as the last."""

    def __init__(self) -> None:
        self.shown: list[dict[str, Any]] = [build_target("acme/prod")]
        self.is_up_to_date = [True]
        self.runs: list[dict[str, Any]] = []
        self.may_answer = Event()
        self.may_answer.set()
        self.finding: dict[str, str] = {}

    def answer(self, asked: Asked) -> Answer:
        self.may_answer.wait(60)
        if asked.method == "POST":
            return 200, {"kind": "ActionResult", "action": "reconcile", "who": "token:ops"}
        if asked.path == "/api/v1/runs":
            return 200, {"kind": "RunList", "items": self.runs}
        if "target" not in asked.query:
            names = ["acme/dev", "acme/prod", "acme/$(touch x)"]
            items = [build_target(name) for name in names if asked.query["q"] in name]
            return 200, {"kind": "TargetList", "items": items, "total": len(items)}
        item = self.shown.pop(0) if len(self.shown) > 1 else self.shown[0]
        is_fetched = self.is_up_to_date.pop(0) if len(self.is_up_to_date) > 1 else True
        sources = [{"name": "acme", "is_up_to_date": is_fetched}]
        items = [item] if item["name"] == asked.query["target"] else []
        findings = [{"source": "acme", "finding": self.finding}] if self.finding else []
        document = {"kind": "TargetList", "items": items, "total": 1, "sources": sources}
        return 200, {**document, "source_findings": findings}


@pytest.fixture
def controller() -> StandIn:
    return StandIn()


def test_it_waits_for_the_fetch_the_apply_and_the_look_after_it(tmp_path, server, controller):
    """Nothing in between is taken for the end, however it looks."""
    in_sync, held = build_target("acme/prod"), {"state": "held", "hold_count": 1}
    controller.is_up_to_date = [False, True]
    controller.shown = [
        in_sync,
        {**in_sync, "due_cause": "asked"},
        {**in_sync, "due_cause": "interval", "is_claimed": True},
        {**in_sync, "due_cause": "applied"},
        build_target("acme/prod", **held),
    ]
    done = ask(tmp_path, server, "reconcile", "acme/prod", "--wait")
    assert done.returncode == 0, done.stderr
    assert "The controller checks acme/prod now.\n" in done.stdout
    assert "1 row awaits approval" in done.stdout
    assert len([asked for asked in server.asked if "target" in asked.query]) == 5


def test_it_says_the_rows_of_the_apply_as_they_begin_and_end(tmp_path, server, controller):
    """Each once, however often the controller is asked meanwhile."""
    call = {"number": 1, "total": 2, "address": "storage/a", "action": "create", "seconds": 0}
    call |= {"began_at": "2026-12-01T09:00:00Z", "result": None}
    ended = {**call, "result": "done", "seconds": 1.5}
    other = {**call, "number": 2, "address": "storage/b\x1b[0m"}
    controller.shown = [
        build_target("acme/prod", is_claimed=True, running_calls=calls)
        for calls in ([], [call], [call], [ended, other])
    ]
    controller.shown.append(build_target("acme/prod"))
    done = ask(tmp_path, server, "reconcile", "acme/prod", "--wait")
    assert [line for line in done.stdout.splitlines() if ", row " in line] == [
        "acme/prod, row 1 of 2: create storage/a: running",
        "acme/prod, row 1 of 2: create storage/a: done (1.5s)",
        "acme/prod, row 2 of 2: create storage/b\\u001b[0m: running",
    ]


@pytest.mark.parametrize(
    ("fields", "run", "code"),
    [
        ({"state": "pending"}, None, 0),
        ({"state": "refused"}, None, 5),
        ({"state": "refused", "mode": "observe"}, None, 0),
        ({"state": "unknown"}, None, 7),
        ({"state": "not looked at"}, None, 1),
        ({"state": "failing"}, ("look", "plan_error", NO_CALLS), 1),
        ({"state": "failing"}, ("apply", "apply_failed", {**NO_CALLS, "failed": 1}), 3),
        ({"state": "failing"}, ("apply", "apply_failed", {**NO_CALLS, "unknown": 1}), 7),
    ],
)
def test_the_exit_code_is_that_of_what_became_of_it(
    tmp_path, server, controller, fields, run, code
):
    controller.shown = [build_target("acme/prod", **fields)]
    if run is not None:
        controller.runs = [dict(zip(("verb", "outcome", "calls"), run, strict=True))]
    done = ask(tmp_path, server, "reconcile", "acme/prod", "--wait")
    assert (done.returncode, fields["state"].replace("looked at", "checked") in done.stdout) == (
        code,
        True,
    ), done.stderr


def test_a_source_that_cannot_be_read_is_an_error(tmp_path, server, controller):
    """The target may be in sync, with what was pushed before."""
    controller.finding = {"severity": "error", "summary": "The repository cannot be read"}
    done = ask(tmp_path, server, "reconcile", "acme/prod", "--wait")
    assert (done.returncode, "The repository cannot be read" in done.stdout) == (1, True)
    controller.finding = {"severity": "warning", "summary": "The branch was rewound"}
    done = ask(tmp_path, server, "reconcile", "acme/prod", "--wait")
    assert (done.returncode, "The branch was rewound" in done.stdout) == (0, True)


def test_what_is_not_done_in_time_is_an_error(tmp_path, server, controller):
    """A finding, and no target printed that may look as if it were done."""
    controller.shown = [build_target("acme/prod", due_cause="asked")]
    done = ask(tmp_path, server, "reconcile", "acme/prod", "--wait", "--timeout", "1s")
    assert done.returncode == 1
    assert "A check or an apply of acme/prod has not ended" in done.stderr
    assert "in sync" not in done.stdout
    assert ask(tmp_path, server, "reconcile", "acme/prod", "--timeout", "1s").returncode == 64
    gone = ask(tmp_path, server, "reconcile", "acme/other", "--wait")
    assert (gone.returncode, "Target not found" in gone.stderr) == (1, True)


def complete(server: Answering, words: str, **variables: str) -> list[str]:
    """What a shell gets for the last of these words."""
    given = {
        "_SYNAPSE_APPLY_COMPLETE": "bash_complete",
        "COMP_WORDS": f"synapse-apply controller {words}",
        "COMP_CWORD": f"{len(words.split()) + 1}",
        "SYNAPSE_APPLY_CONTROLLER_URL": server.url,
        "SYNAPSE_APPLY_CONTROLLER_TOKEN": TOKEN,
        **variables,
    }
    done = run_in_process([], Path(os.devnull).parent, environment(given))
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.split()]


def test_targets_of_the_running_controller_are_completed(server, controller):
    """Those that a shell can take as they are; nothing, soon, where it does not answer."""
    assert complete(server, "approve acme/p") == ["acme/prod"]
    assert complete(server, "reconcile acme/dev acme/") == ["acme/dev", "acme/prod"]
    assert complete(server, f"pause --url {server.url} acme/", SYNAPSE_APPLY_CONTROLLER_URL="") == [
        "acme/dev",
        "acme/prod",
    ]
    assert (
        complete(server, "approve acme/p", SYNAPSE_APPLY_CONTROLLER_URL="http://127.0.0.1:9") == []
    )
    controller.may_answer.clear()
    assert complete(server, "resume acme/p") == []
    controller.may_answer.set()
