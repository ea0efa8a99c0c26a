"""A plan says what a new release changes in its package, by what was recorded and what Git has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from git_repositories import commit, git

from .conftest import Run

SECRET = "canary-in-code-71"


@pytest.fixture
def bumped(project: Path, cli: Run) -> Path:
    """Version 1.0.0 is committed and published, 1.1.0 stands in the working folder."""
    package = project / "plugins" / "yolo"
    (package / "main.py").write_text(f"print('yolo')\nPASSWORD = '{SECRET}'\n")
    (package / "old.txt").write_text("old\n")
    (project / ".gitignore").write_text(".synapse-apply\n")
    commit(project, "1.0.0", with_ignored=False)
    done = cli("apply", "--auto-approve")
    assert done.returncode == 0, done.stderr
    for file in [package / "config.yaml", *(project / "manifests").glob("*.yaml")]:
        file.write_text(file.read_text().replace("1.0.0", "1.1.0"))
    (package / "main.py").write_text(f"print('yolo 2')\nPASSWORD = '{SECRET}2'\n")
    (package / "new.txt").write_text("new\n")
    (package / "old.txt").unlink()
    return project


def replaced_by(cli: Run, *typed: str) -> dict[str, Any]:
    """What the plan says of the new release; no secret is anywhere in it."""
    done = cli("plan", "--json", *typed)
    assert SECRET not in done.stdout + done.stderr
    rows = json.loads(done.stdout)["resource_changes"]
    (found,) = [row["replaces"] for row in rows if "replaces" in row]
    return dict(found)


def test_a_new_release_says_what_it_changes(bumped: Path, cli: Run) -> None:
    """Before and after the commit, and with no backend at all."""
    for typed in ((), ("--offline", "--against", "git:HEAD")):
        found = replaced_by(cli, *typed)
        counts = {name: found[name] for name in ("version", "added", "changed", "removed")}
        assert counts == {"version": "1.0.0", "added": 1, "changed": 2, "removed": 1}
        (main,) = [one for one in found["files"] if one["path"] == "main.py"]
        assert "-print('yolo')" in main["diff"]
        assert "+print('yolo 2')" in main["diff"]
    git(bumped, "commit", "-qam", "1.1.0")
    assert "-print('yolo')" in str(replaced_by(cli)["files"])
    text = cli("plan").stdout
    assert "# (supersedes 1.0.0: 1 file added, 2 changed, 1 removed)" in text


def test_bytes_that_were_not_published_are_no_base(bumped: Path, cli: Run) -> None:
    """A history that says otherwise gives no diff: the digest is the proof."""
    (bumped / "plugins" / "yolo" / "main.py").write_text("print('never published')\n")
    git(bumped, "add", ".")
    git(bumped, "commit", "-q", "--amend", "-m", "forged")
    git(bumped, "reflog", "expire", "--expire=now", "--all")
    git(bumped, "gc", "-q", "--prune=now")
    (bumped / "plugins" / "yolo" / "main.py").write_text("print('yolo 3')\n")
    files = {one["path"]: one for one in replaced_by(cli)["files"]}
    assert files["main.py"]["change"] == "changed"
    assert "diff" not in files["main.py"]


def test_without_git_the_files_are_still_listed(project: Path, cli: Run) -> None:
    """Recorded digests know which files differ."""
    assert cli("apply", "--auto-approve").returncode == 0
    for file in [
        project / "plugins" / "yolo" / "config.yaml",
        *(project / "manifests").glob("*.yaml"),
    ]:
        file.write_text(file.read_text().replace("1.0.0", "1.1.0"))
    assert [(one["path"], "diff" in one) for one in replaced_by(cli)["files"]] == [
        ("config.yaml", False)
    ]
