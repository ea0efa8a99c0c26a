"""What is remembered of how far a state was: never less, and nothing of what a file merely claims."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import NO_PROGRESS, StateProgress
from synapse_apply.workspace.own_folder import LastSeenFiles, SeenProgress, build_place_id

LINEAGE = "5f1c"


def only_file(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def test_it_never_goes_back(tmp_path: Path) -> None:
    seen = LastSeenFiles((tmp_path,))
    for position in (StateProgress(5, 2), StateProgress(3, 4), StateProgress(4, 1)):
        seen.remember_progress_if_greater(LINEAGE, position)
    assert seen.read_farthest(LINEAGE).progress == StateProgress(5, 4)
    assert seen.read_farthest("another") == SeenProgress()


def test_many_runs_at_once_leave_the_farthest(tmp_path: Path) -> None:
    """Each reads and writes; none takes back what another wrote."""
    positions = [StateProgress(number, 100 - number) for number in range(100)]
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda one: LastSeenFiles((tmp_path,)).remember_progress_if_greater(LINEAGE, one),
                positions,
            )
        )
    assert LastSeenFiles((tmp_path,)).read_farthest(LINEAGE).progress == StateProgress(99, 100)
    assert only_file(tmp_path).suffix == ".json"


def test_the_farthest_of_both_folders_counts(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    LastSeenFiles((one,)).remember_progress_if_greater(LINEAGE, StateProgress(7, 1))
    LastSeenFiles((other,)).remember_progress_if_greater(LINEAGE, StateProgress(2, 9))
    assert LastSeenFiles((one, other)).read_farthest(LINEAGE).progress == StateProgress(7, 9)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "[" * 3000, json.dumps({"format": 2, "lineage": LINEAGE}),
     json.dumps({"format": 1, "lineage": LINEAGE, "serial": True, "fence": 1}),
     json.dumps({"format": 1, "lineage": LINEAGE, "serial": 1e300, "fence": 1}),
     json.dumps({"format": 1, "lineage": LINEAGE, "serial": -1, "fence": 1}),
     json.dumps({"format": 1, "lineage": LINEAGE, "serial": 10**30, "fence": 1}),
     json.dumps({"format": 1, "lineage": "another", "serial": 9, "fence": 9}), "x" * 10_000],
)  # fmt: skip
def test_a_file_of_something_else_tells_nothing(tmp_path: Path, text: str) -> None:
    """One that a kill or a full disk left, or that somebody wrote; the next run writes it anew."""
    seen = LastSeenFiles((tmp_path,))
    seen.remember_progress_if_greater(LINEAGE, StateProgress(1, 1))
    only_file(tmp_path).write_text(text)
    assert seen.read_farthest(LINEAGE).progress == NO_PROGRESS
    seen.remember_progress_if_greater(LINEAGE, StateProgress(2, 2))
    assert seen.read_farthest(LINEAGE).progress == StateProgress(2, 2)


def test_what_was_last_at_a_place(tmp_path: Path) -> None:
    """Of both folders the later one counts; what is the same is not written again."""
    one, other = tmp_path / "one", tmp_path / "other"
    seen = LastSeenFiles((one, other))
    assert seen.find_place("a") is None
    seen.remember_place("a", LINEAGE, "1:7:abc")
    before = only_file(one).stat()
    seen.remember_place("a", LINEAGE, "1:7:abc")
    assert only_file(one).stat().st_ino == before.st_ino
    seen.remember_place("a", LINEAGE, "1:7:abc", "5f1c")
    assert (place := seen.find_place("a")) is not None
    assert place.key_id == "5f1c"
    LastSeenFiles((other,)).remember_place("b", "more", "")
    found = [seen.find_place(place_id) for place_id in ("a", "b")]
    assert [(place.lineage, place.bookmark) for place in found if place] == [
        (LINEAGE, "1:7:abc"), ("more", ""),
    ]  # fmt: skip
    only_file(one).write_text('{"format": 1, "lineage": "x", "bookmark": [], "at": "9"}')
    assert seen.find_place("a") == found[0]


def test_a_name_of_a_remote_is_remembered_for_one_checkout(tmp_path: Path) -> None:
    """In another one, such as a fork's, it may be another repository."""
    projects = [Project(id="p", root=tmp_path / name) for name in ("one", "fork")]
    target = Target(name="prod")
    for location, expected in (
        ("git:origin?ref=r", 2),
        ("git:https://h/p?ref=r", 1),
        ("s3://b", 1),
    ):
        assert len({build_place_id(project, target, location) for project in projects}) == expected
