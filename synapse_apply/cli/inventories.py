"""Reads the file of `import -f`."""

from __future__ import annotations

from pathlib import Path

from synapse_apply.manifests.reader import read_mapping
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import InputError
from synapse_apply.session.adopt import read_inventory


def wanted_from(path: Path) -> dict[Address, str]:
    """Address and id of each row; InputError with every finding."""
    try:
        mapping, positions = read_mapping(path.read_bytes(), str(path))
    except OSError as problem:
        raise InputError(
            error("The inventory cannot be read", f"{path}: {problem.strerror}.")
        ) from None
    rows = mapping.get("inventory")
    if not isinstance(rows, list) or not rows:
        raise InputError(
            error(
                "This is no inventory",
                f"{path} has no list under `inventory:`, or an empty one.",
                "Write one with `synapse-apply state inventory`.",
                position=positions.get(()),
            )
        )
    return read_inventory(rows, str(path))
