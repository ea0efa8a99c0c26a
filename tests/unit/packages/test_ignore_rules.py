"""What is left out of a package, by Git's rules, and how it is told."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from git_repositories import commit, git
from unit.packages.trees import AT_HEAD, FOLDER, summaries, write

from synapse_apply.model.resource import PackageSource
from synapse_apply.packages.sources import list_package_files


def kept(root: Path, rules: str, *paths: str) -> list[str]:
    """Which of the paths stay under these lines."""
    write(root / "p", dict.fromkeys(paths, "x") | {".synapseignore": rules})
    return [path for path in list_package_files(FOLDER, root).included if path in paths]


@pytest.mark.parametrize(
    ("rules", "paths", "left"),
    [
        ("*.bin\n", ["a.bin", "d/a.bin", "a.py"], ["a.py"]),
        ("/a.txt\n", ["a.txt", "d/a.txt"], ["d/a.txt"]),
        ("d/x\n", ["d/x", "e/d/x"], ["e/d/x"]),
        ("data/\n", ["data/x", "e/data/x", "f/data"], ["f/data"]),
        ("**/tmp/*.txt\n", ["tmp/a.txt", "e/tmp/a.txt", "e/tmp/a.py"], ["e/tmp/a.py"]),
        ("*.txt\n!keep.txt\n", ["a.txt", "keep.txt"], ["keep.txt"]),
        ("!keep.txt\n*.txt\n", ["a.txt", "keep.txt", "b"], ["b"]),
        ("data/\n!data/keep\n", ["data/keep", "b"], ["b"]),
        ("data/*\n!data/keep\n", ["data/keep", "data/x"], ["data/keep"]),
        ("# note\n\n\\#x\n", ["#x", "note"], ["note"]),
        ("a[0-9]?\n", ["a1b", "a1", "ab1"], ["a1", "ab1"]),
        ("x \n", ["x", "y"], ["y"]),
        ("*.txt\n!keep/\n", ["keep/a.txt", "keep/b"], ["keep/b"]),
        ("*\n!*/\n!*.py\n", ["d/e/a.py", "d/b.txt"], ["d/e/a.py"]),
        ("/data\n!data/**\n", ["data/x", "b"], ["b"]),
        ("data/**\n!data/keep\n", ["data/keep", "data/x"], ["data/keep"]),
    ],
)
def test_patterns_mean_what_they_mean_to_git(
    tmp_path: Path, rules: str, paths: list[str], left: list[str]
) -> None:
    """Anchors, folders, negation, and no way back below a folder that is out."""
    assert sorted(kept(tmp_path, rules, *paths)) == sorted(left)


@pytest.mark.parametrize("seed", range(8))
def test_random_patterns_mean_what_git_says(tmp_path: Path, seed: int) -> None:
    """Git itself is asked what it would add."""
    chance = random.Random(seed)
    for turn in range(4):
        root = tmp_path / str(turn)
        lines = [_pattern(chance) for _ in range(chance.randint(1, 5))]
        write(root, dict.fromkeys(_paths(chance), "x") | {".gitignore": "\n".join(lines)})
        git(root, "init", "-q")
        answer = git(root, "ls-files", "-z", "--others", "--exclude-standard").split("\0")
        expected = {path for path in answer if path and path != ".gitignore"}
        included = set(list_package_files(PackageSource("folder", "."), root).included)
        assert included - {".gitignore"} == expected, lines


def _pattern(chance: random.Random) -> str:
    parts = chance.choices(
        ["a", "b", "*", "a*", "*.x", "**", "d", "?", "[ab]"], k=chance.randint(1, 3)
    )
    ends = chance.choice(["", "", "/", "/*"])
    return chance.choice(["", "", "!"]) + chance.choice(["", "/"]) + "/".join(parts) + ends


def _paths(chance: random.Random) -> set[str]:
    """Files under folders whose names no file has."""
    tops = ("", "a/", "b/", "d/", "d/a/", "a/b/d/")
    return {chance.choice(tops) + chance.choice(["f", "a.x", "b.x", "ab"]) for _ in range(10)}


def test_built_in_patterns_match_whole_names_at_any_depth(tmp_path: Path) -> None:
    """`dist` is not `distance`, nor is `env` `environment.py`."""
    paths = ["dist/x", "a/dist/x", "distance.py", "environment.py", "a/__pycache__/m.pyc", "b.pyc",
             "x.egg-info/PKG", ".env", "envs/prod", "build/x", "rebuild/x"]  # fmt: skip
    assert sorted(kept(tmp_path, "", *paths)) == [
        "distance.py", "environment.py", "envs/prod", "rebuild/x",
    ]  # fmt: skip


def test_a_line_brings_back_what_a_built_in_pattern_leaves_out(tmp_path: Path) -> None:
    """A plugin may need its dist folder."""
    assert kept(tmp_path, "!dist/\n", "dist/w.whl", "build/x") == ["dist/w.whl"]


def test_synapseignore_goes_before_gitignore_and_near_before_far(tmp_path: Path) -> None:
    """What a package needs can differ from what Git keeps."""
    write(
        tmp_path / "p",
        {
            ".gitignore": "*.pt\n*.tmp\n",
            ".synapseignore": "!model.pt\n",
            "d/.gitignore": "!x.tmp\n/local\n",
            **dict.fromkeys(["model.pt", "old.pt", "y.tmp", "d/x.tmp", "d/local", "local"], "x"),
        },
    )
    assert list(list_package_files(FOLDER, tmp_path).included) == ["d/x.tmp", "local", "model.pt"]


def test_git_and_our_state_never_enter_a_package(tmp_path: Path) -> None:
    """They hold credentials and the state key; no line brings them back."""
    paths = [".git/config", ".synapse-apply/state/prod.key", "a"]
    assert kept(tmp_path, "!.git\n!.git/**\n!.synapse-apply\n!.synapse-apply/**\n", *paths) == ["a"]


def test_everything_left_out_is_listed_with_its_rule(tmp_path: Path) -> None:
    """File, line and pattern, or `built in`."""
    write(
        tmp_path / "p",
        {
            "config.yaml": "x",
            ".synapseignore": "# heavy\n*.bin\n",
            "d/.gitignore": "/out\n",
            "a.bin": "x",
            "d/out/x": "x",
            "d/m.pyc": "x",
            ".git/HEAD": "x",
        },
    )
    assert list_package_files(FOLDER, tmp_path).excluded == (
        (".git/", "never part of a package"),
        (".synapseignore", "built in: .synapseignore"),
        ("a.bin", ".synapseignore:2: *.bin"),
        ("d/.gitignore", "built in: .gitignore"),
        ("d/m.pyc", "built in: *.pyc"),
        ("d/out/", "d/.gitignore:1: /out"),
    )


def test_a_git_ref_is_listed_by_the_rules_of_that_ref(tmp_path: Path) -> None:
    """The work tree's newer ignore file does not count."""
    write(tmp_path / "p", {"a.bin": "x", "a.py": "x", ".synapseignore": "*.bin\n"})
    commit(tmp_path)
    at_commit = list_package_files(FOLDER, tmp_path)
    (tmp_path / "p" / ".synapseignore").write_text("*.py\n")
    assert list_package_files(AT_HEAD, tmp_path) == at_commit


def test_an_unreadable_ignore_file_is_an_error(tmp_path: Path) -> None:
    """Packing without its rules could publish what they keep out."""
    write(tmp_path / "p", {"a": "x", ".synapseignore": b"\xff\xfe"})
    assert summaries(FOLDER, tmp_path) == ["File is not UTF-8 text"]


def test_patterns_match_korean_names_however_they_are_spelled(tmp_path: Path) -> None:
    """The file system may spell Hangul in pieces."""
    write(tmp_path / "p", {"\u1100\u1161.txt": "x", "b": "x", ".synapseignore": "\uac00.txt\n"})
    assert list(list_package_files(FOLDER, tmp_path).included) == ["b"]
