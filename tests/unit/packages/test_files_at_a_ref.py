"""One file of a commit, read from the object database."""

from __future__ import annotations

from pathlib import Path

import pytest
from git_repositories import commit, git, read_head
from unit.packages.trees import write

from synapse_apply.files.commits import find_commit
from synapse_apply.model.errors import InputError


@pytest.mark.parametrize("folder", ["", "deploy", "de ploy/한국"])
@pytest.mark.parametrize("name", ["a.yaml", "*.yaml", ":(top)a", "q'\"\\.yaml", "한국.yaml"])
def test_a_file_is_found_by_its_own_name(tmp_path: Path, folder: str, name: str) -> None:
    """Names are no patterns, and are relative to the folder, wherever it lies."""
    root = tmp_path / folder
    write(root, {name: "then", "b.yaml": "other"})
    commit(tmp_path)
    write(root, {name: "now"})
    assert find_commit(root, "HEAD").read(name) == b"then"
    assert find_commit(root, "main").read("none.yaml") is None


def test_a_commit_is_named_for_people(tmp_path: Path) -> None:
    """By what was typed, with the commit beside it where that is not the same."""
    write(tmp_path, {"a": "x"})
    commit(tmp_path)
    full = read_head(tmp_path)
    assert str(find_commit(tmp_path, "main")) == f"main ({full[:7]})"
    assert str(find_commit(tmp_path, full)) == full
    assert str(find_commit(tmp_path, full[:9])) == full[:9]


@pytest.mark.parametrize("name", ["folder", "link", "module"])
def test_what_is_no_file_is_told(tmp_path: Path, name: str) -> None:
    """A folder, a link (also one out of the repository) and a submodule."""
    write(tmp_path, {"folder/a": "x"})
    (tmp_path / "link").symlink_to("/etc/passwd")
    commit(tmp_path)
    git(tmp_path, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
    git(tmp_path, "commit", "-q", "-m", "module")
    with pytest.raises(InputError, match="Not a file at that Git ref"):
        find_commit(tmp_path, "HEAD").read(name)


def test_an_object_that_is_not_here(tmp_path: Path) -> None:
    """As in a partial clone: nothing is fetched, and the way to fetch it is told."""
    write(tmp_path, {"a": "x"})
    commit(tmp_path)
    blob = git(tmp_path, "rev-parse", "HEAD:a")
    (tmp_path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(InputError) as told:
        find_commit(tmp_path, "HEAD").read("a")
    assert "git fetch" in told.value.diagnostics[0].hint
