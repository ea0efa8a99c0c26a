"""A package in another zip comes out as it was planned, or not at all."""

from __future__ import annotations

import os
import resource
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.packages.trees import FOLDER, ZIP, make_zip, write

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import InputError, Stale
from synapse_apply.model.ports import Packages
from synapse_apply.model.resource import Package, PackageSource
from synapse_apply.packages import carried_packages
from synapse_apply.packages.carried_packages import CarriedPackages
from synapse_apply.packages.inspection import read_source_as_package
from synapse_apply.packages.source import zip_archive as archives
from synapse_apply.packages.upload import SourcePackages

RELEASE = Address("release", "x@1")
FILES = {"config.yaml": "name: x\n", "main.py": "print(1)\n"}


def packed(root: Path, source: PackageSource = FOLDER) -> Package:
    """What a source holds, put into `plan` beside it."""
    package = read_source_as_package(source, root)
    with (
        zipfile.ZipFile(root / "plan", "w") as archive,
        SourcePackages({RELEASE: package}, root).open_package(RELEASE) as file,
    ):
        carried_packages.write_carried_package(archive, package.digest, file)
    return package


def refusal(root: Path, package: Package, **more: int) -> Diagnostic:
    """Why the package of `plan` is not handed out."""
    packages = CarriedPackages(root / "plan", {RELEASE: package}, max_size=10**9, **more)
    with pytest.raises(Stale) as caught, packages.open_package(RELEASE):
        pass
    (finding,) = caught.value.diagnostics
    assert finding.address == str(RELEASE)
    assert "Nothing was sent" in finding.hint
    return finding


@pytest.mark.parametrize("source", [FOLDER, ZIP], ids=["a folder", "a zip"])
def test_the_same_bytes_come_out_without_their_source(
    tmp_path: Path, source: PackageSource
) -> None:
    """As they would have been sent; stored, so that they are packed once."""
    write(tmp_path / "p", FILES)
    make_zip(tmp_path / "p.zip", {"a": b"x", "b": b"y"}, date_time=(2020, 1, 1, 1, 1, 0))  # type: ignore[arg-type]
    package = packed(tmp_path, source)
    with SourcePackages({RELEASE: package}, tmp_path).open_package(RELEASE) as file:
        sent = file.read()
    (tmp_path / "p").rename(tmp_path / "gone")
    (tmp_path / "p.zip").unlink()
    packages: Packages = CarriedPackages(tmp_path / "plan", {RELEASE: package})
    with packages.open_package(RELEASE) as file:
        assert os.fstat(file.fileno()).st_mode & 0o777 == 0o600
        assert file.read() == sent
    (info,) = zipfile.ZipFile(tmp_path / "plan").infolist()
    assert info.filename == f"packages/{package.digest.removeprefix('pkg1:sha256:')}.zip"
    assert info.compress_type == zipfile.ZIP_STORED


