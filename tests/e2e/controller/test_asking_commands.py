"""The commands that ask a running controller, at a server that answers what a test says."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from answering import Answer, Asked, answering
from e2e.controller.asking import TOKEN, ask, ask_at_terminal, build_problem, list_posts
from in_process import run_in_process
from installed import environment

DIGEST, OTHER_DIGEST, GUARD = (f"row1:{digit * 64}" for digit in "abc")
ROW = {
    "digest": DIGEST, "address": "storage/raw", "action": "update", "causes": ["git"],
    "summary": "update \x1b[31mname", "reason": "approval", "detail": "", "can_be_approved": True,
    "commit": "1a2b3c4d", "run": "01a2", "approvals_needed": 2, "approvals": [],
    "rejected_by": None, "rejected_reason": None,
}  # fmt: skip
DEPENDENT = {
    **ROW, "digest": OTHER_DIGEST, "address": "release/raw@1.0.0", "summary": "create",
    "reason": "dependency", "detail": "it needs storage/raw", "can_be_approved": False,
}  # fmt: skip


PLAN = {
    "resource_changes": [
        {
            "address": "storage/raw",
            "change": {"before": {}, "after": {}},
            "fields": [
                {
                    "path": "/name",
                    "sensitive": False,
                    "before": "Raw",
                    "after": "Raw\x1b[0m images",
                },
                {"path": "/configuration/key", "sensitive": True, "before": None, "after": None},
            ],
        },
        {
            "address": "release/raw@1.0.0",
            "change": {
                "before": None,
                "after": {"version": "1.0.0", "configuration": {"key": None}},
                "after_sensitive": {"configuration": {"key": True}},
                "after_unknown": {"id": True},
            },
            "package": {
                "source": "plugins/raw",
                "files": 3,
                "size": 244,
                "digest": f"pkg1:sha256:{64 * 'b'}",
            },
        },
    ]
}


class StandIn:
    """A controller of two targets; `refusals` are what its paths answer in place of a result."""

    def __init__(self) -> None:
        self.held_rows: list[dict[str, Any]] = [ROW, DEPENDENT]
        self.refusals: dict[str, Answer] = {}
        self.paused = ["acme/d*", "other/*"]

    def answer(self, asked: Asked) -> Answer:
        if asked.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, build_problem(f"Who is {asked.headers.get('Authorization')}?")
        name = asked.path.rpartition("/")[2]
        if name in self.refusals:
            return self.refusals[name]
        if asked.method == "POST":
            if name == "approve":
                approvals = [{"who": "token:ops", "counts": False, "reason": "an author of it"}]
                self.held_rows = [{**ROW, "approvals": approvals}, DEPENDENT]
            result = {"kind": "ActionResult", "action": name, "who": "token:ops"}
            return 200, {"apiVersion": "synapse-apply/v1", **result}
        if name == "holds":
            items = self.held_rows if asked.query["target"] == "acme/prod" else []
            return 200, {"kind": "HoldList", "items": items, "total": len(items)}
        if asked.path == "/api/v1/runs/01a2":
            return 200, {"kind": "Run", "id": "01a2", "plan": PLAN}
        names = ["acme/dev", "acme/prod"]
        finding = {"severity": "error", "summary": "No such \x1bref", "detail": "main\nMore"}
        return 200, {
            "kind": "TargetList",
            "items": [*map(build_target, names)],
            "total": 2,
            "source_findings": [{"source": "lab", "finding": finding}],
            "pauses": [*map(build_pause, self.paused)],
        }


def build_target(name: str) -> dict[str, Any]:
    reason = "outside its windows until 2026-12-01T09:00:00Z" if name == "acme/dev" else None
    return {
        "name": name, "state": "held" if name == "acme/prod" else "waiting", "counts": {"change": 1},
        "wanted_commit": "1a2b3c4d", "looked_at": None, "finding": None, "waiting_reason": reason,
        "hold_count": 2 if name == "acme/prod" else 0, "path": f"/targets/{name}",
        "labels": {"tier": "gold" if name == "acme/prod" else "iron", "at": "eu"},
    }  # fmt: skip


def build_pause(scope: str) -> dict[str, Any]:
    times = {"since": "2026-12-01T09:00:00Z", "until": "2026-12-01T10:00:00Z"}
    return {"scope": scope, "who": "token:ann", "reason": "freeze", **times}


@pytest.fixture
def controller() -> StandIn:
    return StandIn()


def test_the_help_names_the_variables_that_are_read(tmp_path):
    """They are written out there, since --help imports nothing that is heavy."""
    told = run_in_process(["controller", "status", "--help"], tmp_path, environment({})).stdout
    names = re.findall(r"^  ([A-Z_]+)  ", told.partition("\nEnvironment:\n")[2], re.MULTILINE)
    assert names == ["SYNAPSE_APPLY_CONTROLLER_URL", "SYNAPSE_APPLY_CONTROLLER_TOKEN"]


def test_targets_are_looked_at_by_name_and_by_pattern(tmp_path, server):
    """Each once; a pattern is what the controller has."""
    done = ask(tmp_path, server, "reconcile", "acme/*", "acme/prod")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "The controller checks acme/dev now.\nThe controller checks acme/prod now.\n"
    )
    assert list_posts(server, "reconcile") == [{"target": "acme/dev"}, {"target": "acme/prod"}]
    assert "No target matches" in ask(tmp_path, server, "reconcile", "lab/*").stderr


def test_a_label_pauses_and_resumes_the_targets_that_have_it(tmp_path, server):
    """Each by its name, as a label may be another one later; nothing is asked where none has it."""
    for verb in (["pause", "--reason", "incident"], ["resume"]):
        assert ask(tmp_path, server, *verb, "tier=gold").returncode == 0
        assert [body["scope"] for body in list_posts(server, verb[0])] == ["acme/prod"]
        done = ask(tmp_path, server, *verb, "tier=lead")
        assert done.returncode == 1
        assert "has no target that matches tier=lead" in done.stderr
        # Nor is it passed over beside another one.
        done = ask(tmp_path, server, *verb, "tier=gold", "tier=lead")
        assert (done.returncode, "matches tier=lead" in done.stderr) == (1, True)
        assert len(list_posts(server, verb[0])) == 1


def test_to_resume_a_label_ends_no_rollback_beside_a_pause(tmp_path, server, controller):
    """Without a pause, resume ends the rollback of a target: of a label only where none has one."""
    controller.paused = ["acme/dev", "acme/*"]
    assert ask(tmp_path, server, "resume", "at=eu").returncode == 0
    assert [body["scope"] for body in list_posts(server, "resume")] == ["acme/dev"]
    controller.paused = ["acme/*"]
    assert ask(tmp_path, server, "resume", "at=eu").returncode == 0
    assert [body["scope"] for body in list_posts(server, "resume")[1:]] == ["acme/dev", "acme/prod"]


def test_a_pause_has_a_reason_and_an_end(tmp_path, server):
    """A day unless said; the pattern itself is paused, not the targets that match it today."""
    assert ask(tmp_path, server, "pause", "acme/*").returncode == 64
    done = ask(tmp_path, server, "pause", "acme/*", "--reason", "freeze", "--until", "2031-05-04")
    assert re.fullmatch(r"acme/\* is paused until 2031-05-0[345]T\d\d:00:00Z\.\n", done.stdout)
    body = list_posts(server, "pause")[0]
    assert (body["scope"], body["reason"]) == ("acme/*", "freeze")
    assert re.fullmatch(r"2031-05-0[345]T\d\d:00:00\+00:00", body["until"])
    assert ask(tmp_path, server, "pause", "acme/dev", "--reason", "x").returncode == 0
    both = ("--for", "1d", "--until", "2031-05-04", "--reason", "x")
    assert ask(tmp_path, server, "pause", "acme/dev", *both).returncode == 64
    assert ask(tmp_path, server, "pause", "a/b", "--reason", "x", "--for", "soon").returncode == 64
    assert (
        ask(tmp_path, server, "resume", "acme/*").stdout
        == "acme/* is no longer paused, rolled back or braked.\n"
    )


def test_one_refusal_does_not_keep_the_others_from_being_asked(tmp_path, server, controller):
    """The controller's words are shown, on one line and without what steers a terminal."""
    controller.refusals["resume"] = 409, build_problem("Pause not found\x1b[31m")
    done = ask(tmp_path, server, "resume", "acme/dev", "acme/prod")
    assert done.returncode == 1
    assert done.stderr.count("Error: Pause not found\\u001b[31m") == 2
    assert len(list_posts(server, "resume")) == 2


