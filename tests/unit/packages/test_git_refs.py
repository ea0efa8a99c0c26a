"""A folder at a Git ref, read from the object database."""

from __future__ import annotations

from pathlib import Path

import pytest
from git_repositories import commit, git
from unit.packages.trees import AT_HEAD, FOLDER, findings, summaries, write

from synapse_apply.model.resource import PackageSource
from synapse_apply.packages.sources import read_source_as_package


@pytest.mark.parametrize(
    ("path", "ref", "summary"),
    [
        ("p", "v9", "Unknown Git ref"),
        ("p", "0" * 40, "Unknown Git ref"),
        ("p", "HEAD:p", "Unknown Git ref"),
        ("p", "--help", "Git ref not allowed"),
        ("p", "", "Git ref not allowed"),
        ("p", "a\nb", "Git ref not allowed"),
        ("gone", "HEAD", "Folder not in that Git ref"),
        ("p/a", "HEAD", "Not a folder at that Git ref"),
        ("sub", "HEAD", "The package is in a Git submodule"),
        ("sub/inner", "HEAD", "The package is in a Git submodule"),
        ("q", "HEAD", "Submodule without its files"),
        ("../p", "HEAD", "Package outside the project"),
        ("lfs", "HEAD", "Git LFS pointer in the package"),
    ],
)
def test_what_cannot_be_read_at_a_ref(tmp_path: Path, path: str, ref: str, summary: str) -> None:
    """Each with its own message."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    write(tmp_path, {"p/a": "x", "q/b": "x", "lfs/m.pt": pointer})
    commit(tmp_path)
    elsewhere = "1" * 40
    for at in ("sub", "q/sub"):
        git(tmp_path, "update-index", "--add", "--cacheinfo", f"160000,{elsewhere},{at}")
    git(tmp_path, "commit", "-q", "-m", "submodules")
    assert summaries(PackageSource("git", path, ref), tmp_path) == [summary]


def test_a_folder_outside_any_repository_says_so(tmp_path: Path) -> None:
    """With Git's own reason."""
    write(tmp_path / "p", {"a": "x"})
    found = findings(AT_HEAD, tmp_path)
    assert [one.summary for one in found] == ["Not a Git repository"]
    assert "not a git repository" in found[0].detail


def test_a_missing_object_is_told_with_the_way_to_fetch_it(tmp_path: Path) -> None:
    """As in a partial clone."""
    write(tmp_path / "p", {"a": "x", "b": "y"})
    commit(tmp_path)
    blob = git(tmp_path, "rev-parse", "HEAD:p/a")
    (tmp_path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    found = findings(AT_HEAD, tmp_path)
    assert found
    assert all("git fetch" in one.hint for one in found)


def test_no_hook_filter_or_variable_of_git_interferes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hook that runs us has GIT_DIR set; attributes may name filters."""
    write(tmp_path / "p", {"a": "x", ".gitattributes": "* filter=bad ident\n"})
    commit(tmp_path)
    digest = read_source_as_package(FOLDER, tmp_path).digest
    git(tmp_path, "config", "filter.bad.smudge", f"touch {tmp_path}/ran; cat")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere")
    assert read_source_as_package(AT_HEAD, tmp_path).digest == digest
    assert not (tmp_path / "ran").exists()


def test_git_missing_from_the_machine_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback."""
    write(tmp_path / "p", {"a": "x"})
    commit(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert summaries(AT_HEAD, tmp_path) == ["Git cannot be started"]
