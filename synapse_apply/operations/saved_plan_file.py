"""The file format of a saved plan: a zip of plan.json alone.

The file is written completely or not at all, readable by its owner alone, and never replaces
another. Only what this writer writes is read: a foreign entry, bytes outside of all entries, or
JSON that two parsers could read differently, and the whole file is refused.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from synapse_apply.files.checkout import require_no_link_out
from synapse_apply.files.tree import BLOCK, escape_misleading_path
from synapse_apply.model.command import Command, Text
from synapse_apply.model.errors import InputError
from synapse_apply.model.json_types import JsonObject, JsonValue
from synapse_apply.packages.content import BoundedReads, LargeDirectory
from synapse_apply.packages.sources import choose_temporary_path

PLAN_ENTRY = "plan.json"
PLAN_AGAIN_HINT = Text(Command("plan --out FILE"), " makes one.")
_EXISTS, _RENAME_HINT = "it already exists", "Choose a different name, or remove the file."
DAMAGED = "it is not a plan, or it is damaged"
_PACKAGE_NAME = re.compile(r"packages/[0-9a-f]{64}\.zip")  # an entry of `plan --with-packages`
# Text packs to a twentieth or so; what packs to less than a two-hundredth is built to burst.
_MAX_PLAN_BYTES, _BOMB_RATIO, _BOMB_MIN_BYTES = 1024**3, 200, 16 * 1024**2
# A header before an entry's bytes, with the lengths of its name and of what follows that.
_LOCAL_HEADER = struct.Struct("<26x2H")
_DESCRIPTOR_FLAG = 0x8
# The last record of a zip: its mark, and that no comment follows.
_END_RECORD = b"PK\x05\x06" + bytes(18)
_ALLOWED_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED_FLAG = 0x1
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)
# Among the RuntimeErrors are those of unknown zip features and of JSON nested too deeply.
DAMAGED_FILE_ERRORS = (
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


def require_unused_path(path: Path) -> None:
    """InputError when something exists at this path: a plan never replaces a file."""
    if path.exists() or path.is_symlink():
        raise build_unusable_error(path, _EXISTS, _RENAME_HINT)


def write_new_plan_file(path: Path, text: str) -> None:
    """Write a new file (0600); InputError when the file exists or cannot be written."""
    require_no_link_out(path)
    # Under another name first: what has the plan's name is complete.
    temporary_path = choose_temporary_path(path)
    try:
        with (
            _create_private_file(temporary_path) as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            # A fixed time, so that one plan gives one file, byte for byte.
            archive.writestr(zipfile.ZipInfo(PLAN_ENTRY, _FIXED_TIME), text, zipfile.ZIP_DEFLATED)
        _put_in_place(temporary_path, path)
    except FileExistsError:
        raise build_unusable_error(path, _EXISTS, _RENAME_HINT) from None
    except OSError as problem:
        reason = problem.strerror or "it cannot be written"
        raise build_unusable_error(path, reason, "Choose a different location for --out.") from None
    finally:
        _remove_if_possible(temporary_path)


# Exactly what `plan --out` writes: a zip that two readers could read in two ways is refused as a
# whole, before its signature is checked.
def read_plan_document(path: Path) -> JsonValue:
    """The parsed plan.json of a file; InputError when it is no plan or damaged."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise build_unusable_error(path, "it is not a regular file", "Check the path.")
    try:
        with path.open("rb") as file, zipfile.ZipFile(BoundedReads(file)) as archive:
            infos = archive.infolist()
            if any(_PACKAGE_NAME.fullmatch(info.orig_filename) for info in infos):
                raise build_packages_error(path)
            if reason := _explain_entries(archive, infos) or _explain_stray_bytes(
                file, archive, infos
            ):
                raise build_unusable_error(path, reason)
            with archive.open(PLAN_ENTRY) as entry:
                data = b"".join(iter(partial(entry.read, BLOCK), b""))
            return _parse_strict_json(path, data)
    except OSError as problem:
        raise build_unusable_error(
            path, problem.strerror or "it cannot be read", "Check the path."
        ) from None
    except LargeDirectory as problem:
        raise build_unusable_error(path, str(problem)) from None
    except DAMAGED_FILE_ERRORS:
        raise build_unusable_error(path, DAMAGED) from None


