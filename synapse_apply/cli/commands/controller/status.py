"""The command `controller status`: whom it asks, and what is printed."""

from __future__ import annotations

from pathlib import Path

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
    environment=controller_options.API_ENVIRONMENT,
)
@options.add_json_options
@controller_options.add_data_option
@controller_options.add_url_option
def command(*, console: Console, data: Path, url: str) -> int:
    """List the targets of a controller, those that need a person first.

    Reads its store, also while it runs; with an address its HTTP API.
    """
    from synapse_apply.cli.flows.controller_access import (
        choose_url_or_empty_if_data_option_is_typed,
        open_controller_api,
    )
    from synapse_apply.cli.texts.controller import print_target_list
    from synapse_apply.controller.status import read_stored_targets_as_document

    if url := choose_url_or_empty_if_data_option_is_typed(url):
        print_target_list(console, open_controller_api(console, url).read_target_list_document())
    else:
        print_target_list(console, read_stored_targets_as_document(data))
    return 0