def rebuilt(root: Path, name: str, content: bytes, method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(root / "plan", "w") as archive:
        archive.writestr(name, content, method)


def other(root: Path, name: str, _content: bytes) -> None:
    """Another package of the same size."""
    make_zip(root / "other", {"config.yaml": b"name: y\n", "main.py": b"print(1)\n"})
    rebuilt(root, name, (root / "other").read_bytes())


def larger(root: Path, name: str, content: bytes) -> None:
    """One more file in it."""
    (root / "other").write_bytes(content)
    with zipfile.ZipFile(root / "other", "a") as archive:
        archive.writestr("more.py", "import os\n")
    rebuilt(root, name, (root / "other").read_bytes())


def twice(root: Path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(root / "plan", "w") as archive:
        archive.writestr(name, content)
        archive.writestr("x" * len(name), content)
    whole = (root / "plan").read_bytes()
    (root / "plan").write_bytes(whole.replace(b"x" * len(name), name.encode()))


def flipped(root: Path, name: str, content: bytes) -> None:
    """A bit of the package, its checksum outside made to fit."""
    middle = content.index(b"main.py") + 12
    rebuilt(root, name, content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])


def damaged(root: Path, _name: str, content: bytes) -> None:
    """The same bit, on the disk."""
    whole = bytearray((root / "plan").read_bytes())
    whole[whole.index(content) + 50] ^= 1
    (root / "plan").write_bytes(whole)


def encrypted(root: Path, _name: str, _content: bytes) -> None:
    whole = bytearray((root / "plan").read_bytes())
    whole[whole.rindex(b"PK\x01\x02") + 8] |= 1  # APPNOTE 4.4.4: bit 0 of the flags
    (root / "plan").write_bytes(whole)


TAMPERINGS: list[tuple[Callable[[Path, str, bytes], None], str]] = [
    (lambda root, name, _: rebuilt(root, f"{name}.old", b""), "it is not there"),
    (lambda root, _n, _c: (root / "plan").unlink(), "No such file or directory"),
    (lambda root, _n, _c: (root / "plan").write_bytes(b"PK"), "it is damaged or cut short"),
    (lambda root, name, _: rebuilt(root, name, b""), "it is no zip"),
    (lambda root, name, content: rebuilt(root, name, content[:-9]), "it is no zip"),
    (lambda root, name, content: rebuilt(root, name, content, zipfile.ZIP_DEFLATED),
     "it is compressed or encrypted"),
    (twice, "it stands there twice"),
    (encrypted, "it is compressed or encrypted"),
    (damaged, "it is damaged or cut short"),
    (flipped, "its content cannot be used"),
    (other, "it has other content than its name says"),
    (larger, "Other size in the zip: It unpacks to 27 bytes, not to 17"),
]  # fmt: skip


@pytest.mark.parametrize(("tamper", "why"), TAMPERINGS)
def test_what_is_not_the_planned_package_is_stale(
    tmp_path: Path, tamper: Callable[[Path, str, bytes], None], why: str
) -> None:
    """Missing, cut, damaged, foreign: in words, and nothing is handed out."""
    write(tmp_path / "p", FILES)
    package = packed(tmp_path)
    with zipfile.ZipFile(tmp_path / "plan") as archive:
        (name,) = archive.namelist()
        content = archive.read(name)
    tamper(tmp_path, name, content)
    assert why in refusal(tmp_path, package).detail


@pytest.mark.parametrize("digest", ["", "pkg1:sha256:../../etc", "pkg2:sha256:" + "0" * 64])
def test_a_name_is_made_from_a_digest_alone(tmp_path: Path, digest: str) -> None:
    """What an edited plan says is not looked for."""
    write(tmp_path / "p", FILES)
    packed(tmp_path)
    found = refusal(tmp_path, Package(digest, {}, 0, FOLDER))
    assert "the plan tells no package for it" in found.detail


def test_the_list_of_files_is_bound_as_well(tmp_path: Path) -> None:
    """It goes into the record."""
    write(tmp_path / "p", FILES)
    package = packed(tmp_path)
    lying = Package(package.digest, {**package.files, "main.py": "0" * 64}, package.size, FOLDER)
    assert "other content" in refusal(tmp_path, lying).detail


def test_a_package_above_the_limit_of_now(tmp_path: Path) -> None:
    """The project's limit may have been lowered since."""
    write(tmp_path / "p", FILES)
    package = packed(tmp_path)
    packages = CarriedPackages(tmp_path / "plan", {RELEASE: package}, max_size=16)
    with pytest.raises(Stale) as caught, packages.open_package(RELEASE):
        pass
    assert "unpacks to 17 bytes; max_package_size is 16" in caught.value.diagnostics[0].detail


def test_what_packs_well_is_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How far it unpacks is known from the plan, and nothing beyond that is unpacked."""
    monkeypatch.setattr(archives, "_BOMB_FROM", 1024**2)
    (tmp_path / "p").mkdir()
    with (tmp_path / "p" / "zeros").open("wb") as file:
        file.truncate(2 * 1024**2)
    package = packed(tmp_path)
    with CarriedPackages(tmp_path / "plan", {RELEASE: package}).open_package(RELEASE) as copy:
        assert len(copy.read()) < 10_000


def test_no_room_for_the_copy_is_not_the_plan_s_fault(tmp_path: Path) -> None:
    """An error of this machine, with its way out."""
    write(tmp_path / "p", FILES)
    package = packed(tmp_path)
    packages = CarriedPackages(tmp_path / "plan", {RELEASE: package}, scratch=tmp_path / "none")
    with (
        pytest.raises(InputError, match="Package cannot be written"),
        packages.open_package(RELEASE),
    ):
        pass
    packages = CarriedPackages(tmp_path / "plan", {RELEASE: package})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(InputError) as caught, packages.open_package(RELEASE):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "the temporary file: File too large" in caught.value.diagnostics[0].detail


def test_memory_stays_constant_for_a_large_package(tmp_path: Path) -> None:
    """64 MiB that cannot be packed, in and out through at most 8."""
    (tmp_path / "p").mkdir()
    with (tmp_path / "p" / "model.pt").open("wb") as file:
        for _ in range(64):
            file.write(os.urandom(1024**2))
    tracemalloc.start()
    try:
        package = packed(tmp_path)
        with CarriedPackages(tmp_path / "plan", {RELEASE: package}).open_package(RELEASE) as copy:
            assert copy.seek(0, 2) > 64 * 1024**2
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 1024**2
