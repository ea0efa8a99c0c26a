"""Two projects never share a state by accident, and no team is kept from its own."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from at_terminal import run_at_terminal
from e2e.scenarios.workplace import Server, Workplace
from installed import environment

from .conftest import write_shared_project

KEY = "A" * 44
IDS = tuple(f"5f1c2d60-0000-4000-8000-00000000000{number}" for number in range(3))
UNBOUND = "This shared state is not bound to a project"


@pytest.fixture
def keyed(team: Workplace) -> Workplace:
    team.environ["SYNAPSE_APPLY_STATE_KEY"] = KEY
    return team


def give_id(place: Workplace, project_id: str) -> None:
    """As somebody writes it by hand."""
    path = place.root / "synapse-apply.yaml"
    text = re.sub(r', "project": \{[^}]*\}', "", path.read_text())
    more = f', "project": {{"id": "{project_id}"}}' if project_id else ""
    path.write_text(text.replace('"kind": "Project"', f'"kind": "Project"{more}'))


def another_project(of: Workplace, server: Server, name: str, project_id: str) -> Workplace:
    """Somebody copied the target, url and all."""
    place = replace(of, root=of.root.parent / name)
    write_shared_project(place, server)
    give_id(place, project_id)
    return place


def written_id(place: Workplace) -> str:
    text = (place.root / "synapse-apply.yaml").read_text()
    (project_id,) = re.findall(r'"?project"?: \{"?id"?: "?([0-9a-f-]{36})', text)
    return str(project_id)


def test_a_second_project_is_refused(keyed: Workplace, server: Server) -> None:
    """By whatever looks at the state, with both ids and the way out; nothing is sent."""
    give_id(keyed, IDS[0])
    keyed.run("state", "init", code=0)
    keyed.apply()
    other, sent = another_project(keyed, server, "other", IDS[1]), server.writes
    for typed in (
        ("plan",), ("apply", "--auto-approve"), ("drift",), ("state", "init"), ("doctor",),
        ("export", "--out", "exported"), ("state", "rekey", "--auto-approve"),
        ("state", "rm", "storage/raw-data"), ("state", "mv", "storage/raw-data", "storage/x"),
    ):  # fmt: skip
        shown = other.run(*typed, code=1).text
        assert "This state belongs to another project" in shown, typed
        assert IDS[0] in shown
        assert IDS[1] in shown
        assert "synapse-apply state rebind" in shown
    without = another_project(keyed, server, "without", "")
    refused = without.plan(code=1).err
    assert "The project file lacks the id that this state is bound to" in refused
    assert f"add `project: {{id: {IDS[0]}}}`" in refused
    assert "lacks the id" in without.run("state", "rebind", "--auto-approve", code=1).err
    assert server.writes == sent
    keyed.unchanged()

    # On purpose: the other one has it from now on.
    bound = other.run("state", "rebind", "--auto-approve", code=0).out
    assert f"and project {IDS[0]} and is now bound to" in bound
    assert bound.endswith(f"and project {IDS[1]}.\n")
    other.unchanged()
    assert IDS[1] in keyed.plan(code=1).err
    said = other.run("state", "rebind", "--auto-approve", code=0).out
    assert said.startswith("The state is already bound to ")
    assert f"project {IDS[1]}" in said


def test_a_state_of_before_goes_on_with_a_warning(keyed: Workplace) -> None:
    """The one command that binds it edits the project file in place; the key is noted, too."""
    keyed.run("state", "init", code=0)
    warned = keyed.apply()
    assert (UNBOUND in warned.text, "`synapse-apply state rebind" in warned.text) == (True, True)
    before = (keyed.root / "synapse-apply.yaml").read_text()
    home = {**keyed.environ, "SYNAPSE_APPLY_STATE_KEY": KEY}
    code, shown = run_at_terminal(
        keyed.root, b"no\n", environment(home), "state", "rebind", "--color=never"
    )
    assert code == 1
    assert "After that, runs with a project file without this id are refused" in shown
    assert (keyed.root / "synapse-apply.yaml").read_text() == before
    out = keyed.run("state", "rebind", "--auto-approve", code=0).out
    text = (keyed.root / "synapse-apply.yaml").read_text()
    assert f"Wrote project.id {written_id(keyed)} to the project file. Commit the file." in out
    assert text.startswith("# ours\n")
    assert UNBOUND not in keyed.plan(code=0).text
    keyed.environ["SYNAPSE_APPLY_STATE_KEY"] = "B" * 44
    assert "The state has a different key" in keyed.plan(code=1).err


def test_the_id_goes_along_with_backup_and_restore(keyed: Workplace, tmp_path: Path) -> None:
    """And the first one in a branch is no reason to refuse that branch."""
    give_id(keyed, IDS[0])
    keyed.run("state", "init", code=0)
    keyed.apply()
    keyed.run("state", "backup", str(tmp_path / "copy"), code=0)
    keyed.run("state", "restore", str(tmp_path / "copy"), "--auto-approve", code=0)
    assert UNBOUND not in keyed.plan(code=0).text
    give_id(keyed, IDS[1])
    assert "belongs to another project" in keyed.plan(code=1).err


def test_a_file_of_this_machine_is_bound_to_no_project(place: Workplace) -> None:
    """Its place says whose it is."""
    before = (place.root / "synapse-apply.yaml").read_text()
    document = place.run("state", "init", "--json", code=0).document
    assert set(document) == {"target", "lineage", "backend"}
    assert (place.root / "synapse-apply.yaml").read_text() == before
    assert UNBOUND not in place.apply().text
    assert "--key-file is for a state" in place.run("state", "init", "--key-file", "k", code=1).err
