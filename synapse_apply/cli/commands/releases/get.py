"""`synapse-apply releases get`."""

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
        ("synapse-apply releases get 456", "By its id."),
        ("synapse-apply releases get yolo@1.2.0", "By code and version."),
        ("synapse-apply releases get yolo@1.2.0 --expand plugin", "With the plugin it belongs to."),
        ("synapse-apply releases get yolo@1.2.0 --json", "The same for a script."),
    ],
    exits=[("0", "shown"), ("1", "there is no such release, or it could not be read")],
)
@options.add_json_options
@options.add_target_options
@click.argument("named", metavar="ID|CODE@VERSION")
@click.option("--expand", type=click.Choice(["plugin"]), multiple=True,
              help="Show what it belongs to as well, secrets left out.")  # fmt: skip
def command(
    *, console: Console, invocation: Invocation, named: str, expand: tuple[str, ...]
) -> int:
    """Show a release as the backend has it."""
    from synapse_apply.cli.texts.objects import show_live_object
    from synapse_apply.live.live_backend import open_live_backend
    from synapse_apply.operations.get_objects import find_object, read_owner

    with open_live_backend(invocation) as live_backend:
        release = find_object(live_backend, "release", named)
        owner = read_owner(live_backend, "release", release) if expand else None
    return show_live_object(
        console, "release", release, expanded_objects={"plugin": owner} if owner else {}
    )
