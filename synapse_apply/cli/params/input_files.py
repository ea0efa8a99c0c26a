"""Reads files that are given to a command: parameters of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synapse_apply.files.checkout import read_command_line_file
from synapse_apply.manifests.yaml.reader import read_mapping
from synapse_apply.model.errors import InputError


def read_mapping_file(path: Path) -> dict[str, Any]:
    """The map in a YAML or JSON file; InputError with the place of what is wrong."""
    try:
        mapping, _ = read_mapping(read_command_line_file(path), str(path))
    except OSError as problem:
        raise InputError.from_summary(
            "The file cannot be read", f"{path}: {problem.strerror}."
        ) from None
    return dict(mapping)
