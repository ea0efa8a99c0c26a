"""How a file of parameters that is given to a command is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synapse_apply.files.checkout import read_command_line_file
from synapse_apply.manifests.yaml.reader import read_mapping
from synapse_apply.model.errors import InputError


def read_mapping_file(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file; InputError with the position of an error in it."""
    try:
        mapping, _ = read_mapping(read_command_line_file(path), str(path))
    except OSError as problem:
        raise InputError.from_summary(
            "The file cannot be read", f"{path}: {problem.strerror}."
        ) from None
    return dict(mapping)
