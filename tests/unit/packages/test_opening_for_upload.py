"""What is uploaded is what was planned, or nothing."""

from __future__ import annotations

import shutil
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from unit.packages.trees import FOLDER, ZIP, make_zip, write

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import InputError
from synapse_apply.model.resource import Package, PackageSource
from synapse_apply.packages.sources import read_source_as_package
from synapse_apply.packages.upload import SourcePackages

RELEASE = Address("release", "x@1")


def refusal(packages: SourcePackages) -> Diagnostic:
    """Why the package cannot be opened."""
    with pytest.raises(InputError) as caught, packages.open_package(RELEASE):
        pass
    return caught.value.diagnostics[0]


def test_a_zip_has_fixed_facts(tmp_path: Path) -> None:
    """1980, Unix, 0644 or 0755, deflated, sorted."""
    write(tmp_path / "p", {"b": "x", "a/z": "y", "a.sh": "z"})
    (tmp_path / "p" / "a.sh").chmod(0o700)
    with SourcePackages({RELEASE: read_source_as_package(FOLDER, tmp_path)}, tmp_path).open_package(
        RELEASE
    ) as file:
        infos = zipfile.ZipFile(file).infolist()
    facts = [(info.filename, info.date_time, oct(info.external_attr >> 16)) for info in infos]
    epoch = (1980, 1, 1, 0, 0, 0)
    assert facts == [
        ("a.sh", epoch, "0o100755"), ("a/z", epoch, "0o100644"), ("b", epoch, "0o100644"),
    ]  # fmt: skip
    assert {(info.create_system, info.compress_type) for info in infos} == {
        (3, zipfile.ZIP_DEFLATED)
    }


def test_a_zip_built_elsewhere_is_sent_byte_for_byte(tmp_path: Path) -> None:
    """Its own times and order stay."""
    make_zip(tmp_path / "p.zip", {"b": b"x", "a": b"y"}, date_time=(2020, 1, 1, 1, 1, 0))  # type: ignore[arg-type]
    with SourcePackages({RELEASE: read_source_as_package(ZIP, tmp_path)}, tmp_path).open_package(
        RELEASE
    ) as file:
        assert file.read() == (tmp_path / "p.zip").read_bytes()


def test_a_folder_that_changed_since_planning_is_refused(tmp_path: Path) -> None:
    """The message names what changed."""
    write(tmp_path / "p", {"a": "x", "b": "x", "c": "x"})
    packages = SourcePackages({RELEASE: read_source_as_package(FOLDER, tmp_path)}, tmp_path)
    write(tmp_path / "p", {"a": "other", "new": "x"})
    (tmp_path / "p" / "b").unlink()
    found = refusal(packages)
    assert found.summary == "Package changed after the plan"
    assert "added new, removed b, changed a" in found.detail
    assert found.address == "release/x@1"


def test_a_zip_that_changed_since_planning_is_refused(tmp_path: Path) -> None:
    """By its content."""
    make_zip(tmp_path / "p.zip", {"a": b"x"})
    packages = SourcePackages({RELEASE: read_source_as_package(ZIP, tmp_path)}, tmp_path)
    make_zip(tmp_path / "p.zip", {"a": b"y"})
    assert refusal(packages).summary == "Package changed after the plan"


def test_what_changes_while_it_is_sent_does_not_reach_the_wire(tmp_path: Path) -> None:
    """The copy was checked, and the copy is sent."""
    make_zip(tmp_path / "p.zip", {"a": b"x"})
    before = (tmp_path / "p.zip").read_bytes()
    with SourcePackages({RELEASE: read_source_as_package(ZIP, tmp_path)}, tmp_path).open_package(
        RELEASE
    ) as file:
        (tmp_path / "p.zip").write_bytes(bytes(len(before)))
        assert file.read() == before


def test_a_source_that_is_gone_or_unfit_now_is_told_with_its_release(tmp_path: Path) -> None:
    """As when it is inspected, and with the address."""
    write(tmp_path / "p", {"a": "x"})
    packages = SourcePackages({RELEASE: read_source_as_package(FOLDER, tmp_path)}, tmp_path)
    (tmp_path / "p" / "link").symlink_to("/etc/hostname")
    assert refusal(packages).summary == "Link cannot be followed"
    (tmp_path / "p").rename(tmp_path / "q")
    found = refusal(packages)
    assert (found.summary, found.address) == ("Package folder not found", "release/x@1")


@pytest.mark.parametrize("known", [True, False])
def test_without_bytes_of_ours_there_is_nothing_to_open(tmp_path: Path, known: bool) -> None:
    """A published source, or a release without one."""
    package = Package("", {}, 0, PackageSource("published"))
    assert refusal(SourcePackages({RELEASE: package} if known else {}, tmp_path)).summary == (
        "No package to upload"
    )


def test_a_scratch_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    """Not a traceback."""
    write(tmp_path / "p", {"a": "x"})
    packages = SourcePackages(
        {RELEASE: read_source_as_package(FOLDER, tmp_path)}, tmp_path, scratch=tmp_path / "none"
    )
    assert refusal(packages).summary == "Package cannot be written"


def test_memory_stays_constant_for_a_large_file(tmp_path: Path) -> None:
    """64 MiB through at most 8; folder and zip."""
    (tmp_path / "p").mkdir()
    with (tmp_path / "p" / "model.pt").open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    tracemalloc.start()
    try:
        packages = SourcePackages({RELEASE: read_source_as_package(FOLDER, tmp_path)}, tmp_path)
        with packages.open_package(RELEASE) as made, (tmp_path / "p.zip").open("wb") as copy:
            shutil.copyfileobj(made, copy)
        read_source_as_package(ZIP, tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 1024 * 1024
