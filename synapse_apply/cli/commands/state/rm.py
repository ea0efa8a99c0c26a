"""The command `state rm`: which records it removes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.cli.params.addresses import RECORDED_NAME

if TYPE_CHECKING:
    from synapse_apply import Invocation


@manual_command(
    "rm",
    examples=[("synapse-apply state rm plugin/yolo", "Forget it; the plugin itself stays.")],
    exits=[("0", "forgotten"), ("1", "an address is not recorded: nothing was forgotten")],
)
@options.add_color_options
@options.add_target_options
@click.argument("names", type=RECORDED_NAME, nargs=-1, required=True, metavar="ADDRESS...")
@options.add_lock_timeout_option
def command(*, console: Console, invocation: Invocation, names: tuple[str, ...]) -> int:
    """Forget records; the live objects stay as they are.

    What is still declared is adopted by the next apply where it can be found; plugins on API v1
    cannot: import them again, or a second one is made.
    """
    from synapse_apply.cli.flows.command_target import open_command_target

    with open_command_target(invocation) as target:
        addresses = target.state.forget(names)
    for address in addresses:
        console.write_output(f"Forgot {address}; the live object stays.\n")
    return 0
