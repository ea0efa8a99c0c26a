"""Which names may stand in a package, on every system it may be unpacked on."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from synapse_apply.model.diagnostic import Diagnostic, error

_DRIVE = re.compile(r"[A-Za-z]:")
_MAX_BYTES = 4096


def canonical(path: str) -> str:
    """The path in NFC: systems disagree on how accents and Hangul are spelled."""
    return unicodedata.normalize("NFC", path)


def name_findings(path: str) -> Iterator[Diagnostic]:
    """What makes a path unfit or dangerous to unpack; nothing for a good one."""
    for why in _faults(path):
        yield error(
            "Unsafe name in the package",
            f"{printable(path)} {why}.",
            "Rename the file, or leave it out with a line in .synapseignore.",
        )


def printable(path: str) -> str:
    """The path, quoted and escaped where a terminal could be misled by it."""
    return path if path and path.isprintable() else ascii(path)


def _faults(path: str) -> Iterator[str]:
    parts = path.split("/")
    if any("\ud800" <= char <= "\udfff" for char in path):
        yield "is not UTF-8"
        return
    if any(unicodedata.category(char) == "Cc" for char in path):
        yield "has control characters"
    if "\\" in path:
        yield "has a backslash, which some systems take for a slash"
    if path.startswith("/") or _DRIVE.match(path):
        yield "is absolute"
    elif any(part in ("", ".", "..") for part in parts):
        yield "has '.', '..' or an empty part"
    if len(path.encode()) > _MAX_BYTES:
        yield f"is longer than {_MAX_BYTES} bytes"


def collision_findings(paths: Iterable[str]) -> list[Diagnostic]:
    """Pairs of paths that are one file on some system: by case, or as a file and a folder."""
    found: list[Diagnostic] = []
    files: dict[str, str] = {}
    for path in paths:
        folded = _folded(path)
        if folded in files:
            found.append(_collision(files[folded], path))
        files.setdefault(folded, path)
    for path in files.values():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            above = files.get(_folded("/".join(parts[:depth])))
            if above is not None:
                found.append(_collision(above, path))
    return found


def _folded(path: str) -> str:
    return canonical(canonical(path).casefold())


def _collision(one: str, other: str) -> Diagnostic:
    same = "the same name" if one == other else "one name on some systems"
    return error(
        "Names collide in the package",
        f"{printable(one)} and {printable(other)} are {same}.",
        "Rename one of them.",
    )
