"""The command `state inventory`: how records are printed for `import -f`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options

if TYPE_CHECKING:
    from synapse_apply import Invocation


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
    from synapse_apply.cli.flows.command_target import open_command_target

    with open_command_target(invocation) as target:
        if console.as_json:
            console.write_or_keep_document({"inventory": target.state.list_inventory()})
        else:
            console.write_output(target.state.format_inventory())
    return 0
