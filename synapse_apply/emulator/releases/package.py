"""How config.yaml is read from an uploaded package, within limits."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

import yaml

from synapse_apply.emulator.core.errors import ApiError, build_error_of_field
from synapse_apply.emulator.core.fields import FieldValues

_CONFIG_NAMES = ("config.yaml", "synapse.yaml")
_MAX_CONFIG_BYTES = 1024 * 1024
_MAX_DIRECTORY = 8 * 1024 * 1024
_MAX_VALUES = 100_000  # YAML aliases can expand a small text to a very large value


class _BoundedReads(FileIO):
    """A zip's file, of which zipfile reads the whole directory at once."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > _MAX_DIRECTORY:
            raise zipfile.BadZipFile
        return super().read(size)


def read_package_config(path: Path) -> FieldValues:
    """The config.yaml (or synapse.yaml) in a zip; {} without one. Raises ApiError (400)."""
    try:
        with _BoundedReads(path) as file, zipfile.ZipFile(file) as archive:
            entry_names = set(archive.namelist())
            name = next((name for name in _CONFIG_NAMES if name in entry_names), None)
            text = _read_entry(archive, name) if name else b""
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError):
        raise _build_file_error("The file is not a zip archive that can be read.") from None
    return _parse_config(text)


def _read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as entry:
        # The size that the zip states may be wrong, so that the bytes read are counted.
        text = entry.read(_MAX_CONFIG_BYTES + 1)
    if len(text) > _MAX_CONFIG_BYTES:
        raise _build_file_error(f"{name} is larger than {_MAX_CONFIG_BYTES} bytes.")
    return text


def _parse_config(text: bytes) -> FieldValues:
    try:
        # `safe_load`, since other loaders construct Python objects named in the text.
        value = yaml.safe_load(text) if text.strip() else {}
        if not isinstance(value, dict):
            raise _build_file_error("The configuration in the package is no mapping.")
        if _count_values_up_to_limit(value) > _MAX_VALUES:
            raise _build_file_error("The configuration in the package is too large.")
        # YAML has dates, which become texts: the store holds JSON.
        json_text = json.dumps(value, default=str, allow_nan=False, ensure_ascii=False).encode()
        config: dict[str, Any] = json.loads(json_text)
    except (yaml.YAMLError, UnicodeError, ValueError, TypeError, RecursionError):
        raise _build_file_error("The configuration in the package cannot be read.") from None
    return config


def _count_values_up_to_limit(value: Any) -> int:
    """The number of values in a tree; stops soon after _MAX_VALUES."""
    pending, count = [value], 0
    while pending and count <= _MAX_VALUES:
        item = pending.pop()
        count += 1
        if isinstance(item, Mapping):
            pending += item.values()
        elif isinstance(item, list):
            pending += item
    return count


def _build_file_error(text: str) -> ApiError:
    return build_error_of_field("file", text)
