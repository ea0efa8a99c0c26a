"""Manifests that a commit does not hold itself: below a submodule, behind a link, or outside."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e.revisions.conftest import Repository
from e2e.scenarios.workplace import STORAGE
from unit.packages.trees import commit, write

SHARED = STORAGE.replace("raw-data", "shared").replace("Raw data", "Shared")


def as_submodule(repo: Repository, tmp_path: Path) -> None:
    """The folder of shared manifests is another repository's."""
    write(tmp_path / "library", {"manifests/shared.yaml": SHARED})
    commit(tmp_path / "library")
    add = ("-c", "protocol.file.allow=always", "submodule", "add", "-q")
    repo.git(*add, str(tmp_path / "library"), "mods")


def as_link(repo: Repository, _tmp_path: Path) -> None:
    """It is a folder of the project by another name."""
    repo.place.write("real/manifests/shared.yaml", SHARED)
    (repo.root / "mods").symlink_to("real")


def as_link_out(repo: Repository, tmp_path: Path) -> None:
    """It is a folder beside the project."""
    write(tmp_path / "beside", {"manifests/shared.yaml": SHARED})
    (repo.root / "mods").symlink_to("../beside")


@pytest.mark.parametrize("listed", ["mods/manifests/", "mods/manifests/shared.yaml"])
@pytest.mark.parametrize(
    ("made", "why"),
    [
        (as_submodule, "mods in {} is a Git submodule"),
        (as_link, "mods in {} is a link to a folder"),
        (as_link_out, "mods in {} is a link to a folder"),
    ],
)
def test_what_lies_behind_a_submodule_or_a_link_is_never_forgotten(
    repo: Repository, tmp_path: Path, made: object, why: str, listed: str
) -> None:
    """At the very commit that was applied: an error that names both, and the state stays whole."""
    assert callable(made)
    made(repo, tmp_path)
    repo.place.edit("synapse-apply.yaml", '["manifests/"]', f'["manifests/", "{listed}"]')
    repo.commit("shared")
    repo.place.apply()
    before = repo.place.run("state", "list", code=0).out
    ran = repo.place.run("apply", "--auto-approve", "--ref", "HEAD", code=1)
    assert why.format("HEAD") in ran.text
    assert "synapse-apply.yaml:" in ran.text
    assert repo.place.run("state", "list", code=0).out == before
    repo.place.unchanged()
    ran = repo.place.plan("--offline", "--against", "git:HEAD")
    assert why.format("HEAD") in ran.text
