"""The command `import`: which objects to import, from arguments or an inventory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.cli.params.addresses import DECLARED_NAME

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.model.diagnostic import Diagnostic


@manual_command(
    "import",
    examples=[
        ("synapse-apply import plugin/yolo 42", "The plugin with id 42 is plugin/yolo."),
        ("synapse-apply import -f inventory.yaml", "All of an inventory, or nothing."),
    ],
    exits=[("0", "recorded"), ("1", "an object is not there, or an address is taken")],
)
@options.add_json_options
@options.add_target_options
@options.add_variable_options
@click.argument("name", type=DECLARED_NAME, required=False, metavar="ADDRESS")
@click.argument("remote_id", metavar="ID", required=False)
@click.option(
    "-f",
    "--file",
    "inventory",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="INVENTORY",
    help="A file as `export` writes or `state inventory` prints it, instead of ADDRESS and ID.",
)
@click.option(
    "--no-bytes", is_flag=True, help="Do not read published bytes; `verify --bytes` can later."
)
@options.add_parallelism_option
@options.add_lock_timeout_option
def command(
    *,
    console: Console,
    invocation: Invocation,
    name: str | None,
    remote_id: str | None,
    inventory: Path | None,
    no_bytes: bool,
) -> int:
    """Record existing objects in the state: their ids, and what they look like now.

    Nothing is sent to them. Where the backend gives the bytes of a release, they are read and their
    digest is recorded. The next plan shows how they differ from their manifests.
    """
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.views.text.record import record_document

    if (inventory is None) == (name is None or remote_id is None):
        raise click.UsageError("Say ADDRESS and ID, or -f INVENTORY.")
    ids = Path.cwd() / inventory if inventory else {str(name): str(remote_id)}
    warnings: list[Diagnostic] = []
    with open_command_target(invocation) as target:
        records = target.import_objects(ids, read_bytes=not no_bytes, warn=warnings.append)
    console.write_findings(warnings)
    if console.as_json:
        console.write_or_keep_document(
            {"imported": [record_document(record) for record in records]}
        )
        return 0
    for record in records:
        console.write_output(f"Imported {record.address} (id {record.remote_id}).\n")
    console.write_output(f"\nImport complete! Resources: {len(records)} imported.\n")
    return 0
