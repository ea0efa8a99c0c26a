"""A zip built elsewhere: its entries, after the checks that unpacking it must never need."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.errors import InputError
from synapse_apply.packages.content import BLOCK, Entry, Gathered, UnreadableError
from synapse_apply.packages.names import canonical, collision_findings, name_findings, printable

_ENCRYPTED = 0x1
_UNIX = 3
_LOCAL_HEADER = 30
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

# Text packs to a twentieth; what packs to less than a two-hundredth is built to burst.
_BOMB_RATIO, _BOMB_FROM = 200, 100 * 1024 * 1024

_REBUILD = "Build the zip anew; `unzip -t` tests one."


def open_zip(file: IO[bytes], name: str) -> zipfile.ZipFile:
    """InputError when it is no zip; `name` is what to call it."""
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError) as problem:
        why = error("Not a usable zip", f"{name}: {str(problem).rstrip('.')}.", _REBUILD)
    raise InputError(why)


def gather_zip(archive: zipfile.ZipFile, name: str = "", size: int | None = None) -> Gathered:
    """The files of a zip by path; all findings, not the first. Folders do not count.

    `name` is what each finding calls the zip, "" where its reader does. `size` is what it is known
    to unpack to, where that is known: how well it is packed then proves nothing, and another size
    is a finding.
    """
    made = Gathered()
    infos = archive.infolist()
    made.findings += _bomb_findings(infos) if size is None else _size_findings(infos, size)
    made.findings += _overlap_findings(archive, infos)
    for info in infos:
        findings = list(_findings(info))
        made.findings += findings
        if not info.is_dir() and not findings:
            made.entries.append(_entry(archive, info, name))
    made.entries.sort(key=lambda entry: entry.path.encode())
    made.findings += collision_findings(entry.path for entry in made.entries)
    if name:
        made.findings = [one.with_(detail=f"{name}: {one.detail}") for one in made.findings]
    return made


def _entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Entry:
    executable = info.create_system == _UNIX and bool(info.external_attr >> 16 & stat.S_IXUSR)
    return Entry(
        canonical(info.filename), executable, info.file_size, lambda: _blocks(archive, info, name)
    )


def _blocks(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Iterator[bytes]:
    try:
        with archive.open(info) as content:
            while block := content.read(BLOCK):
                yield block
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as problem:
        where = f"{name}: {printable(info.filename)}" if name else printable(info.filename)
        raise UnreadableError(
            "Damaged entry in the zip", f"{where}: {problem}.", _REBUILD
        ) from None


def _findings(info: zipfile.ZipInfo) -> Iterator[Diagnostic]:
    # The library cuts names at a zero byte and, on Windows, turns backslashes into slashes.
    name = info.orig_filename
    yield from name_findings(canonical(name.removesuffix("/") if info.is_dir() else name))
    mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
    kind = stat.S_IFMT(mode)
    if kind and not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        what = "a link" if stat.S_ISLNK(kind) else "a special file"
        yield error(
            "Link or special file in the zip",
            f"{printable(name)} is {what}.",
            "Put the file itself into the zip (zip does so without --symlinks).",
        )
    if info.flag_bits & _ENCRYPTED:
        yield error(
            "Encrypted entry in the zip",
            f"{printable(name)} needs a password, which the platform does not have.",
            "Build the zip without encryption.",
        )
    elif info.compress_type not in _METHODS:
        yield error(
            "Unusual compression in the zip",
            f"{printable(name)} uses method {info.compress_type}.",
            "Build the zip with deflate, which every system reads.",
        )


def _size_findings(infos: list[zipfile.ZipInfo], size: int) -> Iterator[Diagnostic]:
    total = sum(info.file_size for info in infos)
    if total != size:
        yield error(
            "Other size in the zip", f"It unpacks to {total} bytes, not to {size}.", _REBUILD
        )


def _bomb_findings(infos: list[zipfile.ZipInfo]) -> Iterator[Diagnostic]:
    total = sum(info.file_size for info in infos)
    packed = sum(info.compress_size for info in infos)
    if total > _BOMB_FROM and total > _BOMB_RATIO * max(packed, 1):
        yield error(
            "Zip bomb",
            f"{packed} bytes would unpack to {total}.",
            "If this is meant, store the large file without compression.",
        )


def _overlap_findings(
    archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo]
) -> Iterator[Diagnostic]:
    end = archive.start_dir
    for info in sorted(infos, key=lambda info: info.header_offset, reverse=True):
        stop = info.header_offset + _LOCAL_HEADER + info.compress_size
        if stop > end:
            yield error(
                "Overlapping entries in the zip",
                f"{printable(info.filename)} shares its bytes with another entry.",
                _REBUILD,
            )
            return
        end = info.header_offset
