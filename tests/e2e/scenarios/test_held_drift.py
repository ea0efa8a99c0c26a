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
        assert "No changes. Apply keeps the changes made outside Git (on_drift: hold).\n" in ran.out
        assert "drift --write plugin/yolo" in ran.out
        assert "apply --only plugin/yolo --revert-drift" in ran.out
        assert '~ description = "By hand" -> "' in ran.out
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
    assert "(apply cannot undo this: configuration.base_path cannot be changed" in ran.out
    assert "`--revert-drift` undoes the drift" not in ran.out
    assert "Apply cannot undo this drift: `synapse-apply plan --revert-drift`" in ran.out
    both = holding.run("drift", code=0).out
    assert "`--revert-drift` undoes the drift" in both
    assert (
        "Apply cannot undo the drift of 1 of 2 objects: `synapse-apply plan --revert-drift`" in both
    )
    assert "change it back in Synapse" in holding.plan("--revert-drift", code=0).out
    ran = holding.apply("--only", "storage", "--revert-drift", code=5)
    assert "this API cannot change a storage" in ran.out
    holding.run("drift", "--write", "storage/raw-data", code=0)
    holding.run("drift", "--only", "storage", "--detailed-exitcode", code=0)


TOKEN_OF_PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: yolo}
lifecycle: {sensitive: [/configuration/token]}
spec:
  name: Yolo
  code: yolo
  description: Finds things
  version: "1.0.0"
  category: pre_annotation
  configuration: {token: {valueFrom: {env: RAW_TOKEN}}}
"""


@pytest.fixture(params=["again", "forgotten"])
def imported(applied: Workplace, server: Server, request: pytest.FixtureRequest) -> Workplace:
    """The plugin imported as it is declared, and nothing sent since."""
    applied.write("synapse-apply.yaml", project(server.url, on_drift="hold", allow_env=["RAW_*"]))
    if request.param == "forgotten":
        applied.run("state", "rm", "plugin/yolo", code=0)
    applied.run("import", "plugin/yolo", "1", code=0)
    return applied


def test_what_was_imported_and_then_changed_by_hand_is_kept(
    imported: Workplace, server: Server
) -> None:
    """Git has not moved: it is changed outside alone, and stays so after every apply."""
    server.call("PATCH", "_emulator/objects/plugin/1/", {"description": "By hand"})
    for _ in range(3):
        said = imported.run("drift", "--detailed-exitcode", code=2).out
        assert "drift: changed outside" in said
        assert "in Git" not in said
        assert "description was changed outside and is kept" in imported.plan(code=0).out
        assert "0 changed" in imported.apply().out
        assert plugin(server)["description"] == "By hand"
    imported.apply("--only", "plugin/yolo", "--revert-drift")
    assert plugin(server)["description"] == "Finds things"
    imported.unchanged()


def test_another_field_of_an_import_is_sent_without_it(imported: Workplace, server: Server) -> None:
    """What Git changed goes, what was changed by hand beside it is kept, now and later."""
    server.call("PATCH", "_emulator/objects/plugin/1/", {"description": "By hand"})
    imported.edit("manifests/plugin.yaml", "default: 0.8", "default: 0.9")
    assert "1 changed" in imported.apply().out
    assert "0 changed" in imported.apply().out
    now = plugin(server)
    assert now["description"] == "By hand"
    assert now["configuration"]["parameters"]["quality"]["default"] == 0.9
    imported.run("drift", "--detailed-exitcode", code=2)


def test_both_sides_of_an_import_moved(imported: Workplace, server: Server) -> None:
    """Git has spoken last, as for what was applied."""
    server.call("PATCH", "_emulator/objects/plugin/1/", {"description": "By hand"})
    imported.edit("manifests/plugin.yaml", "Finds things", "Finds cars")
    assert "changed in Git and outside" in imported.plan(code=0).out
    imported.apply()
    assert plugin(server)["description"] == "Finds cars"


def test_an_import_that_differs_from_git_is_changed_by_git_alone(
    applied: Workplace, server: Server
) -> None:
    """What was live then is what Git is compared with."""
    server.call("PATCH", "_emulator/objects/plugin/1/", {"description": "Live"})
    applied.write("synapse-apply.yaml", project(server.url, on_drift="hold"))
    applied.run("import", "plugin/yolo", "1", code=0)
    assert "outside" not in applied.plan(code=0).out
    applied.apply()
    assert plugin(server)["description"] == "Finds things"


def test_an_import_whose_drift_was_accepted_and_is_not_any_more(
    imported: Workplace, server: Server
) -> None:
    """Taking the acceptance back makes no change of Git of it."""
    server.call("PATCH", "_emulator/objects/plugin/1/", {"description": "By hand"})
    imported.run("state", "accept", "plugin/yolo", "--auto-approve", code=0)
    assert "1 accepted difference" in imported.plan(code=0).out
    imported.run("state", "accept", "plugin/yolo", "--undo", code=0)
    assert "in Git" not in imported.run("drift", "--detailed-exitcode", code=2).out
    imported.apply()
    assert plugin(server)["description"] == "By hand"


def test_a_secret_of_an_import_that_is_shown_is_kept(applied: Workplace, server: Server) -> None:
    """The backend shows it: one that somebody rotated by hand is drift as any other field."""
    applied.environ["RAW_TOKEN"] = "first-token"
    applied.write("synapse-apply.yaml", project(server.url, allow_env=["RAW_*"]))
    applied.write("manifests/plugin.yaml", TOKEN_OF_PLUGIN)
    applied.apply()
    applied.write("synapse-apply.yaml", project(server.url, on_drift="hold", allow_env=["RAW_*"]))
    applied.run("import", "plugin/yolo", "1", code=0)
    server.call("PATCH", "_emulator/objects/plugin/1/", {"configuration": {"token": "by-hand"}})
    for _ in range(2):
        said = applied.run("drift", "--detailed-exitcode", code=2).out
        assert "token = (sensitive, changed) # drift: changed outside" in " ".join(said.split())
        applied.apply()
        assert plugin(server)["configuration"] == {"token": "by-hand"}
    applied.environ["RAW_TOKEN"] = "second-token"
    applied.apply()
    assert plugin(server)["configuration"] == {"token": "second-token"}