class FleetStandIn(StandIn):
    """120 targets, each with the row and the guard of another; one approval is refused."""

    names = tuple(f"acme/prod-{number:03}" for number in range(120))

    def answer(self, asked: Asked) -> Answer:
        name = asked.path.rpartition("/")[2]
        if asked.method == "POST" and asked.body["target"] == "acme/prod-007":
            return 409, build_problem("A row differs")
        if asked.method == "GET" and name == "holds":
            items = [self.row_of(asked.query["target"])]
            return 200, {"kind": "HoldList", "items": items, "total": 1}
        if asked.method == "GET" and name == "targets":
            items = [*map(build_target, self.names)]
            return 200, {"kind": "TargetList", "items": items, "total": len(items)}
        return super().answer(asked)

    def row_of(self, target: str) -> dict[str, Any]:
        summary = "update label" if target.endswith("-119") else "update name"
        return {**ROW, "summary": summary, "digest": f"row1:{int(target[-3:]):064x}"}


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_one_answer_is_for_the_rows_of_many_targets(tmp_path, verb):
    """Equal rows are shown once, with the names; each target gets the digest that was shown of it."""
    fleet = FleetStandIn()
    reason = ["--reason", "late"] if verb == "reject" else []
    with answering(fleet.answer) as server:
        code, said = ask_at_terminal(tmp_path, server, "yes\n", verb, "acme/*", *reason)
        assert code == 5
        assert "1 row of each of 119 targets await approval:" in said
        assert said.count("storage/raw: update name") == 1
        assert said.count("storage/raw: update label") == 1
        assert all(f"\n  {name}\n" in said for name in fleet.names[:-1])
        assert "1 row of acme/prod-119 awaits approval:" in said
        assert f"{verb.capitalize()} 120 rows of acme/*?" in said
        assert said.count("A row differs") == 1
        posts = list_posts(server, verb)
        assert sorted(post["target"] for post in posts) == [*fleet.names]
        assert all(post["rows"] == [fleet.row_of(post["target"])["digest"]] for post in posts)
        code, said = ask_at_terminal(tmp_path, server, "no\n", verb, "acme/*", *reason)
        assert (code, len(list_posts(server, verb))) == (1, 120)