def _explain_entries(archive: zipfile.ZipFile, infos: Sequence[zipfile.ZipInfo]) -> str:
    """Why the entries are not those of a plan file; "" where they are."""
    # The library cuts names at a zero byte and, on Windows, turns backslashes into slashes.
    names = [info.orig_filename for info in infos]
    if len(set(names)) != len(names):
        return "two of its entries have the same name"
    for name in names:
        if name != PLAN_ENTRY:
            return f"it contains {escape_misleading_path(name)}, which no plan has"
    if PLAN_ENTRY not in names:
        return f"it contains no {PLAN_ENTRY}"
    if archive.comment or any(info.comment for info in infos):
        return "it has a comment, which no plan has"
    info = archive.getinfo(PLAN_ENTRY)
    if any(info.flag_bits & _ENCRYPTED_FLAG for info in infos):
        return "it is encrypted"
    if info.compress_type not in _ALLOWED_METHODS:
        return f"its plan is compressed by method {info.compress_type}, which plans never use"
    # By the sizes that the file states; reading stops there, whatever it goes on to hold.
    is_bomb = info.file_size > _BOMB_MIN_BYTES and info.file_size > _BOMB_RATIO * info.compress_size
    return "its plan is too large" if is_bomb or info.file_size > _MAX_PLAN_BYTES else ""


def _explain_stray_bytes(
    file: BinaryIO, archive: zipfile.ZipFile, infos: Sequence[zipfile.ZipInfo]
) -> str:
    """Why a file with gaps between its entries is refused; "" where there are none."""
    offset = 0
    # Readers differ in whether they believe the entries or the directory at the end: here both must
    # say the same, and cover every byte of the file.
    for info in sorted(infos, key=lambda entry: entry.header_offset):
        if info.header_offset != offset or info.flag_bits & _DESCRIPTOR_FLAG:
            break
        file.seek(offset)
        name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        offset += _LOCAL_HEADER.size + name_length + extra_length + info.compress_size
    else:
        file.seek(-len(_END_RECORD), os.SEEK_END)
        end_record = file.read()
        if offset == archive.start_dir and (end_record[:4], end_record[-2:]) == (
            _END_RECORD[:4],
            _END_RECORD[-2:],
        ):
            return ""
    return "it has bytes that belong to no entry, or to two entries"


def _parse_strict_json(path: Path, data: bytes) -> JsonValue:
    def raise_unusable(reason: str) -> NoReturn:
        raise build_unusable_error(path, f"{PLAN_ENTRY} in it {reason}")

    def unique_keys_object(pairs: list[tuple[str, Any]]) -> JsonObject:
        # Of a key that is there twice another reader may take the first: a reviewer saw that one.
        members = dict(pairs)
        return members if len(members) == len(pairs) else raise_unusable("has a duplicate key")

    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=unique_keys_object,
            parse_constant=lambda name: raise_unusable(f"has {name}"),
        )
    except UnicodeDecodeError:
        raise_unusable("is not UTF-8 text")
    except RecursionError:
        raise_unusable("nests too deeply")
    except ValueError:
        raise_unusable("is not JSON")


def is_plan_file(path: Path) -> bool:
    """Whether a file looks like a saved plan; a pipe does not, and is not read."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file, zipfile.ZipFile(BoundedReads(file)) as archive:
            return PLAN_ENTRY in archive.namelist()
    except (OSError, *DAMAGED_FILE_ERRORS):
        return False


def build_packages_error(path: Path) -> InputError:
    """The error for a file that `plan --with-packages` of an older version made."""
    return build_unusable_error(
        path,
        "it contains packages, which plans no longer do",
        Text(
            "Plan again with ",
            Command("plan --out FILE"),
            ", and keep the package folder next to the file, as an artifact of the pipeline.",
        ),
    )


def build_unusable_error(path: Path, reason: str, hint: str = PLAN_AGAIN_HINT) -> InputError:
    """The error for any plan file that cannot be used."""
    return InputError.from_summary("This plan file cannot be used", f"{path}: {reason}.", hint)


def _create_private_file(path: Path) -> BinaryIO:
    """Open a new file (0600) for writing; FileExistsError when it exists."""
    # O_EXCL: neither a file nor a link that somebody has put there meanwhile is followed.
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _put_in_place(temporary_path: Path, path: Path) -> None:
    """Give a finished file its name; unlike a rename, this never replaces a file."""
    try:
        path.hardlink_to(temporary_path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with temporary_path.open("rb") as temporary_file, _create_private_file(path) as file:
            try:
                shutil.copyfileobj(temporary_file, file, 1024 * 1024)
            except OSError:
                _remove_if_possible(path)
                raise


def _remove_if_possible(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # the file that was asked for is there, or its own error is being told
