"""`synapse-apply storages list`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options

if TYPE_CHECKING:
    from synapse_apply.workspace.invocation import Invocation

_COLUMNS = ("name", "provider", "category")


@manual_command(
    "list",
    examples=[
        ("synapse-apply storages list", "A line for each storage."),
        ("synapse-apply storages list --json", "With configurations, secrets as null."),
    ],
    exits=[("0", "listed, also where there is none"), ("1", "they could not be read")],
)
@options.add_json_options
@options.add_target_options
def command(*, console: Console, invocation: Invocation) -> int:
    """List every storage that the token may see."""
    from synapse_apply.cli.texts.objects import list_live_objects
    from synapse_apply.live.live_backend import open_live_backend
    from synapse_apply.operations.get_objects import list_storages

    with open_live_backend(invocation) as live_backend:
        live_storages = list_storages(live_backend)
        if not live_storages:
            console.write_stderr("There is no storage.\n")
        return list_live_objects(console, "storage", live_storages, _COLUMNS)