def test_a_row_that_was_rejected_keeps_its_reason(tmp_path, server, controller):
    """Only its digest rejects it again; without it, the rest is shown and asked for."""
    rejected = {"rejected_by": "token:bob", "rejected_reason": "too early"}
    controller.held_rows = [{**ROW, **rejected}, {**ROW, "digest": OTHER_DIGEST}]
    typed = ["reject", "acme/prod", "--reason", "late"]
    code, said = ask_at_terminal(tmp_path, server, "yes\n", *typed)
    assert (code, "1 row of acme/prod awaits approval:" in said) == (0, True)
    assert list_posts(server, "reject")[-1]["rows"] == [OTHER_DIGEST]
    controller.held_rows = controller.held_rows[:1]
    assert "No row of acme/prod awaits approval." in ask(tmp_path, server, *typed).stdout
    ask(tmp_path, server, *typed, "--row", DIGEST)
    assert [post["rows"] for post in list_posts(server, "reject")] == [[OTHER_DIGEST], [DIGEST]]


@pytest.mark.parametrize("is_kept", [True, False], ids=["long values", "plans not kept"])
def test_rows_that_may_differ_are_shown_apart(tmp_path, is_kept):
    """By what is left out of a long value, or by a plan that is too large to be kept."""

    class Fleet(FleetStandIn):
        names = ("acme/prod-001", "acme/prod-002")

        def row_of(self, target: str) -> dict[str, Any]:
            return super().row_of(target) | {"run": target[-3:]}

        def answer(self, asked: Asked) -> Answer:
            if "/runs/" not in asked.path:
                return super().answer(asked)
            field = {"path": "/name", "sensitive": False, "before": "Raw"}
            field["after"] = "x" * 3000 + asked.path[-3:]
            change = {**PLAN["resource_changes"][0], "fields": [field]}
            return 200, {"kind": "Run", "plan": {"resource_changes": [change]} if is_kept else None}

    with answering(Fleet().answer) as server:
        code, said = ask_at_terminal(tmp_path, server, "no\n", "approve", "acme/*")
        assert code == 1
        for name in Fleet.names:
            assert f"1 row of {name} awaits approval:" in said
            assert f"The whole plan: {server.url}/targets/{name}" in said
        unread = said.count("could not read what some rows change. Review them on the page first.")
        assert unread == (0 if is_kept else 2)


