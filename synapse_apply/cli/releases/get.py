"""`synapse-apply releases get`."""

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
    from synapse_apply.cli.live_texts import show_live_object
    from synapse_apply.session.objects import find_object, read_owner
    from synapse_apply.session.reach import open_live_backend

    with open_live_backend(invocation) as live_backend:
        release = find_object(live_backend, "release", named)
        owner = read_owner(live_backend, "release", release) if expand else None
    return show_live_object(
        console, "release", release, expanded_objects={"plugin": owner} if owner else {}
    )
