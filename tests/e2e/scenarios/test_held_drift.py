"""`on_drift: hold`: apply keeps what was changed outside, and says how to end that."""

from __future__ import annotations

from typing import Any

import pytest
from e2e.scenarios.workplace import Server, Workplace, project


@pytest.fixture
def holding(applied: Workplace, server: Server) -> Workplace:
    """Everything applied, and then the description changed by hand."""
    applied.write("synapse-apply.yaml", project(server.url, on_drift="hold"))
    server.call("PATCH", "_emulator/objects/plugin/1/", {"description": "By hand"})
    return applied


def plugin(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.call("GET", "plugins/1/")
    return found


def test_nothing_is_sent_for_it(holding: Workplace, server: Server) -> None:
    """A note with both ways out, no change, and an apply that leaves it; also the next time."""
    before = server.writes
    for _ in range(2):
        ran = holding.plan("--detailed-exitcode", code=0)
        assert (
            ". plugin/yolo: description was changed outside and is kept (on_drift: hold)" in ran.out
        )
        assert "No changes. What was changed outside is kept (on_drift: hold).\n" in ran.out
        assert "drift --write plugin/yolo" in ran.out
        assert "apply --only plugin/yolo --revert-drift" in ran.out
        holding.apply()
    assert server.writes == before
    assert plugin(server)["description"] == "By hand"
    holding.run("drift", "--detailed-exitcode", code=2)


def test_a_change_in_git_goes_and_leaves_it(holding: Workplace, server: Server) -> None:
    """The whole object is sent with the live value in it, and the drift is still known after."""
    holding.edit("manifests/plugin.yaml", "default: 0.8", "default: 0.9")
    ran = holding.apply()
    assert "1 changed" in ran.out
    now = plugin(server)
    assert now["description"] == "By hand"
    assert now["configuration"]["parameters"]["quality"]["default"] == 0.9
    ran = holding.run("drift", "--detailed-exitcode", code=2)
    assert '"Finds things" -> "By hand"' in ran.out
    assert "No changes." in holding.plan(code=0).out


def test_a_value_taken_away_outside_stays_away(holding: Workplace, server: Server) -> None:
    """Beside a change in Git, too: what is not there any more is not made again."""
    server.call("PATCH", "_emulator/objects/plugin/1/", {"configuration": {"parameters": {}}})
    holding.edit("manifests/plugin.yaml", 'version: "1.0.0"\n  cat', 'version: "1.0.1"\n  cat')
    holding.apply()
    holding.apply()
    now = plugin(server)
    assert (now["version"], now["configuration"]["parameters"]) == ("1.0.1", {})


def test_reverting_it(holding: Workplace, server: Server) -> None:
    """For one run, of what is selected; also as a saved plan."""
    holding.plan("--revert-drift", "--out", "next.plan", code=0)
    holding.run("apply", "next.plan", "--revert-drift", code=64)
    holding.run("apply", "next.plan", "--allow-unsigned", code=0)
    assert plugin(server)["description"] == "Finds things"
    holding.run("drift", "--detailed-exitcode", code=0)
    server.call("PATCH", "_emulator/objects/plugin/1/", {"description": "Again"})
    holding.apply("--only", "plugin/yolo", "--revert-drift")
    assert plugin(server)["description"] == "Finds things"


def test_accepting_it(holding: Workplace, server: Server) -> None:
    """The manifest follows, nothing is sent, and there is no drift any more."""
    before = server.writes
    holding.run("drift", "--write", "plugin/yolo", code=0)
    holding.unchanged()
    holding.apply()
    assert server.writes == before
    ran = holding.plan("--detailed-exitcode", code=0)
    assert ran.out.startswith("No changes. Live state matches the configuration.")
    holding.run("drift", "--detailed-exitcode", code=0)


def test_the_plan_as_a_document(holding: Workplace) -> None:
    """What is held stands apart from what changes, and among what drifted."""
    document = holding.plan("--json", code=0).document
    row = next(one for one in document["resource_changes"] if one["address"] == "plugin/yolo")
    assert (row["change"]["actions"], row["fields"]) == (["no-op"], [])
    held = [(one["path"], one["before"], one["after"]) for one in row["held"]]
    assert held == [("/description", "By hand", "Finds things")]
    assert [one["paths"] for one in document["resource_drift"]] == [["/description"]]


def test_what_this_api_cannot_undo(holding: Workplace, server: Server) -> None:
    """drift advises nothing that apply refuses: a storage is never changed on v1."""
    server.call("PATCH", "_emulator/objects/storage/1/", {"configuration": {"base_path": "/x"}})
    ran = holding.run("drift", "--only", "storage", code=0)
    assert "(apply cannot undo it: configuration.base_path cannot be changed" in ran.out
    assert "with `--revert-drift` it undoes it" not in ran.out
    assert "Apply cannot undo it: `synapse-apply plan --revert-drift`" in ran.out
    both = holding.run("drift", code=0).out
    assert "with `--revert-drift` it undoes it" in both
    assert "Apply cannot undo 1 of 2: `synapse-apply plan --revert-drift`" in both
    assert "change it back in Synapse" in holding.plan("--revert-drift", code=0).out
    ran = holding.apply("--only", "storage", "--revert-drift", code=5)
    assert "this API cannot change a storage" in ran.out
    holding.run("drift", "--write", "storage/raw-data", code=0)
    holding.run("drift", "--only", "storage", "--detailed-exitcode", code=0)
