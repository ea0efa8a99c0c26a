"""Which names may stand in a package, on every system it may be unpacked on.

A name is an error where it is dangerous anywhere or deceives who reads it: in a review, a name
with characters that are not seen, or that reorder a line, passes for another. One that only
Windows cannot have is a warning, since most agents are no Windows machines.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from synapse_apply.model.diagnostic import Diagnostic, error

_DRIVE = re.compile(r"[A-Za-z]:")
_MAX_BYTES, _MAX_PART = 4096, 255
# Letters and marks that show as nothing. All of category Cf does: bidi controls, zero-width
# characters, byte order marks, tags.
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_UNSEEN_CATEGORIES = frozenset(("Cf", "Zl", "Zp"))
_NOT_ON_WINDOWS = frozenset('<>:"|?*')
_NUMBERED = (
    f"{name}{number}" for name in ("COM", "LPT") for number in "0123456789\u00b9\u00b2\u00b3"
)
_DEVICES = frozenset(("CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", *_NUMBERED))


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
    return path if path and path.isprintable() and not _UNSEEN.intersection(path) else ascii(path)


def why_not_on_windows(path: str) -> str:
    """Why Windows cannot have a file of this name, "" where it can."""
    for part in path.split("/"):
        if part.partition(".")[0].rstrip(" ").upper() in _DEVICES:
            return "is the name of a device"
        if part.endswith((".", " ")):
            return "ends in a dot or a space"
        if characters := "".join(sorted(_NOT_ON_WINDOWS.intersection(part))):
            return f"has {' '.join(characters)}"
    return ""


def _faults(path: str) -> Iterator[str]:
    parts = path.split("/")
    if any("\ud800" <= char <= "\udfff" for char in path):
        yield "is not UTF-8"
        return
    if any(unicodedata.category(char) == "Cc" for char in path):
        yield "has control characters"
    if unseen := sorted(set(filter(_is_unseen, path))):
        named = ", ".join(f"U+{ord(char):04X}" for char in unseen)
        yield f"has characters that are not seen or reorder what is ({named})"
    if "\\" in path:
        yield "has a backslash, which some systems take for a slash"
    if path.startswith("/") or _DRIVE.match(path):
        yield "is absolute"
    elif any(part in ("", ".", "..") for part in parts):
        yield "has '.', '..' or an empty part"
    if len(path.encode()) > _MAX_BYTES:
        yield f"is longer than {_MAX_BYTES} bytes"
    elif max(len(part.encode()) for part in parts) > _MAX_PART:
        yield f"has a part that is longer than {_MAX_PART} bytes"


def _is_unseen(char: str) -> bool:
    return unicodedata.category(char) in _UNSEEN_CATEGORIES or char in _UNSEEN


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
    # Windows drops what a part ends in.
    ends_dropped = "/".join(part.rstrip(". ") or part for part in path.split("/"))
    return canonical(canonical(ends_dropped).casefold())


def _collision(one: str, other: str) -> Diagnostic:
    same = "the same name" if one == other else "one name on some systems"
    return error(
        "Names collide in the package",
        f"{printable(one)} and {printable(other)} are {same}.",
        "Rename one of them.",
    )
