"""`synapse-apply state mv`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options
from synapse_apply.cli.addresses import ADDRESS, RECORDED_NAME
from synapse_apply.cli.face import Console
from synapse_apply.cli.manual import manual_command

if TYPE_CHECKING:
    from synapse_apply.model.address import Address
    from synapse_apply.session.where import Invocation


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
    from synapse_apply.session import states
    from synapse_apply.session.context import open_state
    from synapse_apply.session.select import build_state_selectable, choose_address

    with open_state(invocation) as session:
        old = choose_address(build_state_selectable(session.store.read_state()), name)
        renames = states.rename_address(session, old, new)
    console.write_output(
        "".join(
            f"{old_address} has moved to {new_address}.\n"
            for old_address, new_address in renames.items()
        )
    )
    return 0
