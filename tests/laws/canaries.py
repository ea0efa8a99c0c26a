"""Every form in which a secret could leave: as it is, escaped, quoted, in hex, in base64."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from urllib.parse import quote, quote_plus

from laws.worlds import SECRETS


def _base64(value: bytes) -> Iterator[bytes]:
    """The characters that stay the same whatever stands before and after, at each offset."""
    for offset in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(b"\0" * offset + value)
            yield text[-(-offset * 8 // 6) : (offset + len(value)) * 8 // 6]


def _texts(value: str) -> Iterator[str]:
    yield from (value, value.casefold())
    yield from (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    yield from (repr(value)[1:-1], json.dumps(json.dumps(value))[3:-3])
    yield from (quote(value), quote(value, safe=""), quote_plus(value))


@cache
def forms() -> tuple[bytes, ...]:
    """The forms of every secret of these laws, and of what stands inside the structured one."""
    values = [*SECRETS.values()]
    values += json.loads(SECRETS["LAW_SECRET_JSON"]).values()
    found: set[bytes] = set()
    for value in values:
        found.update(text.encode() for text in _texts(value))
        raw = value.encode()
        found.update((raw.hex().encode(), raw.hex().upper().encode(), *_base64(raw)))
    return tuple(sorted(form for form in found if len(form) >= 8))


def leaks(outputs: Iterable[tuple[str, str | bytes]]) -> list[tuple[str, bytes]]:
    """(where, form) of every secret found in named outputs."""
    found = []
    for where, output in outputs:
        content = output if isinstance(output, bytes) else output.encode()
        found += [(where, form) for form in forms() if form in content]
    return found


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path), path.read_bytes()
