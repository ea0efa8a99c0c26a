"""Packages opened for upload: the bytes that were planned, or none."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn

from synapse_apply.model.address import Address
from synapse_apply.model.desired import Package
from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import InputError, Stale
from synapse_apply.packages.archive import gather_zip, open_zip
from synapse_apply.packages.changes import changes
from synapse_apply.packages.content import BLOCK, Measured, digest_of
from synapse_apply.packages.inspect import MAX_SIZE, measured_within
from synapse_apply.packages.sources import FILE, PUBLISHED, open_source_file, opened
from synapse_apply.packages.zipping import write_zip


class SourcePackages:
    """The `Packages` port over the sources of one plan.

    `packages` are those that were planned, `root` is the project's folder, `scratch` the folder
    for temporary files (the system's own when None). Safe to use from several threads.
    """

    def __init__(
        self,
        packages: Mapping[Address, Package],
        root: Path,
        *,
        scratch: Path | None = None,
        max_size: int = MAX_SIZE,
        allow_files: Sequence[str] = (),
    ) -> None:
        self._packages = dict(packages)
        self._root = root
        self._scratch = scratch
        self._max_size = max_size
        self._allow_files = tuple(allow_files)

    @contextmanager
    def open(self, address: Address) -> Iterator[BinaryIO]:
        """The zip as a file at its first byte; its content has the planned digest.

        What is handed out is a private copy (0600, without a name where the system can do that,
        gone afterwards), so that nothing changes between the check and the last byte sent.
        InputError when the source changed or cannot be read.
        """
        package = self._packages.get(address)
        if package is None or package.source.kind == PUBLISHED:
            raise InputError(
                error(
                    "No package to upload",
                    f"{address} declares no source whose bytes are ours.",
                    "Give the release a source: or a file:.",
                    address=str(address),
                )
            )
        with private_copy(address, package, self._scratch, self._fill) as copy:
            yield copy

    def _fill(self, copy: BinaryIO, address: Address, package: Package) -> None:
        measured = self._copied(copy, package)
        if digest_of(measured.files) != package.digest:
            _changed(address, package, measured)

    def _copied(self, copy: BinaryIO, package: Package) -> Measured:
        source = package.source
        if source.kind == FILE:
            with open_source_file(source, self._root, self._allow_files) as file:
                shutil.copyfileobj(file, copy, BLOCK)
            copy.seek(0)
            with open_zip(copy, source.path) as archive:
                return measured_within(gather_zip(archive), self._max_size, source)
        with opened(source, self._root, self._allow_files) as found:
            if found.findings:
                raise InputError(*found.findings)
            measured = write_zip(found.entries, copy)
        if measured.findings:
            raise InputError(*measured.findings)
        return measured


def private_copy(
    address: Address,
    package: Package,
    scratch: Path | None,
    fill: Callable[[BinaryIO, Address, Package], None],
) -> BinaryIO:
    """A temporary file that `fill` filled, at its first byte; findings get address and position.

    InputError also where there is no room for it.
    """
    try:
        copy: BinaryIO = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - handed out
        try:
            fill(copy, address, package)
            copy.seek(0)
        except BaseException:
            copy.close()
            raise
    except (InputError, Stale) as problem:
        told = {"address": str(address), "position": package.source.position}
        raise type(problem)(*(one.with_(**told) for one in problem.diagnostics)) from None
    except OSError as problem:
        raise InputError(
            error(
                "Package cannot be written",
                f"{package.source}: the temporary file: {problem.strerror}.",
                "Make room on the disk, or point TMPDIR at a larger one.",
                address=str(address),
            )
        ) from None
    return copy


def _changed(address: Address, package: Package, measured: Measured) -> NoReturn:
    added, removed, changed = changes(package.files, measured.files)
    said = [f"added {path}" for path in added]
    said += [f"removed {path}" for path in removed]
    said += [f"changed {path}" for path in changed]
    more = f" and {len(said) - 5} more" if len(said) > 5 else ""
    raise InputError(
        error(
            "Package changed since it was planned",
            f"{package.source} is not what was planned: {', '.join(said[:5])}{more}.",
            "Nothing was uploaded. Plan again; give the change a new version "
            "if this one is published.",
            address=str(address),
            position=package.source.position,
        )
    )
