"""What a package says of itself: the config.yaml at the root of its zip."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from synapse_apply.emulator.core.errors import ApiError, field_error

_NAMES = ("config.yaml", "synapse.yaml")
_LARGEST = 1024 * 1024
_MOST_VALUES = 100_000  # aliases can make a small text a very large value


def config_in(path: Path) -> dict[str, Any]:
    """The configuration in a package; empty when there is none. Raises ApiError (400)."""
    try:
        with zipfile.ZipFile(path) as archive:
            present = set(archive.namelist())
            name = next((name for name in _NAMES if name in present), None)
            text = _text(archive, name) if name else b""
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError):
        raise _wrong("The file is not a zip archive that can be read.") from None
    return _parsed(text)


def _text(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as entry:
        text = entry.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise _wrong(f"{name} is larger than {_LARGEST} bytes.")
    return text


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        value = yaml.safe_load(text) if text.strip() else {}
        if not isinstance(value, dict):
            raise _wrong("The configuration in the package is no mapping.")
        if _count(value) > _MOST_VALUES:
            raise _wrong("The configuration in the package is too large.")
        written = json.dumps(value, default=str, allow_nan=False, ensure_ascii=False).encode()
        plain: dict[str, Any] = json.loads(written)
    except (yaml.YAMLError, UnicodeError, ValueError, TypeError, RecursionError):
        raise _wrong("The configuration in the package cannot be read.") from None
    return plain


def _count(value: Any) -> int:
    """How many values there are, counted no further than is needed."""
    waiting, seen = [value], 0
    while waiting and seen <= _MOST_VALUES:
        one = waiting.pop()
        seen += 1
        if isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return seen


def _wrong(text: str) -> ApiError:
    return field_error("file", text)