def test_a_script_names_each_row_of_many_targets(tmp_path):
    """It is shown each digest; what it does not name is not approved."""
    fleet = FleetStandIn()
    with answering(fleet.answer) as server:
        shown = ask(tmp_path, server, "approve", "acme/prod-01*")
        assert (shown.returncode, "no terminal" in shown.stderr) == (1, True)
        digests = re.findall(r"row1:\w+", shown.stdout)
        assert digests == [fleet.row_of(name)["digest"] for name in fleet.names[10:20]]
        assert list_posts(server) == []
        rows = [word for digest in digests[:3] for word in ("--row", digest)]
        assert ask(tmp_path, server, "approve", "acme/*", *rows).returncode == 0
        assert [post["target"] for post in list_posts(server)] == [*fleet.names[10:13]]


def test_a_script_approves_the_rows_that_it_names(tmp_path, server):
    """By whole digests; what does not wait, or nobody can approve, is not sent."""
    shown = ask(tmp_path, server, "approve", "acme/prod")
    assert shown.returncode == 1
    assert DIGEST in shown.stdout
    assert OTHER_DIGEST not in shown.stdout
    assert "update \\u001b[31mname" in shown.stdout
    assert "reason: it needs storage/raw" in shown.stdout
    assert "could not read what some rows change" not in shown.stdout
    for line in (
        'name: "Raw" -> "Raw\\u001b[0m images"',
        "configuration.key: (sensitive) -> (sensitive)",
        'version: "1.0.0"',
        "configuration.key: (sensitive)",
        "id: (known after apply)",
        "package: plugins/raw, 3 files, 244 B, pkg1:sha256:bbbbbbbbbbbb...",
    ):
        assert f"\n      {line}\n" in shown.stdout
    assert "--row" in shown.stderr
    assert ask(tmp_path, server, "approve", "acme/prod", "--row", DIGEST[:20]).returncode == 64
    assert ask(tmp_path, server, "approve", "acme/prod", "--row", GUARD).returncode == 4
    assert ask(tmp_path, server, "approve", "acme/prod", "--row", OTHER_DIGEST).returncode == 5
    assert list_posts(server, "approve") == []
    done = ask(tmp_path, server, "approve", "acme/prod", "--row", DIGEST)
    assert done.returncode == 0, done.stderr
    assert list_posts(server, "approve") == [{"target": "acme/prod", "rows": [DIGEST]}]
    assert "Approved 1 row of acme/prod as token:ops." in done.stdout
    assert "storage/raw: your approval does not count: an author of it." in done.stdout
    assert "storage/raw: 2 more approvals needed." in done.stdout
    for verb in (["approve"], ["reject", "--reason", "x"]):
        done = ask(tmp_path, server, *verb, "acme/mistyped-*")
        assert (done.returncode, "No target matches" in done.stderr) == (1, True)
    done = ask(tmp_path, server, "approve", "acme/dev")
    assert (done.returncode, done.stdout) == (0, "No row of acme/dev awaits approval.\n")


