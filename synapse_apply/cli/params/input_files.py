"""Reads files that are given to a command: the inventory of `import -f`, parameters of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synapse_apply.files.checkout import read_command_line_file
from synapse_apply.manifests.yaml.reader import read_mapping
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.workspace.inventory_rows import Inventory, parse_inventory


def read_mapping_file(path: Path) -> dict[str, Any]:
    """The map in a YAML or JSON file; InputError with the place of what is wrong."""
    try:
        mapping, _ = read_mapping(read_command_line_file(path), str(path))
    except OSError as problem:
        raise InputError(
            error_finding("The file cannot be read", f"{path}: {problem.strerror}.")
        ) from None
    return dict(mapping)


def read_inventory_file(path: Path) -> Inventory:
    """The rows of the file by address; InputError with every finding."""
    try:
        mapping, positions = read_mapping(read_command_line_file(path), str(path))
    except OSError as problem:
        raise InputError(
            error_finding("The inventory cannot be read", f"{path}: {problem.strerror}.")
        ) from None
    rows = mapping.get("inventory")
    if not isinstance(rows, list) or not rows:
        raise InputError(
            error_finding(
                "This is no inventory",
                f"{path} has no list under `inventory:`, or an empty one.",
                "Write one with `synapse-apply state inventory`.",
                position=positions.get(()),
            )
        )
    return parse_inventory(rows, str(path), positions)
