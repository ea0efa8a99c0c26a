"""`synapse-apply storages get`."""

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
        ("synapse-apply storages get 3", "By its id."),
        ("synapse-apply storages get raw-data", "By its name, there or in the state."),
        ("synapse-apply storages get raw-data --json", "The same for a script."),
    ],
    exits=[("0", "shown"), ("1", "there is no such storage, or it could not be read")],
)
@options.add_json_options
@options.add_target_options
@click.argument("named", metavar="ID|NAME")
def command(*, console: Console, invocation: Invocation, named: str) -> int:
    """Show a storage as the backend has it.

    Secrets of its configuration show as `(sensitive)`, as null in JSON: those that the schema of
    its provider marks, and all of it where the provider is unknown.
    """
    from synapse_apply.cli.texts.objects import show_live_object
    from synapse_apply.live.live_backend import open_live_backend
    from synapse_apply.operations.get_objects import find_object

    with open_live_backend(invocation) as live_backend:
        return show_live_object(console, "storage", find_object(live_backend, "storage", named))
