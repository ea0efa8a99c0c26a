"""The project that a path of the pipeline means is the one that the base branch has there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from attack.checkouts import BASE, EVIL, GOOD, Checkout, make_honest_source, project, read_url
from git_repositories import commit, git
from unit.packages.trees import write

from synapse_apply import Invocation, SynapseApplyError

LAX = "https://lax.example"
SUBMODULE = ("-c", "protocol.file.allow=always", "submodule", "add", "-q")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """Its base has two projects, `deploy/prod` and `samples/lax`, and links that lead to them."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    source, _, _ = make_honest_source("deploy/prod")
    top = Path(shutil.copytree(source, tmp_path / "repository"))
    git(top, "checkout", "-q", "-B", "change", BASE)
    write(top / "samples/lax", project(LAX, "lax"))
    (top / "main").symlink_to("deploy")
    (top / "samples/prod").symlink_to("../main/prod")
    (top / "samples/other").symlink_to("lax")
    base = commit(top)
    git(top, "update-ref", BASE, base)
    return Checkout(top, top / "deploy/prod", tmp_path / "canary", base)


def url(path: Path, ref: str = BASE, *, named: bool = False) -> str:
    """Where `--project-from` sends a token, in a folder or with `--project`."""
    file = path / "synapse-apply.yaml"
    where = Invocation(path, project=file if named else None, project_from=ref)
    return read_url(where)


def replace(path: Path, text: str) -> None:
    """Put a link in the place of whatever is there."""
    path.unlink() if path.is_symlink() else shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(text)


@pytest.mark.parametrize("named", [False, True], ids=["cd", "--project"])
@pytest.mark.parametrize(
    ("at", "asked", "links"),
    [
        pytest.param("deploy/prod", "", {"deploy/prod": "../samples/lax"}, id="the folder"),
        pytest.param(
            "deploy/prod", "", {"deploy": "samples", "samples/prod": "lax"}, id="above it"
        ),
        pytest.param("main", "prod", {"main": "samples", "samples/prod": "lax"}, id="changed"),
        pytest.param("samples/prod", "", {"samples/prod": "other"}, id="by a link that stays"),
        pytest.param("deploy/prod", "", {"deploy/prod": "../samples/other"}, id="by two links"),
        pytest.param("deploy", "prod", {"deploy": ".", "prod": "samples/lax"}, id="by the top"),
        pytest.param("deploy/prod", "", {"deploy/prod": "{top}/samples/lax"}, id="whole path"),
    ],
)
def test_a_folder_that_became_a_link(
    checkout: Checkout, at: str, asked: str, links: dict[str, str], named: bool
) -> None:
    """Settings of another project of the base are refused, however the path is written."""
    for path, text in links.items():
        replace(checkout.top / path, text.replace("{top}", str(checkout.top)))
    commit(checkout.top)
    place = checkout.top / at / asked
    with pytest.raises(SynapseApplyError, match="A link points to the project") as caught:
        url(place, named=named)
    (finding,) = caught.value.diagnostics
    assert finding.hint
    # Also where the working folder is the real one, as a runner sets it.
    with pytest.raises(SynapseApplyError, match="A link points to the project"):
        url(Path(os.path.realpath(place)), named=named)


@pytest.mark.parametrize("named", [False, True], ids=["cd", "--project"])
def test_links_that_the_base_has_are_followed(checkout: Checkout, named: bool) -> None:
    """And new ones that lead elsewhere, or nowhere."""
    write(checkout.top, {"manifests/x/y.txt": "x"})
    for name, text in (("more", "manifests/x"), ("gone", "nothing"), ("round", "round")):
        (checkout.top / name).symlink_to(text)
    (checkout.top / "long").symlink_to("n" * 300)
    commit(checkout.top)
    for place in ("deploy/prod", "main/prod", "samples/prod"):
        assert url(checkout.top / place, named=named) == GOOD
    assert url(checkout.top / "samples/other", named=named) == LAX


def test_a_project_file_that_was_taken_away(checkout: Checkout) -> None:
    """A project further up does not stand in for the one that the base has."""
    write(checkout.top, project(LAX, "lax"))
    git(checkout.top, "update-ref", BASE, commit(checkout.top))
    write(checkout.top, {"deploy/prod/manifests/more/a.txt": "x"})
    assert url(checkout.top / "deploy/prod/manifests/more") == GOOD
    (checkout.folder / "synapse-apply.yaml").unlink()
    commit(checkout.top)
    for place in (checkout.folder, checkout.folder / "manifests/more"):
        with pytest.raises(SynapseApplyError, match="No project file here"):
            url(place)
    assert url(checkout.top / "deploy") == LAX


