"""`synapse-apply state inventory`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.cli import options
from synapse_apply.cli.face import Console
from synapse_apply.cli.manual import manual_command

if TYPE_CHECKING:
    from synapse_apply.session.where import Invocation


@manual_command(
    "inventory",
    examples=[
        ("synapse-apply state inventory > inventory.yaml", "Keep it: ids cannot be found again."),
        ("synapse-apply import -f inventory.yaml", "Build a lost state again."),
    ],
)
@options.add_json_options
@options.add_target_options
def command(*, console: Console, invocation: Invocation) -> int:
    """Print address, id, version and digest of every record as YAML, for `import -f`."""
    from synapse_apply.manifests.inventory import format_inventory
    from synapse_apply.session import states
    from synapse_apply.session.context import open_state

    with open_state(invocation) as session:
        rows = states.build_inventory_rows(session)
    if console.as_json:
        console.write_document({"inventory": rows})
        return 0
    console.write_output(format_inventory(rows))
    return 0
