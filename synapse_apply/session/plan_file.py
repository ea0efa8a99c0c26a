"""The file of a saved plan: a zip of plan.json and of the packages that go with it.

It is written whole or not at all, private, and never in the place of another. What is read is
just what is written: an entry of another name, bytes of no entry, or JSON that two readers could
read in two ways is somebody else's work, and the whole file is refused.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.packages import carried
from synapse_apply.packages.aside import aside
from synapse_apply.packages.names import printable

PLAN = "plan.json"
_ANEW = "`synapse-apply plan --out FILE` makes one."
# Text packs to a twentieth or so; what packs to less than a two-hundredth is built to burst.
_LARGEST_PLAN, _BOMB_RATIO, _BOMB_FROM = 1024**3, 200, 16 * 1024**2
# A header before an entry's bytes, with the lengths of its name and of what follows that.
_LOCAL = struct.Struct("<26x2H")
_WITH_DESCRIPTOR = 0x8
# The last record of a zip: its mark, and that no comment follows.
_END = b"PK\x05\x06" + bytes(18)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)
# Among the RuntimeErrors are those of unknown zip features and of JSON nested too deeply.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    MemoryError,
)


@frozen
class Contents:
    """What a plan's file holds: plan.json as parsed, and the bytes of all else by its name."""

    document: Any
    sizes: Mapping[str, int]


def check_free(path: Path) -> None:
    """InputError when there is something at this path: a plan never replaces a file."""
    if path.exists() or path.is_symlink():
        raise _exists(path)


def write(
    path: Path,
    text: str,
    packages: Iterable[tuple[str, AbstractContextManager[BinaryIO]]] = (),
) -> dict[str, int]:
    """Write a new file (0600); gives the bytes of each package by its digest.

    `packages` are digests and what opens each. InputError when the file is there already or
    cannot be written, and what opening raises.
    """
    sizes = {}
    part = aside(path)
    try:
        with _private(part) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(PLAN, _FIXED_TIME), text, zipfile.ZIP_DEFLATED)
            for digest, opening in packages:
                with opening as package:
                    sizes[digest] = carried.put(archive, digest, package)
        _publish(part, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as problem:
        why = problem.strerror or "it cannot be written"
        raise unusable(path, why, "Choose another place for --out.") from None
    finally:
        _discard(part)
    return sizes


def read(path: Path) -> Contents:
    """What a file holds; InputError when it is no plan or damaged. Packages are not looked at."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise unusable(path, "it is no plain file", "Check the path.")
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            if why := _foreign_in(archive, infos) or _bytes_of_none(file, archive, infos):
                raise unusable(path, why, _ANEW)
            document = _parse_plan(path, archive.read(PLAN))
    except OSError as problem:
        raise unusable(path, problem.strerror or "it cannot be read", "Check the path.") from None
    except DAMAGED:
        raise damaged(path) from None
    sizes = {info.filename: info.file_size for info in infos if info.filename != PLAN}
    return Contents(document, sizes)


def _foreign_in(archive: zipfile.ZipFile, infos: Sequence[zipfile.ZipInfo]) -> str:
    """What is said of entries that no plan has; "" where there is none."""
    # The library cuts names at a zero byte and, on Windows, turns backslashes into slashes.
    names = [info.orig_filename for info in infos]
    if len(set(names)) != len(names):
        return "two things in it have one name"
    for name in names:
        if name != PLAN and not carried.is_name(name):
            return f"{printable(name)} is in it, which no plan has"
    if PLAN not in names:
        return f"there is no {PLAN} in it"
    if archive.comment or any(info.comment for info in infos):
        return "it has a comment, which no plan has"
    info = archive.getinfo(PLAN)
    if any(info.flag_bits & _ENCRYPTED for info in infos):
        return "it is encrypted"
    if info.compress_type not in _METHODS:
        return f"its plan is compressed by method {info.compress_type}, which no plan is"
    bomb = info.file_size > _BOMB_FROM and info.file_size > _BOMB_RATIO * info.compress_size
    return "its plan is too large" if bomb or info.file_size > _LARGEST_PLAN else ""


def _bytes_of_none(
    file: BinaryIO, archive: zipfile.ZipFile, infos: Sequence[zipfile.ZipInfo]
) -> str:
    """What is said of a file whose entries do not follow one another from its first byte."""
    at = 0
    for info in sorted(infos, key=lambda one: one.header_offset):
        if info.header_offset != at or info.flag_bits & _WITH_DESCRIPTOR:
            break
        file.seek(at)
        of_name, of_extra = _LOCAL.unpack(file.read(_LOCAL.size))
        at += _LOCAL.size + of_name + of_extra + info.compress_size
    else:
        file.seek(-len(_END), os.SEEK_END)
        end = file.read()
        if at == archive.start_dir and (end[:4], end[-2:]) == (_END[:4], _END[-2:]):
            return ""
    return "it has bytes that belong to nothing in it, or to two things"


def _parse_plan(path: Path, data: bytes) -> Any:
    def refuse(why: str) -> NoReturn:
        raise unusable(path, f"{PLAN} in it {why}", _ANEW)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        return made if len(made) == len(pairs) else refuse("has one key twice")

    try:
        text = data.decode("utf-8")
        return json.loads(
            text, object_pairs_hook=unique, parse_constant=lambda name: refuse(f"has {name}")
        )
    except UnicodeDecodeError:
        refuse("is not UTF-8 text")
    except RecursionError:
        refuse("nests too deeply")
    except ValueError:
        refuse("is no JSON")


def is_plan(path: Path) -> bool:
    """Whether a file looks like a saved plan; a pipe is none, and is not read."""
    try:
        if not path.is_file():
            return False
        with zipfile.ZipFile(path) as archive:
            return PLAN in archive.namelist()
    except (OSError, *DAMAGED):
        return False


def damaged(path: Path) -> InputError:
    """What is said of a file that cannot be read as a plan."""
    return unusable(path, "it is not a plan, or it is damaged", _ANEW)


def unusable(path: Path, why: str, hint: str) -> InputError:
    """What is said of any file that cannot be used."""
    return InputError(error("This plan file cannot be used", f"{path}: {why}.", hint))


def _exists(path: Path) -> InputError:
    return unusable(path, "it exists already", "Give another name, or remove it.")


def _private(path: Path) -> BinaryIO:
    """A new file that nobody else may read; FileExistsError when it is there."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _publish(aside: Path, path: Path) -> None:
    """Give a finished file its name; unlike a rename, this never replaces a file."""
    try:
        path.hardlink_to(aside)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with aside.open("rb") as made, _private(path) as file:
            try:
                shutil.copyfileobj(made, file, 1024 * 1024)
            except OSError:
                _discard(path)
                raise


def _discard(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # the file that was asked for is there, or its own error is being told
