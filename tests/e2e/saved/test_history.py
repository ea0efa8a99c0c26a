"""What was done: by whom, by which plan and commit, each call; never a value."""

from __future__ import annotations

import json
import re

import pytest
from e2e.scenarios.workplace import STORAGE, Server, Workplace
from git_repositories import commit


def test_nothing_was_done(place):
    """No state is an error with the way out; an empty one says so."""
    assert "There is no state for this target" in place.run("state", "history", code=1).err
    place.run("state", "init", code=0)
    assert "This state has no history yet" in place.run("state", "history", code=0).err
    assert place.run("state", "history", "--json", code=0).document == {"runs": []}


@pytest.fixture
def told(planned: Workplace) -> Workplace:
    """Three runs; the last one a saved plan in a CI job."""
    planned.environ["CI_JOB_URL"] = "https://ci.example.com/jobs/7"
    planned.run("apply", "next", code=0)
    return planned


def test_runs_are_listed_newest_first(told):
    """Grouped by plan, with the id that the plan's file has."""
    runs = told.run("state", "history", "--json", code=0).document["runs"]
    assert [len(run["calls"]) for run in runs] == [1, 1, 3]
    assert runs[0]["plan_id"] == told.run("show", "next", "--json", code=0).document["plan_id"]
    assert runs[0]["run"] == "https://ci.example.com/jobs/7"
    assert runs[0]["results"] == {"done": 1}
    assert "@" in runs[0]["who"]
    text = told.run("state", "history", code=0).out.splitlines()
    assert text[0].split() == ["WHEN", "PLAN", "COMMAND", "CALLS", "WHO", "COMMIT", "RUN"]
    assert [line.split()[1] for line in text[1:]] == [run["plan_id"] for run in runs]
    assert len(told.run("state", "history", "--limit", "2", code=0).out.splitlines()) == 3


def test_the_calls_of_a_run(told):
    """Named by the beginning of its plan's id; request ids are the server's."""
    (first, *_, last) = told.run("state", "history", "--json", code=0).document["runs"]
    shown = told.run("state", "history", "show", last["plan_id"][:8], "--json", code=0).document
    assert shown == last
    addresses = [call["address"] for call in shown["calls"]]
    # The storage is created beside them, and may be told last.
    assert addresses.index("plugin/yolo") < addresses.index("release/yolo@1.0.0")
    assert {call["verb"] for call in shown["calls"]} == {"create"}
    assert all(call["request_id"] and call["digest"] and call["at"] for call in shown["calls"])
    text = told.run("state", "history", "show", first["plan_id"], code=0).out
    assert f"plan: {first['plan_id']}\n" in text
    assert "run: https://ci.example.com/jobs/7\n" in text
    assert "plugin/yolo  update  1" in text


def test_the_commit_is_a_label(planned):
    """Where the project lies in Git."""
    head = commit(planned.root, with_ignored=False)
    planned.run("apply", "next", code=0)
    runs = planned.run("state", "history", "--json", code=0).document["runs"]
    assert [run["commit"] for run in runs] == [head, "", ""]
    assert head[:12] in planned.run("state", "history", code=0).out


def test_what_is_not_there(told):
    """Unknown ids, ambiguous ones, other words."""
    assert "No plan with this id" in told.run("state", "history", "show", "zzz", code=1).err
    assert (
        "Several plan ids begin with this" in told.run("state", "history", "show", "", code=1).err
    )
    for words in (["show"], ["list"], ["show", "a", "b"]):
        assert "`state history show PLAN_ID`" in told.run("state", "history", *words, code=64).err


def deeds(place: Workplace) -> list[tuple[str, str, str]]:
    """Call, address and how it ended, of the newest run."""
    newest = place.run("state", "history", "--json", code=0).document["runs"][0]
    return [(call["verb"], call["address"], call["result"]) for call in newest["calls"]]


def test_an_apply_of_moves_alone(planned: Workplace):
    """`state history show` tells them, as the message about a plan that is used up says."""
    file = planned.root / "synapse-apply.yaml"
    move = {"from": "storage/raw-data", "to": "storage/raw"}
    planned.run("apply", "next", code=0)
    planned.edit("manifests/storage.yaml", "name: raw-data", "name: raw")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"moved": [move]}))
    planned.plan("--out", "moves", code=0)
    planned.run("apply", "moves", "--allow-unsigned", code=0)
    again = planned.run("apply", "moves", "--allow-unsigned", code=4).err
    typed = re.search(r"`synapse-apply (state history show \S+ -t prod)`", again)
    assert typed is not None, again
    shown = planned.run(*typed[1].split(), code=0).out
    assert "storage/raw-data  move to storage/raw" in shown


def test_what_only_the_state_is_told(applied: Workplace, server: Server):
    """Who renamed, forgot, took over or accepted what is asked as often as who called."""
    number = str(server.objects("storage")[0]["id"])
    applied.run("state", "mv", "storage/raw-data", "storage/raw", code=0)
    assert deeds(applied) == [("move to storage/raw", "storage/raw-data", "done")]
    applied.run("state", "rm", "storage/raw", code=0)
    assert deeds(applied) == [("forget", "storage/raw", "done")]
    applied.run("import", "storage/raw-data", number, code=0)
    assert deeds(applied) == [("import", "storage/raw-data", "done")]
    applied.run("state", "accept", "storage/raw-data", "--auto-approve", code=0)
    assert deeds(applied) == [("accept", "storage/raw-data", "done")]
    (applied.root / "manifests/storage.yaml").unlink()
    applied.apply()
    assert deeds(applied) == [("forget", "storage/raw-data", "done")]
    applied.write("manifests/storage.yaml", STORAGE)
    applied.apply("--adopt")
    assert deeds(applied) == [("adopt", "storage/raw-data", "done")]
