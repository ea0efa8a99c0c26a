"""Mutations of zip files: entries, their headers, and what stands around them."""

from __future__ import annotations

import io
import struct
import zipfile
from random import Random

from fuzz.json_mutations import broken_bytes

_NAMES = (
    *(
        "plan.json",
        "PLAN.JSON",
        "../plan.json",
        "/etc/passwd",
        "packages/../x",
        "packages/",
        "a\x00b",
    ),
    *(
        "packages/" + "0" * 64 + ".zip",
        "x" * 5000,
        "\u202ex",
        "plan.json/",
        "con",
        "..",
        "",
        "a\\b",
    ),
)
_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def rebuilt(entries: list[tuple[str, bytes]], random: Random) -> bytes:
    """A zip of these entries, in which something may be other than a plan's file has it."""
    entries = list(entries)
    kind = random.randrange(12)
    if kind == 0:
        entries.append((random.choice(_NAMES), random.randbytes(50)))
    elif kind == 1 and entries:
        entries.append(random.choice(entries))
    elif kind == 2 and entries:
        del entries[random.randrange(len(entries))]
    elif kind == 3 and entries:
        at = random.randrange(len(entries))
        entries[at] = (random.choice(_NAMES), entries[at][1])
    method = random.choice((zipfile.ZIP_DEFLATED,) * 6 + (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries:
            stored = name.startswith("packages/") and random.random() < 0.9
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            archive.writestr(info, data, zipfile.ZIP_STORED if stored else method)
        if kind == 4:
            archive.comment = b"PK\x05\x06" + random.randbytes(18)
    made = file.getvalue()
    if kind == 5:
        made = random.randbytes(random.choice((1, 30, 5000))) + made
    elif kind == 6:
        made += random.randbytes(random.choice((1, 30, 70_000)))
    elif kind in (7, 8):
        made = _other_header(made, random)
    elif kind == 9:
        made = broken_bytes(made, random)
    return made


def _other_header(data: bytes, random: Random) -> bytes:
    """One number of one header is another: sizes, offsets, flags, methods, counts."""
    made = bytearray(data)
    mark = random.choice((_LOCAL, _CENTRAL, _CENTRAL, _END))
    places = [at for at in range(len(made) - 46) if made[at : at + 4] == mark] or [0]
    at = random.choice(places) + random.choice(range(4, 44, 2))
    value = random.choice((0, 1, 8, 9, 0x7FFF, 0xFFFF, random.randrange(0x10000)))
    struct.pack_into("<H", made, min(at, len(made) - 2), value)
    return bytes(made)
