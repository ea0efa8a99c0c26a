"""What journeys share: the scenarios' project and backend, their repository, fresh checkouts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from e2e.revisions.conftest import Repository, _of_nobody, repo, unapplied
from e2e.scenarios.conftest import applied, copied_once, make, place, serve, server
from e2e.scenarios.workplace import Workplace
from git_repositories import git

__all__ = [
    "_of_nobody",
    "applied",
    "copied_once",
    "make",
    "place",
    "repo",
    "serve",
    "server",
    "unapplied",
]

Runner = Callable[..., Workplace]


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    """Gives a job's workspace: a new clone of a branch, with the environment of the project."""
    count = 0

    def fresh(of: Repository, branch: str = "main") -> Workplace:
        nonlocal count
        count += 1
        folder = tmp_path / f"runner-{count}"
        git(tmp_path, "clone", "-q", "-b", branch, str(of.root), folder.name)
        return replace(of.place, root=folder)

    return fresh
