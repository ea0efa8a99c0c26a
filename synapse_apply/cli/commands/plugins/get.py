"""`synapse-apply plugins get`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options

if TYPE_CHECKING:
    from synapse_apply.workspace.invocation import Invocation


@manual_command(
    "get",
    examples=[
        ("synapse-apply plugins get 123", "By its id."),
        ("synapse-apply plugins get yolo", "By its code, or the name that the state knows it by."),
        ("synapse-apply plugins get yolo --json", "The same for a script."),
    ],
    exits=[("0", "shown"), ("1", "there is no such plugin, or it could not be read")],
)
@options.add_json_options
@options.add_target_options
@click.argument("named", metavar="ID|CODE|NAME")
def command(*, console: Console, invocation: Invocation, named: str) -> int:
    """Show a plugin as the backend has it.

    A name is looked up in the state, where there is one; a code through the plugin's releases,
    since not every backend lists plugins.
    """
    from synapse_apply.cli.texts.objects import show_live_object
    from synapse_apply.live.live_backend import open_live_backend
    from synapse_apply.operations.get_objects import find_object

    with open_live_backend(invocation) as live_backend:
        return show_live_object(console, "plugin", find_object(live_backend, "plugin", named))
