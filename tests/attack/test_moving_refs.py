"""A ref that moves while a command runs, as by a `git fetch` beside it: it means one commit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attack.checkouts import BASE, GOOD, Checkout, checkout
from e2e.scenarios.workplace import Workplace
from git_repositories import commit, git
from unit.packages.trees import write

from synapse_apply.workspace import configuration

__all__ = ["checkout"]


@pytest.fixture
def move(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let the base move to the change as soon as a project file was read of it."""
    read = configuration.read_valid_project_or_none_if_not_in_commit

    def read_then_move(*arguments: Any) -> Any:
        project = read(*arguments)
        git(checkout.top, "update-ref", BASE, checkout.head)
        return project

    return lambda: monkeypatch.setattr(
        configuration, "read_valid_project_or_none_if_not_in_commit", read_then_move
    )


def run(checkout: Checkout, *typed: str, code: int = 0) -> Any:
    environ = {"SYNAPSE_ACCESS_TOKEN": "a-token-of-tests-0123", "PATH": os.environ["PATH"]}
    place = Workplace(checkout.folder, environ)
    return place.run(*typed, code=code)


@pytest.mark.parametrize("ref", [BASE, "origin/main", f"{BASE}~0"])
def test_a_base_that_moves_is_compared_as_it_was(
    checkout: Checkout, move: Callable[[], None], ref: str
) -> None:
    """Project file and manifests of `--against` are those of one commit."""
    move()
    assert checkout.changes(ref) == ["storage/bucket"]
    assert checkout.changes(ref) == []  # asked anew, it is the change itself


def test_settings_and_manifests_are_of_one_commit(
    checkout: Checkout, move: Callable[[], None]
) -> None:
    """`--project-from` and `--against` of one name, in one command."""
    move()
    typed = ("plan", "--offline", "--against", f"git:{BASE}", "--project-from", f"git:{BASE}")
    ran = run(checkout, *typed, "--json", "-t", "prod")
    (row,) = ran.document["resource_changes"]
    assert [row["change"][side]["name"] for side in ("before", "after")] == ["good", "changed"]
    assert GOOD not in ran.err


@pytest.fixture
def moved_after_look_up(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Path:
    """A Git after whose look-up of branch `live` that branch goes on; a file with a line for each."""
    folder = tmp_path / "bin"
    folder.mkdir()
    log, program = folder / "log", folder / "git"
    real = shutil.which("git")
    program.write_text(f"""#!/bin/sh
{real} "$@"
code=$?
case "$*" in
*for-each-ref*refs/heads/live*)
    echo live >> {log}
    {real} -C {checkout.top} update-ref refs/heads/live HEAD ;;
esac
exit $code
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return log


def test_a_package_is_read_at_one_commit(checkout: Checkout, moved_after_look_up: Path) -> None:
    """Its version and its bytes, where the branch that a manifest names goes on in between."""
    release = "apiVersion: synapse-apply/v1\nkind: Plugin\nmetadata: {name: p}\nspec: {name: P, \
code: p, category: export}\n---\napiVersion: synapse-apply/v1\nkind: Release\nspec: {plugin: p, \
source: {path: p, ref: live}}\n"
    write(
        checkout.folder, {"manifests/p.yaml": release, "p/config.yaml": 'version: "1"\ncode: p\n'}
    )
    commit(checkout.top)
    git(checkout.top, "branch", "live")
    write(checkout.folder, {"p/config.yaml": 'version: "2"\ncode: p\n', "p/more.py": "pass\n"})
    commit(checkout.top)
    ran = run(checkout, "package", "show", "release/p", "--json", "-t", "prod")
    assert moved_after_look_up.read_text().split() == ["live"]
    assert "more.py" not in ran.out
    assert "release/p@1" in ran.out