@pytest.mark.parametrize("named", [False, True], ids=["cd", "--project"])
def test_a_project_file_that_became_a_link_goes_by_its_own_name(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """What is told of the base is told of the file that was read there."""
    monkeypatch.chdir(checkout.top)
    lax = project(LAX, "lax")["synapse-apply.yaml"].replace("targets: {", "targets: {staging: {}, ")
    write(checkout.top / "samples/lax", {"synapse-apply.yaml": lax})
    file = checkout.folder / "synapse-apply.yaml"
    file.unlink()
    replace(file, "../../samples/lax/synapse-apply.yaml")
    commit(checkout.top)
    where = Invocation(
        checkout.folder, project=file if named else None, target="staging", project_from=BASE
    )
    with pytest.raises(SynapseApplyError, match="Target not declared at that Git ref") as caught:
        read_url(where)
    (finding,) = caught.value.diagnostics
    assert finding.detail.startswith("deploy/prod/synapse-apply.yaml at ")
    assert finding.position is not None
    assert finding.position.file == "deploy/prod/synapse-apply.yaml"
    assert url(checkout.folder, named=named) == GOOD


@pytest.mark.parametrize("at", ["deploy/prod", "deploy"])
@pytest.mark.parametrize(
    "is_listed", [True, False], ids=["in the index", "left by a commit before"]
)
def test_a_submodule_is_asked_for_no_base(
    checkout: Checkout, tmp_path: Path, at: str, is_listed: bool
) -> None:
    """Its repository is the choice of a commit; a full id means one commit, wherever it is."""
    evil = tmp_path / "evil"
    place = Path("deploy/prod").relative_to(at)
    write(evil / place, project(EVIL, "evil"))
    head = commit(evil)
    shutil.rmtree(checkout.top / at)
    git(checkout.top, "rm", "-q", "-r", "--cached", at)
    git(checkout.top, *SUBMODULE, str(evil), at)
    git(checkout.top / at, "update-ref", BASE, head)
    if not is_listed:
        git(checkout.top, "rm", "-q", "--cached", at)
    there = Checkout(checkout.top, checkout.folder, checkout.canary)
    for ask in (there.url, there.names, there.changes, there.digest):
        for ref in (BASE, "origin/main", "HEAD~0", head[:10]):
            with pytest.raises(
                SynapseApplyError, match="The project is in a Git submodule"
            ) as caught:
                ask(ref)
            assert "clone" in (caught.value.diagnostics[0].hint or "")
    with pytest.raises(SynapseApplyError, match="Unknown Git ref"):
        url(checkout.folder, checkout.base)
    assert url(checkout.folder, head) == EVIL
    assert there.digest(head) == there.digest("HEAD")


@pytest.mark.parametrize("text", ["../samples/lax", "../other"])
def test_a_link_of_a_submodule_leads_to_no_other_project(
    checkout: Checkout, tmp_path: Path, text: str
) -> None:
    """A path through the submodule ends in the outer repository."""
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "prod").symlink_to(text)
    commit(evil)
    (checkout.top / "other").symlink_to("samples/lax")
    git(checkout.top, "add", "other")
    git(checkout.top, "commit", "-q", "-m", "x")
    git(checkout.top, "update-ref", BASE, "HEAD")
    shutil.rmtree(checkout.top / "deploy")
    git(checkout.top, "rm", "-q", "-r", "--cached", "deploy")
    git(checkout.top, *SUBMODULE, str(evil), "deploy")
    with pytest.raises(SynapseApplyError, match="A link points to the project"):
        url(checkout.folder)
    with pytest.raises(SynapseApplyError, match="The project file cannot be read"):
        url(checkout.folder, named=True)


def test_a_clone_that_no_commit_made(checkout: Checkout, tmp_path: Path) -> None:
    """One that the pipeline has put below another checkout is asked as any."""
    outer = tmp_path / "outer"
    write(outer, {"a": "x"})
    commit(outer)
    inner = Path(shutil.copytree(checkout.top, outer / "config", symlinks=True))
    assert url(inner / "deploy/prod") == GOOD
