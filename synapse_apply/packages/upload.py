"""How a package is opened for upload, so that only the planned content can be sent."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from synapse_apply.model.address import Address
from synapse_apply.model.errors import InputError, Stale
from synapse_apply.model.resource import FILE, PUBLISHED, Package
from synapse_apply.packages.content import BLOCK, MeasuredPackage, compute_package_digest
from synapse_apply.packages.diff import list_added_removed_and_changed_paths
from synapse_apply.packages.inspection import MAX_SIZE, measure_or_raise_all_errors
from synapse_apply.packages.original import HashedFileReadInOrder
from synapse_apply.packages.source.open_source import (
    open_and_gather_source_files,
    open_zip_file_or_zip_at_ref,
)
from synapse_apply.packages.source.zip_archive import gather_zip_files_and_errors, open_zip
from synapse_apply.packages.zip_stamps import ZipStamps, build_file_stamp

_LARGE_FILE_FOLDER = Path("/var/tmp")  # noqa: S108 - the files in it have no name


class SourcePackages:
    """The `Packages` port (model/ports.py) over the sources of one plan; safe for many threads.

    `packages` are the planned ones, `root` is the project's folder, `scratch` the folder for
    temporary files (None: TMPDIR, else a folder on a disk). `zip_stamps` are the zips that the
    plan read.
    """

    def __init__(
        self,
        packages: Mapping[Address, Package],
        root: Path,
        *,
        scratch: Path | None = None,
        max_size: int = MAX_SIZE,
        allow_files: Sequence[str] = (),
        zip_stamps: ZipStamps | None = None,
    ) -> None:
        self._packages = dict(packages)
        self._root = root
        self._scratch = scratch or find_folder_for_large_files_or_none()
        self._max_size = max_size
        self._allow_files = tuple(allow_files)
        self._zip_stamps = zip_stamps or ZipStamps()

    @contextmanager
    def open_package(self, address: Address) -> Iterator[Any]:
        """The zip as a file at its first byte, whose content has the planned digest.

        A zip that is unchanged since it was read for the plan is opened itself, and hashed before
        and while it is read: its last byte is given only if all bytes are the planned ones. Any
        other source is written to a private temporary file (0600, without a name if possible) and
        verified before it is handed out. So nothing can change between check and upload.
        InputError if the source changed or cannot be read; for an original also while it is read.
        """
        package = self._packages.get(address)
        if package is None or package.source.kind == PUBLISHED:
            raise InputError.from_summary(
                "No package to upload",
                f"{address} declares no source whose bytes are ours.",
                "Give the release a source: or a file:.",
                address=str(address),
            )
        original = self._open_original_if_planned(address, package)
        with original or create_private_copy(
            address, package, self._scratch, self._copy_content_or_raise_if_not_planned
        ) as file:
            yield file

    def _open_original_if_planned(
        self, address: Address, package: Package
    ) -> HashedFileReadInOrder | None:
        """The zip itself, open, if its bytes are known to have the planned content; else None."""
        source = package.source
        if source.kind != FILE or source.ref:
            return None
        try:
            file = open_zip_file_or_zip_at_ref(source, self._root, self._allow_files)
        except InputError:
            return None  # the copy, which follows, reports the error with its position
        stamp = build_file_stamp(file.name, os.fstat(file.fileno()))
        sha256 = None
        if self._zip_stamps.is_known_to_contain_package(stamp, package.digest):
            with suppress(OSError):
                sha256 = _hash_to_end(file)
        # What was written meanwhile has other times by now, and what was hashed is not the plan's.
        if sha256 is None or build_file_stamp(file.name, os.fstat(file.fileno())) != stamp:
            file.close()
            return None
        return HashedFileReadInOrder(
            file, stamp.size, sha256, _build_changed_while_read_error(address, package)
        )

    def _copy_content_or_raise_if_not_planned(
        self, copy: BinaryIO, address: Address, package: Package
    ) -> None:
        """Write the package to `copy`; InputError if it is not what was planned."""
        measured = self._copy_and_measure(copy, package)
        if compute_package_digest(measured.files) != package.digest:
            _raise_package_changed(address, package, measured)

    def _copy_and_measure(self, copy: BinaryIO, package: Package) -> MeasuredPackage:
        """Write the source to `copy` and measure what was written; InputError for any error."""
        source = package.source
        if source.kind == FILE:
            with open_zip_file_or_zip_at_ref(source, self._root, self._allow_files) as file:
                shutil.copyfileobj(file, copy, BLOCK)
            copy.seek(0)
            with open_zip(copy, source.path) as archive:
                return measure_or_raise_all_errors(
                    gather_zip_files_and_errors(archive, source.path), self._max_size, source
                )
        with open_and_gather_source_files(source, self._root, self._allow_files) as gathered:
            return measure_or_raise_all_errors(gathered, self._max_size, source, copy)


def _hash_to_end(file: BinaryIO) -> str:
    """The SHA-256 of what is left of a file, in hex; OSError if it cannot be read."""
    file_hash = hashlib.sha256()
    while block := file.read(BLOCK):
        file_hash.update(block)
    return file_hash.hexdigest()


# /tmp is memory on many systems, so large files go to /var/tmp unless TMPDIR says otherwise.
def find_folder_for_large_files_or_none() -> Path | None:
    """The folder /var/tmp, if it is writable and the environment names no other; else None.

    /tmp is in memory on many systems, /var/tmp is not (FHS 3.0, 5.15).
    """
    is_configured = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    is_writable = os.access(_LARGE_FILE_FOLDER, os.W_OK | os.X_OK)
    return _LARGE_FILE_FOLDER if is_writable and not is_configured else None


def create_private_copy(
    address: Address,
    package: Package,
    scratch: Path | None,
    fill: Callable[[BinaryIO, Address, Package], None],
) -> BinaryIO:
    """A temporary file that `fill` has written, at its first byte; gone once it is closed.

    Address and position are set on the findings of InputError and Stale from `fill`. InputError if
    the file cannot be written.
    """
    try:
        # Without a name where the system allows it, so that no other process can open it.
        copy: BinaryIO = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - handed out
        try:
            fill(copy, address, package)
            copy.seek(0)
        except BaseException:
            copy.close()
            raise
    except (InputError, Stale) as problem:
        finding_fields = {"address": str(address), "position": package.source.position}
        raise type(problem)(
            *(diagnostic.with_changes(**finding_fields) for diagnostic in problem.diagnostics)
        ) from None
    except OSError as problem:
        raise InputError.from_summary(
            "Package cannot be written",
            f"{package.source}: the temporary file: {problem.strerror}.",
            "Make room on the disk, or point TMPDIR at a larger one.",
            address=str(address),
        ) from None
    return copy


def _raise_package_changed(
    address: Address, package: Package, measured: MeasuredPackage
) -> NoReturn:
    """InputError that names the first five changes."""
    added, removed, changed = list_added_removed_and_changed_paths(package.files, measured.files)
    change_texts = [f"added {path}" for path in added]
    change_texts += [f"removed {path}" for path in removed]
    change_texts += [f"changed {path}" for path in changed]
    more_text = f" and {len(change_texts) - 5} more" if len(change_texts) > 5 else ""
    raise InputError.from_summary(
        "Package changed since it was planned",
        f"{package.source} is not what was planned: {', '.join(change_texts[:5])}{more_text}.",
        "Nothing was uploaded. Plan again; give the change a new version if this one is published.",
        address=str(address),
        position=package.source.position,
    )


def _build_changed_while_read_error(address: Address, package: Package) -> InputError:
    return InputError.from_summary(
        "Package changed while it was read",
        f"{package.source} is no longer what was planned.",
        "The upload was cut short, so nothing was published. Let whatever writes to the file "
        "finish, then plan again.",
        address=str(address),
        position=package.source.position,
    )
