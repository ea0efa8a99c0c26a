"""How a package is opened for upload, so that only the planned content can be sent.

A zip is sent without a copy: it is hashed while it is read, and its last block is withheld if it
changed.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from synapse_apply.files.tree import BLOCK
from synapse_apply.model.address import Address
from synapse_apply.model.errors import InputError
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.resource import FILE, PUBLISHED, Package, PackageSource
from synapse_apply.packages.content import FileChange, gather_zip_files, list_changes, open_zip
from synapse_apply.packages.sources import MAX_SIZE, SourceFiles, measure_or_raise
from synapse_apply.packages.zip_stamps import FileStamp, ZipStamps

_LARGE_FILE_FOLDER = Path("/var/tmp")  # noqa: S108 - the files in it have no name
_VERBS = ("added", "removed", "changed")


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
        self._scratch = scratch or large_file_folder()
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
                f"{address} declares no source with bytes to upload.",
                "Declare a source: or a file: for the release.",
                address=str(address),
            )
        with self._open_original(address, package) or self._copy(address, package) as file:
            yield file

    def _open_original(self, address: Address, package: Package) -> HashedFile | None:
        """The zip itself, open, if its bytes are known to have the planned content; else None."""
        source = package.source
        if source.kind != FILE or source.ref:
            return None
        try:
            file = SourceFiles(source, self._root, self._allow_files).open_zip()
        except InputError:
            return None  # the copy, which follows, reports the error with its position
        stamp, sha256 = FileStamp.of(file), ""
        if self._zip_stamps.knows(stamp, package.digest):
            with suppress(OSError):
                file_hash = hashlib.sha256()
                while block := file.read(BLOCK):
                    file_hash.update(block)
                sha256 = file_hash.hexdigest()
        # What was written meanwhile has other times by now, and what was hashed is not the plan's.
        if not sha256 or FileStamp.of(file) != stamp:
            file.close()
            return None
        change_error = InputError.from_summary(
            "Package changed while it was read",
            f"{source} changed after the plan.",
            "The upload was cut off, so nothing was published. Wait until the writing program "
            "has finished, then plan again.",
            address=str(address),
            position=source.position,
        )
        return HashedFile(file, stamp.size, sha256, change_error)

    def _copy(self, address: Address, package: Package) -> BinaryIO:
        """A temporary file with the package, at its first byte; gone once it is closed.

        InputError, with the first five changes, if it is not what was planned; or if it cannot be
        written.
        """
        source = package.source
        files = SourceFiles(source, self._root, self._allow_files)
        try:
            # Without a name where the system allows it, so that no other process can open it.
            copy: BinaryIO = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115 - handed out
            try:
                if source.kind == FILE:
                    with files.open_zip() as file:
                        shutil.copyfileobj(file, copy, BLOCK)
                    copy.seek(0)
                    with open_zip(copy, source.path) as archive:
                        gathered = gather_zip_files(archive, source.path)
                        copied = measure_or_raise(gathered, self._max_size, source)
                else:
                    with files.open() as gathered:
                        copied = measure_or_raise(gathered, self._max_size, source, copy)
                if copied.digest != package.digest:
                    _raise_package_changed(source, list_changes(package.files, copied.files))
                copy.seek(0)
            except BaseException:
                copy.close()
                raise
        except InputError as problem:
            place = {"address": str(address), "position": source.position}
            raise InputError(
                *(finding.with_changes(**place) for finding in problem.diagnostics)
            ) from None
        except OSError as problem:
            raise InputError.from_summary(
                "Package cannot be written",
                f"{source}: the temporary file: {problem.strerror}.",
                "Free space on the disk, or set TMPDIR to a larger disk.",
                address=str(address),
            ) from None
        return copy


def _raise_package_changed(source: PackageSource, changes: Sequence[FileChange]) -> NoReturn:
    """InputError that names the first five changes, those that were added first."""
    texts = [f"{one.verb} {one.path}" for verb in _VERBS for one in changes if one.verb == verb]
    raise InputError.from_summary(
        "Package changed after the plan",
        f"{source} differs from the plan: {format_short_list(texts)}.",
        "Nothing was uploaded. Plan again. If this version is already published, raise the "
        "version.",
    )


def large_file_folder() -> Path | None:
    """The folder /var/tmp, if it is writable and the environment names no other; else None.

    /tmp is in memory on many systems, /var/tmp is not (FHS 3.0, 5.15).
    """
    is_configured = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    is_writable = os.access(_LARGE_FILE_FOLDER, os.W_OK | os.X_OK)
    return _LARGE_FILE_FOLDER if is_writable and not is_configured else None


# A 1 GiB zip was read three times and written once; this way it is read twice.
class HashedFile(io.RawIOBase):
    """A stream over an open file that must have a known size and digest.

    `sha256` is the expected digest in hex. The last block is only given if all bytes have this
    digest; else `change_error` is raised in its place, and as soon as the file turns out shorter.
    So a request with the file is never sent completely with other bytes. The stream is read in
    order, and again from the start after `seek(0)`.
    """

    def __init__(self, file: BinaryIO, size: int, sha256: str, change_error: InputError) -> None:
        super().__init__()
        self.sha256 = sha256
        self._file = file
        self._size = size
        self._change_error = change_error
        self._position = self._hashed_position = 0
        self._hash = hashlib.sha256()
        file.seek(0)

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True, within the limits of `seek`."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """The next `size` bytes, fewer at the end; `change_error` if the file changed."""
        remaining = self._size - self._position
        read_size = remaining if size is None or size < 0 else min(size, remaining)
        if read_size <= 0:
            return b""
        # The hash covers the bytes in order; after a seek into the middle it would be wrong.
        if self._position != self._hashed_position:
            raise io.UnsupportedOperation("it is read from its start, in order")
        block = self._file.read(read_size)
        self._hash.update(block)
        self._position = self._hashed_position = self._position + len(block)
        is_last = self._position == self._size
        # One byte more means that the file has grown.
        if len(block) < read_size or (
            is_last and (self._hash.hexdigest() != self.sha256 or self._file.read(1))
        ):
            raise self._change_error
        return block

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set and return the position; reading is only possible at the start or where it stopped.

        Whoever sends the file seeks to the end and back to learn its size.
        """
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = start + offset
        if self._position == 0:
            self._file.seek(0)
            self._hash = hashlib.sha256()
            self._hashed_position = 0
        return self._position

    def tell(self) -> int:
        """The position in bytes from the start."""
        return self._position

    def close(self) -> None:
        """Close the stream and the file."""
        self._file.close()
        super().close()
