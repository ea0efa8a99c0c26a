"""Manifests that a commit does not hold itself: below a submodule, behind a link, or outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from e2e.revisions.conftest import Repository
from e2e.scenarios.workplace import STORAGE
from git_repositories import commit
from unit.packages.trees import write

SHARED = STORAGE.replace("raw-data", "shared").replace("Raw data", "Shared")


def as_submodule(repo: Repository, tmp_path: Path, at: str = "mods") -> None:
    """The folder of shared manifests is another repository's."""
    write(tmp_path / "library", {"manifests/shared.yaml": SHARED})
    commit(tmp_path / "library")
    add = ("-c", "protocol.file.allow=always", "submodule", "add", "-q")
    repo.git(*add, str(tmp_path / "library"), at)


def as_link(repo: Repository, _tmp_path: Path) -> None:
    """It is a folder of the project by another name."""
    repo.place.write("real/manifests/shared.yaml", SHARED)
    (repo.root / "mods").symlink_to("real")


@pytest.mark.parametrize("listed", ["mods/manifests/", "mods/manifests/shared.yaml"])
@pytest.mark.parametrize(
    ("made", "why"),
    [
        (as_submodule, "mods in {} is a Git submodule"),
        (as_link, "mods in {} is a link to a folder"),
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
    before = repo.place.run("state", "show", code=0).out
    ran = repo.place.run("apply", "--auto-approve", "--ref", "HEAD", code=1)
    assert why.format("HEAD") in ran.text
    assert "synapse-apply.yaml:" in ran.text
    assert repo.place.run("state", "show", code=0).out == before
    repo.place.unchanged()
    ran = repo.place.plan("--offline", "--against", "git:HEAD")
    assert why.format("HEAD") in ran.text


@pytest.fixture
def beside(unapplied: Repository) -> Repository:
    """A project in a folder of its repository that lists one beside it, applied and committed."""
    unapplied.place.write("shared/sub/shared.yaml", SHARED)
    for name in ("manifests", "plugins", "synapse-apply.yaml"):
        unapplied.place.write("deploy/.keep")
        (unapplied.root / name).rename(unapplied.root / "deploy" / name)
    unapplied.place.root /= "deploy"
    document = json.loads((unapplied.root / "synapse-apply.yaml").read_text())
    document |= {"manifests": ["manifests/", "../shared"], "allow_files": ["../shared"]}
    unapplied.place.write("synapse-apply.yaml", json.dumps(document))
    unapplied.commit("beside")
    unapplied.place.run("state", "init", code=0)
    unapplied.place.apply()
    return unapplied


def test_what_lies_beside_the_project_is_read_as_it_was(beside: Repository) -> None:
    """In the same repository, and allowed: at a ref as on the disk."""
    assert "No changes." in beside.place.plan("--ref", "HEAD", code=0).out
    against = ("--offline", "--against", "git:HEAD")
    assert "No changes." in beside.place.plan(*against, code=0).out
    beside.place.edit("../shared/sub/shared.yaml", "/data/raw", "/data/new")
    assert "storage/shared cannot be updated" in beside.place.plan(*against, code=0).out
    ran = beside.place.plan(*against, "-f", "../shared/sub/shared.yaml", code=0)
    assert "storage/shared cannot be updated" in ran.out
    assert "No changes." in beside.place.plan("--ref", "HEAD", code=0).out


def test_what_is_not_allowed_or_behind_a_link_is_an_error(
    beside: Repository, tmp_path: Path
) -> None:
    """Nothing that a checkout may not read is read from a commit, and nothing is forgotten."""
    text = (beside.root / "synapse-apply.yaml").read_text()
    beside.place.write("synapse-apply.yaml", text.replace('"allow_files"', '"max_package_size"')
                       .replace('"max_package_size": ["../shared"]', '"max_package_size": 9999'))  # fmt: skip
    ran = beside.place.plan("--ref", "HEAD", code=1)
    assert "`../shared` lies outside " in ran.text
    assert "list it under allow_files" in ran.text
    beside.place.write("synapse-apply.yaml", text.replace('"../shared"', '"../../elsewhere"'))
    write(tmp_path, {"elsewhere/shared.yaml": SHARED})
    ran = beside.place.plan("--ref", "HEAD", code=1)
    assert "`../../elsewhere` is outside the repository" in ran.text
    beside.place.write("synapse-apply.yaml", text.replace('"../shared"', '"../linked/sub"'))
    (beside.root / "../linked").symlink_to("shared")
    beside.commit("linked")
    ran = beside.place.plan("--ref", "HEAD", code=1)
    assert "../linked in HEAD is a link to a folder" in ran.text


def test_a_file_that_was_typed_through_a_link_has_its_base(
    repo: Repository, tmp_path: Path
) -> None:
    """The link is how the person came to the project; the commit has the file all the same."""
    (tmp_path / "link").symlink_to(repo.root)
    (file, *_) = sorted((repo.root / "manifests").glob("*.yaml"))
    for root in (repo.root, tmp_path / "link"):
        typed = str(root / "manifests" / file.name)
        ran = repo.place.plan("--offline", "--against", "git:HEAD", "-f", typed, code=0)
        assert "No changes." in ran.out, root


@pytest.mark.parametrize("at", ["mods", "manifests/mods"])
def test_a_submodule_that_is_not_checked_out_is_never_taken_for_empty(
    repo: Repository, tmp_path: Path, at: str
) -> None:
    """A CI job checks none out unless it is told to: what it declares would be forgotten."""
    as_submodule(repo, tmp_path, at)
    repo.place.edit("synapse-apply.yaml", '["manifests/"]', f'["manifests/", "{at}"]')
    repo.commit("shared")
    repo.place.apply()
    repo.git("submodule", "deinit", "-q", "-f", at)
    assert list((repo.root / at).iterdir()) == []
    said = repo.place.apply(code=1).text
    assert "A Git submodule that is not checked out" in said
    assert "`git submodule update --init`" in said
    assert "storage/shared" in repo.place.run("state", "show", code=0).out
    (repo.root / "manifests" / "empty").mkdir()  # another empty folder says nothing
    repo.git("-c", "protocol.file.allow=always", "submodule", "update", "-q", "--init")
    repo.place.unchanged()
