"""How a saved plan contains packages, each named by its digest, and that they are verified.

They are stored as they are sent, without compressing them again. A package is verified when it is
opened: its content is the planned one, or Stale is raised.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import InputError, Stale
from synapse_apply.model.packages.digest import DIGEST_PATTERN
from synapse_apply.model.resource import Package
from synapse_apply.packages.content import BLOCK, compute_package_digest, hash_and_measure_files
from synapse_apply.packages.inspection import MAX_SIZE
from synapse_apply.packages.source.zip_archive import gather_zip, open_zip
from synapse_apply.packages.upload import create_private_copy

CARRIED_FOLDER = "packages/"
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)
_ENCRYPTED = 0x1
# zipfile raises RuntimeError for features that it does not support.
_DAMAGE_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)
RETRY_HINT = "Nothing was sent. Fetch the plan's file anew, or plan again with --with-packages."


def build_carried_name(digest: str) -> str:
    """The entry name `packages/HEX.zip` of a package digest; ValueError for another text."""
    match = DIGEST_PATTERN.fullmatch(digest)
    if match is None:
        raise ValueError("this is no digest of a package")
    return f"{CARRIED_FOLDER}{match[1]}.zip"


def is_carried_name(name: str) -> bool:
    """Whether a name has the form of `build_carried_name`."""
    digest = name.removeprefix(CARRIED_FOLDER).removesuffix(".zip")
    return (
        bool(DIGEST_PATTERN.fullmatch(f"pkg1:sha256:{digest}"))
        and name == f"{CARRIED_FOLDER}{digest}.zip"
    )


def write_carried_package(archive: zipfile.ZipFile, digest: str, package: BinaryIO) -> int:
    """Add a package to a zip that is being written, block by block; returns its size in bytes."""
    info = zipfile.ZipInfo(build_carried_name(digest), _FIXED_TIME)
    info.compress_type = zipfile.ZIP_STORED
    # zipfile must know the size in advance, or it refuses an entry over 2 GiB (no zip64).
    info.file_size = package.seek(0, 2)
    package.seek(0)
    with archive.open(info, "w") as entry:
        shutil.copyfileobj(package, entry, BLOCK)
    return info.file_size


class CarriedPackages:
    """The `Packages` port (model/ports.py) over a plan's file; safe for many threads.

    `packages` are the planned ones. Stale if the file has no or another content for one; InputError
    if the private copy that is handed out cannot be written.
    """

    def __init__(
        self,
        file: Path,
        packages: Mapping[Address, Package],
        *,
        scratch: Path | None = None,
        max_size: int = MAX_SIZE,
    ) -> None:
        """`max_size` is in bytes; `scratch` is as for `SourcePackages`."""
        self._file = file
        self._packages = dict(packages)
        self._scratch = scratch
        self._max_size = max_size

    @contextmanager
    def open_package(self, address: Address) -> Iterator[BinaryIO]:
        """The zip as a file at its first byte, whose content has the planned digest; else Stale."""
        package = self._packages.get(address)
        if package is None or not DIGEST_PATTERN.fullmatch(package.digest):
            raise Stale(
                self._build_mismatch_finding("the plan tells no package for it").with_changes(
                    address=str(address)
                )
            )
        with create_private_copy(
            address, package, self._scratch, self._copy_verified_content
        ) as copy:
            yield copy

    def _copy_verified_content(self, copy: BinaryIO, _address: Address, package: Package) -> None:
        name = build_carried_name(package.digest)
        if package.size > self._max_size:
            raise Stale.from_summary(
                "Package too large",
                f"{self._file}, {name}, unpacks to {package.size} bytes; max_package_size is "
                f"{self._max_size}.",
                "Nothing was sent. Raise max_package_size, or plan again with less in it.",
            )
        try:
            with (
                zipfile.ZipFile(self._file) as archive,
                self._open_single_stored_entry(archive, name) as entry,
            ):
                _copy_blocks(entry, copy)
        except OSError as problem:
            # Without a file name the error is about writing the copy: not the plan's fault.
            if problem.filename is None:
                raise
            raise Stale(self._build_mismatch_finding(str(problem.strerror))) from None
        except _DAMAGE_ERRORS:
            raise Stale(self._build_mismatch_finding("it is damaged or cut short", name)) from None
        copy.seek(0)
        if reason := _describe_difference(copy, name, package):
            raise Stale(self._build_mismatch_finding(reason, name))

    def _open_single_stored_entry(self, archive: zipfile.ZipFile, name: str) -> IO[bytes]:
        infos = [info for info in archive.infolist() if info.filename == name]
        # Zip allows two entries of one name, and readers differ in which one they take.
        if len(infos) != 1:
            raise Stale(
                self._build_mismatch_finding(
                    "it stands there twice" if infos else "it is not there", name
                )
            )
        (info,) = infos
        # A stored entry cannot unpack to more than the plan's file holds, as a zip bomb would.
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED:
            raise Stale(self._build_mismatch_finding("it is compressed or encrypted", name))
        return archive.open(info)

    def _build_mismatch_finding(self, reason: str, name: str = "") -> Diagnostic:
        return error_finding(
            "A package in the plan's file is not what was planned",
            f"{self._file}{f', {name}' if name else ''}: {reason}.",
            RETRY_HINT,
        )


def _copy_blocks(entry: IO[bytes], copy: BinaryIO) -> None:
    """Copy all blocks; an OSError while reading becomes BadZipFile, one while writing stays."""
    while True:
        try:
            block = entry.read(BLOCK)
        except OSError as problem:
            raise zipfile.BadZipFile(str(problem.strerror)) from None
        if not block:
            return
        copy.write(block)


def _describe_difference(copy: BinaryIO, name: str, package: Package) -> str:
    """Why the zip in `copy` is not this package, as a phrase; "" if it is."""
    try:
        with open_zip(copy, name) as archive:
            gathered = gather_zip(archive, size=package.size)
            measured = hash_and_measure_files(gathered.entries) if not gathered.findings else None
    except InputError:
        return "it is no zip"
    findings = gathered.findings or (measured.findings if measured else [])
    if findings:
        finding = findings[0]
        return f"its content cannot be used ({finding.summary}: {finding.detail.rstrip('.')})"
    files = measured.files if measured else {}
    if files != package.files or compute_package_digest(files) != package.digest:
        return "it has other content than its name says"
    return ""
