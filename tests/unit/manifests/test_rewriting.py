"""Several files are written anew together, or all of them stay as they are."""

from __future__ import annotations

import resource
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from synapse_apply.manifests.rewriting import Rewrite, create_new_file, rewrite_all_or_none
from synapse_apply.model.errors import InputError


def two(folder: Path) -> list[Rewrite]:
    """Two files that hold `old`, to hold `new`."""
    made = []
    for name in ("a.yaml", "b.yaml"):
        (folder / name).write_bytes(b"old")
        made.append(Rewrite(folder / name, name, b"old", b"new"))
    return made


def test_modes_and_links_stay(tmp_path: Path) -> None:
    """What a link leads to is written; nothing is left beside it."""
    changes = two(tmp_path)
    (tmp_path / "a.yaml").chmod(0o604)
    link = tmp_path / "link.yaml"
    link.symlink_to("a.yaml")
    rewrite_all_or_none([Rewrite(link, "link.yaml", b"old", b"new"), changes[1]])
    assert link.is_symlink()
    assert [(tmp_path / name).read_bytes() for name in ("a.yaml", "b.yaml")] == [b"new"] * 2
    assert stat.S_IMODE((tmp_path / "a.yaml").stat().st_mode) == 0o604
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.yaml", "b.yaml", "link.yaml"]


def moved_on(folder: Path) -> None:
    (folder / "b.yaml").write_bytes(b"somebody else's")


def gone(folder: Path) -> None:
    (folder / "b.yaml").unlink()


def became_a_folder(folder: Path) -> None:
    gone(folder)
    (folder / "b.yaml").mkdir()


@pytest.mark.parametrize("spoil", [moved_on, gone, became_a_folder])
def test_one_that_cannot_be_written_stops_all(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """The first is as it was, and the message names the second."""
    changes = two(tmp_path)
    spoil(tmp_path)
    there = sorted(tmp_path.iterdir())
    with pytest.raises(InputError) as caught:
        rewrite_all_or_none(changes)
    assert caught.value.diagnostics[0].detail.startswith("b.yaml")
    assert (tmp_path / "a.yaml").read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == there


def test_a_new_file_that_cannot_be_written_completely_does_not_stay(tmp_path: Path) -> None:
    """Otherwise the next try would be refused, since the file exists."""
    path = tmp_path / "folder" / "new.yaml"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(InputError, match="A file cannot be written"):
            create_new_file(path, "a" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(path.parent.iterdir()) == []
    create_new_file(path, "a")
    assert path.read_text() == "a"


def test_a_file_that_exists_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text("old")
    with pytest.raises(InputError, match="The file already exists"):
        create_new_file(path, "new")
    assert path.read_text() == "old"
