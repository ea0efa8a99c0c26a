"""Packages opened for upload: the bytes that were planned, or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from synapse_apply.model.address import Address
from synapse_apply.model.desired import Package
from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import InputError, Stale
from synapse_apply.packages.archive import gather_zip, open_zip
from synapse_apply.packages.changes import changes
from synapse_apply.packages.content import BLOCK, Measured, digest_of
from synapse_apply.packages.digests import Digests
from synapse_apply.packages.inspect import MAX_SIZE, measured_within
from synapse_apply.packages.original import Original
from synapse_apply.packages.sighting import sighting_of
from synapse_apply.packages.sources import FILE, PUBLISHED, open_source_file, opened

_LARGE = Path("/var/tmp")  # noqa: S108 - the files in it have no name


class SourcePackages:
    """The `Packages` port over the sources of one plan.

    `packages` are those that were planned, `root` is the project's folder, `scratch` the folder
    for temporary files (when None: what TMPDIR names, else one on a disk). `digests` is what the
    plan was made with. Safe to use from several threads.
    """

    def __init__(
        self,
        packages: Mapping[Address, Package],
        root: Path,
        *,
        scratch: Path | None = None,
        max_size: int = MAX_SIZE,
        allow_files: Sequence[str] = (),
        digests: Digests | None = None,
    ) -> None:
        self._packages = dict(packages)
        self._root = root
        self._scratch = scratch or folder_for_large_files()
        self._max_size = max_size
        self._allow_files = tuple(allow_files)
        self._digests = digests

    @contextmanager
    def open(self, address: Address) -> Iterator[Any]:
        """The zip as a file at its first byte; its content has the planned digest.

        A zip built elsewhere that is as it was when its bytes were hashed for the plan is handed
        out itself, hashed once more as it is read: its last byte comes only when all of them are
        the planned ones. Anything else is a private copy (0600, without a name where the system
        can do that, gone afterwards) that was checked. So nothing changes between the check and
        the last byte sent. InputError when the source changed or cannot be read, from an original
        also while it is read.
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
        original = self._original(address, package)
        with original or private_copy(address, package, self._scratch, self._fill) as file:
            yield file

    def _original(self, address: Address, package: Package) -> Original | None:
        """The zip itself where its own bytes are known to be the plan's; it is open only once."""
        source = package.source
        if self._digests is None or source.kind != FILE or source.ref:
            return None
        try:
            file = open_source_file(source, self._root, self._allow_files)
        except InputError:
            return None  # who copies it says why, and where
        seen = sighting_of(file.name, os.fstat(file.fileno()))
        known = self._digests.zip_seen(seen)
        if known is None or digest_of(known.files) != package.digest:
            file.close()
            return None
        return Original(file, seen.size, known.sha256, _changed_meanwhile(address, package))

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
                return measured_within(gather_zip(archive, source.path), self._max_size, source)
        with opened(source, self._root, self._allow_files) as found:
            return measured_within(found, self._max_size, source, copy)


def folder_for_large_files() -> Path | None:
    """A folder for large temporary files: /tmp is memory on many systems, /var/tmp never is."""
    asked = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    usable = os.access(_LARGE, os.W_OK | os.X_OK)
    return _LARGE if usable and not asked else None


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


def _changed_meanwhile(address: Address, package: Package) -> InputError:
    return InputError(
        error(
            "Package changed while it was read",
            f"{package.source} is no longer what was planned.",
            "The upload was cut short, so nothing was published. Let whatever writes to the file "
            "finish, then plan again.",
            address=str(address),
            position=package.source.position,
        )
    )
