"""A plan carries no packages: they travel beside it, and one that carries them is refused."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from e2e.scenarios.workplace import Server, Workplace
from git_repositories import git, make_repository


@pytest.fixture
def saved(ready: Workplace) -> Workplace:
    """The sample, nothing of it applied, planned in the file `next`."""
    ready.plan("--out", "next", code=0)
    return ready


def test_a_plan_holds_nothing_else(saved: Workplace) -> None:
    """So who can read the file cannot read the packages."""
    with zipfile.ZipFile(saved.root / "next") as archive:
        assert archive.namelist() == ["plan.json"]


@pytest.mark.parametrize("how", [["apply"], ["apply", "--reviewed"], ["show"]])
def test_a_plan_that_carries_packages_is_refused(
    saved: Workplace, server: Server, how: list[str]
) -> None:
    """As an older version made it: the error says what to do, and nothing is sent."""
    with zipfile.ZipFile(saved.root / "next", "a") as archive:
        archive.writestr(f"packages/{'0' * 64}.zip", b"PK")
    ran = saved.run(*how, "next", code=1)
    assert "Error: This plan file cannot be used" in ran.err
    assert "next: it contains packages, which plans no longer do." in ran.err
    assert "`synapse-apply plan --out FILE`" in ran.err
    assert "keep the package folder next to the file" in ran.err
    assert server.writes == []


def test_the_package_folder_as_an_artifact(
    saved: Workplace, server: Server, tmp_path: Path
) -> None:
    """Planned by one job, applied by the next, which has the folder from the first."""
    there = Workplace(tmp_path / "job", dict(saved.environ))
    for name in ("manifests", ".synapse-apply"):
        shutil.copytree(saved.root / name, there.root / name)
    for name in ("synapse-apply.yaml", "next"):
        shutil.copy(saved.root / name, there.root)
    refused = there.run("apply", "next", code=4)
    assert "The planned manifests or packages are no longer here" in refused.err
    shutil.copytree(saved.root / "plugins", there.root / "plugins")
    assert "release/yolo@1.0.0 created" in there.run("apply", "next", code=0).out
    assert server.counts == (1, 1, 1)


def test_a_ref_that_is_gone(place: Workplace, server: Server) -> None:
    """A package of a Git ref is read at that ref again: exit 4 where it is not there."""
    place.edit("manifests/plugin.yaml", "source: ./plugins/yolo",
               "source: {path: ./plugins/yolo, ref: yolo-v1}")  # fmt: skip
    make_repository(place.root)
    git(place.root, "add", "plugins")
    git(place.root, "commit", "-q", "-m", "First")
    git(place.root, "tag", "yolo-v1")
    place.run("state", "init", code=0)
    place.plan("--out", "next", code=0)
    git(place.root, "tag", "-d", "yolo-v1")
    ran = place.run("apply", "next", code=4)
    assert "Error: The planned manifests or packages are no longer here" in ran.err
    assert "yolo-v1" in ran.err
    git(place.root, "tag", "yolo-v1")
    place.run("apply", "next", code=0)
    assert server.counts == (1, 1, 1)