def test_a_plan_that_cannot_be_read_does_not_keep_rows_from_being_shown(
    tmp_path, server, controller
):
    """Its address is there, where all of it can be seen."""
    controller.refusals["01a2"] = 404, build_problem("No such run")
    shown = ask(tmp_path, server, "approve", "acme/prod").stdout
    assert DIGEST in shown
    assert "could not read what some rows change" in shown
    assert f"{server.url}/targets/acme/prod" in shown


def test_a_guard_is_shown_as_one_with_the_rows_that_it_stops(tmp_path, server, controller):
    """It has the digest; what it stops says so, and is approved with it."""
    guard = {
        **ROW, "digest": GUARD, "address": "mass-missing", "action": "guard", "causes": [],
        "summary": "Many objects are missing", "reason": "guard",
    }  # fmt: skip
    stopped = {**ROW, "reason": "guard", "detail": "stopped by mass-missing"}
    controller.held_rows = [{**stopped, "can_be_approved": False}, guard]
    shown = ask(tmp_path, server, "approve", "acme/prod").stdout
    assert "reason: stopped by mass-missing" in shown
    assert "guard mass-missing: Many objects are missing" in shown
    assert re.findall(r"row1:\w+", shown) == [GUARD]


def test_what_differs_by_the_time_it_is_approved_is_stale(tmp_path, controller):
    """The controller has the last word: exit code 4."""

    def answer_and_change(asked: Asked) -> Answer:
        if asked.method == "POST" and asked.headers.get("Authorization") == f"Bearer {TOKEN}":
            controller.held_rows = [DEPENDENT]
            return 409, build_problem("A row differs")
        return controller.answer(asked)

    with answering(answer_and_change) as server:
        done = ask(tmp_path, server, "approve", "acme/prod", "--row", DIGEST)
    assert (done.returncode, "A row differs" in done.stderr) == (4, True)


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_who_may_not_decide_on_what_waits_is_refused(tmp_path, server, controller, verb):
    """The rows still wait as they were shown: exit code 5, as the help says."""
    controller.refusals[verb] = 409, build_problem("Refused as asked")
    reason = ("--reason", "wrong") if verb == "reject" else ()
    done = ask(tmp_path, server, verb, "acme/prod", "--row", DIGEST, *reason)
    assert (done.returncode, "Refused as asked" in done.stderr) == (5, True)
    exits = ask(tmp_path, server, verb, "--help").stdout.partition("Exit codes")[2]
    assert "\n  5 " in exits, exits


def test_rows_of_other_people_are_shown_and_left_to_them(tmp_path, server, controller):
    """Whose approval is needed stands beside them."""
    theirs = {
        **ROW, "digest": OTHER_DIGEST, "address": "release/raw@1.0.0", "is_yours": False,
        "approvers": "2 of group:leads", "is_irreversible": True,
    }  # fmt: skip
    controller.held_rows = [theirs, ROW]
    done, shown = ask_at_terminal(tmp_path, server, "yes\n", "approve", "acme/prod")
    assert done == 0, shown
    assert "cannot be undone" in shown
    assert "needs: 2 of group:leads" in shown
    assert "cannot be approved by you" in shown
    assert list_posts(server, "approve") == [{"target": "acme/prod", "rows": [DIGEST]}]


@pytest.mark.parametrize(("answer", "code"), [("yes\n", 0), ("no\n", 1)])
def test_at_a_terminal_the_rows_are_shown_and_then_asked_for(tmp_path, server, answer, code):
    """Only those that can be approved are sent, and only after `yes`."""
    done, shown = ask_at_terminal(tmp_path, server, answer, "approve", "acme/prod")
    assert done == code, shown
    assert DIGEST not in shown
    assert shown.index(f"{DIGEST[:17]}\n") < shown.index("Approve 1 row of acme/prod?")
    assert len(list_posts(server, "approve")) == (1 if code == 0 else 0)


