"""`synapse-apply state mv`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.cli.params.addresses import ADDRESS, RECORDED_NAME

if TYPE_CHECKING:
    from synapse_apply.model.address import Address
    from synapse_apply.workspace.invocation import Invocation


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
    from synapse_apply.operations import state
    from synapse_apply.workspace.selection import build_state_selectable, choose_address
    from synapse_apply.workspace.target_session import open_state

    with open_state(invocation) as session:
        old = choose_address(build_state_selectable(session.store.read_state()), name)
        renames = state.rename_address(session, old, new)
    console.write_output(
        "".join(
            f"{old_address} has moved to {new_address}.\n"
            for old_address, new_address in renames.items()
        )
    )
    return 0
