"""The command `controller status`: whom it asks, and what is printed."""

from __future__ import annotations

from pathlib import Path

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import controller_options, options


@manual_command(
    "status",
    examples=[
        ("synapse-apply controller status", "Of the controller of this folder."),
        ("synapse-apply controller status --url http://127.0.0.1:8080", "Of a running one."),
        ("synapse-apply controller status --json", "For a script."),
    ],
    exits=[("0", "printed"), ("1", "there is no store, or the controller does not answer")],
)
@options.add_json_options
@controller_options.add_data_option
@click.option("--url", default="", metavar="URL", help="Ask the controller at this address.")
def command(*, console: Console, data: Path, url: str) -> int:
    """List the targets of a controller, those that need a person first.

    Reads its store, also while it runs; with --url its HTTP API.
    """
    from synapse_apply.cli.texts.controller import print_target_list
    from synapse_apply.controller.status import fetch_targets, read_stored_targets

    print_target_list(console, fetch_targets(url) if url else read_stored_targets(data))
    return 0
