"""Which file names a package may have, on every system it may be unpacked on.

A name is an error if it is dangerous on any system or misleads a reader: in a review, a name with
invisible characters, or ones that reorder a line, looks like another one. A name that only Windows
does not allow is a warning, since few agents run on Windows.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from synapse_apply.files.tree import INVISIBLE, escape_misleading_path
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.secrets.secret_rules import is_in_forbidden_folder

_DRIVE = re.compile(r"[A-Za-z]:")
_MAX_BYTES, _MAX_PART_BYTES = 4096, 255
# Cf contains bidi controls, zero-width characters, byte order marks and tags; Zl and Zp are line
# and paragraph separators.
_INVISIBLE_CATEGORIES = frozenset(("Cf", "Zl", "Zp"))
_NOT_ON_WINDOWS = frozenset('<>:"|?*')
# Windows takes superscript digits for those of a device as well.
_NUMBERED_DEVICES = (
    f"{name}{number}" for name in ("COM", "LPT") for number in "0123456789\u00b9\u00b2\u00b3"
)
_DEVICES = frozenset(("CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", *_NUMBERED_DEVICES))


def to_nfc(path: str) -> str:
    """The path in NFC, since systems store accents and Hangul in different forms."""
    return unicodedata.normalize("NFC", path)


# Names that deceive are errors, because they pass a review; names that Windows cannot have are
# warnings, because they concern only agents that most do not have.
def unsafe_name_errors(path: str) -> Iterator[Diagnostic]:
    """An error for each reason why a path is dangerous to unpack, or misleading."""
    for fault in _unsafe_name_phrases(path):
        yield error_finding(
            "Unsafe name in the package",
            f"{escape_misleading_path(path)} {fault}.",
            "Rename the file, or leave it out with a line in .synapseignore.",
        )


def git_data_errors(names: Iterable[str], folder: str = "") -> Iterator[Diagnostic]:
    """An error where these names in a folder are those of Git's data, whatever it is called."""
    if {"HEAD", "objects", "refs"} <= set(names):
        yield error_finding(
            "Git's data in the package",
            f"{escape_misleading_path(folder or '.')} is Git's, with its credentials.",
            "Leave it out with a line in .synapseignore.",
        )


def windows_name_fault(path: str) -> str:
    """Why Windows does not allow this path, as a phrase; "" if it does."""
    for part in path.split("/"):
        if part.partition(".")[0].rstrip(" ").upper() in _DEVICES:
            return "is the name of a device"
        if part.endswith((".", " ")):
            return "ends in a dot or a space"
        if characters := "".join(sorted(_NOT_ON_WINDOWS.intersection(part))):
            return f"has {' '.join(characters)}"
    return ""


def _unsafe_name_phrases(path: str) -> Iterator[str]:
    parts = path.split("/")
    # Bytes that are not UTF-8 appear as lone surrogates (PEP 383); such a name cannot be encoded
    # for the checks below.
    if any("\ud800" <= char <= "\udfff" for char in path):
        yield "is not UTF-8"
        return
    if any(unicodedata.category(char) == "Cc" for char in path):
        yield "has control characters"
    if invisible := sorted(set(filter(_is_invisible, path))):
        code_points = ", ".join(f"U+{ord(char):04X}" for char in invisible)
        yield f"has characters that are not seen or reorder what is ({code_points})"
    if "\\" in path:
        yield "has a backslash, which some systems take for a slash"
    if path.startswith("/") or _DRIVE.match(path):
        yield "is absolute"
    elif any(part in ("", ".", "..") for part in parts):
        yield "has '.', '..' or an empty part"
    if is_in_forbidden_folder(path):
        yield "may have credentials and is never part of a package"
    if len(path.encode()) > _MAX_BYTES:
        yield f"is longer than {_MAX_BYTES} bytes"
    elif max(len(part.encode()) for part in parts) > _MAX_PART_BYTES:
        yield f"has a part that is longer than {_MAX_PART_BYTES} bytes"


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char) in _INVISIBLE_CATEGORIES or char in INVISIBLE


def find_collisions(paths: Iterable[str]) -> list[Diagnostic]:
    """An error for each two paths that are the same file on some system.

    That is by case or Unicode form, or since one is a file where the other needs a folder.
    """
    findings: list[Diagnostic] = []
    files: dict[str, str] = {}
    for path in paths:
        folded_path = _fold(path)
        if folded_path in files:
            findings.append(_collision(files[folded_path], path))
        files.setdefault(folded_path, path)
    for path in files.values():
        parts = path.split("/")
        # A file where another path needs a folder of the same name.
        for depth in range(1, len(parts)):
            parent_path = files.get(_fold("/".join(parts[:depth])))
            if parent_path is not None:
                findings.append(_collision(parent_path, path))
    return findings


def _fold(path: str) -> str:
    """The path in the form in which case-insensitive systems compare it."""
    # Windows drops dots and spaces at the end of a part.
    trimmed_path = "/".join(part.rstrip(". ") or part for part in path.split("/"))
    # Case folding may undo the normal form, so that it is applied again (Unicode, D145).
    return to_nfc(to_nfc(trimmed_path).casefold())


def _collision(first: str, second: str) -> Diagnostic:
    relation = "the same name" if first == second else "one name on some systems"
    return error_finding(
        "Names collide in the package",
        f"{escape_misleading_path(first)} and {escape_misleading_path(second)} are {relation}.",
        "Rename one of them.",
    )
