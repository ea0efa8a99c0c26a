"""`controller rollout`, at a server that answers what a test says."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from answering import Answer, Answering, Asked
from e2e.controller import asking
from e2e.controller.asking import TOKEN, build_problem, list_posts

COMMIT = "3b92d7c4" * 5
ALL_WAVES = {
    "targets": None, "labels": None, "soak": 600, "max_parallel": None, "approve": False,
    "opened_at": None, "closed_at": None, "approved_by": None, "closed_by": None, "reason": None,
}  # fmt: skip


def build_wave(number: int, state: str, target_states: dict[str, int], **more: Any) -> Any:
    count = sum(target_states.values())
    return {
        **ALL_WAVES, "wave": number, "state": state, "target_count": count, "failed_count": 0,
        "max_failures": 2, "target_states": target_states,
        "revisions": [{"commit": COMMIT, "target_count": count}], **more,
    }  # fmt: skip


WAVES = [
    build_wave(1, "skipped", {"shown": 1, "failing": 1}, closed_by="proxy:ann", reason="known"),
    build_wave(2, "open", {"held": 1, "shown": 3}, failed_count=1),
    build_wave(3, "not yet", {"not yet": 6}, revisions=[{"commit": None, "target_count": 6}]),
]
ROLLOUT = {
    "name": "fleet", "source": "acme", "state": "running", "needs_person": False, "commit": COMMIT,
    "number": 7, "subject": "Raise \x1b[31mthe limit", "wave": 2, "wave_count": 3,
    "description": "wave 2 of 3: 3 of 4 healthy, 1 awaiting approval: eu-4", "waiting_head": None,
    "begun_at": None, "state_since": "2026-11-27T07:00:00Z", "state_by": None,
    "state_reason": None, "waves": WAVES, "path": "/rollouts/fleet",
}  # fmt: skip
TARGETS = [{"target": f"acme/eu-{number}", "wave": 2, "state": "shown"} for number in range(1250)]
COMMANDS = {
    "approve": ["--wave", "2"],
    "resume": [],
    "skip": ["--wave", "2", "--reason", "it is rebuilt"],
    "abort": ["--reason", "wrong bytes"],
}
STATES = {"approve": "waiting for approval", "resume": "stopped", "skip": "running",
          "abort": "running"}  # fmt: skip


class StandIn:
    """A controller with one rollout; `refusal` is what each POST is answered in place of done."""

    def __init__(self) -> None:
        self.rollout: dict[str, Any] = dict(ROLLOUT)
        self.after_refusal: dict[str, Any] = {}
        self.refusal: Answer | None = None

    def answer(self, asked: Asked) -> Answer:
        if asked.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {}
        if asked.method == "POST":
            if self.refusal is not None:
                self.rollout |= self.after_refusal
                return self.refusal
            return 200, {"kind": "RolloutResult", "who": "token:ops"}
        if asked.path == "/api/v1/rollouts":
            return 200, {"kind": "RolloutList", "items": [self.rollout]}
        if asked.path != "/api/v1/rollouts/fleet":
            return 404, build_problem("Not found")
        offset, limit = (int(asked.query.get(name, "0")) for name in ("offset", "limit"))
        items = TARGETS[offset : offset + limit]
        return 200, {**self.rollout, "kind": "Rollout", "items": items, "total": len(TARGETS),
                     "offset": offset}  # fmt: skip


@pytest.fixture
def controller() -> StandIn:
    return StandIn()


def ask(folder: Path, server: Answering, *typed: str) -> subprocess.CompletedProcess[str]:
    """Run `controller rollout TYPED`; its output has nothing that steers a terminal."""
    done = asking.ask(folder, server, "rollout", *typed)
    assert "\x1b" not in done.stdout
    return done


def test_the_status_says_which_revision_is_where(tmp_path, server):
    """A line a wave; without a name a line a rollout."""
    shown = ask(tmp_path, server, "status", "fleet").stdout
    assert f"fleet: revision {COMMIT} Raise \\u001b[31mthe limit\n" in shown
    assert "\nwave 2 of 3: 3 of 4 healthy, 1 awaiting approval: eu-4\n" in shown
    assert re.search(r"^1 +skipped +1 of 2 .*skipped by proxy:ann: known$", shown, re.MULTILINE)
    assert re.search(
        r"^2 +open +3 of 4 +3b92d7c \(4\) +1 awaiting approval; 1 failed, 2 allowed$",
        shown,
        re.MULTILINE,
    )
    assert re.search(r"^3 +not yet +0 of 6 +none \(6\) +6 not yet$", shown, re.MULTILINE)
    listed = ask(tmp_path, server, "status").stdout
    assert re.search(
        r"^running +fleet +3b92d7c .* 1 awaiting approval: eu-4$", listed, re.MULTILINE
    )


def test_the_status_as_json_has_every_target(tmp_path, server):
    document = json.loads(ask(tmp_path, server, "status", "fleet", "--json").stdout)
    assert document["kind"] == "Rollout"
    assert document["items"] == TARGETS
    listed = json.loads(ask(tmp_path, server, "status", "--json").stdout)
    assert [item["name"] for item in listed["items"]] == ["fleet"]


def test_a_rollout_that_is_not_there_is_an_error(tmp_path, server, controller):
    done = ask(tmp_path, server, "status", "none")
    assert (done.returncode, "Not found" in done.stderr) == (1, True)
    controller.rollout["waves"] = [{"wave": "x"}]
    done = ask(tmp_path, server, "status", "fleet")
    assert (done.returncode, "does not come from a controller" in done.stderr) == (1, True)


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_script_decides_on_the_revision_that_it_names(tmp_path, server, controller, verb):
    """Without one nothing is sent; with another one, or another wave, it is stale."""
    controller.rollout["state"] = STATES[verb]
    rest = [word for word in COMMANDS[verb] if verb != "skip" or word not in {"--wave", "2"}]
    done = ask(tmp_path, server, verb, "fleet", *(rest if verb != "approve" else []))
    assert (done.returncode, "--revision" in done.stderr) == (1, True)
    typed = [verb, "fleet", *COMMANDS[verb], "--revision"]
    assert ask(tmp_path, server, *typed, "1a2b3c4d" * 5).returncode == 4
    # Another commit of the same author may have all digits but one.
    assert ask(tmp_path, server, *typed, COMMIT[:-1] + "5").returncode == 4
    assert ask(tmp_path, server, *typed, COMMIT[:-1]).returncode == 64
    if "--wave" in typed:
        other = ["3" if word == "2" else word for word in typed]
        assert ask(tmp_path, server, *other, COMMIT).returncode == 4
        assert ask(tmp_path, server, *[verb, "fleet", *COMMANDS[verb]]).returncode == 64
    assert list_posts(server) == []
    done = ask(tmp_path, server, *typed, COMMIT.upper())
    assert done.returncode == 0, done.stderr
    assert "token:ops " in done.stdout
    (body,) = list_posts(server)
    assert server.asked[-1].path == f"/api/v1/rollouts/fleet/{verb}"
    assert body["number"] == 7
    assert body.get("wave") == (2 if "--wave" in typed else None)
    assert body.get("reason") == (COMMANDS[verb][-1] if "--reason" in typed else None)


@pytest.mark.parametrize("verb", ["approve", "resume", "skip", "abort"])
def test_what_its_state_forbids_is_not_sent(tmp_path, server, controller, verb):
    controller.rollout["state"] = "done"
    done = ask(tmp_path, server, verb, "fleet", *COMMANDS[verb], "--revision", COMMIT)
    assert (done.returncode, "The rollout is done" in done.stderr) == (5, True)
    assert list_posts(server) == []


@pytest.mark.parametrize(("after", "code"), [({"number": 8}, 4), ({"wave": 3}, 4), ({}, 5)])
def test_the_controller_has_the_last_word(tmp_path, server, controller, after, code):
    """Stale where it goes on with something else by then, refused where it stands as shown."""
    controller.refusal = 409, build_problem("Not now")
    controller.after_refusal = after
    done = ask(tmp_path, server, "skip", "fleet", *COMMANDS["skip"], "--revision", COMMIT)
    assert (done.returncode, "Not now" in done.stderr) == (code, True)


def test_who_has_no_right_is_told_so(tmp_path, server, controller):
    controller.refusal = 403, build_problem("Permission denied")
    done = ask(tmp_path, server, "abort", "fleet", "--reason", "x", "--revision", COMMIT)
    assert (done.returncode, "Permission denied" in done.stderr) == (1, True)


@pytest.mark.parametrize(("answer", "code"), [("yes\n", 0), ("no\n", 1)])
def test_at_a_terminal_it_is_shown_and_then_asked_for(tmp_path, server, answer, code):
    typed = ("rollout", "abort", "fleet", "--reason", "x")
    done, shown = asking.ask_at_terminal(tmp_path, server, answer, *typed)
    assert done == code, shown
    assert shown.index("3 of 4 healthy") < shown.index("End the rollout of this revision")
    assert len(list_posts(server)) == (1 if code == 0 else 0)
