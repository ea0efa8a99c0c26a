"""What was hashed before is not read again, and what may have changed always is."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from unit.packages.trees import AT_HEAD, FOLDER, ZIP, commit, make_zip, write

from synapse_apply.model.errors import InputError
from synapse_apply.model.resource import Package, PackageSource
from synapse_apply.packages.digest_cache import DigestCache
from synapse_apply.packages.inspection import read_source_as_package
from synapse_apply.packages.source import open_source
from synapse_apply.packages.source.folder import FolderTree

SECOND = 1_000_000_000
TODAY = 20_000


class Reads:
    """Counts the contents that are read; the reading itself is the real one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        for owner, name in ((FolderTree, "blocks"), (open_source, "gather_zip")):
            monkeypatch.setattr(owner, name, self._counting(getattr(owner, name)))

    def _counting(self, real: Callable[..., object]) -> Callable[..., object]:
        def blocks(tree: FolderTree, file: object) -> object:
            self.names.append(getattr(file, "path", ""))
            return real(tree, file)

        def gathered(archive: object, name: str) -> object:
            found = real(archive, name)
            for entry in found.entries:  # type: ignore[attr-defined]
                read = entry.blocks
                object.__setattr__(entry, "blocks", lambda e=entry, r=read: self._of(e.path, r))
            return found

        return blocks if real.__name__ == "blocks" else gathered

    def _of(self, name: str, read: Callable[[], object]) -> object:
        self.names.append(name)
        return read()

    def taken(self) -> list[str]:
        """Those since the last time."""
        names, self.names = self.names, []
        return names


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


def looked(
    source: PackageSource, root: Path, kept: bytes = b"", *, later: float = 10.0, day: int = TODAY
) -> tuple[Package, bytes]:
    """A package as a run sees it that begins so many seconds from now; what it keeps."""
    digests = DigestCache(kept, day)
    package = read_source_as_package(source, root, digests=digests)
    digests.commit_pending(root.stat().st_dev, time.time_ns() + int(later * SECOND))
    return package, digests.encode_cache()


@pytest.mark.parametrize("source", [FOLDER, ZIP])
def test_a_second_run_reads_nothing(tmp_path: Path, reads: Reads, source: PackageSource) -> None:
    """The package is the same, in each of its parts."""
    write(tmp_path / "p", {"a": "x", "b/c": "y"})
    (tmp_path / "p" / "a").chmod(0o755)
    make_zip(tmp_path / "p.zip", {"a": b"x", "b/c": b"y"})
    first, kept = looked(source, tmp_path)
    assert sorted(reads.taken()) == ["a", "b/c"]
    again, _ = looked(source, tmp_path, kept)
    assert again == first == read_source_as_package(source, tmp_path)
    assert reads.taken() == ["a", "b/c"]  # of the look without digests


def test_what_is_young_is_not_kept(tmp_path: Path, reads: Reads) -> None:
    """Within 2 s a file may be written again and keep its times."""
    write(tmp_path / "p", {"a": "x"})
    _, kept = looked(FOLDER, tmp_path, later=1.5)
    looked(FOLDER, tmp_path, kept)
    assert reads.taken() == ["a", "a"]


def test_age_is_that_of_the_moment_before_the_first_file(tmp_path: Path, reads: Reads) -> None:
    """A run that hashes for long does not make its files old."""
    write(tmp_path / "p", {"a": "x"})
    ticks = iter([0.0, 9.0])
    digests = DigestCache(b"", TODAY, lambda: next(ticks))
    read_source_as_package(FOLDER, tmp_path, digests=digests)
    digests.commit_pending(tmp_path.stat().st_dev, time.time_ns() + 10 * SECOND)
    looked(FOLDER, tmp_path, digests.encode_cache())
    assert reads.taken() == ["a", "a"]


def test_on_another_file_system_an_hour_is_young(tmp_path: Path, reads: Reads) -> None:
    """Its clock may be another machine's."""
    write(tmp_path / "p", {"a": "x"})
    for later, expected in ((3000, ["a"]), (4000, [])):
        digests = DigestCache(b"", TODAY)
        read_source_as_package(FOLDER, tmp_path, digests=digests)
        digests.commit_pending(-1, time.time_ns() + later * SECOND)
        reads.taken()
        looked(FOLDER, tmp_path, digests.encode_cache())
        assert reads.taken() == expected


def _rewritten(file: Path) -> None:
    file.write_bytes(b"y")


def _rewritten_at_its_time(file: Path) -> None:
    info = file.stat()
    file.write_bytes(b"y")
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))


def _replaced(file: Path) -> None:
    info = file.stat()
    other = file.with_name("other")
    other.write_bytes(b"y")
    os.utime(other, ns=(info.st_atime_ns, info.st_mtime_ns))
    other.replace(file)


def _replaced_by_a_link(file: Path) -> None:
    file.rename(file.with_name("other"))
    file.with_name("other").write_bytes(b"y")
    file.symlink_to("other")


