"""A zip that is known is sent as it lies there, and never to its end when it changed."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.packages.trees import ZIP, change_unseen, make_zip

from synapse_apply.model.address import Address
from synapse_apply.model.errors import InputError
from synapse_apply.packages.sources import SourceFiles, read_source_as_package
from synapse_apply.packages.upload import SourcePackages
from synapse_apply.packages.zip_stamps import ZipStamps

RELEASE = Address("release", "x@1")
BLOCK = 1000


@pytest.fixture
def zipped(tmp_path: Path) -> Path:
    path = tmp_path / "p.zip"
    make_zip(path, {"a": os.urandom(5000), "b": b"x"})
    return path


@pytest.fixture
def packages(zipped: Path) -> SourcePackages:
    return planned(zipped.parent, seconds=10)


def planned(root: Path, seconds: float) -> SourcePackages:
    """The packages of a plan made so many seconds from now, without a place for copies."""
    stamps = ZipStamps(lambda: time.time_ns() + int(seconds * 1e9))
    package = read_source_as_package(ZIP, root, zip_stamps=stamps)
    return SourcePackages({RELEASE: package}, root, scratch=root / "none", zip_stamps=stamps)


def test_the_zip_itself_is_handed_out(zipped: Path, packages: SourcePackages) -> None:
    """Sized, rewindable, with its digest; read whole or in pieces, as often as one likes."""
    content = zipped.read_bytes()
    with packages.open_package(RELEASE) as file:
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        assert (file.tell(), file.seek(0, os.SEEK_END)) == (0, len(content))
        for _ in range(2):
            file.seek(0)
            assert b"".join(iter(lambda: file.read(BLOCK), b"")) == content
        file.seek(0)
        assert file.read(BLOCK) == content[:BLOCK]
        file.seek(0)
        assert file.read() == content
    assert file.closed


def test_it_is_read_in_order_alone(packages: SourcePackages) -> None:
    """Bytes that were skipped would not be hashed."""
    with packages.open_package(RELEASE) as file:
        file.seek(10)
        with pytest.raises(io.UnsupportedOperation):
            file.read(1)


def _shorter(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("change", [change_unseen, _shorter, _longer, _empty])
@pytest.mark.parametrize("pieces", [True, False])
def test_a_change_keeps_back_the_end(
    zipped: Path, packages: SourcePackages, change: Callable[[Path], None], pieces: bool
) -> None:
    """The message names the release; what came out before is not all of the file."""
    size, got = zipped.stat().st_size, 0
    with packages.open_package(RELEASE) as file:
        got += len(file.read(BLOCK)) if pieces else 0
        change(zipped)
        blocks = iter(lambda: file.read(BLOCK if pieces else -1), b"")
        with pytest.raises(InputError) as caught:
            got += sum(map(len, blocks))
    found = caught.value.diagnostics[0]
    assert found.summary == "Package changed while it was read"
    assert (found.address, got < size) == ("release/x@1", True)


def test_one_that_takes_its_place_is_not_sent(zipped: Path, packages: SourcePackages) -> None:
    """An open file is the planned one for good, and the new one is refused."""
    content = zipped.read_bytes()
    with packages.open_package(RELEASE) as file:
        other = zipped.with_name("other.zip")
        make_zip(other, {"a": b"other"})
        other.replace(zipped)
        assert file.read() == content
    with (
        pytest.raises(InputError, match="Package cannot be written"),
        packages.open_package(RELEASE),
    ):
        pass  # it would be copied, to be checked first


@pytest.mark.parametrize("seconds", [0, 1.5])
def test_what_was_written_a_moment_before_the_plan_is_copied(zipped: Path, seconds: float) -> None:
    """Its two readings may have met two contents."""
    packages = planned(zipped.parent, seconds)
    with (
        pytest.raises(InputError, match="Package cannot be written"),
        packages.open_package(RELEASE),
    ):
        pass


def test_a_link_in_its_place_is_not_followed(
    zipped: Path, packages: SourcePackages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that appears between the look at the path and its opening."""
    real: Any = SourceFiles._require_allowed_path

    def swapped(*given: Any) -> Path:
        found: Path = real(*given)
        zipped.rename(zipped.with_name("moved.zip"))
        zipped.symlink_to("moved.zip")
        return found

    monkeypatch.setattr(SourceFiles, "_require_allowed_path", swapped)
    with pytest.raises(InputError), packages.open_package(RELEASE):
        pass
