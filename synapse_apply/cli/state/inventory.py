"""`synapse-apply state inventory`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.session.where import Where


@manual(
    "inventory",
    examples=[
        ("synapse-apply state inventory > inventory.yaml", "Keep it: ids cannot be found again."),
        ("synapse-apply import -f inventory.yaml", "Build a lost state again."),
    ],
)
@options.output
@options.place
def command(*, face: Face, where: Where) -> int:
    """Print address, id, version and digest of every record as YAML, for `import -f`."""
    import json

    from synapse_apply.session import states
    from synapse_apply.session.context import open_state

    with open_state(where) as context:
        rows = states.inventory(context)
    if face.as_json:
        face.document({"inventory": rows})
        return 0
    lines = ["# synapse-apply inventory: read by `synapse-apply import -f`", "inventory:"]
    for row in rows:
        known = [(key, value) for key, value in row.items() if value is not None]
        # A JSON string is a YAML string, whatever it holds.
        pairs = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in known]
        lines += [f"  - {pairs[0]}", *(f"    {pair}" for pair in pairs[1:])]
    face.out("\n".join(lines if rows else [lines[0], "inventory: []"]) + "\n")
    return 0
