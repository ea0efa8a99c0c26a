"""Secrets that must never show, and every form in which they would."""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

# Long, and with characters that every encoding treats in its own way.
CANARIES = {
    "env": 'cAn4ry-env/+ "quoted"\\é-1111',
    "file": "cAn4ry-file?&=%<tag>'-2222",
    "json": "cAn4ry-json-zürich-3333",
    "literal": "cAn4ry-literal+4444/=",
}
_PLAIN = 8


def forms(secret: str) -> set[bytes]:
    """The secret raw, JSON-escaped, URL-encoded, as repr, hex, and base64 at three offsets."""
    raw = secret.encode()
    texts = {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        repr(secret)[1:-1],
        raw.hex(),
        raw.hex().upper(),
    }
    found = {text.encode() for text in texts}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            # Only the characters that the secret alone decides.
            coded = encode(b"\0" * offset + raw)
            start = (offset * 8 + 5) // 6
            end = (offset + len(raw)) * 8 // 6
            found.add(coded[start:end])
    assert all(len(form) > _PLAIN for form in found)
    return found


def leaks(data: bytes) -> list[str]:
    """The names of the canaries that show in some form."""
    return [
        name for name, secret in CANARIES.items() if any(form in data for form in forms(secret))
    ]


def leaks_in_files(root: Path, spared: Iterable[Path]) -> list[str]:
    """The files under a folder in which a canary shows, those left out that hold it by right.

    Archives are looked into.
    """
    kept = {path.resolve() for path in spared}
    return [
        f"{path}: {found}"
        for path in root.rglob("*")
        if path.is_file() and path.resolve() not in kept
        for data in contents(path)
        if (found := leaks(data))
    ]


def contents(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and of what is packed in it."""
    yield path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield archive.read(name)
