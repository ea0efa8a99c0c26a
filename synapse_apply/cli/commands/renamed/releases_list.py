"""The hidden `releases list`: runs `get releases --plugin`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.commands.get import print_releases_of_plugin
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options

if TYPE_CHECKING:
    from synapse_apply import Invocation


@manual_command(
    "list", examples=[("synapse-apply get releases --plugin yolo", "What takes its place.")]
)
@options.add_json_options
@options.add_target_options
@click.argument("plugin", metavar="--plugin PLUGIN")
def command(*, console: Console, invocation: Invocation, plugin: str) -> int:
    """List the releases of a plugin: its code, a recorded name, or id=123."""
    return print_releases_of_plugin(console, invocation, plugin)
