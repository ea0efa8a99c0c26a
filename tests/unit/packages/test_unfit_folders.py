"""What a folder may not hold, each with its own message."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from git_repositories import commit, git
from unit.packages.trees import AT_HEAD, FOLDER, findings, summaries, write

from synapse_apply.model.diagnostic import Diagnostic, Position
from synapse_apply.model.errors import InputError
from synapse_apply.model.resource import FILE, GIT, PackageSource
from synapse_apply.model.resource import FOLDER as FOLDER_KIND
from synapse_apply.packages.sources import SourceFiles, read_source_as_package

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 5\n"


@pytest.mark.parametrize("source", [FOLDER, AT_HEAD], ids=["folder", "git"])
@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("../outside", "points outside the package"),
        ("d/../../outside", "points outside the package"),
        ("/etc/hostname", "points outside the package"),
        ("missing", "points nowhere"),
        ("way/file", "points nowhere"),
        ("link", "points to itself"),
        ("other", "points to itself"),
        ("d", "points to a folder"),
        (".", "points to a folder"),
        (".synapse-apply/state.key", "never part of a package"),
    ],
)
def test_other_links_are_refused(
    tmp_path: Path, source: PackageSource, target: str, said: str
) -> None:
    """Out of the tree, absolute, dangling, in a circle, to or through a folder."""
    write(tmp_path, {"outside": "x", "p/d/file": "x", "p/.synapse-apply/state.key": "x"})
    (tmp_path / "p" / "way").symlink_to("d")
    (tmp_path / "p" / "other").symlink_to("link")
    (tmp_path / "p" / "link").symlink_to(target)
    write(tmp_path / "p", {".synapseignore": "/way\n/other\n"})
    commit(tmp_path)
    found = findings(source, tmp_path)
    assert [one.summary for one in found] == ["Link cannot be followed"]
    assert said in found[0].detail


def test_all_findings_come_at_once_with_their_place(tmp_path: Path) -> None:
    """One run tells everything, and of which release."""
    write(tmp_path / "p", {"a\\b": "x", "new\nline": "x", "Read.me": "x", "read.ME": "x",
                           "model.pt": POINTER})  # fmt: skip
    (tmp_path / "p" / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "p" / "pipe")
    place = Position("m.yaml", 3, 1)
    source = PackageSource("folder", "p", position=place)
    with pytest.raises(InputError) as caught:
        read_source_as_package(source, tmp_path, finding_context={"address": "release/x@1"})
    found = caught.value.diagnostics
    assert sorted(one.summary for one in found) == [
        "Git LFS pointer in the package",
        "Link cannot be followed",
        "Names collide in the package",
        "Special file in the package",
        "Unsafe name in the package",
        "Unsafe name in the package",
    ]
    assert {(one.position, one.address) for one in found} == {(place, "release/x@1")}


def test_names_that_differ_in_spelling_only_collide(tmp_path: Path) -> None:
    """NFC and NFD of one name are one file on some systems."""
    write(tmp_path / "p", {"\uac00": "1", "\u1100\u1161": "2"})
    assert summaries(FOLDER, tmp_path) == ["Names collide in the package"]


def test_a_file_and_a_folder_of_one_name_collide(tmp_path: Path) -> None:
    """By case, as macOS and Windows see them."""
    write(tmp_path / "p", {"Data": "1", "data/x": "2"})
    assert summaries(FOLDER, tmp_path) == ["Names collide in the package"]


def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    """And printed escaped."""
    write(tmp_path / "p", {"a": "x"})
    Path(os.fsdecode(os.fsencode(tmp_path / "p") + b"/\xff")).write_text("x")
    found = findings(FOLDER, tmp_path)
    assert [one.summary for one in found] == ["Unsafe name in the package"]
    assert found[0].detail.isascii()


def test_sockets_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As is everything that is not a regular file."""
    write(tmp_path / "p", {"a": "x"})
    monkeypatch.chdir(tmp_path / "p")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        assert summaries(FOLDER, tmp_path) == ["Special file in the package"]


def test_submodules_without_their_files_are_refused(tmp_path: Path) -> None:
    """By the .git file in them, or by .gitmodules; at a ref every submodule."""
    write(
        tmp_path,
        {"p/a": "x", "p/one/.git": "gitdir: x", ".gitmodules": '[submodule "t"]\n\tpath = p/two\n'},
    )
    (tmp_path / "p" / "two").mkdir()
    (tmp_path / "p" / "three").mkdir()
    git(tmp_path, "init", "-q")
    assert summaries(FOLDER, tmp_path) == ["Submodule without its files"] * 2


def test_a_package_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    """With the largest file by name; exactly the limit is fine."""
    write(tmp_path / "p", {"a": b"x" * 60, "b": b"x" * 40})
    assert summaries(FOLDER, tmp_path, 100) == []
    found = findings(FOLDER, tmp_path, 99)
    assert [one.summary for one in found] == ["Package too large"]
    assert "a (60 bytes)" in found[0].detail


def test_an_empty_package_is_refused(tmp_path: Path) -> None:
    """Also when the rules leave everything out, which is then said."""
    write(tmp_path / "p", {"a.log": "x"})
    found = findings(FOLDER, tmp_path)
    assert [one.summary for one in found] == ["Package is empty"]
    assert "Excluded by rules: 1." in found[0].detail


@pytest.mark.parametrize(
    ("path", "summary"),
    [
        ("none", "Package folder not found"),
        ("plain", "Package folder not found"),
        ("../else", "Package outside the project"),
        ("way", "Package outside the project"),
        ("/etc", "Package outside the project"),
        ("a\0b", "Package path not usable"),
        ("x" * 300, "Package folder not found"),
    ],
)
def test_folders_that_are_not_there_or_not_ours(tmp_path: Path, path: str, summary: str) -> None:
    """A pull request must not upload what lies outside the project."""
    write(tmp_path, {"project/plain": "x", "else/a": "x"})
    (tmp_path / "project" / "way").symlink_to("../else")
    assert summaries(PackageSource("folder", path), tmp_path / "project") == [summary]


def test_a_package_without_config_is_allowed_with_a_warning(tmp_path: Path) -> None:
    """The platform would miss it; synapse.yaml will do."""
    warnings: list[Diagnostic] = []
    write(tmp_path / "p", {"a": "x"})
    read_source_as_package(FOLDER, tmp_path, warn=warnings.append)
    assert [one.summary for one in warnings] == ["Package without config.yaml"]
    write(tmp_path / "p", {"synapse.yaml": "x"})
    read_source_as_package(FOLDER, tmp_path, warn=warnings.append)
    assert len(warnings) == 1


def test_a_published_source_has_no_bytes(tmp_path: Path) -> None:
    """Neither files nor a digest."""
    package = read_source_as_package(PackageSource("published"), tmp_path)
    assert (package.digest, package.files, package.size) == ("", {}, 0)


def test_only_a_folder_has_a_config_file_to_be_changed(tmp_path: Path) -> None:
    """A commit and a zip cannot be rewritten, whatever lies at their paths."""
    write(tmp_path, {"pkg/config.yaml": "name: yolo\n", "bare/a.py": ""})

    def find(source: PackageSource) -> Path | None:
        return SourceFiles(source, tmp_path).config_file()

    assert find(PackageSource(FOLDER_KIND, "pkg")) == tmp_path / "pkg/config.yaml"
    assert find(PackageSource(FOLDER_KIND, "bare")) is None
    assert find(PackageSource(GIT, "pkg", "main")) is None
    assert find(PackageSource(FILE, "pkg/config.yaml")) is None
