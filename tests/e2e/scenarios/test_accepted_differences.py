"""`state accept`: what still differs is listed, asked for, counted everywhere, and undone."""

from __future__ import annotations

import re

import pytest

FIELD = "configuration.base_path"
NAMED = f"1 accepted difference (storage/raw-data: {FIELD})."


@pytest.fixture
def differing(applied):
    """A storage edited in Git: this API cannot change it, so that the plan refuses."""
    applied.edit("manifests/storage.yaml", "/data/raw", "/data/new")
    applied.plan("--detailed-exitcode", code=2)
    return applied


def accept(place, *more, code=0):
    return place.run("state", "accept", "storage/raw-data", *more, code=code)


def test_accepting_lists_what_differs_and_needs_a_yes(differing):
    """Where nobody can be asked nothing is accepted, and the difference is told all the same."""
    ran = accept(differing, code=1)
    assert "storage/raw-data differs (live -> declared):" in ran.out
    assert '"/data/raw" -> "/data/new"' in ran.out
    assert "--auto-approve" in ran.err
    differing.plan("--detailed-exitcode", code=2)


def test_plan_and_drift_tell_accepted_differences(differing):
    assert "1 difference" in accept(differing, "--auto-approve").out
    lines = differing.plan("--detailed-exitcode", code=0).out.splitlines()
    assert re.match(r"^No changes\.", lines[0])
    assert "matches the configuration." in lines[0]
    assert "accepted" in lines[0]
    assert lines[1:] == [NAMED]
    assert NAMED in differing.run("drift", "--detailed-exitcode", code=0).out
    assert NAMED in differing.apply().out


def test_json_counts_and_names_accepted_differences(differing):
    accept(differing, "--auto-approve")
    expected = [
        {
            "address": "storage/raw-data",
            "path": "/configuration/base_path",
            "sensitive": False,
            "live": "/data/raw",
            "declared": "/data/new",
        }
    ]
    for words in (["plan"], ["drift"]):
        document = differing.run(*words, "--json", code=0).document
        assert document["accepted_differences"] == expected
        assert document["summary"]["accepted_differences"] == 1
    shown = differing.run("show", "storage/raw-data", "--json", code=0).document
    assert shown["accepted_differences"] == ["/configuration/base_path"]


def test_show_doctor_and_comments_tell_accepted_differences(differing):
    accept(differing, "--auto-approve")
    assert f"accepted differences: {FIELD}" in differing.run("show", "storage/raw-data").out
    assert NAMED in differing.run("doctor", code=0).out
    for command in ("plan", "drift"):
        comment = differing.root / f"{command}.md"
        differing.run(command, "--report", f"markdown={comment}", code=0)
        assert "1 accepted difference" in comment.read_text(encoding="utf-8")
        assert FIELD in comment.read_text(encoding="utf-8")
    page = differing.root / "plan.html"
    differing.plan("--report", f"html={page}", code=0)
    assert "1 accepted difference" in page.read_text(encoding="utf-8")


def test_the_line_stands_beside_other_changes_too(differing):
    accept(differing, "--auto-approve")
    differing.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    out = differing.plan(code=0).out
    assert "Plan: 0 to add, 1 to change, 0 to destroy.\n" + NAMED in out
    differing.apply()
    assert NAMED in differing.plan(code=0).out


def test_undo_shows_the_difference_again(differing):
    accept(differing, "--auto-approve")
    undone = accept(differing, "--undo")
    assert FIELD in undone.out
    again = differing.plan("--detailed-exitcode", code=2).out
    assert "! storage/raw-data cannot be updated" in again
    assert "accepted difference" not in again
    nothing = accept(differing, "--undo", code=1)
    assert "has no accepted difference" in nothing.err


def test_undo_of_accepted_drift_is_drift_again(applied, server):
    """Also after a second accept of the same field: undo goes back to before the first one."""
    at = "_emulator/objects/storage/1/"
    for path in ("/data/elsewhere", "/data/farther"):
        server.call("PATCH", at, {"configuration": {"base_path": path}})
        applied.run("drift", "--detailed-exitcode", code=2)
        accept(applied, "--auto-approve")
        assert NAMED in applied.run("drift", "--detailed-exitcode", code=0).out
    accept(applied, "--undo")
    drift = applied.run("drift", "--detailed-exitcode", code=2).out
    assert '"/data/raw" -> "/data/farther"' in drift


@pytest.mark.parametrize("side", ["live", "declared"])
def test_an_acceptance_ends_when_a_side_moves(differing, server, side):
    accept(differing, "--auto-approve")
    if side == "live":
        server.call(
            "PATCH", "_emulator/objects/storage/1/", {"configuration": {"base_path": "/data/odd"}}
        )
    else:
        differing.edit("manifests/storage.yaml", "/data/new", "/data/newer")
    out = differing.plan("--detailed-exitcode", code=2).out
    assert "! storage/raw-data cannot be updated" in out
    assert "accepted difference" not in out


def test_when_both_sides_agree_at_last_nothing_is_left_of_it(differing, server):
    accept(differing, "--auto-approve")
    server.call(
        "PATCH", "_emulator/objects/storage/1/", {"configuration": {"base_path": "/data/new"}}
    )
    out = differing.apply().out
    assert "accepted difference" not in out
    differing.unchanged()
    assert "accepted difference" not in differing.run("doctor", code=0).out
    accept(differing, "--undo", code=1)


def test_accepting_where_nothing_differs_asks_nothing(applied):
    assert "no difference" in accept(applied).out
    applied.unchanged()
    assert applied.plan("--json", code=0).document["accepted_differences"] == []
    accept(applied, "--undo", code=1)


def test_history_tells_both(differing):
    accept(differing, "--auto-approve")
    accept(differing, "--undo")
    runs = differing.run("state", "history", "--json", code=0).document["runs"]
    assert [run["calls"][0]["verb"] for run in runs[:2]] == ["undo accept", "accept"]


def test_what_cannot_be_accepted_is_said(ready, server):
    """Not declared, not recorded, not live: each in words of its own."""
    assert "not declared" in ready.run("state", "accept", "storage/none", code=1).err
    assert "not recorded" in accept(ready, "--auto-approve", code=1).err
    ready.apply()
    server.call("DELETE", "_emulator/objects/storage/1/")
    assert "not live" in accept(ready, "--auto-approve", code=1).err
