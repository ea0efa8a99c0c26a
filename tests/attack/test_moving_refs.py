"""A ref that moves while a command runs, as by a `git fetch` beside it: it means one commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attack.checkouts import BASE, GOOD, Checkout, checkout
from e2e.scenarios.workplace import Workplace
from git_repositories import commit, git
from support.core import configuration, git_ref
from unit.packages.trees import write

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
    place = Workplace(checkout.folder, {"SYNAPSE_ACCESS_TOKEN": "a-token-of-tests-0123"})
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


def test_a_package_is_read_at_one_commit(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    find = git_ref.resolve_unambiguous_ref_or_empty
    asked: list[str] = []

    def find_then_move(repository: Any, ref: str) -> str:
        asked.append(ref)
        found = find(repository, ref)
        git(checkout.top, "update-ref", "refs/heads/live", "HEAD")
        return found

    monkeypatch.setattr(
        "synapse_apply.packages.source.git.resolve_unambiguous_ref_or_empty", find_then_move
    )
    ran = run(checkout, "package", "show", "release/p", "--json", "-t", "prod")
    assert asked == ["live"]
    assert "more.py" not in ran.out
    assert "release/p@1" in ran.out
