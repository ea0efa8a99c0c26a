"""What a worker of a controller or a command remembers of commits: read once more it starts no Git."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from git_repositories import commit, git, read_head
from unit.packages.trees import write

from synapse_apply.files import commit_memory
from synapse_apply.files.commits import CommitTree, find_commit
from synapse_apply.files.tree import UnreadableError
from synapse_apply.model.errors import InputError

LARGE = b"x" * 70_000


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process remembers, for one test."""
    monkeypatch.setattr(commit_memory, "_memory", commit_memory.CommitMemory())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, {"a.yaml": "then", "folder/b": "deep", "large": LARGE})
    (tmp_path / "link").symlink_to("folder/b")
    commit(tmp_path)
    return tmp_path


@pytest.fixture
def git_count(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A file that grows by a line for each Git that is started."""
    folder = tmp_path_factory.mktemp("bin")
    log, program = folder / "log", folder / "git"
    log.touch()
    program.write_text(f'#!/bin/sh\necho "$*" >> {log}\nexec {find_git()} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return log


def find_git() -> str:
    paths = (Path(folder, "git") for folder in os.environ["PATH"].split(os.pathsep))
    return str(next(path for path in paths if path.exists()))


def read_all(root: Path, ref: str) -> dict[str, bytes]:
    """The small files of a commit, as a look reads them."""
    found = find_commit(root, ref)
    with CommitTree(root, ".", found.id) as tree:
        assert [entry.path for entry in tree.entries("folder")] == ["folder/b"]
        return {path: tree.read(path) for path in ("a.yaml", "folder/b", "link")}


@pytest.mark.usefixtures("remembered")
def test_the_second_time_no_git_is_started(root: Path, git_count: Path) -> None:
    """Of the same commit, by its full id; what is read is the same."""
    head = read_head(root)
    git_count.write_text("")
    first = read_all(root, head)
    assert git_count.read_text()
    git_count.write_text("")
    assert (
        read_all(root, head) == first == {"a.yaml": b"then", "folder/b": b"deep", "link": b"deep"}
    )
    assert git_count.read_text() == ""


@pytest.mark.usefixtures("remembered")
def test_another_commit_is_read_anew(root: Path) -> None:
    """And a branch means what it means now."""
    old = read_head(root)
    assert read_all(root, "main")["a.yaml"] == b"then"
    write(root, {"a.yaml": "now"})
    commit(root)
    assert read_all(root, "main")["a.yaml"] == b"now"
    assert read_all(root, old)["a.yaml"] == b"then"
    with pytest.raises(InputError, match="Unknown Git ref"):
        read_all(root, "0" * 40)


@pytest.mark.usefixtures("remembered")
def test_a_large_file_is_read_each_time(root: Path) -> None:
    """So that the memory stays small: without its object it cannot be read a second time."""
    head = read_head(root)
    blob = git(root, "rev-parse", "HEAD:large")
    with CommitTree(root, ".", head) as tree:
        assert tree.read("large") == LARGE
    (root / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with CommitTree(root, ".", head) as tree, pytest.raises(UnreadableError):
        tree.read("large")


@pytest.mark.usefixtures("remembered")
def test_what_was_used_longest_ago_is_forgotten(root: Path) -> None:
    """Files of more than all of the memory: each is still read as it is."""
    texts = {f"many/{number}": f"{number}".encode() * 10_000 for number in range(400)}
    write(root, texts)
    commit(root)
    head = read_head(root)
    for _ in range(2):
        with CommitTree(root, "many", head) as tree:
            for path, text in texts.items():
                name = path.removeprefix("many/")
                assert tree.read(name) == text


def test_a_command_starts_no_git_for_what_it_has_read(root: Path, git_count: Path) -> None:
    """By the name of a branch as well, which means one commit to the command; then it is over."""
    with commit_memory.pin_refs():
        first = read_all(root, "main")
        git_count.write_text("")
        with commit_memory.pin_refs():
            assert read_all(root, "main") == first
        assert git_count.read_text() == ""
    write(root, {"a.yaml": "now"})
    commit(root)
    assert read_all(root, "main")["a.yaml"] == b"now"


def test_a_process_that_does_not_ask_for_it_remembers_nothing(root: Path, git_count: Path) -> None:
    """Outside of a command: a checkout may be another one the next time."""
    head = read_head(root)
    read_all(root, head)
    git_count.write_text("")
    read_all(root, head)
    assert git_count.read_text()