def test_a_rejection_has_a_reason(tmp_path, server):
    """Any waiting row can be rejected, also one that waits for another."""
    row_options = ("--row", DIGEST, "--row", OTHER_DIGEST)
    done = ask(tmp_path, server, "reject", "acme/prod", *row_options, "--reason", "wrong")
    assert done.stdout == "Rejected 2 rows of acme/prod as token:ops.\n"
    body = {"target": "acme/prod", "rows": [DIGEST, OTHER_DIGEST], "reason": "wrong"}
    assert list_posts(server, "reject") == [body]


def test_the_status_says_why_targets_wait(tmp_path, server):
    """What is held and what a target waits for stand in the last column."""
    shown = ask(tmp_path, server, "status").stdout
    assert re.search(
        r"^awaiting approval +acme/prod .* 2 rows await approval$", shown, re.MULTILINE
    )
    assert re.search(r"^waiting +acme/dev .* outside its windows until \S+$", shown, re.MULTILINE)


@pytest.mark.parametrize(
    ("typed", "scopes"),
    [([], ["acme/d*", "other/*"]), (["acme/dev"], ["acme/d*"]), (["acme/prod"], [])],
    ids=str,
)
def test_the_status_lists_the_pauses_of_what_it_shows(tmp_path, server, typed, scopes):
    shown = ask(tmp_path, server, "status", *typed).stdout
    assert re.findall(
        r"(\S+) is paused by token:ann until 2026-12-01T10:00:00Z: freeze", shown
    ) == (scopes)
    document = json.loads(ask(tmp_path, server, "status", "--json", *typed).stdout)
    assert [pause["scope"] for pause in document["pauses"]] == scopes


def test_the_status_says_which_sources_cannot_be_followed(tmp_path, server):
    """Before the targets, whose state may be old then; `--json` has it, too."""
    shown = ask(tmp_path, server, "status").stdout
    assert re.search(r"^lab +No such \S*ref +main$", shown, re.MULTILINE)
    assert "\x1b" not in shown
    document = json.loads(ask(tmp_path, server, "status", "--json").stdout)
    assert [entry["source"] for entry in document["source_findings"]] == ["lab"]


def test_the_token_stays_where_it_belongs(tmp_path, server):
    """Not over plain http, not after a redirect, not on a screen; without one it is asked for."""
    done = ask(tmp_path, server, "status", "--url", "http://controller.example")
    assert (done.returncode, "plain http" in done.stderr) == (1, True)
    done = ask(tmp_path, server, "reconcile", "acme/prod", token="another-token-that-is-wrong")
    assert (done.returncode, "rejects the token" in done.stderr) == (1, True)
    assert "Who is Bearer" not in done.stderr
    done = ask(tmp_path, server, "reconcile", "acme/prod", token="two words")
    assert "Invalid token" in done.stderr
    with answering(lambda _: (302, {}, {"Location": server.url})) as elsewhere:
        before = len(server.asked)
        done = ask(tmp_path, elsewhere, "reconcile", "acme/prod")
        assert "does not come from a controller" in done.stderr
        assert len(server.asked) == before
    with answering(lambda _: (401, {})) as elsewhere:
        done = ask(tmp_path, elsewhere, "status", token="")
        assert "SYNAPSE_APPLY_CONTROLLER_TOKEN is not set" in done.stderr


def test_a_lost_answer_is_an_unknown_outcome(tmp_path):
    """Whether it was done can be told by the controller alone: exit code 7."""
    with answering(
        lambda _: (200, b"{", {"Content-Length": "9", "Connection": "close"})
    ) as breaking:
        done = ask(tmp_path, breaking, "reconcile", "acme/prod")
        assert (done.returncode, "did not confirm the action" in done.stderr) == (7, True)
        assert ask(tmp_path, breaking, "status").returncode == 1


