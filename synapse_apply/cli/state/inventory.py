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
    from synapse_apply.manifests.inventory import inventory_text
    from synapse_apply.session import states
    from synapse_apply.session.context import open_state

    with open_state(where) as context:
        rows = states.inventory(context)
    if face.as_json:
        face.document({"inventory": rows})
        return 0
    face.out(inventory_text(rows))
    return 0
