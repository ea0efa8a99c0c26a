"""The command `state mv`: which address a record is renamed to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.cli.params.addresses import ADDRESS, RECORDED_NAME

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.model.address import Address


@manual_command(
    "mv",
    examples=[
        ("synapse-apply state mv plugin/yolo plugin/yolo-v8", "After renaming the manifest."),
    ],
    exits=[("0", "renamed"), ("1", "the old address is not recorded, or the new one is taken")],
)
@options.add_color_options
@options.add_target_options
@click.argument("name", type=RECORDED_NAME, metavar="OLD")
@click.argument("new", type=ADDRESS)
@options.add_lock_timeout_option
def command(*, console: Console, invocation: Invocation, name: str, new: Address) -> int:
    """Rename an address in the state, and its releases with it; the live objects stay."""
    from synapse_apply.cli.flows.command_target import open_command_target

    with open_command_target(invocation) as target:
        renames = target.state.rename(name, new)
    console.write_output(
        "".join(
            f"{old_address} has moved to {new_address}.\n"
            for old_address, new_address in renames.items()
        )
    )
    return 0
