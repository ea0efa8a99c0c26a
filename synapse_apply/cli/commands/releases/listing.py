"""`synapse-apply releases list`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options

if TYPE_CHECKING:
    from synapse_apply.workspace.invocation import Invocation

_COLUMNS = ("version", "is_stable", "changelog")


@manual_command(
    "list",
    examples=[
        ("synapse-apply releases list yolo", "The releases of the plugin with this code."),
        ("synapse-apply releases list id=123 --json", "By the plugin's id, for a script."),
    ],
    exits=[("0", "listed, also where there is none"), ("1", "they could not be read")],
)
@options.add_json_options
@options.add_target_options
@click.argument("plugin", metavar="PLUGIN")
def command(*, console: Console, invocation: Invocation, plugin: str) -> int:
    """List the releases of a plugin: its code, a recorded name, or id=123."""
    from synapse_apply.cli.texts.objects import list_live_objects
    from synapse_apply.live.live_backend import open_live_backend
    from synapse_apply.operations.get_objects import list_releases

    with open_live_backend(invocation) as live_backend:
        live_releases = list_releases(live_backend, plugin)
        if not live_releases:
            console.write_stderr("There is no release of this plugin, or no such plugin.\n")
        return list_live_objects(console, "release", live_releases, _COLUMNS)
