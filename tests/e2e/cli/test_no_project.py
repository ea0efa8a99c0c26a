"""Without a project file: what is read, and that nobody is told that nothing is fine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from e2e.scenarios.workplace import Workplace

STORAGE = json.dumps(
    {
        "apiVersion": "synapse-apply/v1",
        "kind": "Storage",
        "metadata": {"name": "mine"},
        "spec": {
            "name": "Mine",
            "provider": "file_system",
            "category": "internal",
            "configuration": {"base_path": "/data"},
        },
    }
)


@pytest.fixture
def home(tmp_path: Path) -> Workplace:
    """A folder as anybody's home: other projects lie below it."""
    other = tmp_path / "work" / "other"
    other.mkdir(parents=True)
    (other / "broken.yaml").write_text('{"apiVersion": "synapse-apply/v1", "kind": "Plugin"}')
    return Workplace(tmp_path, {})


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_nothing_is_planned_of_nothing(home: Workplace, command: str) -> None:
    """No state and no data set is made either."""
    options = ("--auto-approve",) if command == "apply" else ()
    ran = home.run(command, "-t", "embedded", *options, code=1)
    assert "There is nothing to plan" in ran.err
    assert "synapse-apply init" in ran.err
    assert not (home.root / ".synapse-apply").exists()


def test_only_the_files_of_this_folder_are_read(home: Workplace) -> None:
    """Those below it are of other projects."""
    assert "There is nothing to validate" in home.run("validate", code=1).err
    (home.root / "mine.yaml").write_text(STORAGE)
    home.run("validate", "--strict", code=0)
    assert (
        "storage/mine created" in home.run("apply", "-t", "embedded", "--auto-approve", code=0).out
    )
    assert "No changes." in home.run("plan", "-t", "embedded", code=0).out


def test_a_folder_of_manifests_is_read_whole(home: Workplace) -> None:
    """`manifests/` is what `init` would make."""
    (home.root / "manifests" / "storages").mkdir(parents=True)
    (home.root / "manifests" / "storages" / "mine.yaml").write_text(STORAGE)
    assert "storage/mine" in home.run("plan", "-t", "embedded", code=0).out