@pytest.mark.parametrize(
    "document",
    [
        [], {}, {"kind": "HoldList", "items": [{}]}, {"kind": "HoldList", "items": {}},
        {"kind": "HoldList", "items": [{**ROW, "can_be_approved": "yes"}], "total": 1},
        {"kind": "HoldList", "items": [ROW], "total": True},
        {"kind": "HoldList", "items": [ROW], "total": 10**30},
        {"kind": "HoldList", "items": [{**ROW, "causes": [1]}], "total": 1},
        {"kind": "TargetList", "items": [], "total": 0},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_odd_answers_are_not_believed(tmp_path, server, controller, document):
    """An answer that lacks what is shown of it is another server's."""
    controller.refusals["holds"] = 200, document
    done = ask(tmp_path, server, "approve", "acme/prod", "--row", DIGEST)
    assert (done.returncode, "does not come from a controller" in done.stderr) == (1, True)
    assert list_posts(server, "approve") == []


def test_a_list_of_targets_that_lacks_what_is_optional_is_printed(tmp_path):
    target = {"name": "acme/dev", "source": "acme", "state": "held", "counts": {}}
    answer = {"kind": "TargetList", "items": [target], "total": 1}
    with answering(lambda _: (200, answer)) as sparse:
        done = ask(tmp_path, sparse, "status")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^awaiting approval +acme/dev +- +- +-", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("typed", ["reconcile acme/prod", "approve a/b", "resume a/b"])
def test_an_address_is_asked_for(tmp_path, typed):
    """Nothing is guessed: another program may listen on the usual port."""
    done = run_in_process(["controller", *typed.split()], tmp_path, environment({}))
    assert done.returncode == 64
    assert "--url URL" in done.stderr


@pytest.mark.parametrize(("answer", "code"), [("yes\n", 0), ("no\n", 1)])
def test_a_rollback_is_shown_and_then_asked_for(tmp_path, answer, code):
    """Once it is planned; what cannot go back comes first, and only what was shown is sent."""
    rows = [
        {"address": "release/raw@1.0.0", "action": "delete", "summary": "cannot delete", "effect": "refused",
         "detail": "API v1 \x1b[31mcannot."},
        {"address": "storage/raw", "action": "update", "summary": "update name", "effect": "held", "detail": ""},
    ]  # fmt: skip
    head = {"apiVersion": "synapse-apply/v1", "target": "acme/prod"}
    plan = {**head, "kind": "RollbackPlan", "commit": "c" * 40, "rows": rows}
    answers = [
        {**plan, "digest": None, "rows": []},
        {**plan, "digest": "d" * 64},
        {**head, "kind": "ActionResult", "action": "rollback", "scope": None, "rows": [], "who": "token:ops", "until": None},
    ]  # fmt: skip
    with answering(lambda _: (200, answers.pop(0))) as server:
        words = ("rollback", "acme/prod", "ccccccc", "--reason", "slow")
        done, shown = ask_at_terminal(tmp_path, server, answer, *words)
        bodies = list_posts(server, "rollback")
    assert done == code, shown
    assert shown.index("cannot go back: release/raw@1.0.0: cannot delete") < shown.index(
        "needs approval: storage/raw: update name"
    )
    assert "API v1 \\u001b[31mcannot." in shown
    assert f"Roll acme/prod back to {'c' * 12}?" in shown
    asked = {"target": "acme/prod", "revision": "ccccccc", "reason": "slow"}
    agreed = {**asked, "revision": "c" * 40, "plan": "d" * 64}
    assert bodies == [asked, asked, *[agreed] * (code == 0)]


def test_a_rollback_that_another_replica_has_to_plan(tmp_path):
    """Nothing of the first one's memory is known there: it is asked until it has the plan, too."""
    head = {"apiVersion": "synapse-apply/v1", "target": "acme/prod"}
    plan = {**head, "kind": "RollbackPlan", "commit": "c" * 40, "digest": "d" * 64, "rows": []}
    answers = [
        plan,
        {**plan, "digest": None},
        {**head, "kind": "ActionResult", "action": "rollback", "scope": None, "rows": [], "who": "token:ops", "until": None},
    ]  # fmt: skip
    with answering(lambda _: (200, answers.pop(0))) as server:
        words = ("rollback", "acme/prod", "ccccccc", "--reason", "slow", "--auto-approve")
        done = ask(tmp_path, server, *words)
        bodies = list_posts(server, "rollback")
    assert (done.returncode, done.stderr) == (0, "")
    assert [body.get("plan") for body in bodies] == [None, "d" * 64, "d" * 64]
