"""A checkout that is not what its commit holds: recorded and shown as dirty, its files by name."""

from __future__ import annotations

import os

import git_repositories
import pytest
from e2e.scenarios.workplace import STORAGE, Workplace
from git_repositories import commit, read_head


def git(place: Workplace, *words: str) -> str:
    return git_repositories.git(place.root, *words)


@pytest.fixture
def committed(applied: Workplace) -> Workplace:
    """All that is applied is committed."""
    commit(applied.root, "First", with_ignored=False)
    return applied


def base_of(place: Workplace) -> dict[str, object]:
    base: dict[str, object] = place.plan("--json", code=0).document["base"]
    return base


def edit_manifest(place: Workplace) -> str:
    place.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    return "manifests/plugin.yaml"


def stage_edit(place: Workplace) -> str:
    git(place, "add", edit_manifest(place))
    return "manifests/plugin.yaml"


def edit_package(place: Workplace) -> str:
    place.edit("plugins/yolo/plugin/main.py", "yolo", "polo")
    return "plugins/yolo/plugin/main.py"


def add_manifest(place: Workplace) -> str:
    place.write("manifests/more.yaml", STORAGE.replace("raw-data", "more").replace("Raw", "More"))
    return "manifests/more.yaml"


def add_to_package(place: Workplace) -> str:
    place.write("plugins/yolo/plugin/näw.py", "")
    return "plugins/yolo/plugin/näw.py"


def remove_file(place: Workplace) -> str:
    (place.root / "plugins/yolo/plugin/main.py").unlink()
    return "plugins/yolo/plugin/main.py"


def make_executable(place: Workplace) -> str:
    (place.root / "plugins/yolo/plugin/main.py").chmod(0o755)
    return "plugins/yolo/plugin/main.py"


CHANGES = [
    edit_manifest, stage_edit, edit_package, add_manifest, add_to_package, remove_file,
    make_executable,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_each_way_to_be_dirty_is_named(committed, change):
    name, head = change(committed), read_head(committed.root)
    base = base_of(committed)
    assert base["commit"] == f"{head}-dirty"
    assert base["dirty_files"] == [name]


def touch(place: Workplace) -> None:
    """Other time stamps, the same content."""
    os.utime(place.root / "manifests/plugin.yaml", (1, 1))


def add_unread(place: Workplace) -> None:
    """A new file that is neither a manifest nor in a package."""
    place.write("notes.txt", "")


def add_ignored(place: Workplace) -> None:
    (place.root / ".git/info/exclude").write_text("*.pyc\n")
    place.write("plugins/yolo/plugin/main.pyc", "")


@pytest.mark.parametrize("change", [touch, add_unread, add_ignored, lambda _place: None])
def test_what_does_not_make_it_dirty(committed, change):
    change(committed)
    base = base_of(committed)
    assert base["commit"] == read_head(committed.root)
    assert "dirty_files" not in base


def test_a_dirty_apply_is_recorded_and_told(committed):
    edit_manifest(committed)
    head = read_head(committed.root)
    assert f"commit {head[:12]}-dirty" in committed.apply().out
    (newest, *_) = committed.run("state", "history", "--json", code=0).document["runs"]
    assert newest["commit"] == f"{head}-dirty"
    assert newest["dirty_files"] == ["manifests/plugin.yaml"]
    assert f"{head[:12]}-dirty" in committed.run("state", "history", code=0).out
    shown = committed.run("state", "history", "show", newest["plan_id"], code=0).out
    assert "differs from the commit: manifests/plugin.yaml" in shown


def test_manifests_of_a_commit_are_not_dirty(committed):
    """With --ref the checkout is not what is applied."""
    edit_manifest(committed)
    document = committed.plan("--ref", "HEAD", "--json", code=0).document
    assert document["base"]["commit"] == read_head(committed.root)
    assert "dirty_files" not in document["base"]


def test_an_offline_plan_says_so_too(committed):
    edit_manifest(committed)
    words = ("--offline", "--against", "git:HEAD", "--json")
    assert committed.plan(*words, code=0).document["base"]["dirty_files"] == [
        "manifests/plugin.yaml"
    ]


def test_no_filter_of_the_repository_runs(committed):
    """`git status` would run a clean filter; what only a filter could tell is not called dirty."""
    ran = committed.root / "ran"
    git(committed, "config", "filter.odd.clean", f"touch {ran}; cat")
    committed.write(".gitattributes", "* filter=odd\n")
    edit_manifest(committed)
    committed.edit("plugins/yolo/plugin/main.py", "yolo", "polo")
    assert "dirty_files" not in base_of(committed)
    assert not ran.exists()


def test_history_says_verb_counts_and_command(applied, server):
    """Old and new: an apply, an import, an accept, a move, a failed call."""
    number = str(server.objects("storage")[0]["id"])
    applied.run("state", "mv", "storage/raw-data", "storage/raw", code=0)
    applied.run("state", "rm", "storage/raw", code=0)
    applied.run("import", "storage/raw-data", number, code=0)
    applied.run("state", "accept", "storage/raw-data", "--auto-approve", code=0)
    applied.run("run", "yolo", code=None)
    runs = applied.run("state", "history", "--json", code=0).document["runs"]
    told = [(run["command"], run["counts"]) for run in reversed(runs)]
    assert told[:5] == [
        ("apply", {"create": 3}),
        ("state mv", {"move": 1}),
        ("state rm", {"forget": 1}),
        ("import", {"import": 1}),
        ("state accept", {"accept": 1}),
    ]
    assert told[5][0] == "run"
    lines = applied.run("state", "history", code=0).out.splitlines()
    assert lines[0].split() == ["WHEN", "PLAN", "COMMAND", "CALLS", "WHO", "COMMIT", "RUN"]
    assert "  apply " in lines[-1]
    assert "  3 create  " in lines[-1]
    assert "  import " in lines[3] + lines[2] + lines[4]
