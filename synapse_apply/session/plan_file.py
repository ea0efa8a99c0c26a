"""The file of a saved plan: a zip of plan.json and of the packages that go with it.

It is written whole or not at all, private, and never in the place of another.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.packages import carried
from synapse_apply.packages.aside import aside

PLAN = "plan.json"
_ANEW = "`synapse-apply plan --out FILE` makes one."
# Text packs to a twentieth or so; what packs to less than a two-hundredth is built to burst.
_LARGEST_PLAN, _BOMB_RATIO, _BOMB_FROM = 1024**3, 200, 100 * 1024**2
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
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            sizes = {info.filename: info.file_size for info in infos}
            if len(sizes) != len(infos):
                raise unusable(path, "two things in it have one name", _ANEW)
            _check_plan(path, archive.getinfo(PLAN))
            document = json.loads(archive.read(PLAN))
    except OSError as problem:
        raise unusable(path, problem.strerror or "it cannot be read", "Check the path.") from None
    except DAMAGED:
        raise damaged(path) from None
    del sizes[PLAN]
    return Contents(document, sizes)


def _check_plan(path: Path, info: zipfile.ZipInfo) -> None:
    if info.compress_type not in _METHODS or info.flag_bits & _ENCRYPTED:
        raise damaged(path)
    bomb = info.file_size > _BOMB_FROM and info.file_size > _BOMB_RATIO * info.compress_size
    if bomb or info.file_size > _LARGEST_PLAN:
        raise unusable(path, "its plan is too large", _ANEW)


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
