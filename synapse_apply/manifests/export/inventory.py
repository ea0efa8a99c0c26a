"""How an inventory (addresses with server ids) is written, and distinguished from a manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from synapse_apply.manifests.yaml.reader import ReadResult


def is_inventory_file(reading: ReadResult) -> bool:
    """Whether a file holds an inventory and nothing else; in a folder it is skipped."""
    if reading.diagnostics or len(reading.documents) != 1:
        return False
    value = reading.documents[0].value
    return isinstance(value, dict) and value.keys() == {"inventory"}


def format_inventory(rows: Sequence[Mapping[str, object]]) -> str:
    """Inventory rows as YAML text, which `import -f` reads; fields that are None are left out."""
    lines = ["# synapse-apply inventory: read by `synapse-apply import -f`", "inventory:"]
    for row in rows:
        present_fields = [(key, value) for key, value in row.items() if value is not None]
        # A JSON string is a YAML string, whatever it holds.
        pairs = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in present_fields]
        lines += [f"  - {pairs[0]}", *(f"    {pair}" for pair in pairs[1:])]
    return "\n".join(lines if rows else [lines[0], "inventory: []"]) + "\n"
