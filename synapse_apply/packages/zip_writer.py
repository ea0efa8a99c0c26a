"""How the reproducible zip is written: the same content always gives the same bytes."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import IO

from synapse_apply.packages.content import (
    MeasuredPackage,
    PackageFile,
    hash_files_collecting_errors,
)

# The earliest time that a zip can store.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_FILE_MODE, _PROGRAM_MODE = 0o100644, 0o100755


def write_reproducible_zip_collecting_errors(
    entries: list[PackageFile], out: IO[bytes]
) -> MeasuredPackage:
    """Write the entries, which are sorted by path, and measure the written content.

    Fixed time, mode 0644 or 0755, deflate level 6, no entries for folders. One block at a time is
    in memory.
    """
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:

        def write_entry(entry: PackageFile, blocks: Iterator[bytes]) -> None:
            with archive.open(_build_zip_info(entry), "w") as file:
                for block in blocks:
                    file.write(block)

        return hash_files_collecting_errors(entries, write_entry)


def _build_zip_info(entry: PackageFile) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(entry.path, _EPOCH)
    info.create_system = _UNIX
    info.compress_type = zipfile.ZIP_DEFLATED  # zlib's own level, which is 6
    info.external_attr = (_PROGRAM_MODE if entry.is_executable else _FILE_MODE) << 16
    info.file_size = entry.size
    return info
