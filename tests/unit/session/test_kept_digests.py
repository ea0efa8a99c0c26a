"""The file of digests beside the state: private, whole or not there, and never in the way."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from synapse_apply.manifests.project.project import build_default_project
from synapse_apply.model.errors import StateError
from synapse_apply.model.project import Target
from synapse_apply.model.resource import PackageSource
from synapse_apply.workspace.package_sources import PackageSources

ZIP = PackageSource("folder", "p")
SIZE = 9 * 1024 * 1024  # worth keeping


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one large file, at a time when it is no longer young."""
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "large").write_bytes(bytes(SIZE))
    monkeypatch.setattr("synapse_apply.packages.file_stamp._RACY_NANOSECONDS", -3600 * 10**9)
    return tmp_path


@pytest.fixture
def file(root: Path) -> Path:
    return root / ".synapse-apply" / "cache" / "digests"


def look(root: Path, environ: dict[str, str] | None = None) -> str:
    """The package's digest as a run sees it."""
    sources = PackageSources(build_default_project(root), environ=environ or {})
    package, findings = sources.inspect_package(ZIP, Target("t", ""))
    sources.save_digests()
    assert package is not None, findings
    return package.digest


def test_it_is_private_and_out_of_git(root: Path, file: Path) -> None:
    """As the state beside it; nothing else is left there."""
    look(root)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert (file.parent.parent / ".gitignore").read_text() == "*\n"
    assert [one.name for one in file.parent.iterdir()] == ["digests"]


def test_it_is_written_once(root: Path, file: Path) -> None:
    """A run that learns nothing leaves it as it is."""
    digest = look(root)
    before = file.stat()
    assert look(root) == digest
    assert file.stat() == before


def test_a_small_package_leaves_nothing(root: Path) -> None:
    """To read it again is cheaper."""
    (root / "p" / "large").write_bytes(b"x")
    look(root)
    assert not (root / ".synapse-apply").exists()


@pytest.mark.parametrize("word", ["off", "OFF", "0", "no", "false"])
def test_one_can_do_without(root: Path, word: str) -> None:
    """Nothing is written, and the digest is the same."""
    assert look(root, {"SYNAPSE_APPLY_CACHE": word}) == look(root)
    before = sorted(root.rglob("*"))
    (root / ".synapse-apply" / "cache" / "digests").write_bytes(b"not looked at")
    assert look(root, {"SYNAPSE_APPLY_CACHE": word}) == look(root, {"SYNAPSE_APPLY_CACHE": ""})
    assert sorted(root.rglob("*")) == before


def _folder(file: Path) -> None:
    file.mkdir(parents=True)


def _pipe(file: Path) -> None:
    file.parent.mkdir(parents=True)
    os.mkfifo(file)


def _link_to_nowhere(file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.symlink_to("/nowhere/at/all")


def _file_above(file: Path) -> None:
    file.parent.parent.mkdir()
    file.parent.write_text("a file")


def _noise(file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(os.urandom(1000))


@pytest.mark.parametrize("place", [_folder, _pipe, _link_to_nowhere, _file_above])
def test_what_no_run_of_ours_left_there_is_refused(
    root: Path, file: Path, place: Callable[[Path], None]
) -> None:
    """A folder, a pipe, a link, a file in place of the folder; without the cache all goes on."""
    place(file)
    with pytest.raises(StateError, match="A file is not used"):
        look(root)
    assert look(root, {"SYNAPSE_APPLY_CACHE": "off"})


def test_noise_in_its_place_is_no_error(root: Path, file: Path) -> None:
    """All is read instead."""
    expected = look(root, {"SYNAPSE_APPLY_CACHE": "off"})
    _noise(file)
    assert look(root) == expected
    assert look(root) == expected


def test_two_writers_leave_a_whole_file(root: Path, file: Path) -> None:
    """One of theirs, and nothing beside it."""
    made = [PackageSources(build_default_project(root), environ={}) for _ in range(4)]
    for one in made:
        one.inspect_package(ZIP, Target("t", ""))
    together = [threading.Thread(target=one.save_digests) for one in made]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert [one.name for one in file.parent.iterdir()] == ["digests"]
    before = file.stat()
    look(root)
    assert file.stat() == before


def test_what_killed_runs_left_is_cleared_away(root: Path, file: Path) -> None:
    """After a day; a younger one may be somebody's work."""
    file.parent.mkdir(parents=True)
    old, young = file.with_name("digests.old"), file.with_name("digests.young")
    for one in (old, young):
        one.write_bytes(b"")
    os.utime(old, (0, 0))
    look(root)
    assert (old.exists(), young.exists()) == (False, True)


def test_another_project_file_keeps_its_own(root: Path, tmp_path: Path) -> None:
    """It lies beside the project file, as the state does."""
    inner = root / "inner"
    (inner / "p").mkdir(parents=True)
    (inner / "p" / "large").write_bytes(bytes(SIZE))
    sources = PackageSources(replace(build_default_project(root), root=inner), environ={})
    sources.inspect_package(ZIP, Target("t", ""))
    sources.save_digests()
    assert (inner / ".synapse-apply" / "cache" / "digests").exists()
    assert not (tmp_path / ".synapse-apply").exists()
