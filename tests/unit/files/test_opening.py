"""Whose a file must be, which way may lead to it, and what is written first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from synapse_apply.files import opening
from synapse_apply.files.opening import UntrustedFileError

US, PROJECT, STRANGER = 1000, 2000, 3000


@pytest.mark.parametrize(
    ("we_are", "owner", "is_ours"),
    [
        (US, US, True),
        (US, 0, True),
        (US, PROJECT, False),
        (US, STRANGER, False),
        (0, 0, True),
        (0, PROJECT, True),
        (0, STRANGER, False),
    ],
)
def test_whose_files_are_ours(
    monkeypatch: pytest.MonkeyPatch, we_are: int, owner: int, is_ours: bool
) -> None:
    """The user's own, root's, and to root those of the project's owner."""
    monkeypatch.setattr(os, "geteuid", lambda: we_are)
    assert opening._is_trusted_owner(owner, PROJECT) is is_ours


def test_the_ignore_file_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any folder below ours; a run that is cut short leaves nothing to `git add`."""
    made: list[str] = []
    real = os.mkdir

    def watching(name: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        ignore = tmp_path / "project" / ".synapse-apply" / ".gitignore"
        made.append(f"{name} {'ignored' if ignore.exists() else ''}".strip())
        real(name, mode, dir_fd=dir_fd)

    (tmp_path / "project").mkdir()
    monkeypatch.setattr(os, "mkdir", watching)
    opening.make_own_folders(tmp_path / "project" / ".synapse-apply" / "a" / "b")
    assert made == [".synapse-apply", "a ignored", "b ignored"]


def test_a_folder_elsewhere_is_ignored_if_it_is_made_here(tmp_path: Path) -> None:
    """Only the folder of the files themselves; one that exists may have files of the user's."""
    (tmp_path / "mine").mkdir()
    opening.make_own_folders(tmp_path / "mine")
    opening.make_own_folders(tmp_path / "states" / "prod")
    assert list(tmp_path.rglob(".gitignore")) == [tmp_path / "states" / "prod" / ".gitignore"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "states"]


def test_a_folder_elsewhere_appears_with_its_ignore_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut short before, it does not exist, and the next run makes it."""

    def cut_short(*_: object) -> None:
        raise OSError(5, "cut short")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", cut_short)
        with pytest.raises(OSError, match="cut short"):
            opening.make_own_folders(tmp_path / "states")
    assert list(tmp_path.iterdir()) == []
    opening.make_own_folders(tmp_path / "states")
    assert (tmp_path / "states" / ".gitignore").read_text() == "*\n"


def test_a_folder_of_ours_with_another_name(tmp_path: Path) -> None:
    """Below the user's cache: ours is ignored, also if an earlier version made it; others' not."""
    ours = tmp_path / "cache" / "synapse-apply"
    ours.mkdir(parents=True)
    opening.make_own_folders(ours / "seen", own_top=ours)
    assert list(tmp_path.rglob(".gitignore")) == [ours / ".gitignore"]
    assert (ours / "seen").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("text", "is_ignored"),
    [("*\n", True), ("# ours\n*\n", True), ("", False), ("state/\n", False), ("*\n!x\n", False)],
)
def test_whether_an_ignore_file_ignores_all(tmp_path: Path, text: str, is_ignored: bool) -> None:
    """One line does; one that takes something out again does not."""
    folder = tmp_path / ".synapse-apply"
    folder.mkdir()
    (folder / ".gitignore").write_text(text)
    assert opening.has_own_gitignore(folder) is is_ignored
    opening.make_own_folders(folder / "state")
    assert (folder / ".gitignore").read_text() == (text if is_ignored else "*\n")


def test_links_above_our_folder_are_followed(tmp_path: Path) -> None:
    """The way to the project is that of whoever runs the command."""
    (tmp_path / "real" / ".synapse-apply").mkdir(parents=True)
    (tmp_path / "real" / ".synapse-apply" / "k").write_text("key")
    (tmp_path / "way").symlink_to("real")
    path = tmp_path / "way" / ".synapse-apply" / "k"
    assert opening.read_start_of_own_file(path) == b"key"
    assert opening.resolve_links_above(path) == tmp_path.resolve() / "real" / ".synapse-apply" / "k"


def test_elsewhere_the_file_itself_is_no_link(tmp_path: Path) -> None:
    """Neither read nor made nor removed through one."""
    (tmp_path / "victim").write_text("victim")
    (tmp_path / "k").symlink_to("victim")
    with pytest.raises(UntrustedFileError):
        opening.read_start_of_own_file(tmp_path / "k")
    with pytest.raises(FileExistsError):
        opening.create_own_file(tmp_path / "k")
    opening.remove_own_file(tmp_path / "k")
    assert (tmp_path / "victim").read_text() == "victim"
    assert not os.path.lexists(tmp_path / "k")


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    """Whatever is refused on the way."""
    folder = tmp_path / ".synapse-apply" / "state"
    folder.mkdir(parents=True)
    (folder / "link").symlink_to("nowhere")
    (folder / "sub").mkdir()
    (folder / "sub" / ".git").mkdir()
    before = len(list(Path("/dev/fd").iterdir()))
    for name in ("link", "link/x", "sub/x", "missing/x"):
        with pytest.raises((UntrustedFileError, FileNotFoundError)):
            opening.open_own_file_with_flags(folder / name, os.O_RDONLY)
    assert len(list(Path("/dev/fd").iterdir())) == before


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_folder_is_swapped_while_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The folder is the one that is checked, by its descriptor, or nothing is opened."""
    folder, planted = tmp_path / ".synapse-apply" / "state", tmp_path / "planted"
    for place, text in ((folder, "genuine"), (planted, "planted")):
        place.mkdir(parents=True)
        (place / "prod.key").write_text(text)
    real = os.open

    def swap() -> None:
        folder.rename(tmp_path / "real")
        folder.symlink_to(planted)

    def swapping(path: str, *arguments: Any, **more: Any) -> int:
        swaps = path == "state" and not folder.is_symlink()
        if swaps and moment == "before":
            swap()
        descriptor = real(path, *arguments, **more)
        if swaps and moment == "after":
            swap()
        return descriptor

    monkeypatch.setattr(os, "open", swapping)
    if moment == "after":
        assert opening.read_start_of_own_file(folder / "prod.key") == b"genuine"
        return
    with pytest.raises(opening.UntrustedFileError, match="A file is not trusted"):
        opening.read_start_of_own_file(folder / "prod.key")