@pytest.mark.parametrize(
    "change", [_rewritten, _rewritten_at_its_time, _replaced, _replaced_by_a_link]
)
def test_what_changed_is_read(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Also with the same size, and with the same time of its last change."""
    write(tmp_path / "p", {"a": "x"})
    _, kept = looked(FOLDER, tmp_path)
    change(tmp_path / "p" / "a")
    assert looked(FOLDER, tmp_path, kept)[0] == read_source_as_package(FOLDER, tmp_path)


def test_a_change_between_hash_and_end_is_not_kept(tmp_path: Path) -> None:
    """What is written down is looked at once more."""
    write(tmp_path / "p", {"a": "x"})
    digests = DigestCache(b"", TODAY)
    read_source_as_package(FOLDER, tmp_path, digests=digests)
    write(tmp_path / "p", {"a": "y"})
    digests.commit_pending(tmp_path.stat().st_dev, time.time_ns() + 10 * SECOND)
    assert looked(FOLDER, tmp_path, digests.encode_cache())[0] == read_source_as_package(
        FOLDER, tmp_path
    )


def test_an_lfs_pointer_is_told_again(tmp_path: Path) -> None:
    """A finding is no less one because the file was seen before."""
    write(tmp_path / "p", {"a": "version https://git-lfs.github.com/spec/v1\n"})
    digests = DigestCache(b"", TODAY)
    with pytest.raises(InputError):
        read_source_as_package(FOLDER, tmp_path, digests=digests)
    digests.commit_pending(tmp_path.stat().st_dev, time.time_ns() + 10 * SECOND)
    with pytest.raises(InputError, match="Git LFS pointer"):
        looked(FOLDER, tmp_path, digests.encode_cache())


def test_a_git_ref_needs_none(tmp_path: Path) -> None:
    """Git names its contents itself."""
    write(tmp_path / "p", {"a": "x"})
    commit(tmp_path)
    assert looked(AT_HEAD, tmp_path)[1] == DigestCache(b"", TODAY).encode_cache()


def test_what_nobody_asks_for_is_let_go(tmp_path: Path, reads: Reads) -> None:
    """After thirty days; each use counts, and one that is a week old is worth a write."""
    write(tmp_path / "p", {"a": "x"})
    write(tmp_path / "q", {"b": "x"})
    both = looked(PackageSource("folder", "q"), tmp_path, looked(FOLDER, tmp_path)[1])[1]
    used = looked(FOLDER, tmp_path, both, day=TODAY + 20)[1]
    late = looked(FOLDER, tmp_path, used, day=TODAY + 40)[1]
    reads.taken()
    assert len(late) < len(both)
    looked(FOLDER, tmp_path, late, day=TODAY + 40)
    assert reads.taken() == []
    digests = DigestCache(late, TODAY + 48)
    read_source_as_package(FOLDER, tmp_path, digests=digests)
    assert digests.is_worth_saving


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: kept[:-1],
        lambda kept: kept.replace(b'"a"', b'"b"', 1)[:-9] + b"0" + kept[-8:],
        lambda kept: b"\0" * len(kept),
        lambda kept: kept.replace(b"digests 1", b"digests 2"),
        lambda _kept: b"",
        lambda _kept: b"[]",
    ],
)
def test_a_damaged_file_counts_as_none(
    tmp_path: Path, reads: Reads, damage: Callable[[bytes], bytes]
) -> None:
    """It costs time and nothing else."""
    write(tmp_path / "p", {"a": "x"})
    first, kept = looked(FOLDER, tmp_path)
    assert looked(FOLDER, tmp_path, damage(kept))[0] == first
    assert reads.taken() == ["a", "a"]


@pytest.mark.parametrize(
    "body",
    ["{}", "[[]]", "[[1,2,3,4,5,6,7,8,9,10]]", '[["a",1,1,1,1,1,1,"no digest",1,false]]',
     '[["a",1,1,1,1,1,1,{"b":1},1,"c"]]', '[["a",1,1,1,1,1,1,[],1,null]]', "[" * 100_000],
)  # fmt: skip
def test_another_shape_counts_as_none(body: str) -> None:
    """Even under a digest that is right."""
    digest = hashlib.sha256(body.encode()).hexdigest()
    kept = f"synapse-apply digests 1 {digest}\n{body}".encode()
    assert DigestCache(kept, TODAY).encode_cache() == DigestCache(b"", TODAY).encode_cache()


names = some.sampled_from(["a", "b", "c/d", "c/e", "f g", "é"])
edits = some.lists(some.tuples(names, some.binary(max_size=3), some.integers(0, 3)), max_size=6)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(runs=some.lists(some.tuples(edits, some.booleans()), min_size=2, max_size=5))
def test_a_package_is_the_same_with_and_without(
    runs: list[tuple[list[tuple[str, bytes, int]], bool]],
) -> None:
    """Whatever is written, removed, touched and made executable between runs."""
    with tempfile.TemporaryDirectory() as folder:
        root, kept = Path(folder), b""
        write(root / "p", {"always": "x"})
        for run, is_late in runs:
            for name, content, way in run:
                _edit(root / "p" / name, content, way)
            package, kept = looked(FOLDER, root, kept, later=10 if is_late else 0)
            assert package == read_source_as_package(FOLDER, root)


def _edit(path: Path, content: bytes, way: int) -> None:
    path.parent.mkdir(exist_ok=True)
    if way == 0:
        path.unlink(missing_ok=True)
    elif way == 1 and path.exists():
        path.chmod(path.stat().st_mode ^ 0o100)
    elif way == 2 and path.exists():
        os.utime(path, ns=(0, 0))
    else:
        path.write_bytes(content)
