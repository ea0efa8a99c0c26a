"""The scenarios' project in a Git repository of its own, with everything applied."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e.scenarios.conftest import applied, copied_once, make, place, serve, server
from e2e.scenarios.workplace import Workplace
from git_repositories import git, make_repository, read_head, start_branch

__all__ = ["applied", "copied_once", "make", "place", "serve", "server"]


@dataclass(frozen=True)
class Repository:
    """A workplace and its history; `main` is its branch."""

    place: Workplace

    @property
    def root(self) -> Path:
        return self.place.root

    def commit(self, message: str = "work") -> str:
        """Commit all there is; gives the commit's id."""
        self.place.write(".gitignore", ".synapse-apply/\n")
        git(self.root, "add", "-A")
        git(self.root, "commit", "-q", "--allow-empty", "-m", message)
        return read_head(self.root)

    def git(self, *words: str) -> str:
        return git(self.root, *words)


def repository(place: Workplace) -> Repository:
    """The workplace as the first commit of `main`, and a branch `change` checked out."""
    make_repository(place.root)
    made = Repository(place)
    made.commit("first")
    start_branch(place.root, "change")
    return made


@pytest.fixture(autouse=True)
def _of_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of who runs the tests changes what Git does."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def repo(applied: Workplace) -> Repository:
    """All applied, and committed on `main`; `change` is checked out."""
    return repository(applied)


@pytest.fixture
def unapplied(place: Workplace) -> Repository:
    """The same without a state, and nothing on the backend."""
    return repository(place)
