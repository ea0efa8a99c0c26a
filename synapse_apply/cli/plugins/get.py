"""`synapse-apply plugins get`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options
from synapse_apply.cli.face import Console
from synapse_apply.cli.manual import manual_command

if TYPE_CHECKING:
    from synapse_apply.session.where import Invocation


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
    from synapse_apply.cli.live_texts import show_live_object
    from synapse_apply.session.objects import find_object
    from synapse_apply.session.reach import open_live_backend

    with open_live_backend(invocation) as live_backend:
        return show_live_object(console, "plugin", find_object(live_backend, "plugin", named))
